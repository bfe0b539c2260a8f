//! Addresses of a store's servers.

use http::Uri;
use serde_json::json;

use crate::{
    net::http_client::Server,
    schema::{Node, Reader, Value},
};

/// A server that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(pub Server);

impl StoreUrl {
    /// The port of etcd's clients.
    pub const PORT: u16 = 2379;

    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let has_more = uri.query().is_some() || !matches!(uri.path(), "" | "/") || text.contains('#');
        let server = Server::of_authority(is_https, uri.authority()?.as_str(), Self::PORT)?;
        (!has_more).then_some(Self(server))
    }
}

impl Value for StoreUrl {
    fn kind() -> String {
        "a URL".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["http://10.0.0.9:2379", "https://etcd.internal:2379"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a URL, such as \"http://10.0.0.9:2379\"")?;
        let url = Self::parse(text);
        if url.is_none() {
            let message = format!("`{text}` is not a valid server URL");
            let hint = "use a URL such as \"http://10.0.0.9:2379\", without a path";
            reader.problem_with(node.place, message, hint);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_host_a_port_and_nothing_more() {
        let url = StoreUrl::parse("https://[2001:db8::9]:2380/").unwrap().0;
        assert_eq!((url.is_https, &*url.host, url.port), (true, "2001:db8::9", 2380));
        assert_eq!(StoreUrl::parse("http://etcd").unwrap().0.port, 2379);
        for wrong in
            ["etcd:2379", "http://", "http://a:0", "http://a:99999", "http://a/v3", "http://u@a", "ftp://a"]
        {
            assert_eq!(StoreUrl::parse(wrong), None, "{wrong}");
        }
    }
}
