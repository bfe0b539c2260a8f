//! Why an address that a configuration wants could not be had, for people: where the file has it, and who is there.

use std::{fs, io, os::unix::fs::FileTypeExt, path::Path};

use crate::config::{
    Config, Step,
    listen::{ListenAddress, ListenerConf},
    peers,
};

/// Whose the address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of the listener with this index.
    Listener(usize),
    /// `[cluster.peers] listen`, which is that of a listener that is not in the file.
    Peers,
    /// `[admin] address`.
    Admin,
    /// `[admin.metrics] address`.
    Metrics,
}

/// Why an address could not be had.
#[derive(Debug)]
pub struct Unbound {
    /// Whose it is.
    pub whose: Whose,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The address, where somebody has it.
    taken: Option<ListenAddress>,
}

impl Unbound {
    /// What a listener met.
    pub(super) fn of_listener(index: usize, name: &str, address: &ListenAddress, error: &io::Error) -> Self {
        let hint = hint(error, address).map(str::to_owned);
        let (whose, name) = match name {
            peers::NAME => (Whose::Peers, format!("`{name}`")),
            _ => (Whose::Listener(index), format!("listener `{name}`")),
        };
        Self::new(whose, &name, (address, error), hint)
    }

    /// What the admin endpoint met.
    pub(super) fn of_admin(whose: Whose, address: &ListenAddress, error: &io::Error) -> Self {
        let is_folder = matches!(address, ListenAddress::Unix(_))
            && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound);
        let hint = match is_folder {
            true => Some("its folder must exist and be writable; or set another `address` in `[admin]`"),
            false => hint(error, address),
        };
        let name = if whose == Whose::Metrics { "metrics" } else { "admin" };
        Self::new(whose, name, (address, error), hint.map(str::to_owned))
    }

    fn new(
        whose: Whose,
        name: &str,
        (address, error): (&ListenAddress, &io::Error),
        hint: Option<String>,
    ) -> Self {
        let taken = (error.kind() == io::ErrorKind::AddrInUse).then(|| address.clone());
        Self { whose, message: format!("{name}: cannot listen on {address}: {error}"), hint, taken }
    }

    /// The same where this program runs with a configuration: it may be there itself, under another name.
    #[must_use]
    pub fn beside(mut self, before: &Config) -> Self {
        let holder = self.taken.as_ref().and_then(|taken| holder(self.whose, taken, before));
        if let Some(holder) = holder {
            self.hint = Some(format!(
                "this program has it, as {holder}: move that elsewhere first, in a reload of its own"
            ));
        }
        self
    }

    /// Where the file has it.
    pub fn steps(&self) -> Vec<Step<'static>> {
        match self.whose {
            Whose::Listener(index) => vec![Step::Key("listener"), Step::Index(index), Step::Key("address")],
            Whose::Peers => vec![Step::Key("cluster"), Step::Key("peers"), Step::Key("listen")],
            Whose::Admin => vec![Step::Key("admin"), Step::Key("address")],
            Whose::Metrics => vec![Step::Key("admin"), Step::Key("metrics"), Step::Key("address")],
        }
    }
}

/// What of a configuration is at an address. Of listeners none is in the way of another.
fn holder(whose: Whose, taken: &ListenAddress, before: &Config) -> Option<String> {
    let is_there = |listener: &&ListenerConf| listener.addresses().any(|address| address.overlaps(taken));
    let listener = before.listener.iter().find(is_there);
    if let Some(listener) = listener.filter(|_| !matches!(whose, Whose::Listener(_) | Whose::Peers)) {
        return Some(format!("the listener `{}`", listener.name));
    }
    let admin = before.admin.as_ref()?;
    if admin.address.overlaps(taken) {
        return Some("`[admin]`".to_owned());
    }
    admin.metrics_address().filter(|address| address.overlaps(taken)).map(|_| "`[admin.metrics]`".to_owned())
}

fn hint(error: &io::Error, address: &ListenAddress) -> Option<&'static str> {
    let file = match address {
        ListenAddress::Unix(path) => Some(path),
        ListenAddress::Tcp(_) | ListenAddress::Udp(_) => None,
    };
    let hint = match (error.kind(), file) {
        (io::ErrorKind::AddrInUse, Some(path)) => in_the_way(path),
        (io::ErrorKind::PermissionDenied, Some(_)) => "Pointsman must be able to write to its folder",
        (io::ErrorKind::NotFound, Some(_)) => "its folder does not exist",
        (io::ErrorKind::AddrInUse, None) => "another program is using it: `ss -ltunp` shows which one",
        (io::ErrorKind::PermissionDenied, None) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (`AmbientCapabilities=` in a systemd unit)"
        }
        (io::ErrorKind::AddrNotAvailable, _) => "no interface of this machine has this address",
        _ => return None,
    };
    Some(hint)
}

/// What is at a path where a socket was to be.
fn in_the_way(path: &Path) -> &'static str {
    match fs::metadata(path).map(|it| it.file_type()) {
        Ok(kind) if kind.is_socket() => "another program is using it: `ss -lxp` shows which one",
        Ok(kind) if kind.is_dir() => "a folder is there: write the path of a file that is not there yet",
        Ok(_) | Err(_) => "a file that is no socket is there: remove it, or write another path",
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;
    use crate::{config::parse, listen::bind::bind_private};

    fn config() -> Config {
        let text = "[[listener]]\nname = \"web\"\naddress = [\"0.0.0.0:80\", \"unix:/run/web.sock\"]\n\
                    [admin]\naddress = \"127.0.0.1:81\"\n[admin.metrics]\naddress = \"127.0.0.1:82\"\n\
                    [[route]]\nname = \"all\"\nrespond = { status = 200 }\n";
        parse(text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp(address.parse().unwrap())
    }

    #[test]
    fn what_this_program_has_itself_is_said_to_be_its() {
        let (config, taken) = (config(), io::Error::from(io::ErrorKind::AddrInUse));
        let said = |failure: Unbound| failure.beside(&config).hint.unwrap();
        let of_admin = |whose, address: &ListenAddress| said(Unbound::of_admin(whose, address, &taken));
        let of_listener = |address| said(Unbound::of_listener(0, "new", &tcp(address), &taken));
        assert!(of_admin(Whose::Admin, &tcp("127.0.0.1:80")).contains("as the listener `web`"));
        let file = ListenAddress::Unix("/run/web.sock".into());
        assert!(of_admin(Whose::Metrics, &file).contains("as the listener `web`"));
        assert!(of_admin(Whose::Admin, &tcp("[::]:82")).contains("as `[admin.metrics]`"));
        assert!(of_admin(Whose::Admin, &tcp("0.0.0.0:81")).contains("as `[admin]`"));
        assert!(of_listener("0.0.0.0:81").contains("as `[admin]`"));
        assert!(of_listener("127.0.0.1:82").contains("as `[admin.metrics]`"));
        // Listeners share: it must be another's.
        assert!(of_listener("127.0.0.1:80").contains("another program"));
        assert!(of_admin(Whose::Admin, &tcp("127.0.0.1:83")).contains("another program"));
    }

    /// Its listener has a number of its own, and there is none of that in the file.
    #[test]
    fn the_address_for_peers_is_where_the_file_has_it() {
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let failure = |address: &str| Unbound::of_listener(1, peers::NAME, &tcp(address), &taken);
        let there = failure("127.0.0.1:90");
        assert_eq!(there.steps(), ["cluster", "peers", "listen"].map(Step::Key));
        assert!(there.message.starts_with("`[cluster.peers]`: cannot listen on "), "{}", there.message);
        // It shares as all listeners do.
        let hint = failure("127.0.0.1:80").beside(&config()).hint;
        assert!(hint.is_some_and(|hint| hint.contains("another program")));
    }

    #[test]
    fn what_is_no_socket_is_nobodys() {
        let folder = env::temp_dir().join(format!("pointsman-unbound-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        for (name, part) in [("sub", "a folder is there"), ("file", "no socket is there")] {
            let address = ListenAddress::Unix(folder.join(name));
            let error = bind_private(&address).unwrap_err();
            let failure = Unbound::of_admin(Whose::Admin, &address, &error);
            assert!(failure.hint.is_some_and(|hint| hint.contains(part)), "{name}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
