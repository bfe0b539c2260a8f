//! What is sent to systemd (`Type=notify`; `sd_notify(3)`): a datagram to the socket that it names.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// Says that the proxy serves.
pub(super) fn ready() {
    notify("READY=1");
}

/// Says that it reads its configuration anew; [`ready`] is to follow (`Type=notify-reload`).
pub(super) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// Says that another process is the service from here on.
pub(super) fn main_process(pid: u32) {
    notify(&format!("MAINPID={pid}"));
}

/// Says that it stops.
pub(super) fn stopping() {
    notify("STOPPING=1");
}

/// Says that the control loop turns, for the watchdog.
pub(super) fn alive() {
    notify("WATCHDOG=1");
}

/// How often [`alive`] is to be said; `None` where nobody watches.
pub(super) fn watchdog() -> Option<Duration> {
    let variable = |name| env::var(name).ok();
    watchdog_of(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id())
}

/// Half of the time after which the watchdog bites, as `sd_watchdog_enabled(3)` has it.
fn watchdog_of(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    // The variables may be of a parent that is watched itself.
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros: u64 = micros?.parse().ok()?;
    (micros >= 2).then(|| Duration::from_micros(micros / 2))
}

/// Does nothing where nobody asked for it.
fn notify(state: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&name, state) {
        tracing::warn!("cannot notify the service manager of {state}: {error}");
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        // An abstract socket (unix(7)): the name stands for a zero byte and what follows.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not hold the proxy up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn path_and_abstract_sockets_are_notified() {
        let path = env::temp_dir().join(format!("pointsman-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&socket), "READY=1");
        std::fs::remove_file(&path).unwrap();

        let name = format!("pointsman-notify-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        send(format!("@{name}").as_ref(), "STOPPING=1").unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn a_missing_socket_is_an_error_and_no_more() {
        assert!(send("/nowhere/notify".as_ref(), "READY=1").is_err());
    }

    #[test]
    fn the_watchdog_is_notified_twice_in_its_time() {
        assert_eq!(watchdog_of(Some("3000000"), None, 7), Some(Duration::from_millis(1500)));
        assert_eq!(watchdog_of(Some("3000000"), Some("7"), 7), Some(Duration::from_millis(1500)));
        for (micros, pid) in
            [(None, None), (Some("3000000"), Some("8")), (Some("0"), None), (Some("x"), None)]
        {
            assert_eq!(watchdog_of(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
    }
}
