//! What caches count of writes.

use super::{
    super::caches::View,
    text::{Kind, Labels, Text},
};
use crate::{
    telemetry::clock,
    writeback::{conf::WritePolicy, counters, journal},
};

/// Something that is reported of a journal by one number.
type JournalFact = fn(&journal::Stats) -> u64;

/// What became of requests that change something.
pub(super) fn writes(views: &[View], text: &mut Text) {
    let help = "Requests that change something, by write policy and outcome.";
    text.family("cache_writes_total", Kind::Counter, help);
    for one in views {
        for (policy, word, _) in WritePolicy::ALL {
            for result in counters::Result::ALL {
                let count = one.cache.store.writes.get(*policy, *result);
                if count > 0 || *policy == one.cache.conf.write_policy {
                    let labels = [("cache", &*one.label()), ("policy", word), ("result", result.name())];
                    text.sample(&Labels::of(&labels), count);
                }
            }
        }
    }
}

/// Of each cache with a journal.
pub(super) fn journals(views: &[View], text: &mut Text) {
    let journals: Vec<_> =
        views.iter().filter_map(|one| Some((one, one.cache.store.back.stats()?))).collect();
    if journals.is_empty() {
        return;
    }
    let gauges: [(&str, &str, JournalFact); 4] = [
        ("cache_journal_entries", "Writes that were accepted and are not delivered yet.", |stats| {
            stats.entries as u64
        }),
        ("cache_journal_bytes", "Bytes that these count for.", |stats| stats.bytes),
        ("cache_journal_disk_bytes", "Bytes of the journal's files.", |stats| stats.disk),
        ("cache_journal_oldest_seconds", "Age of the oldest of them; 0 when there is none.", |stats| {
            stats.oldest.map_or(0, |oldest| (clock::unix_millis() / 1000).saturating_sub(oldest))
        }),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (one, stats) in &journals {
            text.sample(&Labels::of(&[("cache", &one.label())]), fact(stats));
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
            text.sample(&Labels::of(&[("cache", &one.label()), ("result", result)]), fact(stats));
        }
    }
    let help = "Problems with the journal's disk: failed writes, damaged places.";
    text.family("cache_journal_faults_total", Kind::Counter, help);
    for (one, stats) in &journals {
        for (kind, count) in [("io_error", stats.errors), ("damaged", stats.damaged)] {
            text.sample(&Labels::of(&[("cache", &one.label()), ("kind", kind)]), count);
        }
    }
}
