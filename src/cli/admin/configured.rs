//! Where a configuration, the environment and files say that the endpoint is, and with which token.

use std::{
    env, fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    cli::{Failure, File, start},
    config::{
        admin::{DEFAULT, Reach, reach},
        listen::ListenAddress,
    },
};

/// Where the endpoint is when nothing says: at the socket where it is by default, or else where the examples have it.
pub(in crate::cli) fn default_place() -> String {
    match Path::new(DEFAULT).exists() {
        true => format!("unix:{DEFAULT}"),
        false => "http://127.0.0.1:9900".to_owned(),
    }
}

/// The `[admin]` of the file that is named, or of the first default one. What is wrong with it must not keep
/// anyone from asking.
pub(super) fn configured(file: &File) -> Result<Option<(PathBuf, Reach)>, Failure> {
    let path = match &file.config {
        Some(_) => start::find(file.clone())?,
        None => match start::find(File { config: None }) {
            Ok(path) => path,
            Err(_) => return Ok(None),
        },
    };
    match reach(&path) {
        Ok(Some(reach)) => {
            if let Some(problems) = &reach.problems {
                note(&format!("{problems}"));
            }
            Ok(Some((path, reach)))
        }
        Ok(None) => {
            note(&format!("{} has no `[admin]`; trying {}", path.display(), default_place()));
            Ok(None)
        }
        Err(problems) => {
            note(&format!("{problems}\ntrying {}", default_place()));
            Ok(None)
        }
    }
}

pub(super) fn configured_place((path, reach): &(PathBuf, Reach)) -> Option<(String, String)> {
    let said_by = format!("`[admin]` of {}", path.display());
    let name = match &reach.address {
        ListenAddress::Unix(socket) => format!("unix:{}", socket.display()),
        ListenAddress::Tcp(address) | ListenAddress::Udp(address) if address.port() == 0 => {
            note(&format!("{said_by} lets the system choose a port; find it in the log and use `--admin`"));
            return None;
        }
        ListenAddress::Tcp(address) | ListenAddress::Udp(address) => {
            let mut address = *address;
            // Every address of this machine: the nearest.
            if address.ip().is_unspecified() {
                address.set_ip(match address.is_ipv4() {
                    true => std::net::Ipv4Addr::LOCALHOST.into(),
                    false => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            format!("http://{address}")
        }
    };
    Some((name, said_by))
}

pub(super) fn configured_token(reach: &Reach) -> Option<String> {
    let secret = reach.token.as_ref()?;
    secret.reveal().map_err(|error| note(&format!("cannot read the admin token: {error}"))).ok()
}

pub(super) fn token_of(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(crate::schema::unreadable(path, &error)))?;
    match text.trim() {
        "" => Err(Failure::usage(format!("{} is empty: it must contain the token", path.display()))),
        token => Ok(token.to_owned()),
    }
}

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Says something beside what was asked for.
fn note(text: &impl fmt::Display) {
    // With standard error closed nobody reads it.
    let _ = writeln!(io::stderr(), "{text}");
}
