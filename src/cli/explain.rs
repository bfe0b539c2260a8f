//! `pointsman explain`: why a request goes where it goes, as text.

use std::{
    fmt::Write,
    io::{self, Write as _},
    process::ExitCode,
};

use super::{Failure, Format, Request, Status, print, start};
use crate::{
    config::{
        Loaded,
        origins::{self, Origin},
    },
    explain::{self, Answer, CacheAnswer, Decision, Destination, FileAnswer, Outcome, Question, Routed},
    runtime::build::build_apart,
};

/// Status when no route takes the request.
const NO_ROUTE: u8 = 3;

/// Reads and builds the configuration, asks it, and prints the answer of each listener.
pub(super) fn explain(request: Request) -> Status {
    let Request { file, method, url, headers, from, http2, format } = request;
    // Where one stands alone it is the URL.
    let (method, url) = match url {
        Some(url) => (method, url),
        None if method.contains("://") => ("GET".to_owned(), method),
        None => {
            return Err(Failure::usage(format!(
                "`{method}` is not a URL; write METHOD and URL, or only a URL"
            )));
        }
    };
    let fields = headers.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    let loaded = start::look(file)?;
    if let Some(problem) = loaded.fleet.as_ref().and_then(|fleet| fleet.problem.as_deref()) {
        // With standard error closed nobody reads it.
        let _ = writeln!(io::stderr(), "note: {problem}; the last good copy is explained");
    }
    let snapshot = build_apart(loaded.config.clone()).map_err(Failure::usage)?;
    let question = Question { method, url, fields, from, is_http2: http2, is_running: false };
    let answers = explain::explain(&snapshot, &question).map_err(Failure::usage)?;
    let has_route = answers.iter().any(Answer::has_route);
    print(&match format {
        Format::Json => {
            let listeners: serde_json::Value =
                answers.iter().map(|answer| with_origins(answer, &loaded)).collect();
            let report = serde_json::json!({"routed": has_route, "listeners": listeners});
            format!("{report:#}\n")
        }
        Format::Text => answers.iter().map(|answer| text(answer, &loaded)).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(if has_route { ExitCode::SUCCESS } else { ExitCode::from(NO_ROUTE) })
}

fn field(line: &str) -> Result<(String, String), Failure> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| Failure::usage(format!("`{line}` is not a header; write it as `Name: value`")))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn text(answer: &Answer, loaded: &Loaded) -> String {
    let mut out = String::new();
    // Writing to a `String` does not fail.
    let _ =
        write_answer(answer, &mut out).and_then(|()| write_origins(&origins_of(answer, loaded), &mut out));
    out
}

/// Where what the route says is said.
fn origins_of(answer: &Answer, loaded: &Loaded) -> Vec<Origin> {
    match &answer.outcome {
        Outcome::Routed(routed) => origins::of_route(loaded, &routed.route),
        Outcome::NotAdmitted | Outcome::Refused(..) | Outcome::NoPassage(_) | Outcome::NoRoute => Vec::new(),
    }
}

fn write_origins(origins: &[Origin], out: &mut String) -> std::fmt::Result {
    if !origins.is_empty() {
        writeln!(out, "  the route's keys are set in")?;
    }
    let width = origins.iter().map(|origin| origin.key.chars().count()).max().unwrap_or(0);
    for Origin { key, file, line } in origins {
        writeln!(out, "    {key:width$}  {}:{line}", file.display())?;
    }
    Ok(())
}

fn with_origins(answer: &Answer, loaded: &Loaded) -> serde_json::Value {
    let mut json = answer.to_json();
    let keys = origins_of(answer, loaded).into_iter().map(|Origin { key, file, line }| {
        serde_json::json!({"key": key, "file": file.display().to_string(), "line": line})
    });
    if let Some(object) = json.as_object_mut() {
        object.insert("route_keys".to_owned(), keys.collect());
    }
    json
}

fn write_answer(answer: &Answer, out: &mut String) -> std::fmt::Result {
    writeln!(out, "listener {} ({})", answer.listener, answer.address)?;
    writeln!(out, "  client {}", answer.client)?;
    if !answer.considered.is_empty() {
        writeln!(out, "  routes")?;
        let width = answer.considered.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, verdict) in &answer.considered {
            writeln!(out, "    {name:width$}  {verdict}")?;
        }
    }
    match &answer.outcome {
        Outcome::NotAdmitted => {
            writeln!(out, "  the connection is closed: `allow` and `deny` reject the client")
        }
        Outcome::Refused(status, why) => writeln!(out, "  refused with {status}: {why}"),
        Outcome::NoPassage(why) => writeln!(out, "  {why}"),
        Outcome::NoRoute => writeln!(out, "  no route: 404"),
        Outcome::Routed(routed) => write_routed(routed, out),
    }
}

fn write_file(found: Option<&FileAnswer>, out: &mut String) -> std::fmt::Result {
    match found {
        None => Ok(()),
        Some(FileAnswer::File { name, encoding, content_type, bytes }) => {
            write!(out, "    answers 200 with {name}: {bytes} bytes of {content_type}")?;
            writeln!(out, "{}", encoding.map_or(String::new(), |encoding| format!(" in {encoding}")))
        }
        Some(FileAnswer::Folder) => writeln!(out, "    redirects with 308 to the folder, with a slash added"),
        Some(FileAnswer::Nothing(status)) => writeln!(out, "    answers {status}: none of them exists"),
    }
}

fn write_routed(routed: &Routed, out: &mut String) -> std::fmt::Result {
    writeln!(out, "  route {}", routed.route)?;
    match &routed.action {
        Decision::Redirect { status, location } => {
            writeln!(out, "    redirects with {status} to {location}")?
        }
        Decision::Respond { status, bytes: 0, .. } => writeln!(out, "    answers {status} without a body")?,
        Decision::Respond { status, content_type, bytes } => {
            writeln!(out, "    answers {status} with {bytes} bytes of {content_type}")?;
        }
        Decision::Files { names, found } => {
            writeln!(out, "    looks for {}", names.join(", then "))?;
            write_file(found.as_ref(), out)?;
        }
        Decision::Pass { destinations } => {
            for destination in destinations {
                write_destination(destination, "reset", out)?;
            }
        }
        Decision::Forward { files, head, destinations, cache } => {
            if !files.is_empty() {
                writeln!(out, "    looks for {}; otherwise it goes on", files.join(", then "))?;
            }
            if let Some(cache) = cache {
                write_cache(cache, out)?;
            }
            writeln!(out, "  a backend gets")?;
            for line in head {
                writeln!(out, "    {line}")?;
            }
            for destination in destinations {
                write_destination(destination, "503", out)?;
            }
        }
    }
    if !routed.filters.is_empty() {
        writeln!(out, "    filters, in this order: {}", routed.filters.join(", "))?;
    }
    if let Some((upstream, percent)) = &routed.mirror {
        writeln!(out, "    copies {percent} % of its requests to {upstream}")?;
    }
    if !routed.response_edits.is_empty() {
        writeln!(out, "  the response's headers")?;
        for edit in &routed.response_edits {
            writeln!(out, "    {edit}")?;
        }
    }
    Ok(())
}

fn write_cache(cache: &CacheAnswer, out: &mut String) -> std::fmt::Result {
    match cache.is_storing {
        true => writeln!(out, "  cache {}: {}", cache.name, cache.why)?,
        // It stores nothing, and passes what has no use for it.
        false if cache.key.is_none() => return Ok(()),
        false => writeln!(out, "  identical concurrent requests are collapsed")?,
    }
    if let Some(key) = &cache.key {
        // Fields that are part of it are behind line breaks.
        writeln!(out, "    key: {}", key.replace('\n', " + "))?;
        match cache.apart {
            None => writeln!(out, "    waits for a fetch in flight, if there is one")?,
            Some(why) => writeln!(out, "    fetches on its own: {why}")?,
        }
    }
    Ok(())
}

fn write_destination(destination: &Destination, otherwise: &str, out: &mut String) -> std::fmt::Result {
    let Destination { upstream, percent, balance, backends, pick, is_queued } = destination;
    write!(out, "  upstream {upstream} ({balance}")?;
    if *percent < 100.0 {
        write!(out, ", {percent:.1} % of this route")?;
    }
    writeln!(out, ")")?;
    let width = backends.iter().map(|backend| backend.name.chars().count()).max().unwrap_or(0);
    for backend in backends {
        let sign = if backend.is_candidate { '+' } else { '-' };
        let address = if backend.address == backend.name { "" } else { &format!("{}, ", backend.address) };
        writeln!(
            out,
            "    {sign} {:width$}  {address}weight {}: {}",
            backend.name, backend.weight, backend.why
        )?;
    }
    match pick {
        Some(choice) => writeln!(out, "    pick: {} ({})", choice.backend, choice.why),
        None if *is_queued => writeln!(out, "    pick: none is free, so it waits in the queue"),
        None => writeln!(out, "    pick: none, so {otherwise}"),
    }
}
