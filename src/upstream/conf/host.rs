//! The Host that backends get.

use std::borrow::Cow;

use serde_json::json;

use crate::{
    backend::{Address, Backend},
    schema::{Node, Reader, Value},
};

/// The Host that backends get, where the route rewrites none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BackendHost {
    /// As the client sent it.
    #[default]
    Client,
    /// The backend's address as it is configured; of a unix socket `localhost`.
    Address,
    /// The backend's name; where it has none of its own, as for its address.
    Name,
    /// This one.
    Fixed(String),
}

impl BackendHost {
    /// As it is written, where it is not the client's.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Client => None,
            Self::Address => Some(ADDRESS),
            Self::Name => Some(NAME),
            Self::Fixed(host) => Some(host),
        }
    }

    /// What this backend gets, which may not be known; `None` where that is what the client sent.
    #[inline]
    pub fn of<'a>(&'a self, backend: Option<&'a Backend>) -> Option<Cow<'a, str>> {
        match self {
            Self::Client => None,
            Self::Fixed(host) => Some(host.into()),
            Self::Address => backend.map(|backend| backend.address.host()),
            Self::Name => backend.map(|backend| match &backend.address {
                // One that was given none is called by its address, with what says of which kind that is.
                Address::Unix(_) if backend.name.starts_with("unix:") => backend.address.host(),
                Address::Srv(_) if backend.name.starts_with("srv:") => backend.address.host(),
                Address::Host { .. } | Address::OfName { .. } | Address::Unix(_) | Address::Srv(_) => {
                    backend.configured_name().into()
                }
            }),
        }
    }
}

const ADDRESS: &str = "{backend.address}";
const NAME: &str = "{backend.name}";

impl Value for BackendHost {
    fn kind() -> String {
        "a host".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "examples": ["{host}", "{backend.address}", "api.internal"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, &Self::kind())?;
        let host = match text {
            "{host}" => Self::Client,
            ADDRESS => Self::Address,
            NAME => Self::Name,
            _ if text.parse::<http::uri::Authority>().is_ok_and(|it| !it.as_str().contains('@')) => {
                Self::Fixed(text.to_owned())
            }
            _ => {
                let message = format!("`{text}` is not a host");
                let hint = "a name with or without port, such as \"api.internal\", or one of \"{host}\", \
                            \"{backend.address}\" and \"{backend.name}\"";
                reader.problem_with(node.place, message, hint);
                return None;
            }
        };
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::backend::Shared;

    #[test]
    fn backend_is_asked_for_by_its_configured_name() {
        let of_name = Address::OfName { host: "app.test".into(), at: "10.0.0.1:8080".parse().unwrap() };
        let host = Address::Host { host: "app.test".into(), port: 8080 };
        let srv = Address::Srv("_http._tcp.app.test".into());
        for (name, address, by_name, by_address) in [
            ("app@10.0.0.1", &of_name, "app", "app.test:8080"),
            ("app.test:8080@10.0.0.1", &of_name, "app.test:8080", "app.test:8080"),
            ("app@home", &host, "app@home", "app.test:8080"),
            ("unix:/run/app.sock", &Address::Unix("/run/app.sock".into()), "localhost", "localhost"),
            ("app", &Address::Unix("/run/app.sock".into()), "app", "localhost"),
            ("srv:_http._tcp.app.test", &srv, "_http._tcp.app.test", "_http._tcp.app.test"),
            ("app", &srv, "app", "_http._tcp.app.test"),
        ] {
            let backend = Backend {
                name: name.into(),
                address: address.clone(),
                weight: 1,
                max_connections: 0,
                backup: false,
                slow_start: Duration::ZERO,
                shared: Arc::new(Shared::default()),
            };
            assert_eq!(BackendHost::Name.of(Some(&backend)).as_deref(), Some(by_name), "{name}");
            assert_eq!(BackendHost::Address.of(Some(&backend)).as_deref(), Some(by_address), "{name}");
            assert_eq!(BackendHost::Client.of(Some(&backend)), None);
        }
        assert_eq!(BackendHost::Name.of(None), None);
    }
}
