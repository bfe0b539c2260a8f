//! What caches count.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::caches::{View, views},
    text::{Kind, Labels, Text},
    writes,
};
use crate::{
    cache::{disk::Stats, peer_counts::PeerResult, purge},
    runtime::Snapshot,
    telemetry::cache_result::CacheResult,
};

/// Something that is reported of each cache by one number.
type Fact = fn(&View) -> u64;

/// Something that is reported of a disk tier by one number.
type DiskFact = fn(&Stats) -> u64;

const FACTS: [(&str, Kind, &str, Fact); 7] = [
    (
        "collapsed_total",
        Kind::Counter,
        "Requests answered with a response that another request was fetching at the same time.",
        |view| view.served(CacheResult::Collapsed),
    ),
    ("cache_fills_total", Kind::Counter, "Fetches started that other requests could wait for.", |view| {
        view.fills.begun
    }),
    ("cache_fills_in_flight", Kind::Gauge, "Fetches in flight.", |view| view.fills.under_way),
    (
        "cache_fill_readers",
        Kind::Gauge,
        "Requests that wait for or read from a fetch in flight, including those that started it.",
        |view| view.fills.readers,
    ),
    ("cache_fill_bytes", Kind::Gauge, "Bytes of bodies in flight.", |view| view.fills.held),
    (
        "cache_fills_released_total",
        Kind::Counter,
        "Fetches whose response could not be shared: the waiting requests went on at once.",
        |view| view.fills.released,
    ),
    (
        "cache_fills_taken_over_total",
        Kind::Counter,
        "Fetches that failed and were started again by a waiting request.",
        |view| view.fills.taken_over,
    ),
];

pub(super) fn caches(snapshot: &Snapshot, text: &mut Text) {
    let views = views(snapshot);
    if views.is_empty() {
        return;
    }
    text.family(
        "cache_requests_total",
        Kind::Counter,
        "Requests that asked a cache, by how they were served.",
    );
    for one in &views {
        for served in CacheResult::ALL {
            let labels = Labels::of(&[("cache", &one.label()), ("result", served.name())]);
            text.sample(&labels, one.served(*served));
        }
    }
    for (name, kind, help, fact) in FACTS {
        text.family(name, kind, help);
        for one in &views {
            text.sample(&Labels::of(&[("cache", &one.label())]), fact(one));
        }
    }
    peers(&views, text);
    writes::writes(&views, text);
    writes::journals(&views, text);
    let storing: Vec<&View> = views.iter().filter(|one| one.cache.is_storing).collect();
    for (name, help, fact) in [
        ("cache_bytes", "Bytes that stored responses count for, heads and index with them.", bytes as Fact),
        ("cache_objects", "Stored responses.", |view| view.memory.objects),
    ] {
        text.family(name, Kind::Gauge, help);
        for one in &storing {
            text.sample(&Labels::of(&[("cache", &one.label()), ("tier", "memory")]), fact(one));
        }
    }
    disks(&views, text);
    let help = "Stored responses that were evicted: for lack of room, too many variants of their key, or \
        lack of requests.";
    text.family("cache_evictions_total", Kind::Counter, help);
    for one in &storing {
        let inactive = &one.cache.store.inactive;
        for (tier, reason, count) in [
            ("memory", "room", one.memory.evicted),
            ("memory", "variants", one.memory.superfluous),
            ("memory", "inactive", inactive.from_memory.load(Relaxed)),
            ("disk", "inactive", inactive.from_disk.load(Relaxed)),
        ] {
            let labels = Labels::of(&[("cache", &one.label()), ("tier", tier), ("reason", reason)]);
            text.sample(&labels, count);
        }
    }
    let help = "Cacheable responses that were not admitted: too large, or not requested before.";
    text.family("cache_rejections_total", Kind::Counter, help);
    for one in &storing {
        for (reason, count) in [("size", one.memory.too_large), ("admission", one.memory.not_admitted)] {
            text.sample(&Labels::of(&[("cache", &one.label()), ("reason", reason)]), count);
        }
    }
    purges(&storing, text);
}

fn peers(views: &[View], text: &mut Text) {
    let asking: Vec<&View> = views.iter().filter(|one| one.cache.conf.peers).collect();
    if asking.is_empty() {
        return;
    }
    let help = "Requests to the peer that owns a key, by outcome.";
    text.family("cache_peer_requests_total", Kind::Counter, help);
    for one in asking {
        for result in PeerResult::ALL {
            let labels = Labels::of(&[("cache", &one.label()), ("result", result.name())]);
            text.sample(&labels, one.cache.store.peers.get(*result));
        }
    }
}

fn purges(storing: &[&View], text: &mut Text) {
    text.family("cache_purges_total", Kind::Counter, "Purges by operators, by what was purged.");
    for one in storing {
        for kind in purge::Kind::ALL {
            let labels = Labels::of(&[("cache", &one.label()), ("kind", kind.name())]);
            text.sample(&labels, one.cache.store.purges.get(kind));
        }
    }
    let help = "Stored responses purged by operators, or marked as stale by a soft purge.";
    text.family("cache_purged_objects_total", Kind::Counter, help);
    for one in storing {
        text.sample(&Labels::of(&[("cache", &one.label())]), one.cache.store.purges.objects());
    }
}

/// Of each cache with a disk tier.
fn disks(views: &[View], text: &mut Text) {
    let disks: Vec<_> = views.iter().filter_map(|one| Some((one, one.cache.store.disk.stats()?))).collect();
    if disks.is_empty() {
        return;
    }
    let gauges: [(&str, &str, DiskFact); 3] = [
        ("cache_disk_bytes", "Bytes that the files of the disk tier cost.", |stats| stats.bytes),
        ("cache_disk_objects", "Responses in the disk tier.", |stats| stats.objects),
        ("cache_disk_waiting_bytes", "Bytes waiting to be written to the disk tier.", |stats| stats.waiting),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (one, stats) in &disks {
            text.sample(&Labels::of(&[("cache", &one.label())]), fact(stats));
        }
    }
    text.family("cache_promotions_total", Kind::Counter, "Responses promoted from disk to memory.");
    for (one, _) in &disks {
        text.sample(&Labels::of(&[("cache", &one.label())]), one.cache.store.promoted.load(Relaxed));
    }
    let help = "Events in the disk tier.";
    text.family("cache_disk_events_total", Kind::Counter, help);
    let events: [(&str, DiskFact); 5] = [
        ("written", |stats| stats.writes),
        ("given_up", |stats| stats.given_up),
        ("evicted", |stats| stats.evicted),
        ("damaged", |stats| stats.damaged),
        ("io_error", |stats| stats.io_errors),
    ];
    for (one, stats) in &disks {
        for (event, fact) in events {
            text.sample(&Labels::of(&[("cache", &one.label()), ("event", event)]), fact(stats));
        }
    }
}

fn bytes(view: &View) -> u64 {
    view.memory.bytes
}
