//! The Host that backends get.

use serde_json::json;

use crate::schema::{Node, Reader, Value};

/// The Host that backends get, where the route rewrites none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BackendHost {
    /// As the client sent it.
    #[default]
    Client,
    /// The backend's address as it is configured; of a unix socket `localhost`.
    Address,
    /// The backend's name.
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
