//! What one program hands to the next, so that it does not begin from nothing: health, ejections, averages,
//! what administrators changed, ticket keys, where accepted writes are.
//!
//! Moments are given as distances from now, since each process has a clock of its own. What the next one does
//! not understand it leaves out: an upgrade must also be possible between versions.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    backend::{Backend, Ejections, Probed},
    balance::BackendStats,
    config::peers,
    listen::handover::at,
    moment::Moment,
    runtime::{Snapshot, addresses::Addresses, overrides::Overrides, registry::Registry},
    tls::tickets::{Revealed, Tickets},
    upstream::{Upstream, conf::written_alike},
    writeback::{conf::JournalConf, handed::HandedJournal},
};

/// Everything there is to hand over.
pub fn collect(
    snapshot: &Snapshot,
    (overrides, names): (&Overrides, &Addresses),
    tickets: &Tickets,
    now: Moment,
) -> Value {
    json!({
        "generation": snapshot.generation,
        "backends": all_backends(snapshot, now),
        "overrides": overrides.to_json(),
        "names": names.to_json(),
        "tickets": ticket_keys(tickets, now),
    })
}

/// What is known of each backend.
fn all_backends(snapshot: &Snapshot, now: Moment) -> Vec<Value> {
    snapshot.upstreams.iter().flat_map(|upstream| backends(upstream, now)).collect()
}

/// What peers are told of backends, of which there may be a great many: those that are ejected, and of an upstream that has
/// some one that can be used, by which they see that this node has a way to it.
pub fn ejections(snapshot: &Snapshot, now: Moment) -> Vec<Value> {
    let left = |backend: &Backend| until(&backend.shared.ejected_until, now);
    let of_upstream = |upstream: &Arc<Upstream>| {
        let name = upstream.conf.name.clone();
        let (ejected, others): (Vec<_>, Vec<_>) = upstream.backends.iter().partition(|it| left(it) > 0);
        let usable = others.into_iter().find(|it| it.is_probed_up()).filter(|_| !ejected.is_empty());
        let told = move |backend: &Arc<Backend>| {
            json!({
                "upstream": name,
                "address": backend.address.to_string(),
                "is_up": backend.is_probed_up(),
                "ejected_for_us": left(backend),
            })
        };
        usable.into_iter().chain(ejected).map(told).collect::<Vec<_>>()
    };
    // How it gets on with its peers is each node's own affair.
    let upstreams = snapshot.upstreams.iter().filter(|upstream| upstream.conf.name != peers::NAME);
    upstreams.flat_map(of_upstream).take(MOST_EJECTED).collect()
}

/// Ejected backends that peers are told of: a message has to stay within its limit.
const MOST_EJECTED: usize = 10_000;

/// The keys of TLS session tickets.
pub fn ticket_keys(tickets: &Tickets, now: Moment) -> Value {
    let revealed = tickets.reveal(now);
    let keys: Vec<String> = revealed.keys.iter().map(|key| hex(key)).collect();
    json!({"keys": keys, "seconds_left": revealed.left.as_secs()})
}

/// The journals in which accepted writes are, or may be: those too that the configuration does not ask for any more.
pub fn journals(snapshot: &Snapshot, registry: &Registry) -> Value {
    let mut all = registry.journals_to_hand_over();
    // One that is asked for may be another program's still.
    for cache in &snapshot.caches {
        let is_new = |journal: &&JournalConf| all.iter().all(|it| *it.path != *journal.path);
        let journal = cache.conf.journal.as_ref().filter(is_new);
        all.extend(journal.map(|journal| HandedJournal {
            path: journal.path.to_path_buf(),
            size: journal.size.0,
            cache: Some(cache.conf.name.as_str().into()),
        }));
    }
    let told = |it: &HandedJournal| {
        let (path, cache) = (it.path.to_str(), it.cache.as_deref());
        json!({"path": path, "size": it.size, "cache": cache})
    };
    all.iter().map(told).collect()
}

fn handed_journals(state: &Value) -> impl Iterator<Item = HandedJournal> {
    let journals = at(state, "journals").as_array().into_iter().flatten();
    journals.filter_map(|it| {
        let path = PathBuf::from(at(it, "path").as_str()?);
        let size = at(it, "size").as_u64().unwrap_or(USUAL_SIZE);
        Some(HandedJournal { path, size, cache: at(it, "cache").as_str().map(Into::into) })
    })
}

/// As much may wait in a journal of which that was not said.
const USUAL_SIZE: u64 = 1 << 30;

/// Has those delivered from that the configuration here does not ask for, once the program before has let go of them. After
/// the folders were opened that it asks for.
pub fn adopt_journals(state: &Value, snapshot: &Snapshot, registry: &Registry) {
    let asked = |folder: &Path| {
        let mut journals = snapshot.caches.iter().filter_map(|cache| cache.conf.journal.as_ref());
        journals.any(|journal| is_same_folder(&journal.path, folder))
    };
    for HandedJournal { path, size, cache } in handed_journals(state).filter(|it| !asked(&it.path)) {
        let cache = snapshot.caches.iter().find(|it| cache.as_deref() == Some(it.conf.name.as_str()));
        match cache {
            Some(cache) => cache.store.back.adopt_later(&path, size),
            None => registry.journals.adopt_orphan_later(&path, size),
        }
    }
}

/// Whether both lead to one folder. One that this program has by another path would be waited for without end.
fn is_same_folder(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

/// The number of the generation that was handed over.
pub fn generation(state: &Value) -> u64 {
    at(state, "generation").as_u64().unwrap_or(0)
}

/// The changes of administrators that were handed over.
pub fn overrides(state: &Value) -> Overrides {
    Overrides::from_json(at(state, "overrides")).unwrap_or_else(|error| {
        tracing::warn!("changes made by administrators were lost in the upgrade: {error}");
        Overrides::default()
    })
}

/// Where names of backends led.
pub fn names(state: &Value) -> Addresses {
    Addresses::from_json(at(state, "names"))
}

/// Takes over the keys of another program; false when they are none.
pub fn take_ticket_keys(keys: &Value, tickets: &Tickets, now: Moment) -> bool {
    let left = Duration::from_secs(at(keys, "seconds_left").as_u64().unwrap_or(0));
    let keys = at(keys, "keys").as_array().into_iter().flatten();
    let keys = keys.filter_map(|key| bytes(key.as_str()?)).collect();
    tickets.take_over(&Revealed { keys, left }, now)
}

/// Takes over the ticket keys.
pub fn restore_tickets(state: &Value, tickets: &Tickets, now: Moment) {
    if !take_ticket_keys(at(state, "tickets"), tickets, now) {
        tracing::warn!("the TLS session ticket keys were lost in the upgrade: clients start new sessions");
    }
}

/// Takes over what was handed over of the backends that `snapshot` has. Before a worker runs.
pub fn restore(state: &Value, snapshot: &Snapshot, now: Moment) {
    for_each_known(at(state, "backends"), snapshot, |it, upstream, index, backend| {
        restore_backend(it, upstream, backend, now);
        resume_average(it, upstream, index, now);
    });
}

/// Ejects the backends of `snapshot` that a peer has ejected, for as long as it has, and as many as may be ejected here.
/// Health checks each node makes itself.
pub fn learn_ejections(backends: &Value, snapshot: &Snapshot, now: Moment) {
    let is_usable = |it: &Value| {
        at(it, "is_up").as_bool() != Some(false)
            && duration(at(it, "ejected_for_us")).is_none_or(|left| left.is_zero())
    };
    // Who has a way to none of an upstream says more of its own network than of the backends.
    let all = backends.as_array().into_iter().flatten();
    let usable: HashSet<&str> =
        all.filter(|it| is_usable(it)).filter_map(|it| at(it, "upstream").as_str()).collect();
    for_each_known(backends, snapshot, |it, upstream, index, _| {
        if !usable.contains(upstream.conf.name.as_str()) {
            return;
        }
        // How it gets on with its peers is its own affair.
        let is_peer = upstream.conf.name == peers::NAME;
        let left = duration(at(it, "ejected_for_us")).filter(|_| !is_peer).filter(|left| !left.is_zero());
        if let Some(until) = left.map(|left| now.plus(left.min(LONGEST_EJECTION))) {
            // The longer of the two, so that it is the same in whatever order they come.
            let change = upstream.passive.learn_ejection(index, until, now);
            change.iter().for_each(|change| upstream.log_change(change));
            if change.is_some() {
                // There may be nothing to wait for any more.
                upstream.queue.call_if_free(now);
            }
        }
    });
}

/// An ejection that a peer tells of is no longer than that; it tells of it again.
const LONGEST_EJECTION: Duration = Duration::from_secs(600);

/// Calls `each` for every backend among `backends` that `snapshot` has too.
fn for_each_known(
    backends: &Value,
    snapshot: &Snapshot,
    mut each: impl FnMut(&Value, &Upstream, usize, &Backend),
) {
    let upstreams: HashMap<&str, &Arc<Upstream>> =
        snapshot.upstreams.iter().map(|upstream| (upstream.conf.name.as_str(), upstream)).collect();
    // Addresses are told apart by their text, which is made once for each.
    let mut known: HashMap<&str, HashMap<String, usize>> = HashMap::new();
    for it in backends.as_array().into_iter().flatten() {
        let (Some(name), Some(address)) = (at(it, "upstream").as_str(), at(it, "address").as_str()) else {
            continue;
        };
        let Some(upstream) = upstreams.get(name) else { continue };
        let by_address = known.entry(name).or_insert_with(|| {
            let all = upstream.backends.iter().enumerate();
            all.map(|(index, backend)| (backend.address.to_string(), index)).collect()
        });
        // A version before this one has an address as the file does.
        let index = by_address.get(address).or_else(|| by_address.get(&*written_alike(address))).copied();
        if let Some((index, backend)) = index.and_then(|index| Some((index, upstream.backends.get(index)?))) {
            each(it, upstream, index, backend);
        }
    }
}

fn resume_average(state: &Value, upstream: &Upstream, index: usize, now: Moment) {
    let average = duration(at(state, "average_us"));
    for own in upstream.own.iter().filter_map(|own| own.get(index)) {
        average.into_iter().for_each(|average| own.row.resume(average, now));
    }
}

fn backends(upstream: &Upstream, now: Moment) -> impl Iterator<Item = Value> {
    upstream.backends.iter().enumerate().map(move |(index, backend)| {
        let shared = &backend.shared;
        let ejections = *shared.ejections.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rows = upstream.own.iter().filter_map(|own| own.get(index)).map(|own| &*own.row);
        json!({
            "upstream": upstream.conf.name,
            "address": backend.address.to_string(),
            "is_up": backend.is_probed_up(),
            "why": &*shared.why(),
            "failures_in_a_row": shared.failures_in_a_row.load(Relaxed),
            "ejected_for_us": until(&shared.ejected_until, now),
            "up_for_us": match shared.up_since.load(Relaxed) {
                0 => None,
                since => Some(micros(now.since(Moment(since)))),
            },
            "ejections": {
                "count": ejections.count,
                "over_for_us": micros(now.since(ejections.over_at)),
                "length_us": micros(ejections.length),
                "is_open": ejections.is_open,
            },
            "average_us": average(rows, now).map(micros),
        })
    })
}

fn restore_backend(state: &Value, upstream: &Upstream, backend: &Backend, now: Moment) {
    let shared = &backend.shared;
    shared.is_known.store(true, Relaxed);
    let is_up = at(state, "is_up").as_bool().unwrap_or(true);
    // What checks said of one that is not checked any more would hold for ever.
    if is_up || upstream.conf.health_check.is_some() {
        let probed = if is_up { Probed::Up } else { Probed::Down };
        shared.probed.store(probed as u8, Relaxed);
        if let Some(why) = at(state, "why").as_str() {
            shared.set_why(why.into());
        }
    }
    let failures = at(state, "failures_in_a_row").as_u64().unwrap_or(0);
    shared.failures_in_a_row.store(u32::try_from(failures).unwrap_or(u32::MAX), Relaxed);
    if let Some(left) = duration(at(state, "ejected_for_us")).filter(|left| !left.is_zero()) {
        shared.ejected_until.store(now.plus(left).0, Relaxed);
    }
    if let Some(since) = duration(at(state, "up_for_us")) {
        shared.up_since.store(now.minus(since).0.max(1), Relaxed);
    }
    // The ramp of slow start begins where an ejection ends, of which it was told as one that is up just now.
    shared.up_since.fetch_max(shared.ejected_until.load(Relaxed), Relaxed);
    let ejections = at(state, "ejections");
    let left = Moment(shared.ejected_until.load(Relaxed));
    let over_at = match left > now {
        true => left,
        false => now.minus(duration(at(ejections, "over_for_us")).unwrap_or_default()),
    };
    let ejections = Ejections {
        count: u32::try_from(at(ejections, "count").as_u64().unwrap_or(0)).unwrap_or(0),
        over_at,
        length: duration(at(ejections, "length_us")).unwrap_or_default(),
        is_open: at(ejections, "is_open").as_bool().unwrap_or(false),
    };
    *shared.ejections.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ejections;
}

/// Mean of the workers' averages, each by its requests.
fn average<'a>(rows: impl Iterator<Item = &'a BackendStats>, now: Moment) -> Option<Duration> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for row in rows {
        let Some(average) = row.average(now) else { continue };
        let weight = row.requests().max(1) as f64;
        sum += average.as_secs_f64() * weight;
        weights += weight;
    }
    (weights > 0.0).then(|| Duration::from_secs_f64(sum / weights))
}

fn until(moment: &AtomicU64, now: Moment) -> u64 {
    micros(Moment(moment.load(Relaxed)).since(now))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn duration(state: &Value) -> Option<Duration> {
    state.as_u64().map(Duration::from_micros)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::build;

    const CONFIG: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
        [[route]]\nname = \"all\"\nupstream = \"app\"\n[[upstream]]\nname = \"app\"\n\
        backend = [{ address = \"127.0.0.1:1\" }, { address = \"127.0.0.1:2\" }]\n";

    const CHECKED: &str = "[upstream.health_check]\nkind = \"tcp\"\n";

    fn snapshot(tickets: &std::sync::Arc<Tickets>) -> Snapshot {
        snapshot_of(CONFIG, tickets)
    }

    fn snapshot_of(text: &str, tickets: &std::sync::Arc<Tickets>) -> Snapshot {
        let config = crate::config::parse(text, "test.toml".as_ref()).unwrap();
        build::build(config, 1, &Registry::new(2), tickets).unwrap()
    }

    /// Versions before this one have an address as it was written.
    #[test]
    fn backend_is_found_by_any_spelling_of_its_address() {
        let (tickets, now) = (Tickets::new(Moment(1)).unwrap(), Moment(100_000_000_000));
        for (spelled, same) in [
            ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"),
            ("unix:/run//./app.sock", "unix:/run/app.sock"),
            ("srv:_HTTP._tcp.App.test", "srv:_http._tcp.app.test"),
        ] {
            let text = CONFIG.replace("127.0.0.1:1", spelled);
            let old = snapshot_of(&text, &tickets);
            old.upstreams[0].backends[0].shared.set_why("3 failures in a row".into());
            let none = (&Overrides::default(), &Addresses::default());
            let state = collect(&old, none, &tickets, now).to_string();
            assert!(state.contains(same), "{state}");
            let state = state.replace(same, spelled);
            let new = snapshot_of(&text, &tickets);
            restore(&serde_json::from_str(&state).unwrap(), &new, now);
            assert_eq!(&*new.upstreams[0].backends[0].shared.why(), "3 failures in a row", "{spelled}");
        }
    }

    #[test]
    fn backend_that_is_not_checked_any_more_is_up() {
        let (tickets, now) = (Tickets::new(Moment(1)).unwrap(), Moment(100_000_000_000));
        let old = snapshot_of(&format!("{CONFIG}{CHECKED}"), &tickets);
        let down = &old.upstreams[0].backends[0].shared;
        down.probed.store(Probed::Down as u8, Relaxed);
        down.set_why("3 checks in a row failed".into());
        old.upstreams[0].backends[1].shared.set_why("3 failures in a row".into());
        let state = collect(&old, (&Overrides::default(), &Addresses::default()), &tickets, now);
        for (text, is_up) in [(CONFIG.to_owned(), true), (format!("{CONFIG}{CHECKED}"), false)] {
            let new = snapshot_of(&text, &tickets);
            restore(&state, &new, now);
            let backend = &new.upstreams[0].backends[0];
            assert_eq!(backend.is_probed_up(), is_up, "{text}");
            assert_eq!(&*backend.shared.why() == "3 checks in a row failed", !is_up, "{text}");
            // What requests have said is as true as before.
            assert_eq!(&*new.upstreams[0].backends[1].shared.why(), "3 failures in a row");
        }
    }

    #[test]
    fn the_next_program_knows_what_this_one_knew() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let checked = format!("{CONFIG}{CHECKED}");
        let (old, new) = (snapshot_of(&checked, &tickets), snapshot_of(&checked, &tickets));
        let now = Moment(100_000_000_000);
        let (down, ejected) = (&old.upstreams[0].backends[0].shared, &old.upstreams[0].backends[1].shared);
        down.probed.store(Probed::Down as u8, Relaxed);
        down.set_why("3 checks in a row failed".into());
        ejected.ejected_until.store(now.plus(Duration::from_secs(20)).0, Relaxed);
        ejected.up_since.store(now.plus(Duration::from_secs(20)).0, Relaxed);
        ejected.failures_in_a_row.store(2, Relaxed);
        let over_at = now.plus(Duration::from_secs(20));
        let length = Duration::from_secs(30);
        *ejected.ejections.lock().unwrap() = Ejections { count: 3, over_at, length, is_open: true };
        old.upstreams[0].own[1][1].row.resume(Duration::from_millis(70), now);

        let state = collect(&old, (&Overrides::default(), &Addresses::default()), &tickets, now);
        let state: Value = serde_json::from_str(&state.to_string()).unwrap();
        let later = Moment(90_000_000_000);
        restore(&state, &new, later);
        let (down, ejected) = (&new.upstreams[0].backends[0], &new.upstreams[0].backends[1]);
        assert!(!down.is_probed_up() && down.shared.is_known.load(Relaxed));
        assert_eq!(&*down.shared.why(), "3 checks in a row failed");
        assert!(!ejected.is_healthy(later.plus(Duration::from_secs(19))));
        assert!(ejected.is_healthy(later.plus(Duration::from_secs(20))));
        let begins = later.plus(Duration::from_secs(20)).0;
        assert_eq!(ejected.shared.up_since.load(Relaxed), begins, "where the ramp of slow start begins");
        assert_eq!(down.shared.up_since.load(Relaxed), 0);
        let history = *ejected.shared.ejections.lock().unwrap();
        assert_eq!((history.count, history.length, history.is_open), (3, length, true));
        assert_eq!(history.over_at, later.plus(Duration::from_secs(20)));
        assert_eq!(ejected.shared.failures_in_a_row.load(Relaxed), 2);
        for own in &new.upstreams[0].own {
            assert_eq!(own[1].row.average(later).unwrap().as_millis(), 70);
            assert_eq!(own[0].row.average(later), None);
        }
        assert_eq!(generation(&state), 1);
    }

    #[test]
    fn ejections_of_who_has_no_way_are_not_learned() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let now = Moment(100_000_000_000);
        for (ejected, learned) in [(1, 1), (2, 0)] {
            let (told, hears) = (snapshot(&tickets), snapshot(&tickets));
            for backend in told.upstreams[0].backends.iter().take(ejected) {
                backend.shared.ejected_until.store(now.plus(Duration::from_secs(20)).0, Relaxed);
            }
            assert_eq!(told.upstreams[0].backends.len(), 2);
            learn_ejections(&ejections(&told, now).into(), &hears, now);
            let out = hears.upstreams[0].backends.iter().filter(|backend| !backend.is_healthy(now)).count();
            assert_eq!(out, learned, "{ejected} of 2");
        }
    }

    #[test]
    fn message_does_not_grow_with_backends_that_are_well() {
        let (tickets, now) = (Tickets::new(Moment(1)).unwrap(), Moment(100_000_000_000));
        let backends: Vec<String> =
            (1..=2000).map(|port| format!("{{ address = \"127.0.0.1:{port}\" }}")).collect();
        let (before, _) = CONFIG.split_once("backend = [").unwrap();
        let told = snapshot_of(&format!("{before}backend = [{}]\n", backends.join(", ")), &tickets);
        assert_eq!(ejections(&told, now), Vec::<Value>::new());
        let of = |index: usize| &told.upstreams[0].backends[index].shared;
        of(0).probed.store(Probed::Down as u8, Relaxed);
        of(1).ejected_until.store(now.plus(Duration::from_secs(20)).0, Relaxed);
        let addresses: Vec<Value> =
            ejections(&told, now).iter().map(|it| at(it, "address").clone()).collect();
        assert_eq!(addresses, ["127.0.0.1:3", "127.0.0.1:2"]);
    }

    #[test]
    fn learned_ejections_keep_the_cap_and_slow_start() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let now = Moment(100_000_000_000);
        let four = CONFIG.replace("[{", "[{ address = \"127.0.0.1:3\" }, { address = \"127.0.0.1:4\" }, {");
        let snapshot = || {
            let config = crate::config::parse(&four, "test.toml".as_ref()).unwrap();
            build::build(config, 1, &Registry::new(2), &tickets).unwrap()
        };
        let (told, hears) = (snapshot(), snapshot());
        let until = |seconds| now.plus(Duration::from_secs(seconds)).0;
        let shared = |of: &Snapshot, index: usize| of.upstreams[0].backends[index].shared.clone();
        // Each has ejected the half that may be, and another.
        for index in [0, 1] {
            shared(&told, index).ejected_until.store(until(20), Relaxed);
        }
        for index in [1, 2] {
            shared(&hears, index).ejected_until.store(until(10), Relaxed);
        }
        for _ in 0..2 {
            learn_ejections(&ejections(&told, now).into(), &hears, now);
        }
        let ejected: Vec<u64> =
            (0..4).map(|index| shared(&hears, index).ejected_until.load(Relaxed)).collect();
        assert_eq!(
            ejected,
            [0, until(20), until(10), 0],
            "half of them, one as long as the other node has it"
        );
        // Later there is room for the other one, whose slow start begins with the end of it.
        let later = now.plus(Duration::from_secs(15));
        learn_ejections(&ejections(&told, later).into(), &hears, later);
        let first = shared(&hears, 0);
        assert_eq!((first.ejected_until.load(Relaxed), first.up_since.load(Relaxed)), (until(20), until(20)));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let new = snapshot(&tickets);
        let now = Moment(90_000_000_000);
        for state in [
            Value::Null,
            json!({"backends": 7, "tickets": []}),
            json!({"backends": [1, {"upstream": "app"}, {"upstream": "app", "address": "127.0.0.1:9"},
                {"upstream": "app", "address": "127.0.0.1:1", "ejected_for_us": "x", "ejections": null}]}),
        ] {
            restore(&state, &new, now);
            restore_tickets(&state, &tickets, now);
            assert!(new.upstreams[0].backends.iter().all(|backend| backend.is_available(now)));
            assert!(overrides(&state).is_empty());
        }
    }

    /// Versions before this one say nothing of journals, and one after it may say less, or more.
    #[test]
    fn journals_are_known_by_their_folder_alone() {
        let state = json!({"journals": [
            {"path": "/a", "size": 7, "cache": "pages", "more": true},
            {"path": "/b", "cache": null},
            {"size": 7},
            "/c",
        ]});
        let journal = |path: &str, size, cache: Option<&str>| HandedJournal {
            path: path.into(),
            size,
            cache: cache.map(Into::into),
        };
        let expected = [journal("/a", 7, Some("pages")), journal("/b", USUAL_SIZE, None)];
        assert_eq!(handed_journals(&state).collect::<Vec<_>>(), expected);
        for state in [json!({}), json!(null), json!({"journals": "none"})] {
            assert_eq!(handed_journals(&state).count(), 0);
        }
    }

    #[test]
    fn a_folder_is_the_same_by_any_path() {
        let folder = std::env::temp_dir().join(format!("pointsman-handed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(is_same_folder(&folder, &folder.join("../").join(folder.file_name().unwrap())));
        assert!(!is_same_folder(&folder, &folder.join("..")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            is_same_folder(&folder, &folder) && !is_same_folder(&folder, &folder.join("..").join("nowhere"))
        );
    }
}
