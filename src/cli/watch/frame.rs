//! What the live view looks like: a [`View`], a width and a height go in, lines come out.
//!
//! Pure. What matters most is first, and what does not fit is left out.

use serde_json::Value;

use super::{
    rates::{CLASSES, Latency},
    view::View,
};
use crate::cli::{
    answers::{hit_ratio, list, number, room, text, weight},
    table::{self, Cell, Row, Tone, bytes, milliseconds, span, table},
};

/// Lines below the figures that are too few for backends and errors.
const SMALL: usize = 8;

/// Most lines of recent errors.
const ERRORS: usize = 8;

/// The lines of a frame, cut to the window.
pub(super) fn frame(view: &View, width: usize, height: usize, is_colored: bool) -> Vec<String> {
    let mut rows = vec![head(view)];
    rows.push(message(view));
    rows.extend(figures(view));
    rows.extend(caches(view));
    rows.push(Row::new());
    let errors = errors(view);
    let backends = backends(view);
    let room = height.saturating_sub(rows.len());
    // In a small window the backends go first; else a blank line, a heading and two errors have their place.
    let least = if errors.is_empty() || room < SMALL { 0 } else { errors.len().min(3) + 1 };
    rows.extend(cut(backends, room.saturating_sub(least)));
    let room = height.saturating_sub(rows.len());
    if !errors.is_empty() && room > 2 {
        rows.push(Row::new());
        rows.extend(cut(errors, room - 1));
    }
    rows.truncate(height);
    rows.iter().map(|row| table::line(row, Some(width), is_colored)).collect()
}

/// So many rows; the last says how many are left out.
fn cut(mut rows: Vec<Row>, most: usize) -> Vec<Row> {
    if rows.len() > most {
        let left_out = rows.len() - most.saturating_sub(1);
        rows.truncate(most.saturating_sub(1));
        if most > 0 {
            rows.push(vec![Cell::new(format!("… and {left_out} more"), Tone::Faint)]);
        }
    }
    rows
}

fn head(view: &View) -> Row {
    let status = &view.status;
    let is_draining = status.get("draining").and_then(Value::as_bool) == Some(true);
    let about = format!(
        " {}  process {}  up {}  generation {}",
        text(status, "version"),
        number(status, "pid"),
        span(number(status, "uptime_seconds")),
        number(status, "generation"),
    );
    let mut row = vec![Cell::new("Pointsman", Tone::Strong), Cell::text(about)];
    if is_draining {
        row.push(Cell::new("  draining", Tone::Warning));
    }
    row.push(Cell::new("  q quits", Tone::Faint));
    row
}

/// What went wrong, before what is worth knowing.
fn message(view: &View) -> Row {
    let last = view.status.get("last_reload").unwrap_or(&Value::Null);
    let is_refused = last.get("ok").and_then(Value::as_bool) == Some(false);
    match (&view.trouble, &view.note) {
        (Some(trouble), _) => vec![Cell::new(trouble, Tone::Bad)],
        (None, _) if is_refused => {
            vec![Cell::new("the last reload was REFUSED: `pointsman status` says why", Tone::Bad)]
        }
        (None, Some(note)) => vec![Cell::new(note, Tone::Warning)],
        (None, None) => Row::new(),
    }
}

/// Rates, latencies, statuses.
fn figures(view: &View) -> Vec<Row> {
    let name = |name: &str| Cell::new(format!("{name:13}"), Tone::Faint);
    let connections = Cell::text(format!("{} open", view.sample.connections));
    let Some(rates) = &view.rates else {
        let wait = || Cell::new("…", Tone::Faint);
        return vec![
            vec![name("requests"), wait()],
            vec![name("latency"), wait()],
            vec![name("statuses"), wait()],
            vec![name("connections"), connections],
        ];
    };
    let errors = rates.errors();
    let tone = if errors > 0.0 { Tone::Bad } else { Tone::Plain };
    let [p50, p90, p99] = rates.percentiles.map(latency);
    let mut statuses = vec![name("statuses")];
    for (class, rate) in CLASSES.iter().zip(rates.classes) {
        let tone = match *class {
            "5xx" if rate > 0.0 => Tone::Bad,
            _ if rate > 0.0 => Tone::Plain,
            _ => Tone::Faint,
        };
        statuses.push(Cell::new(format!("{class} {}/s  ", per_second(rate)), tone));
    }
    vec![
        vec![
            name("requests"),
            Cell::new(format!("{}/s", per_second(rates.requests)), Tone::Strong),
            Cell::new(format!("  errors {}/s", per_second(errors)), tone),
            Cell::text(format!("  in {}/s  out {}/s", bytes(rates.bytes_in), bytes(rates.bytes_out))),
        ],
        vec![
            name("latency"),
            Cell::text(format!("p50 {p50}  p90 {p90}  p99 {p99}")),
            Cell::new(format!("  (last {:.0} s)", rates.seconds), Tone::Faint),
        ],
        statuses,
        vec![name("connections"), connections],
    ]
}

/// Caches in a line, where there are any: hit ratio since the start, and room.
fn caches(view: &View) -> Option<Row> {
    let lines = list(&view.caches, "caches").iter().filter_map(|cache| {
        let ratio = hit_ratio(cache).unwrap_or_else(|| "-".to_owned());
        Some(format!("{} {ratio} hits, {}", text(cache, "name"), room(cache)?))
    });
    let lines: Vec<String> = lines.collect();
    let name = Cell::new(format!("{:13}", "caches"), Tone::Faint);
    (!lines.is_empty()).then(|| vec![name, Cell::text(lines.join("; "))])
}

/// A rate with as many digits as anyone needs.
pub(super) fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

pub(super) fn latency(latency: Latency) -> String {
    match latency {
        Latency::Unknown => "-".to_owned(),
        Latency::About(value) => milliseconds(value),
        Latency::Above(value) => format!(">{}", milliseconds(value)),
    }
}

/// Characters of the bar of a share.
const BAR: usize = 10;

fn backends(view: &View) -> Vec<Row> {
    let row = |upstream: &str, it: &Value| {
        let key = (upstream.to_owned(), text(it, "address").to_owned());
        let share = view.rates.as_ref().and_then(|rates| rates.shares.get(&key)).copied();
        let average = it.pointer("/latency/last_60s/mean_ms").and_then(Value::as_f64);
        vec![
            Cell::text(format!("{upstream}/{}", text(it, "name"))),
            table::state(text(it, "state")),
            weight(it),
            Cell::text(share.map_or_else(String::new, bar)),
            Cell::number(number(it, "in_flight").to_string()),
            Cell::number(number(it, "failures").to_string()),
            Cell::number(average.map_or_else(|| "-".to_owned(), milliseconds)),
            Cell::number(format!("{}/s", bytes(number(it, "bytes_per_second") as f64))),
            Cell::text(text(it, "why")),
        ]
    };
    let of = |upstream: &Value| {
        let name = text(upstream, "name").to_owned();
        list(upstream, "backends").iter().map(|it| row(&name, it)).collect::<Vec<_>>()
    };
    let rows: Vec<Row> = list(&view.upstreams, "upstreams").iter().flat_map(of).collect();
    let heading = ["backend", "state", "weight", "share", "in flight", "failures", "average", "bytes", "why"];
    table(&heading, &rows)
}

/// A share as a bar and a number.
fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float beyond the range becomes its end"
    )]
    let full = (share * BAR as f64).round() as usize;
    let full = full.min(BAR);
    format!("{}{} {:3.0} %", "#".repeat(full), "-".repeat(BAR - full), share * 100.0)
}

/// The newest errors, and how long ago each was.
fn errors(view: &View) -> Vec<Row> {
    let now = view.sample.at;
    let row = |it: &Value| {
        let age = now.saturating_sub(number(it, "at")) / 1000;
        let backend = match (text(it, "upstream"), text(it, "backend")) {
            ("", _) => String::new(),
            (upstream, "") => upstream.to_owned(),
            (upstream, backend) => format!("{upstream}/{backend}"),
        };
        vec![
            Cell::number(format!("{} ago", span(age))),
            Cell::number(number(it, "status").to_string()),
            Cell::text(format!("{} {}", text(it, "method"), text(it, "path"))),
            Cell::text(backend),
            Cell::text(format!("{}: {}", text(it, "kind"), text(it, "detail"))),
        ]
    };
    let rows: Vec<Row> = list(&view.traffic, "errors").iter().take(ERRORS).map(row).collect();
    match rows.is_empty() {
        true => Vec::new(),
        false => table(&["recent errors", "status", "request", "backend", "what"], &rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{answers::example_of_caches, watch::view::example_of_view as view};

    #[test]
    fn everything_is_in_a_large_window() {
        let lines = frame(&view(), 200, 40, false);
        let text = lines.join("\n");
        for part in [
            "Pointsman 0.1.0  process 4711  up 2h 5m  generation 3",
            "requests     1234/s  errors 2.4/s  in 1.0 KiB/s  out 2.0 KiB/s",
            "latency      p50 1.2 ms  p90 12 ms  p99 >10.0 s  (last 10 s)",
            "2xx 1230/s",
            "connections  3 open",
            "app/a    up         3*  #####-----  50 %",
            "connection refused",
            "3s ago     502  GET /4",
        ] {
            assert!(
                text.contains(
                    &part
                        .replace("connections3", "connections 3")
                        .replace("connections 3 open", "connections  3 open")
                ),
                "{part}\n{text}"
            );
        }
    }

    #[test]
    fn caches_have_a_line_where_there_are_any() {
        let lines = frame(&View { caches: example_of_caches(), ..view() }, 200, 40, false);
        assert_eq!(lines[6], "caches       pages 93.1 % hits, 3.0 MiB of 256.0 MiB");
        let without = frame(&view(), 200, 40, false);
        assert_eq!(lines.len(), without.len() + 1);
        assert!(!without.join("\n").contains("caches"));
    }

    #[test]
    fn every_frame_fits_its_window() {
        let view = view();
        for width in [0, 1, 7, 40, 80, 300] {
            for height in [0, 1, 2, 5, 6, 7, 8, 9, 10, 12, 14, 24, 60] {
                for is_colored in [false, true] {
                    let lines = frame(&view, width, height, is_colored);
                    assert!(lines.len() <= height, "{width}x{height}: {} lines", lines.len());
                }
                let lines = frame(&view, width, height, false);
                assert!(lines.iter().all(|line| line.chars().count() <= width && !line.contains('\n')));
            }
        }
        let small = frame(&view, 80, 12, false).join("\n");
        assert!(small.contains("requests ") && small.contains("app/b"), "{small}");
        let smaller = frame(&view, 80, 9, false).join("\n");
        assert!(smaller.contains("requests ") && smaller.ends_with("… and 2 more"), "{smaller}");
        let middle = frame(&view, 80, 16, false).join("\n");
        assert!(middle.contains("app/b") && middle.contains("GET /0") && middle.contains("more"), "{middle}");
    }

    #[test]
    fn trouble_comes_first_and_the_last_figures_stay() {
        let gone = View { trouble: Some("nothing listens there".into()), note: Some("x".into()), ..view() };
        let lines = frame(&gone, 100, 20, false);
        assert_eq!(lines[1], "nothing listens there");
        assert!(lines.join("\n").contains("1234/s"));
        let mut refused = view();
        refused.status["last_reload"]["ok"] = false.into();
        assert!(frame(&refused, 100, 20, false)[1].contains("REFUSED"));
        let note = View { note: Some("process 8 took over".into()), ..view() };
        assert_eq!(frame(&note, 100, 20, false)[1], "process 8 took over");
    }
}
