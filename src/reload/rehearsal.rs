//! Whether a start with a configuration would come to its end: what that asks of the machine is had for a moment, and let go
//! again. It is for who has another one to begin with.

use super::attempt::{late, no_access_log, sink};
use crate::{
    config::Loaded,
    listen::{
        admin_sockets::{self, Each},
        listener_sockets::{Handed, Sockets},
    },
    runtime::build::build_apart,
    telemetry::access_log::AccessLog,
};

/// Binds what a configuration listens at and opens its access log, as a start does; `handed` and `admin` are sockets that
/// somebody else opened for this program. The error is for people.
pub fn rehearse(loaded: &Loaded, handed: Vec<Handed>, admin: Each<Option<Handed>>) -> Result<(), String> {
    // Apart from what will run: nothing of it is registered.
    let snapshot = build_apart(loaded.config.clone())?;
    let text = (&*loaded.text, &*loaded.path);
    AccessLog::start(sink(&loaded.config.log.access))
        .map_err(|error| no_access_log(text, &loaded.included, &error).to_string())?
        .finish();
    let sockets = Sockets::new(handed, false);
    let unbound = |failure| late(text, &loaded.included, failure).to_string();
    // Dropped at the end, none of these leave files.
    let _acquired = sockets.acquire(&snapshot, 1).map_err(unbound)?;
    admin_sockets::first(&loaded.config, admin, &sockets.files()).map(drop).map_err(unbound)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, net::TcpListener, path::PathBuf, sync::Arc};

    use super::*;
    use crate::config;

    fn loaded(address: &str, more: &str) -> Loaded {
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"{address}\"\n\
             [[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n{more}\n"
        );
        let path = PathBuf::from("fleet.toml");
        let config = config::parse(&text, &path).unwrap();
        Loaded { path, text: text.into(), included: Arc::default(), config, fleet: None }
    }

    fn tried(loaded: &Loaded) -> Result<(), String> {
        rehearse(loaded, Vec::new(), Each::default())
    }

    #[test]
    fn what_cannot_be_bound_is_said_and_nothing_is_left() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = holder.local_addr().unwrap().to_string();
        let said = tried(&loaded(&held, "")).unwrap_err();
        assert!(said.contains("cannot listen on") && said.contains("fleet.toml:3"), "{said}");
        let said = tried(&loaded("127.0.0.1:0", &format!("[admin]\naddress = \"{held}\""))).unwrap_err();
        assert!(said.contains("admin: cannot listen on") && said.contains("fleet.toml:8"), "{said}");
        // An address that this machine does not have (RFC 5737).
        assert!(tried(&loaded("192.0.2.1:0", "")).is_err());
        let folder = env::temp_dir().join(format!("pointsman-rehearsal-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| format!("unix:{}", folder.join(name).display());
        let unix = loaded(&file("web.sock"), &format!("[admin]\naddress = \"{}\"", file("admin.sock")));
        for _ in 0..2 {
            tried(&unix).unwrap();
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        }
        // Nor where what comes behind a socket cannot be had.
        let listener = format!("[[listener]]\nname = \"taken\"\naddress = \"{held}\"");
        let metrics =
            format!("[admin]\naddress = \"{}\"\n[admin.metrics]\naddress = \"{held}\"", file("admin.sock"));
        for more in [listener, metrics] {
            let said = tried(&loaded(&file("web.sock"), &more)).unwrap_err();
            assert!(said.contains(&format!("cannot listen on {held}")), "{said}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{more}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
