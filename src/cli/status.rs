//! `pointsman status`: what a running Pointsman is and does, on a page.
//!
//! Pure but for asking: a page of text is made of two answers. `--watch` is in `src/cli/watch/`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{
    Status,
    admin::{Question, Running, counted},
    answers::{flag, hit_ratio, list, number, room, text, weight},
    print,
    table::{self, Cell, Row, Tone, bytes, is_colored, milliseconds, span, table},
    watch,
};
use crate::schema::Problem;

/// How the status is shown.
#[derive(Debug, Args)]
pub struct Show {
    /// Show it live: rates, latencies, backends, recent errors; `q` quits.
    #[arg(long)]
    pub watch: bool,
    /// Seconds between updates.
    #[arg(long, value_name = "SECONDS", default_value = "1", requires = "watch", value_parser = watch::seconds)]
    pub interval: std::time::Duration,
    #[command(flatten)]
    #[doc(hidden)]
    pub running: Running,
}

/// Asks and shows.
pub(super) fn status(show: &Show) -> Status {
    if show.watch {
        return watch::watch(&show.running, show.interval);
    }
    let running = &show.running;
    let endpoint = running.endpoint()?;
    let ask =
        |path| endpoint.ask(&Question::get(path)).map_err(|trouble| endpoint.failure(&trouble, running.json));
    let status = ask("/api/v1/status")?;
    let upstreams = ask("/api/v1/upstreams")?;
    let caches = endpoint.ask_if_there(&Question::get("/api/v1/caches"));
    let caches = caches.map_err(|trouble| endpoint.failure(&trouble, running.json))?;
    print(&match running.json {
        true => {
            let mut all = status;
            for (key, answer) in [("upstreams", &upstreams), ("caches", &caches)] {
                if let (Some(all), Some(list)) = (all.as_object_mut(), answer.get(key)) {
                    all.insert(key.to_owned(), list.clone());
                }
            }
            format!("{all:#}\n")
        }
        false => page(&status, &upstreams, &caches, is_colored()),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn page(status: &Value, upstreams: &Value, caches: &Value, is_colored: bool) -> String {
    let mut rows = about(status);
    rows.extend(reload(status));
    rows.push(Row::new());
    rows.extend(listeners(status));
    for upstream in list(upstreams, "upstreams") {
        rows.push(Row::new());
        rows.extend(backends(upstream));
    }
    let caches = self::caches(caches);
    if !caches.is_empty() {
        rows.push(Row::new());
        rows.extend(caches);
    }
    for (title, lines) in [("overrides", overrides(status)), ("certificates", certificates(status))] {
        if !lines.is_empty() {
            rows.push(Row::new());
            rows.push(vec![Cell::new(title, Tone::Strong)]);
            rows.extend(lines);
        }
    }
    table::lines(&rows, is_colored)
}

/// What runs.
fn about(status: &Value) -> Vec<Row> {
    let fact = |name: &str, cell: Cell| vec![Cell::new(format!("{name:12}"), Tone::Faint), cell];
    let mut process = format!(
        "{}, up {}, {}",
        number(status, "pid"),
        span(number(status, "uptime_seconds")),
        counted(usize::try_from(number(status, "workers")).unwrap_or_default(), "worker"),
    );
    if text(status, "role") == "standby" {
        process += ", standby";
    }
    let mut facts = vec![
        fact("version", Cell::text(text(status, "version"))),
        fact("process", Cell::text(process)),
        fact(
            "generation",
            Cell::text(format!("{} ({})", number(status, "generation"), text(status, "config_hash"))),
        ),
    ];
    if flag(status, "draining") {
        let what = "draining: nothing new is accepted";
        facts.push(fact("state", Cell::new(what, Tone::Warning)));
    }
    facts
}

/// How the last reload went.
fn reload(status: &Value) -> Vec<Row> {
    let last = status.get("last_reload").unwrap_or(&Value::Null);
    let title = Cell::new("last reload ", Tone::Faint);
    let how =
        format!("at {} by {}, in {} ms", text(last, "at"), text(last, "cause"), number(last, "took_ms"));
    let (word, tone) = match flag(last, "ok") {
        true => ("OK", Tone::Good),
        false => ("REFUSED; the previous configuration stays in force", Tone::Bad),
    };
    let mut rows = vec![vec![title, Cell::new(word, tone), Cell::text(format!(", {how}"))]];
    for problem in list(last, "problems").iter().filter_map(Problem::from_json) {
        rows.extend(problem.to_string().lines().map(|line| vec![Cell::text(format!("  {line}"))]));
    }
    let notes = list(last, "notes").iter().filter_map(Value::as_str);
    rows.extend(notes.map(|note| vec![Cell::text(format!("  note: {note}"))]));
    rows
}

fn listeners(status: &Value) -> Vec<Row> {
    let row = |it: &Value| {
        let count = |key| Cell::number(number(it, key).to_string());
        vec![
            Cell::text(text(it, "name")),
            Cell::text(text(it, "address")),
            Cell::text(text(it, "protocol")),
            count("connections"),
            count("accepted"),
            count("refused"),
        ]
    };
    let rows: Vec<Row> = list(status, "listeners").iter().map(row).collect();
    table(&["listener", "address", "protocol", "connections", "accepted", "refused"], &rows)
}

/// A heading and the table of an upstream's backends.
fn backends(upstream: &Value) -> Vec<Row> {
    let title = vec![
        Cell::new(format!("upstream {}", text(upstream, "name")), Tone::Strong),
        Cell::text(format!(" ({})", text(upstream, "balance"))),
    ];
    let rows: Vec<Row> = list(upstream, "backends").iter().map(backend).collect();
    let heading = [
        "backend",
        "address",
        "state",
        "weight",
        "in flight",
        "requests",
        "failures",
        "average",
        "bytes/s",
        "why",
    ];
    let mut all = vec![title];
    all.extend(table(&heading, &rows));
    all
}

fn backend(backend: &Value) -> Row {
    let count = |key| Cell::number(number(backend, key).to_string());
    let average = backend.pointer("/latency/last_60s/mean_ms").and_then(Value::as_f64);
    let failures = match number(backend, "failures") {
        0 => Cell::number("0"),
        some => Cell { tone: Tone::Warning, ..Cell::number(some.to_string()) },
    };
    vec![
        Cell::text(text(backend, "name")),
        Cell::text(text(backend, "address")),
        table::state(text(backend, "state")),
        weight(backend),
        count("in_flight"),
        count("requests"),
        failures,
        Cell::number(average.map_or_else(|| "-".to_owned(), milliseconds)),
        Cell::number(bytes(number(backend, "bytes_per_second") as f64)),
        Cell::text(text(backend, "why")),
    ]
}

/// The table of caches, and of routes that collapse requests without one.
fn caches(caches: &Value) -> Vec<Row> {
    let row = |it: &Value| {
        let nothing = Value::Null;
        let requests = it.get("requests").unwrap_or(&nothing);
        let fills = it.get("fills").unwrap_or(&nothing);
        let objects = it.get("stored").and_then(|stored| stored.get("objects")?.as_u64());
        let kind = if text(it, "kind") == "route" { " (route)" } else { "" };
        vec![
            Cell::text(format!("{}{kind}", text(it, "name"))),
            Cell::number(hit_ratio(it).unwrap_or_else(|| "-".to_owned())),
            Cell::text(room(it).unwrap_or_else(|| "-".to_owned())),
            Cell::number(objects.map_or_else(|| "-".to_owned(), |objects| objects.to_string())),
            Cell::number(number(requests, "collapsed").to_string()),
            Cell::number(number(fills, "in_flight").to_string()),
        ]
    };
    let rows: Vec<Row> = list(caches, "caches").iter().map(row).collect();
    match rows.is_empty() {
        true => Vec::new(),
        false => table(&["cache", "hits", "bytes", "objects", "collapsed", "fetches"], &rows),
    }
}

/// What administrators changed.
fn overrides(status: &Value) -> Vec<Row> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |it: &Value| {
        let name = format!("  {}/{}", text(it, "upstream"), text(it, "backend"));
        let (base, value) = (it.get("base").unwrap_or(&Value::Null), it.get("value").unwrap_or(&Value::Null));
        let what = match text(it, "key") {
            key @ ("added" | "removed") => key.to_owned(),
            "weight" => format!("weight* {} instead of {}", plain(value), plain(base)),
            key => format!("{key} {} instead of {}", plain(value), plain(base)),
        };
        vec![Cell::text(name + ": "), Cell::text(what)]
    };
    list(status, "overrides").iter().map(row).collect()
}

/// Certificates that end soon, or have.
fn certificates(status: &Value) -> Vec<Row> {
    let row = |it: &Value| {
        let warning = text(it, "warning");
        let names: Vec<&str> = list(it, "names").iter().filter_map(Value::as_str).collect();
        let what = format!("  {} {} ({}): ", text(it, "listener"), text(it, "chain"), names.join(" "));
        (!warning.is_empty()).then(|| vec![Cell::text(what), Cell::new(warning, Tone::Warning)])
    };
    list(status, "certificates").iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::answers::{example, example_of_caches};

    #[test]
    fn everything_worth_knowing_is_on_the_page() {
        let (status, upstreams) = example();
        let page = page(&status, &upstreams, &example_of_caches(), false);
        let expected = "version     0.1.0
process     4711, up 2h 5m, 2 workers
generation  3 (00ab)
last reload REFUSED; the previous configuration stays in force, at 2026-01-02T03:04:05Z by file, in 12 ms
  p.toml:6:12: there is no upstream `ap`
      6 | upstream = \"ap\"
        |            ^^^^
    hint: did you mean `app`?

listener  address         protocol  connections  accepted  refused
web       127.0.0.1:8080  http                3      1200        0

upstream app (round-robin)
backend  address      state  weight  in flight  requests  failures  average    bytes/s  why
a        10.0.0.1:80  up         3*          2        90         1   1.2 ms  2.0 KiB
b        10.0.0.1:80  down        3          2        90         1   1.2 ms  2.0 KiB  connection refused

cache           hits  bytes                 objects  collapsed  fetches
pages         93.1 %  3.0 MiB of 256.0 MiB       12          7        2
live (route)       -  -                           -          3        1

overrides
  app/a: weight* 3 instead of 1

certificates
  tls a.pem (a.test b.test): it expires in 3 days
";
        let expected = expected.replace("average    bytes/s", "average  bytes/s");
        assert_eq!(page, expected, "{page}");
    }

    #[test]
    fn colours_add_nothing_that_is_not_said() {
        let (mut status, upstreams) = example();
        status["draining"] = true.into();
        let colored = page(&status, &upstreams, &Value::Null, true);
        assert!(colored.contains("\x1b[31mREFUSED"), "{colored}");
        let (mut plain, mut is_code) = (String::new(), false);
        for c in colored.chars() {
            match (is_code, c) {
                (false, '\x1b') => is_code = true,
                (true, 'm') => is_code = false,
                (true, _) => {}
                (false, _) => plain.push(c),
            }
        }
        let trimmed: String = plain.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        assert_eq!(trimmed, page(&status, &upstreams, &Value::Null, false));
        assert!(!trimmed.contains("cache"), "where there are none, nothing is said");
        assert!(trimmed.contains("draining: nothing new is accepted"));
    }

    #[test]
    fn an_answer_of_another_version_is_no_panic() {
        assert!(page(&Value::Null, &json!([]), &json!({"caches": [null]}), false).contains("generation  0"));
    }
}
