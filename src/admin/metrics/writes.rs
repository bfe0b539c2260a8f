//! What caches count of writes.

use super::{
    super::caches::View,
    text::{Kind, Labels, Text},
};
use crate::{
    telemetry::clock,
    writeback::{conf::WritePolicy, counters, journal, journals::Journals},
};

/// Something that is reported of a journal by one number.
type JournalFact = fn(&journal::Stats) -> u64;

/// What became of requests that change something.
pub(super) fn writes(views: &[View], text: &mut Text) {
    let help = "Write requests, by write policy and result.";
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
        ("cache_journal_entries", "Accepted writes not delivered yet.", |stats| stats.entries as u64),
        ("cache_journal_bytes", "Size of accepted writes not delivered yet.", |stats| stats.bytes),
        ("cache_journal_disk_bytes", "Disk space used by the journal's files.", |stats| stats.disk),
        (
            "cache_journal_oldest_seconds",
            "Age of the oldest accepted write not delivered yet; 0 if there is none.",
            age,
        ),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (one, stats) in &journals {
            text.sample(&Labels::of(&[("cache", &one.label())]), fact(stats));
        }
    }
    let help =
        "Delivery attempts of accepted writes, by result; set_aside are those that the backend refused.";
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
    let help = "Faults of the journal's disk: failed writes (io_error) and damaged entries (damaged).";
    text.family("cache_journal_faults_total", Kind::Counter, help);
    for (one, stats) in &journals {
        for (kind, count) in [("io_error", stats.errors), ("damaged", stats.damaged)] {
            text.sample(&Labels::of(&[("cache", &one.label()), ("kind", kind)]), count);
        }
    }
}

/// Of each folder that no configuration asks for any more, while something waits in it.
pub(super) fn former(journals: &Journals, text: &mut Text) {
    let former = journals.former();
    if former.is_empty() {
        return;
    }
    let gauges: [(&str, &str, JournalFact); 2] = [
        (
            "former_journal_entries",
            "Accepted writes not delivered yet in a journal that the configuration does not ask for any more.",
            |stats| stats.entries as u64,
        ),
        ("former_journal_oldest_seconds", "Age of the oldest of them.", age),
    ];
    for (name, help, fact) in gauges {
        text.family(name, Kind::Gauge, help);
        for (path, stats) in &former {
            text.sample(&Labels::of(&[("path", &path.to_string_lossy())]), fact(stats));
        }
    }
}

/// Seconds since the oldest of what waits was accepted.
fn age(stats: &journal::Stats) -> u64 {
    stats.oldest.map_or(0, |oldest| (clock::unix_millis() / 1000).saturating_sub(oldest))
}
