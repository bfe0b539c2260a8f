//! What other nodes say.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::json;

use super::{context::Peers, kinds};
use crate::{
    cluster::peers::{
        commands::Command,
        inbox::Message,
        message::{COMMAND, State, Unreadable},
    },
    moment::Moment,
    telemetry::repeated::Repeated,
};

/// Hears the others for as long as the program runs.
pub(super) async fn run(peers: Peers) {
    let Some(mut inbox) = peers.shared.registry.peers.receiver() else { return };
    while let Some(Message { path, body, answer }) = inbox.recv().await {
        let answered = match path {
            COMMAND => command(&peers, &body).await,
            _ => state(&peers, &body),
        };
        // The peer may have gone.
        let _ = answer.send(answered);
    }
}

static REFUSED: Repeated = Repeated::new();

fn state(peers: &Peers, body: &[u8]) -> (u16, Bytes) {
    let state = match State::from_json(body) {
        Ok(state) => state,
        Err(unreadable) => {
            peers.shared.registry.cluster.status().count("peer_messages_refused", reason(&unreadable));
            if let Some(times) = REFUSED.count(Moment::now()) {
                tracing::warn!(
                    times,
                    ?unreadable,
                    "a peer sent a message that this node does not understand: does it run another version?"
                );
            }
            return refusal(&format!("{unreadable:?}"));
        }
    };
    let registry = &peers.shared.registry;
    let own = peers.own_name();
    if state.node == own {
        registry.cluster.status().count("peer_messages_refused", "own_name");
        if let Some(times) = REFUSED.count(Moment::now()) {
            tracing::warn!(times, node = %own, "a peer has the same name as this node: set `cluster.node`");
        }
        return refusal("it has the same name as this node");
    }
    let now = Moment::now();
    let is_news = registry.members.lock().hear(&state, SystemTime::now(), now);
    if is_news {
        kinds::merge(peers, &state, now);
        registry.members.renew_ring(&own);
    }
    (200, Bytes::from(json!({"node": own}).to_string()))
}

fn reason(unreadable: &Unreadable) -> &'static str {
    match unreadable {
        Unreadable::Malformed(_) => "malformed",
        Unreadable::Version(_) => "version",
    }
}

fn refusal(why: &str) -> (u16, Bytes) {
    (409, Bytes::from(json!({"error": why}).to_string()))
}

/// A change that another node's admin API was asked for. It is made as if it was asked for here, and goes no further.
async fn command(peers: &Peers, body: &[u8]) -> (u16, Bytes) {
    let Some(command) = Command::from_json(body) else {
        peers.shared.registry.cluster.status().count("peer_messages_refused", "malformed");
        return refusal("it is not a change");
    };
    if peers.shared.registry.commands.is_new(&command) {
        let status = peers.admin.clone().obey(&command.method, &command.target, &command.body).await;
        let result = if status.is_success() { "made" } else { "failed" };
        peers.shared.registry.cluster.status().count("peer_commands", result);
        let Command { id, method, target, .. } = &command;
        tracing::info!(%id, %method, %target, status = status.as_u16(), "a change was requested at another \
            node");
    }
    (200, Bytes::from_static(b"{}"))
}
