//! What caches count.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::text::{Kind, Labels, Text};
use crate::{
    cache::{conf::WritePolicy, disk::Stats, fill, journal, memory, store::Store, writes},
    runtime::Snapshot,
    telemetry::{clock, served::Served},
};

/// Something that is told of each cache by one number.
type Fact = fn(&Told) -> u64;

/// Something that is told of a disk tier by one number.
type DiskFact = fn(&Stats) -> u64;

/// Something that is told of a journal by one number.
type JournalFact = fn(&journal::Stats) -> u64;

/// What one cache tells.
struct Told {
    name: String,
    store: Arc<Store>,
    policy: WritePolicy,
    memory: memory::Stats,
    fills: fill::Stats,
}

impl Told {
    fn served(&self, served: Served) -> u64 {
        self.store.counts.iter().map(|counts| counts.get(served)).sum()
    }
}

const FACTS: [(&str, Kind, &str, Fact); 7] = [
    (
        "collapsed_total",
        Kind::Counter,
        "Requests that were answered by what another fetched at the same time.",
        |told| told.served(Served::Collapsed),
    ),
    ("cache_fills_total", Kind::Counter, "Fetches that others could wait for, begun.", |told| {
        told.fills.begun
    }),
    ("cache_fills_in_flight", Kind::Gauge, "Fetches under way.", |told| told.fills.under_way),
    (
        "cache_fill_readers",
        Kind::Gauge,
        "Requests that wait for, or read from, a fetch under way; with those that led to it.",
        |told| told.fills.readers,
    ),
    ("cache_fill_bytes", Kind::Gauge, "Bytes of bodies on their way.", |told| told.fills.held),
    (
        "cache_fills_released_total",
        Kind::Counter,
        "Fetches whose response could not be shared: those who waited went on at once.",
        |told| told.fills.released,
    ),
    (
        "cache_fills_taken_over_total",
        Kind::Counter,
        "Fetches that failed and that one who waited began again.",
        |told| told.fills.taken_over,
    ),
];

pub(super) fn caches(snapshot: &Snapshot, text: &mut Text) {
    let told = told(snapshot);
    if told.is_empty() {
        return;
    }
    text.family(
        "cache_requests_total",
        Kind::Counter,
        "Requests that asked a cache, by how they were served.",
    );
    for one in &told {
        for served in Served::ALL {
            let labels = Labels::of(&[("cache", &one.name), ("result", served.name())]);
            text.sample(&labels, one.served(*served));
        }
    }
    for (name, kind, help, fact) in FACTS {
        text.family(name, kind, help);
        for one in &told {
            text.sample(&Labels::of(&[("cache", &one.name)]), fact(one));
        }
    }
    writes(&told, text);
    journals(&told, text);
    let storing: Vec<&Told> = told.iter().filter(|one| one.store.memory.is_some()).collect();
    for (name, help, fact) in [
        ("cache_bytes", "Bytes that stored responses count for, heads and index with them.", bytes as Fact),
        ("cache_objects", "Stored responses.", |told| told.memory.objects),
    ] {
        text.family(name, Kind::Gauge, help);
        for one in &storing {
            text.sample(&Labels::of(&[("cache", &one.name), ("tier", "memory")]), fact(one));
        }
    }
    disks(&told, text);
    let help = "Stored responses that left: for want of room, or because their key had too many variants.";
    text.family("cache_evictions_total", Kind::Counter, help);
    for one in &storing {
        for (reason, count) in [("room", one.memory.evicted), ("variants", one.memory.superfluous)] {
            let labels = Labels::of(&[("cache", &one.name), ("tier", "memory"), ("reason", reason)]);
            text.sample(&labels, count);
        }
    }
    let help = "Responses that could have been stored and were not: too large, or not asked for before.";
    text.family("cache_rejections_total", Kind::Counter, help);
    for one in &storing {
        for (reason, count) in [("size", one.memory.too_large), ("admission", one.memory.not_admitted)] {
            text.sample(&Labels::of(&[("cache", &one.name), ("reason", reason)]), count);
        }
    }
}

/// What became of requests that change something.
fn writes(told: &[Told], text: &mut Text) {
    let help = "Requests that change something, by write policy and by what became of them.";
    text.family("cache_writes_total", Kind::Counter, help);
    for one in told {
        for (policy, word, _) in WritePolicy::ALL {
            for result in writes::Result::ALL {
                let count = one.store.writes.get(*policy, *result);
                if count > 0 || *policy == one.policy {
                    let labels = [("cache", &*one.name), ("policy", word), ("result", result.name())];
                    text.sample(&Labels::of(&labels), count);
                }
            }
        }
    }
}

/// Of each cache with a journal.
fn journals(told: &[Told], text: &mut Text) {
    let journals: Vec<_> = told.iter().filter_map(|one| Some((one, one.store.back.stats()?))).collect();
    if journals.is_empty() {
        return;
    }
    let gauges: [(&str, &str, JournalFact); 4] = [
        ("cache_journal_entries", "Writes that were accepted and are not delivered yet.", |stats| {
            stats.entries as u64
        }),
        ("cache_journal_bytes", "Bytes that these count for.", |stats| stats.bytes),
        ("cache_journal_disk_bytes", "Bytes of the journal's files.", |stats| stats.disk),
        (
            "cache_journal_oldest_seconds",
            "For how long the oldest of them waits; 0 when none does.",
            |stats| stats.oldest.map_or(0, |oldest| (clock::unix_millis() / 1000).saturating_sub(oldest)),
        ),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (one, stats) in &journals {
            text.sample(&Labels::of(&[("cache", &one.name)]), fact(stats));
        }
    }
    let help = "Attempts at delivery of accepted writes; those that the origin refused are set aside.";
    text.family("cache_deliveries_total", Kind::Counter, help);
    let results: [(&str, JournalFact); 3] = [
        ("delivered", |stats| stats.delivered),
        ("failed", |stats| stats.failed),
        ("set_aside", |stats| stats.refused),
    ];
    for (one, stats) in &journals {
        for (result, fact) in results {
            text.sample(&Labels::of(&[("cache", &one.name), ("result", result)]), fact(stats));
        }
    }
    let help = "What went wrong with the journal's disk: writes that failed, places that were damaged.";
    text.family("cache_journal_faults_total", Kind::Counter, help);
    for (one, stats) in &journals {
        for (kind, count) in [("io_error", stats.errors), ("damaged", stats.damaged)] {
            text.sample(&Labels::of(&[("cache", &one.name), ("kind", kind)]), count);
        }
    }
}

/// Of each cache with a disk tier.
fn disks(told: &[Told], text: &mut Text) {
    let disks: Vec<_> = told.iter().filter_map(|one| Some((one, one.store.shelf.stats()?))).collect();
    if disks.is_empty() {
        return;
    }
    let gauges: [(&str, &str, DiskFact); 2] = [
        ("cache_disk_bytes", "Bytes that the files of the disk tier cost.", |stats| stats.bytes),
        ("cache_disk_objects", "Responses in the disk tier.", |stats| stats.objects),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (one, stats) in &disks {
            text.sample(&Labels::of(&[("cache", &one.name)]), fact(stats));
        }
    }
    text.family("cache_promotions_total", Kind::Counter, "Responses that came from disk to memory.");
    for (one, _) in &disks {
        text.sample(&Labels::of(&[("cache", &one.name)]), one.store.promoted.load(Relaxed));
    }
    let help = "What happened in the disk tier.";
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
            text.sample(&Labels::of(&[("cache", &one.name), ("event", event)]), fact(stats));
        }
    }
}

fn bytes(told: &Told) -> u64 {
    told.memory.bytes
}

/// The caches, and, as `route:NAME`, the routes that collapse requests without one.
fn told(snapshot: &Snapshot) -> Vec<Told> {
    let named = snapshot.caches.iter().map(|cache| (cache.conf.name.clone(), cache));
    let routes = snapshot.routes.iter().filter_map(|route| route.cache.as_ref());
    let collapsing =
        routes.filter(|cache| !cache.is_storing).map(|cache| (format!("route:{}", cache.conf.name), cache));
    named
        .chain(collapsing)
        .map(|(name, cache)| Told {
            name,
            policy: cache.conf.write_policy,
            memory: cache.store.memory.as_ref().map(memory::Memory::stats).unwrap_or_default(),
            fills: cache.store.fills.stats(),
            store: cache.store.clone(),
        })
        .collect()
}
