//! Socket activation: listening sockets that a service manager opened before this program began
//! (`sd_listen_fds(3)`).
//!
//! Previous stop: the environment, at the start; next stop: [`super::listener_sockets::Sockets`], which gives them to
//! the listeners with the same address. There is one socket for an address, and each worker gets a
//! descriptor of it: another socket beside it (`SO_REUSEPORT`) would not see the connections that wait.

use std::{
    env, io,
    os::fd::{FromRawFd, OwnedFd},
};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockAddr, SockRef};

use super::{
    bind::{Bound, Owner},
    listener_sockets::Handed,
};

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// What a service manager handed over, as it is.
#[derive(Debug, Default)]
pub struct Activated(Vec<(i32, io::Result<OwnedFd>)>);

impl Activated {
    /// Takes what is there for this process. To be called once, before the program opens anything.
    pub fn take() -> Self {
        let variable = |name| env::var(name).ok();
        let (pid, given) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
        let count = count(pid.as_deref(), given.as_deref(), std::process::id());
        Self((FIRST..FIRST.saturating_add(count)).map(|descriptor| (descriptor, own(descriptor))).collect())
    }

    /// The same by other descriptors.
    pub fn duplicate(&self) -> Self {
        let again = |owned: &io::Result<OwnedFd>| match owned {
            Ok(socket) => socket.try_clone(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        Self(self.0.iter().map(|(descriptor, owned)| (*descriptor, again(owned))).collect())
    }

    /// The sockets with one of these addresses, a descriptor for each worker. The others, and what is no
    /// listening stream socket, are closed with a warning.
    pub fn sockets(self, workers: usize, addresses: &[String]) -> Vec<Handed> {
        let mut wanted = Vec::new();
        for (descriptor, owned) in self.0 {
            match owned.and_then(|socket| handed(socket, workers)) {
                Ok(handed) if addresses.contains(&handed.address) => wanted.push(handed),
                Ok(other) => tracing::warn!(
                    address = %other.address,
                    "a socket of the service manager is closed, because no listener has its address: write \
                     `address` as in `ListenStream=`"
                ),
                Err(error) => {
                    tracing::warn!(descriptor, "the sockets of the service manager are not used: {error}");
                }
            }
        }
        wanted
    }
}

/// How many descriptors are for this process.
fn count(pid: Option<&str>, count: Option<&str>, own: u32) -> i32 {
    // The variables may be those of a parent, whose descriptors are not ours.
    let is_ours = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count = count.and_then(|count| count.parse().ok()).filter(|count| (0..=MOST).contains(count));
    if is_ours { count.unwrap_or_default() } else { 0 }
}

/// More than anyone hands over.
const MOST: i32 = 4096;

/// Takes a descriptor, which no program that is started gets from here on.
#[expect(unsafe_code, reason = "the service manager says that the descriptor is there, and for us alone")]
fn own(descriptor: i32) -> io::Result<OwnedFd> {
    // SAFETY: `fcntl` does nothing to a descriptor that is not open but fail; it is borrowed for the two
    // calls only. Once it is known to be open, it is owned here alone: `LISTEN_PID` says that these
    // descriptors were made for this process, and `take` is called once, at its very start, when nothing
    // else is open but standard input, output and error, and takes each number once.
    unsafe {
        let borrowed = rustix::fd::BorrowedFd::borrow_raw(descriptor);
        let flags = fcntl_getfd(borrowed)?;
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// A socket as the listeners take it.
fn handed(descriptor: OwnedFd, workers: usize) -> io::Result<Handed> {
    let socket = SockRef::from(&descriptor);
    if !socket.is_listener()? || socket.r#type()? != socket2::Type::STREAM {
        return Err(io::Error::other("it is not a listening stream socket (`ListenStream=`, `Accept=no`)"));
    }
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    let address = address(&local).ok_or_else(|| io::Error::other("it is neither TCP nor a unix socket"))?;
    if local.as_socket().is_some() {
        // As on sockets of our own.
        socket.set_tcp_nodelay(true)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(descriptor.try_clone()?);
    }
    sockets.push(descriptor);
    let bound = Bound { sockets, address: address.clone(), owner: Owner::Manager };
    Ok(Handed::new(&address, bound))
}

/// A local address as the configuration would have it.
fn address(local: &SockAddr) -> Option<String> {
    let unix = || local.as_pathname().map(|path| format!("unix:{}", path.display()));
    local.as_socket().map(|address| address.to_string()).or_else(unix)
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::unix::net::UnixListener,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn descriptors_of_others_are_left_alone() {
        assert_eq!(count(Some("7"), Some("2"), 7), 2);
        for (pid, given) in [
            (None, Some("2")),
            (Some("8"), Some("2")),
            (Some("7"), None),
            (Some("7"), Some("-1")),
            (Some("7"), Some("x")),
            (Some("7"), Some("99999999")),
            (Some(""), Some("2")),
        ] {
            assert_eq!(count(pid, given, 7), 0, "{pid:?} {given:?}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert!(own(1_000_000).is_err());
    }

    #[test]
    fn every_worker_gets_a_descriptor_of_the_same_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = handed(listener.into(), 3).unwrap();
        assert_eq!((taken.address.clone(), taken.bound.sockets.len()), (address.to_string(), 3));
        for socket in &taken.bound.sockets {
            assert_eq!(SockRef::from(socket).local_addr().unwrap().as_socket(), Some(address));
        }

        let name = format!("pointsman-activation-{}", std::process::id());
        let (path, other_spelling) = (env::temp_dir().join(&name), env::temp_dir().join(".").join(&name));
        let taken = handed(UnixListener::bind(other_spelling).unwrap().into(), 1).unwrap();
        assert_eq!(taken.address, format!("unix:{}", path.display()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_sockets_with_a_wanted_address_stay() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [one.local_addr().unwrap().to_string()];
        let closed = other.local_addr().unwrap();
        let broken = Err(io::Error::other("not open"));
        let activated = Activated(vec![(3, Ok(other.into())), (4, Ok(one.into())), (5, broken)]);
        let wanted = activated.sockets(2, &addresses);
        assert_eq!(wanted.iter().map(|it| it.address.clone()).collect::<Vec<_>>(), addresses);
        // A program that another test is starting has it open for a moment.
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(closed).is_ok() {
            assert!(Instant::now() < end, "it is not closed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(handed(file.into(), 1).is_err());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(handed(socket.into(), 1).is_err());
    }
}
