//! A text in etcd that many nodes read: the configuration of a fleet.

use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::etcd::Etcd;
use crate::{
    cluster::conf::{EtcdConf, StoreUrl},
    net::http_client::Server,
    schema::Secret,
};

/// Where a text is: `etcd://USER@10.0.0.9:2379,10.0.0.10:2379/pointsman/config`; with TLS `etcds://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it was written, without what is secret.
    pub url: String,
    servers: Vec<Server>,
    key: String,
    user: String,
}

/// Which write a text came with: by more than its number, since a store that was restored or made anew counts writes anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The number of the write; 0 of none.
    pub revision: u64,
    /// A hash of the text; 0 where it is not known.
    pub text: u64,
}

/// A text, and the number of the write that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// The number of the write.
    pub revision: u64,
}

impl Document {
    /// Which write it is.
    pub fn mark(&self) -> Mark {
        Mark { revision: self.revision, text: xxh3_64(self.text.as_bytes()) }
    }
}

/// Bytes of a text; etcd itself takes no more than one and a half million by default.
const MOST: usize = 4 * 1024 * 1024;
/// What the environment calls the password of the user.
pub const PASSWORD: &str = "POINTSMAN_ETCD_PASSWORD";

impl Source {
    /// Reads an address; none where it is a file's. The error is for people.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (is_https, rest) = match text.strip_prefix("etcds://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("etcd://")?),
        };
        let parsed = Self::parse_rest(text, is_https, rest);
        let shape = "it is `etcd://10.0.0.9:2379/pointsman/config`, with more servers after a `,`, `USER@` before them, \
                     and `etcds://` for TLS";
        Some(parsed.ok_or_else(|| format!("`{text}` is not a key in etcd: {shape}")))
    }

    fn parse_rest(text: &str, is_https: bool, rest: &str) -> Option<Self> {
        let (servers, key) = rest.split_once('/').filter(|(_, key)| !key.is_empty())?;
        let (user, servers) = servers.split_once('@').unwrap_or(("", servers));
        if user.contains(':') {
            return None;
        }
        let servers = servers.split(',').map(|it| Server::of_authority(is_https, it, StoreUrl::PORT));
        let servers = servers.collect::<Option<Vec<_>>>()?;
        Some(Self { url: text.to_owned(), servers, key: format!("/{key}"), user: user.to_owned() })
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The way to it.
    pub fn open(&self) -> Reader {
        let password = (!self.user.is_empty()).then(|| Secret::Environment(PASSWORD.into()));
        let conf = EtcdConf::to_read(self.servers.clone(), self.key.clone(), self.user.clone(), password);
        Reader { etcd: Etcd::new(conf, String::new()) }
    }
}

/// Reads a text, and hears of changes. To be used on a thread with a local runtime.
#[derive(Debug)]
pub struct Reader {
    etcd: Etcd,
}

impl Reader {
    /// The text as it is now; none where there is no such key. The error is for people.
    pub async fn read(&mut self) -> Result<Option<Document>, String> {
        let found = self.etcd.value(MOST).await?;
        let Some((bytes, revision)) = found else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| "the value at the key is not UTF-8".to_owned())?;
        Ok(Some(Document { text, revision }))
    }

    /// Waits until something was written after the text was read last, or for so long.
    pub async fn changed(&mut self, most: Duration) -> Result<(), String> {
        match tokio::time::timeout(most, self.etcd.written()).await {
            Ok(written) => written,
            Err(_) => Ok(()),
        }
    }
}

/// What is said of a source in status.
impl From<&Source> for Value {
    fn from(source: &Source) -> Self {
        Self::String(source.url.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_servers_and_a_key() {
        let source =
            Source::parse("etcds://me@10.0.0.9,[2001:db8::9]:2380/pointsman/config").unwrap().unwrap();
        assert_eq!((&*source.key, &*source.user, source.servers.len()), ("/pointsman/config", "me", 2));
        assert_eq!((&*source.servers[0].host, source.servers[0].port), ("10.0.0.9", 2379));
        assert_eq!((&*source.servers[1].host, source.servers[1].port), ("2001:db8::9", 2380));
        assert!(source.servers[0].is_https);
        assert_eq!(Source::parse("/etc/pointsman/pointsman.toml"), None);
        for wrong in [
            "etcd://",
            "etcd://a",
            "etcd://a/",
            "etcd:///key",
            "etcd://a:0/k",
            "etcd://u:secret@a/k",
            "etcd://a,,b/k",
        ] {
            assert!(Source::parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
