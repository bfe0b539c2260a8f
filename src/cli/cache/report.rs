//! What `pointsman cache replay` prints and draws: a line per policy and size on standard output, and on standard
//! error what the trace was.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
};

use serde_json::json;

use super::asked::Replay as Asked;
use crate::{
    cli::{Failure, Format, print},
    replay::{
        Replay, Simulation,
        plot::{self, Line},
        trace::Skipped,
    },
};

/// Prints and draws.
pub(super) fn report(asked: &Asked, replay: &Replay, skipped: &Skipped) -> Result<(), Failure> {
    let format = if asked.json { Format::Json } else { asked.format };
    match format {
        Format::Text => {
            let about = &replay.footprint;
            let counts = [about.requests, about.objects()].map(grouped);
            let mut text = format!(
                "{} requests of {} objects, {} together\n",
                counts[0],
                counts[1],
                plot::human(about.bytes)
            );
            if let Some(skipped) = self::skipped(skipped) {
                let _ = writeln!(text, "{skipped}");
            }
            // With standard error closed nobody reads it.
            let _ = io::stderr().write_all(text.as_bytes());
            print(&table(asked, &replay.simulations))?;
        }
        Format::Json => print(&format!("{:#}\n", to_json(asked, replay, skipped)))?,
    }
    match &asked.plot {
        Some(path) => fs::write(path, picture(asked, replay))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display()))),
        None => Ok(()),
    }
}

/// Which lines did not count, where there are any.
pub(super) fn skipped(skipped: &Skipped) -> Option<String> {
    let reasons = [
        (skipped.status, "with a status other than 200"),
        (skipped.method, "with a method other than GET"),
        (skipped.bad, "that cannot be read"),
    ];
    let counts: Vec<String> = reasons
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{} {reason}", grouped(*count)))
        .collect();
    let all = skipped.status + skipped.method + skipped.bad;
    let lines = if all == 1 { "line" } else { "lines" };
    (all > 0).then(|| format!("{} {lines} skipped: {}", grouped(all), counts.join(", ")))
}

/// Each cache with its size as the user wrote it; sizes go round within a policy.
fn rows<'a>(asked: &'a Asked, caches: &'a [Simulation]) -> impl Iterator<Item = (&'a Simulation, &'a str)> {
    caches.iter().zip(asked.size.iter().cycle().map(|size| size.text.as_str()))
}

fn table(asked: &Asked, caches: &[Simulation]) -> String {
    let mut text = format!(
        "{:<8}  {:>10}  {:>9}  {:>14}  {:>12}  {:>12}\n",
        "policy", "size", "hit ratio", "byte hit ratio", "evictions", "admitted"
    );
    for (cache, size) in rows(asked, caches) {
        let tally = &cache.tally;
        let _ = writeln!(
            text,
            "{:<8}  {size:>10}  {:>9.6}  {:>14.6}  {:>12}  {:>12}",
            cache.policy.name(),
            tally.hit_ratio(),
            tally.byte_hit_ratio(),
            tally.evictions,
            tally.admitted
        );
    }
    text
}

fn to_json(asked: &Asked, replay: &Replay, skipped: &Skipped) -> serde_json::Value {
    let results: Vec<_> = rows(asked, &replay.simulations)
        .map(|(cache, size)| {
            let tally = &cache.tally;
            json!({
                "policy": cache.policy.name(),
                "size": cache.limit,
                "asked_size": size,
                "hit_ratio": tally.hit_ratio(),
                "byte_hit_ratio": tally.byte_hit_ratio(),
                "requests": tally.requests,
                "hits": tally.hits,
                "bytes": tally.bytes,
                "hit_bytes": tally.hit_bytes,
                "admitted": tally.admitted,
                "refused": tally.refused,
                "evictions": tally.evictions,
            })
        })
        .collect();
    json!({
        "trace": {
            "requests": replay.footprint.requests,
            "objects": replay.footprint.objects(),
            "footprint": replay.footprint.bytes,
            "bytes": replay.footprint.requested,
            "skipped": {"status": skipped.status, "method": skipped.method, "bad": skipped.bad},
        },
        "admission": asked.admission.name(),
        "results": results,
    })
}

fn picture(asked: &Asked, replay: &Replay) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for cache in &replay.simulations {
        let point = (cache.limit, cache.tally.hit_ratio());
        match lines.iter_mut().find(|line| line.name == cache.policy.name()) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: cache.policy.name(), points: vec![point] }),
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by_key(|point| point.0));
    let name = asked.trace.file_name().unwrap_or("standard input".as_ref()).to_string_lossy();
    let name = if name == "-" { "standard input".into() } else { name };
    let requests = grouped(replay.footprint.requests);
    plot::draw(&format!("{name}: {requests} requests of {}", plot::human(replay.footprint.bytes)), &lines)
}

/// A whole number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let none = Skipped::default();
        assert_eq!(skipped(&none), None);
        let some = skipped(&Skipped { status: 1, ..none });
        assert_eq!(some.as_deref(), Some("1 line skipped: 1 with a status other than 200"));
    }
}
