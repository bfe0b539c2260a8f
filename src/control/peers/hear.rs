//! What other nodes say.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::json;

use super::{changes, context::Peers, kinds};
use crate::{
    cluster::peers::{
        commands::Command,
        inbox::Message,
        message::{COMMAND, State, Unreadable},
    },
    moment::Moment,
    telemetry::repeated::Repeated,
};

/// Hears the others for as long as the program runs. A change may take minutes; what they say is answered meanwhile.
pub(super) async fn run(peers: Peers) {
    let Some(mut inbox) = peers.shared.registry.peers.receiver() else { return };
    while let Some(Message { path, body, answer }) = inbox.recv().await {
        if path == COMMAND {
            match Command::from_json(&body) {
                Some(command) => changes::take(&peers, command, answer),
                None => {
                    peers.shared.registry.cluster.status().count("peer_messages_refused", "malformed");
                    let _ = answer.send(refusal("it is not a change"));
                }
            }
        } else {
            // The peer may have gone.
            let _ = answer.send(state(&peers, &body));
        }
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
