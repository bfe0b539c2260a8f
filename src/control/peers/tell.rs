//! What this node says to the others.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{context::Peers, kinds};
use crate::{
    cluster::{
        conf::PeersConf,
        peers::message::{COMMAND, STATE, State},
    },
    moment::Moment,
    net::http_client::{HttpClient, Server},
};

/// How often the others are told, changed or not.
const EVERY: Duration = Duration::from_secs(1);
/// How long one of them may take to hear it.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long changes are asked for before the state of this node is told again: without it this node counts as gone.
const CHANGES: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const ANSWER: usize = 4096;

/// Tells the nodes of the configuration, whatever it is, for as long as the program runs.
pub(super) async fn run(peers: Peers) {
    let mut tasks: HashMap<SocketAddr, Task> = HashMap::new();
    let mut made_for: Option<PeersConf> = None;
    loop {
        let snapshot = peers.shared.snapshot.load_full();
        let conf = snapshot.config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref());
        if conf != made_for.as_ref() {
            made_for = conf.cloned();
            let others: Vec<SocketAddr> = conf.into_iter().flat_map(PeersConf::others).collect();
            peers.shared.registry.commands.keep(&others);
            peers.shared.registry.members.lock().told.retain(|address, _| others.contains(address));
            peers.shared.registry.members.renew_ring(&peers.own_name());
            tasks.clear();
            for other in others {
                let Some(conf) = conf else { continue };
                tasks.insert(other, Task(spawn_local(tell(peers.clone(), conf.clone(), other))));
            }
        }
        sleep(EVERY / 2).await;
    }
}

/// A task that ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells one of the others.
async fn tell(peers: Peers, conf: PeersConf, other: SocketAddr) {
    let server = Server {
        is_https: true,
        host: other.ip().to_string(),
        port: other.port(),
        authority: other.to_string(),
    };
    let mut way =
        Way { client: HttpClient::default(), server, conf, incarnation: unix_millis(), sequence: 0 };
    let called = peers.shared.registry.commands.called.clone();
    loop {
        let mut told = way.tell(&peers).await;
        let mut has_more = false;
        if told.is_ok() {
            match way.ask(&peers, other).await {
                Ok(more) => has_more = more,
                Err(problem) => told = Err(problem),
            }
        }
        if told.is_err() {
            way.client.disconnect();
        }
        note(&peers, other, told);
        if has_more {
            continue;
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = called.notified() => {}
        }
    }
}

fn note(peers: &Peers, other: SocketAddr, told: Result<Option<String>, String>) {
    let registry = &peers.shared.registry;
    let waiting = registry.commands.waiting(other);
    let mut members = registry.members.lock();
    let entry = members.told.entry(other).or_default();
    entry.waiting = waiting;
    match told {
        Ok(node) => {
            if entry.problem.take().is_some() {
                tracing::info!(peer = %other, "hears this node again");
            }
            entry.node = node;
        }
        Err(problem) => {
            if entry.problem.is_none() {
                tracing::warn!(peer = %other, "does not hear this node: {problem}");
            }
            entry.problem = Some(problem);
            registry.cluster.status().count("peer_messages_failed", "");
        }
    }
    drop(members);
    registry.members.renew_ring(&peers.own_name());
}

struct Way {
    client: HttpClient,
    server: Server,
    conf: PeersConf,
    incarnation: u64,
    sequence: u64,
}

impl Way {
    /// Says how this node is; gives the other's name.
    async fn tell(&mut self, peers: &Peers) -> Result<Option<String>, String> {
        let now = Moment::now();
        self.sequence += 1;
        let snapshot = peers.shared.snapshot.load_full();
        let (node, is_primary) = (peers.own_name(), peers.is_primary());
        let state = State {
            node,
            incarnation: self.incarnation,
            sequence: self.sequence,
            program: env!("CARGO_PKG_VERSION").into(),
            is_primary,
            generation: snapshot.generation,
            config_hash: peers.admin.config_hash(),
            entries: kinds::collect(peers, now),
        };
        let answer = match self.post(STATE, state.to_json().to_string()).await? {
            (200, answer) => answer,
            (status, answer) => return Err(refused(status, &answer)),
        };
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        Ok(answer.get("node").and_then(|node| node.as_str()).map(str::to_owned))
    }

    /// Asks for the changes that the other has still to make, one after another; true where there was no time for all. One
    /// that it cannot make yet is asked for again later, and those behind it wait: they may be about the same thing.
    async fn ask(&mut self, peers: &Peers, other: SocketAddr) -> Result<bool, String> {
        let commands = &peers.shared.registry.commands;
        let begun = Moment::now();
        while let Some(command) = commands.next(other, Moment::now()) {
            if Moment::now().since(begun) > CHANGES {
                return Ok(true);
            }
            match self.post(COMMAND, command.to_json().to_string()).await? {
                (200, _) => commands.told(other, &command),
                (202, _) => {
                    commands.under_way(other, &command, Moment::now());
                    return Ok(false);
                }
                (503, _) => return Ok(false),
                (status, answer) => return Err(refused(status, &answer)),
            }
        }
        Ok(false)
    }

    async fn post(&mut self, path: &str, body: String) -> Result<(u16, Bytes), String> {
        let tls = self.conf.tls();
        let answer = self.client.post(&self.server, Some(&tls), path, HeaderMap::new(), body.into(), ANSWER);
        timeout(PATIENCE, answer).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }
}

fn refused(status: u16, answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).chars().take(200).collect::<String>();
    format!("it refuses with {status}: {text}")
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
