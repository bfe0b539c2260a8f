//! Changes that all nodes of a cluster make, wherever they were asked for.
//!
//! Previous stop: [`super::server`], once a change was made here. Next stop: `control::peers`, which tells the others, and
//! there [`Admin::obey`].

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, Uri};

use super::{
    Admin,
    endpoints::ENDPOINTS,
    params::{self, Params},
    reply::Reply,
    spec::{LOCAL, PERSIST},
};
use crate::{moment::Moment, runtime::changes::Maker};

/// What was asked for, for those who are to be told of it.
#[derive(Debug)]
pub(super) struct Asked {
    method: &'static str,
    target: String,
    body: Bytes,
}

impl Admin {
    /// What to tell the peers once it was done; none where it is nothing to them.
    pub(super) fn asked(&self, method: &'static str, uri: &Uri, question: &Params) -> Option<Asked> {
        let snapshot = self.shared.snapshot.load();
        let has_peers = snapshot.config.cluster.as_ref().is_some_and(|cluster| cluster.peers.is_some());
        let is_shared = question.is_shared && has_peers && !question.flag(LOCAL.name);
        is_shared.then(|| {
            let target = match told(uri.query().unwrap_or_default()).as_str() {
                "" => uri.path().to_owned(),
                query => format!("{}?{query}", uri.path()),
            };
            Asked { method, target, body: question.body.clone() }
        })
    }

    /// Has the peers told of what was done, by whoever did it: the client may be gone by then.
    pub(super) fn tell_peers(&self, asked: Option<&Asked>, reply: &Reply) {
        let Some(asked) = asked.filter(|_| reply.status().is_success()) else { return };
        let snapshot = self.shared.snapshot.load();
        let Some(peers) = snapshot.config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref()) else {
            return;
        };
        let Ok(body) = std::str::from_utf8(&asked.body) else { return };
        let registry = &self.shared.registry;
        let node = registry.cluster.status().read().node.clone();
        registry.commands.tell(peers.others(), (asked.method, &asked.target, body), &node, Moment::now());
    }

    /// Makes a change that was asked for at another node; only what is shared is. During an upgrade the program that does not
    /// make changes refuses: that node asks again, until it reaches the other one.
    pub async fn obey(self: Arc<Self>, method: &str, target: &str, body: &str) -> StatusCode {
        if self.shared.registry.changes.maker() != Maker::Own {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let Ok(uri) = target.parse::<Uri>() else { return StatusCode::BAD_REQUEST };
        let shared = ENDPOINTS.iter().filter(|it| it.about.is_shared && it.method == method);
        let found = shared.filter_map(|it| Some((it, it.parameters(uri.path())?))).next();
        let Some((endpoint, parameters)) = found else { return StatusCode::NOT_FOUND };
        let Ok(query) = params::query(endpoint.about, &told(uri.query().unwrap_or_default())) else {
            return StatusCode::BAD_REQUEST;
        };
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.answer(endpoint, Params { parameters, query, body, ..Params::default() }, None).await.status()
    }

    /// The hash of the configuration file that is in force.
    pub fn config_hash(&self) -> String {
        format!("{:016x}", self.reloader.in_force().hash)
    }
}

/// What of a query the peers are told: each node has a file of its own.
fn told(query: &str) -> String {
    let is_told = |pair: &&str| params::name(pair).as_deref() != Some(PERSIST.name);
    query.split('&').filter(is_told).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_do_not_write_their_files_however_it_is_spelled() {
        for persists in ["persist=true", "persist=%74rue", "%70ersist=true", "persist=false"] {
            assert_eq!(told(persists), "", "{persists}");
            assert_eq!(told(&format!("a=b+c&{persists}&d=%26")), "a=b+c&d=%26", "{persists}");
        }
        assert_eq!(told("persists=true&x=persist"), "persists=true&x=persist");
    }
}
