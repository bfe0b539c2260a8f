//! Which backends of an upstream may take a request, and which one would.

use std::sync::Arc;

use crate::{
    backend::{Backend, WEIGHT_UNIT},
    balance::{
        self, Outlook, Pick,
        conf::{PicksBy, Policy},
    },
    moment::Moment,
    runtime::{Action, Snapshot, snapshot::admin_text},
    upstream::{Upstream, conf::WhenAllDown},
};

/// An upstream that a request may go to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name.
    pub upstream: String,
    /// How much of the route's traffic goes there, in percent.
    pub percent: f64,
    /// Its policy.
    pub balance: &'static str,
    /// Its backends in file order.
    pub backends: Vec<Candidate>,
    /// Which one is picked; none = 503, or a place in the queue.
    pub pick: Option<Choice>,
    /// Whether a request waits in the queue where none is picked.
    pub is_queued: bool,
}

/// A backend, and whether it may take the request.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its weight at this moment.
    pub weight: f64,
    /// Whether it may be picked.
    pub is_candidate: bool,
    /// Why, or why not.
    pub why: String,
}

/// The backend that is picked.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its name.
    pub backend: String,
    /// Why this one.
    pub why: String,
}

/// What an upstream would do with what has this key, and whose sticky cookie names this backend.
pub(super) fn explain(
    upstream: &Arc<Upstream>,
    percent: f64,
    key: u64,
    sticky: Option<usize>,
) -> Destination {
    let now = Moment::now();
    let candidate = |backend: &Arc<Backend>| {
        let barrier = barrier(upstream, backend, now);
        Candidate {
            name: backend.name.to_string(),
            address: backend.address.to_string(),
            weight: f64::from(backend.weight_at(now)) / f64::from(WEIGHT_UNIT),
            is_candidate: barrier.is_none(),
            why: barrier.unwrap_or_else(|| why_fit(upstream, backend)),
        }
    };
    let pick = pick(upstream, key, sticky, now);
    let has_queue = upstream.conf.queue.size > 0;
    let are_full = balance::outlook(&upstream.backends, upstream.queue.uses_all(), now) == Outlook::Full;
    Destination {
        upstream: upstream.conf.name.clone(),
        percent,
        balance: upstream.conf.balance.name(),
        backends: upstream.backends.iter().map(candidate).collect(),
        is_queued: pick.is_none() && has_queue && are_full,
        pick,
    }
}

/// The upstreams that a route leads to, each with its share in percent.
pub(super) fn choices<'a>(
    snapshot: &'a Snapshot,
    action: &Action,
) -> impl Iterator<Item = (&'a Arc<Upstream>, f64)> + use<'a> {
    let choices = match action {
        Action::Redirect { .. } | Action::Respond { .. } | Action::Files(_) => Vec::new(),
        Action::Upstream(index) => vec![(*index, 100.0)],
        Action::Split(choices, total) => {
            let percent = |weight: u32| f64::from(weight) * 100.0 / f64::from((*total).max(1));
            choices.iter().map(|(index, weight)| (*index, percent(*weight))).collect()
        }
    };
    choices.into_iter().filter_map(|(index, percent)| Some((snapshot.upstreams.get(index)?, percent)))
}

/// Why a backend may not be picked; the rules of `balance`, said aloud.
fn barrier(upstream: &Upstream, backend: &Backend, now: Moment) -> Option<String> {
    if let Some(admin) = admin_text(backend.shared.admin.load(std::sync::atomic::Ordering::Relaxed)) {
        return Some(admin.to_owned());
    }
    if !backend.is_probed_up() {
        return Some(format!("down: {}", backend.shared.why()));
    }
    if !backend.is_healthy(now) {
        return Some(format!("ejected: {}", backend.shared.why()));
    }
    if backend.weight_at(now) == 0 {
        return Some("its weight is 0".to_owned());
    }
    if backend.is_full() {
        return Some(format!("full: {} exchanges in flight", backend.in_flight()));
    }
    let is_available =
        |other: &Arc<Backend>| !other.backup && other.is_healthy(now) && other.weight_at(now) > 0;
    (backend.backup && upstream.backends.iter().any(is_available))
        .then(|| "a backup, and another backend is usable".to_owned())
}

/// Why a backend may be picked.
fn why_fit(upstream: &Upstream, backend: &Backend) -> String {
    let mut why = match upstream.conf.health_check {
        Some(_) => backend.shared.why().to_string(),
        None => "up: it has no active checks".to_owned(),
    };
    if backend.shared.resolved.load().is_empty()
        && !matches!(backend.address, crate::backend::Address::Unix(_))
    {
        why += "; its name is resolved at run time";
    }
    why
}

fn pick(upstream: &Upstream, key: u64, sticky: Option<usize>, now: Moment) -> Option<Choice> {
    let name = |index: usize| upstream.backends.get(index).map(|backend| backend.name.to_string());
    let is_available = |index: &usize| upstream.backends.get(*index).is_some_and(|it| it.is_available(now));
    if let Some(backend) = sticky.filter(is_available).and_then(name) {
        return Some(Choice { backend, why: "named by the sticky cookie".to_owned() });
    }
    let mut balancer = upstream.balancer.for_worker(0);
    let mut rng = fastrand::Rng::new();
    let picked = balancer.pick(&upstream.backends, Pick { key, tried: &[], now, rng: &mut rng });
    if let Some(backend) = picked.and_then(name) {
        return Some(Choice { backend, why: reason(upstream.conf.balance).to_owned() });
    }
    if upstream.conf.when_all_down != WhenAllDown::UseAll {
        return None;
    }
    let pick = Pick { key, tried: &[], now, rng: &mut rng };
    let backend = balancer.pick_despite_health(&upstream.backends, pick).and_then(name)?;
    Some(Choice { backend, why: "every backend is down, and `when_all_down` is `use-all`".to_owned() })
}

/// What a pick of a policy means for the next request.
fn reason(policy: Policy) -> &'static str {
    match policy.picks_by() {
        PicksBy::Address | PicksBy::HashOn => {
            "every such request has the same hash, so each goes there while the candidates stay the same"
        }
        PicksBy::Chance => "at random; the next request may get another",
        PicksBy::State => "the first pick of a fresh balancer; the next request may get another",
    }
}
