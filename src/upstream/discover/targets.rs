//! The targets of a service (RFC 2782), and the hosts behind a name that they make.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::proto::rr::{Name, RData};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    fault::{Fault, Unanswered},
    sources::{Came, Ips, Nothing, Sources, before, ttl},
};

/// Targets of a service that are looked up, of one priority.
const TARGETS_MOST: usize = 64;

/// Targets that are looked up at once: each takes sockets, and a name server may not like floods.
const AT_ONCE: usize = 16;

/// The longest that all targets of a service are waited for together, as long as each has its least turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// The least time that a target is waited for: a question, and an answer from far away.
const TURN_LEAST: Duration = Duration::from_secs(1);

/// What a lookup gave, host by host.
pub(super) struct Parts {
    pub(super) all: Vec<Part>,
    pub(super) ttl: Duration,
    pub(super) left_out: usize,
    pub(super) unanswered: Vec<Unanswered>,
}

/// A host behind a name.
pub(super) struct Part {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) ips: Vec<IpAddr>,
}

/// The targets of a service that have the best priority and can be resolved.
pub(super) async fn of_service(
    sources: &Arc<Sources>,
    name: &str,
    came: &Came,
    patience: Duration,
) -> Result<Parts, Fault> {
    let answer = sources.service(name).await?;
    let mut ttl = ttl(&answer);
    let mut by_priority: BTreeMap<u16, Vec<(Name, u16)>> = BTreeMap::new();
    for record in answer.answers() {
        // RFC 2782: a target of "." says that the service is not to be had here.
        if let RData::SRV(srv) = &record.data
            && !srv.target.is_root()
        {
            by_priority.entry(srv.priority).or_default().push((srv.target.clone(), srv.port));
        }
    }
    let (mut failure, mut unanswered) = (Fault::from("the service has no target"), Vec::new());
    let (until, priorities) = (Instant::now() + patience, by_priority.len());
    for (tried, targets) in by_priority.into_values().enumerate() {
        let (targets, left_out) = lowest(targets);
        let left = until.saturating_duration_since(Instant::now());
        let turn = turn(left, targets.len(), priorities.saturating_sub(tried));
        let mut all = Vec::new();
        for (host, port, result) in side_by_side(sources, targets, came, turn).await {
            match result {
                Ok(ips) => {
                    ttl = ttl.min(ips.holds);
                    unanswered.extend(ips.unanswered(&host));
                    all.push(Part { host, port, ips: ips.all });
                }
                Err(Nothing { why, is_denied }) => {
                    if !is_denied {
                        unanswered.push(Unanswered { what: format!("target {host}"), why: why.clone() });
                    }
                    failure = match why {
                        Fault::OfName(why) => Fault::OfName(format!("target {host}: {why}")),
                        Fault::NoSocket => Fault::NoSocket,
                    };
                }
            }
        }
        if !all.is_empty() {
            return Ok(Parts { all, ttl, left_out, unanswered });
        }
    }
    Err(failure)
}

/// The longest that a target is waited for, of so many in each of the priorities that are left, so that none takes the
/// time of another: silent ones would keep those behind them from being asked for at all, in every lookup.
pub(super) fn turn(left: Duration, targets: usize, priorities: usize) -> Duration {
    let rounds = targets.div_ceil(AT_ONCE).saturating_mul(priorities);
    let turn = left.checked_div(u32::try_from(rounds).unwrap_or(u32::MAX));
    turn.unwrap_or_default().max(TURN_LEAST)
}

/// The addresses of targets, in order; what of one is not there at the end of its turn has failed.
async fn side_by_side(
    sources: &Arc<Sources>,
    targets: Vec<(Name, u16)>,
    came: &Came,
    turn: Duration,
) -> Vec<(String, u16, Result<Ips, Nothing>)> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (target, port) in targets {
        let host = target.to_ascii();
        let (sources, turns, before) = (sources.clone(), turns.clone(), before(came, &host).to_vec());
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            (host, port, sources.target(&target, &before, turn).await)
        });
    }
    let mut results = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        results.extend(joined);
    }
    results.sort_unstable_by(|(host, port, _), (other, its, _)| (host, port).cmp(&(other, its)));
    results
}

/// The lowest targets, so that all nodes of a cluster take the same, and how many more there are.
pub(super) fn lowest(mut targets: Vec<(Name, u16)>) -> (Vec<(Name, u16)>, usize) {
    targets.sort_unstable();
    targets.dedup();
    let left_out = targets.len().saturating_sub(TARGETS_MOST);
    targets.truncate(TARGETS_MOST);
    (targets, left_out)
}
