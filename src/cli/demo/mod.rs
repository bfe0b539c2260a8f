//! `pointsman demo`: three backends and a proxy in front of them in one process, and what to try.
//!
//! The proxy is the real one, run by [`crate::app::run`] with the configuration that is written beside
//! its throw-away certificates; the backends are small servers on threads of their own.

mod answer;
mod backend;
mod guide;
mod place;
mod server;

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::{self, ExitCode},
    time::Duration,
};

use self::{place::Place, server::Server};
use super::{Failure, Status, start, tell};
use crate::{
    admin::own_token, app, config, control::Early, listen::activation::Activated,
    telemetry::program_log::LastLines, tls::demo::demo_certificates,
};

/// The demonstration backends.
const SERVERS: [Plan; 3] = [
    Plan { name: "a", port: 8081, weight: 1, delay: Duration::ZERO },
    Plan { name: "b", port: 8082, weight: 2, delay: Duration::ZERO },
    Plan { name: "slow", port: 8083, weight: 1, delay: Duration::from_millis(150) },
];

/// A backend as it is meant to be.
struct Plan {
    name: &'static str,
    /// The port that is tried first.
    port: u16,
    weight: u32,
    delay: Duration,
}

/// Runs until it is interrupted.
pub(super) fn demo() -> Status {
    let folder = Folder::new().map_err(|error| Failure::new(format!("cannot create a folder: {error}")))?;
    let cannot = |error: io::Error| Failure::new(format!("the demonstration cannot start: {error}"));
    demo_certificates(&folder.0).map_err(cannot)?;

    // Everything is bound before anything is let go, so that no port is given twice.
    let fronts = [8080, 8443, 9900, 8444].map(listener);
    let mut backends = Vec::new();
    for plan in &SERVERS {
        let (listener, port) = listener(plan.port).map_err(cannot)?;
        let server = Server { name: plan.name, delay: plan.delay, port };
        backend::start(server, listener).map_err(cannot)?;
        backends.push((plan.name, plan.weight, port));
    }
    let mut ports = [0; 4];
    for (port, front) in ports.iter_mut().zip(fronts) {
        *port = front.map_err(cannot)?.1;
    }
    let [http, https, admin, tcp] = ports;
    let token = own_token::make(&folder.0.join("admin.token")).map_err(cannot)?;
    fs::write(folder.0.join("admin.header"), format!("Authorization: Bearer {token}\n")).map_err(cannot)?;
    let place = Place { http, https, admin, tcp, backends, folder: folder.0.clone(), token };

    let text = guide::configuration(&place);
    let file = place.folder.join("demo.toml");
    fs::write(&file, &text).map_err(cannot)?;
    let loaded = config::load_file(&file).map_err(Failure::new)?;
    let written_at_the_end = LastLines;
    start::begin_log(&loaded.config.log)?;
    start::raise_descriptor_limit();
    start::log_descriptor_limit(&loaded.config);
    tell(&guide::guide(&place, &command(), &file));
    let early = Early::new().map_err(Failure::new)?;
    app::run(early, loaded, None, Activated::default(), None).map_err(Failure::new)?;
    drop(written_at_the_end);
    tell("The demonstration is over; its files are gone.\n");
    Ok(ExitCode::SUCCESS)
}

/// A listener on a port of this machine, or on a free one when that is taken.
fn listener(port: u16) -> io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)),
        _ => Err(error),
    })?;
    let bound = listener.local_addr()?.port();
    if bound != port {
        tell(&format!("Port {port} is in use, so {bound} is used instead.\n"));
    }
    Ok((listener, bound))
}

/// How this program is called, for commands that work as printed.
fn command() -> String {
    let path = env::current_exe().ok().and_then(|path| path.to_str().map(str::to_owned));
    path.map_or_else(|| "pointsman".to_owned(), |path| guide::quoted(&path))
}

/// A folder of our own that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("pointsman-demo-{}", process::id()));
        // Fails where something is already, which may be another's; nobody else may look in.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    #[cfg(test)]
    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
