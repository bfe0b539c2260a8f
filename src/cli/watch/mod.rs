//! `pointsman status --watch`: a running Pointsman, live in a terminal; a line per look anywhere else.
//!
//! Threads look, wait for keys and for signals, and send it to one loop, which draws. What is drawn is made by
//! [`frame`] of what [`rates`] makes; [`terminal`] is the only file that touches the terminal. That the
//! endpoint is away for a moment, as in an upgrade, ends nothing.

mod event;
mod frame;
mod line;
mod rates;
mod terminal;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use self::{
    event::{Event, Look},
    frame::frame,
    line::one_line,
    rates::{CLASSES, History, Latency, Sample, WINDOW},
    terminal::Terminal,
    view::View,
};
use super::{
    Failure, Status,
    admin::{Endpoint, Question, Running, Trouble},
    printed,
    table::is_colored,
};

/// How long an answer may take before it is said that there is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 0.5".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("it must be from 0.1 to 3600 seconds".to_owned()),
    }
}

/// Shows it until it is ended.
pub(super) fn watch(running: &Running, interval: Duration) -> Status {
    let endpoint = running.endpoint()?;
    // That nobody answers at all is said once.
    let first = look(&endpoint).map_err(|trouble| endpoint.failure(&trouble, running.json))?;
    let mut live = Live::default();
    live.take(Ok(first));
    match io::stdout().is_terminal() && !running.json {
        true => on_terminal(live, endpoint, interval)
            .map_err(|error| Failure::new(format!("the terminal cannot be used: {error}"))),
        false => {
            printed(in_lines(live, &endpoint, interval, running.json))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn look(endpoint: &Endpoint) -> Result<Look, Trouble> {
    let ask = |path| endpoint.ask(&Question::get(path).patient(PATIENCE));
    Ok(Look {
        status: ask("/api/v1/status")?,
        traffic: ask("/api/v1/traffic")?,
        upstreams: ask("/api/v1/upstreams")?,
        caches: endpoint.ask_if_there(&Question::get("/api/v1/caches").patient(PATIENCE))?,
    })
}

/// Looks, with trouble in a line.
fn look_again(endpoint: &Endpoint) -> Result<Look, String> {
    look(endpoint).map_err(|trouble| {
        let why = endpoint.explain(&trouble);
        format!("{}; trying again", why.lines().next().unwrap_or_default())
    })
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Live {
    history: History,
    view: View,
    noted: u64,
}

impl Live {
    fn take(&mut self, looked: Result<Look, String>) {
        let Look { status, traffic, upstreams, caches } = match looked {
            Ok(look) => look,
            Err(trouble) => {
                self.view.trouble = Some(trouble);
                return;
            }
        };
        let (before, now) = (&self.view.sample, Sample::read(&status, &traffic, &upstreams));
        let note = match before.pid {
            0 => None,
            pid if pid != now.pid => Some(format!("process {} answers now, no longer {pid}", now.pid)),
            _ if before.generation != now.generation => {
                Some(format!("generation {} is in force", now.generation))
            }
            _ => None,
        };
        if note.is_some() {
            (self.view.note, self.noted) = (note, now.at);
        } else if now.at.saturating_sub(self.noted) > WINDOW {
            self.view.note = None;
        }
        self.history.add(now.clone());
        let (rates, note) = (self.history.rates(), self.view.note.take());
        self.view = View { status, traffic, upstreams, caches, sample: now, rates, trouble: None, note };
    }
}

/// A line for each look, until nobody reads any more.
fn in_lines(mut live: Live, endpoint: &Endpoint, interval: Duration, is_json: bool) -> io::Result<()> {
    loop {
        let line = if is_json { json(&live.view).to_string() } else { one_line(&live.view) };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())?;
        drop(out);
        thread::sleep(interval);
        live.take(look_again(endpoint));
    }
}

/// A line for scripts.
fn json(view: &View) -> Value {
    if let Some(trouble) = &view.trouble {
        return json!({"trouble": trouble});
    }
    let sample = &view.sample;
    let rates = view.rates.as_ref().map(|rates| {
        let latency = |latency| match latency {
            Latency::Unknown => Value::Null,
            Latency::About(value) | Latency::Above(value) => json!(value),
        };
        let [p50, p90, p99] = rates.percentiles.map(latency);
        let classes: serde_json::Map<String, Value> = CLASSES
            .iter()
            .zip(rates.classes)
            .map(|(class, rate)| ((*class).to_owned(), json!(rate)))
            .collect();
        json!({
            "requests": rates.requests, "errors": rates.errors(), "classes": classes,
            "bytes_in": rates.bytes_in, "bytes_out": rates.bytes_out,
            "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "window_seconds": rates.seconds,
        })
    });
    json!({
        "at": sample.at, "pid": sample.pid, "generation": sample.generation,
        "connections": sample.connections, "per_second": rates,
    })
}

/// Draws after each event, until it is to end.
fn on_terminal(mut live: Live, endpoint: Endpoint, interval: Duration) -> io::Result<ExitCode> {
    let (sender, events) = channel();
    let terminal = Terminal::open(&sender)?;
    look_on(sender, endpoint, interval);
    let is_colored = is_colored();
    loop {
        let (width, height) = terminal.size();
        terminal.draw(&frame(&live.view, width, height, is_colored))?;
        match events.recv() {
            Ok(Event::Looked(looked)) => live.take(*looked),
            Ok(Event::Resized) => {}
            Ok(Event::Key(key)) if terminal::ends(key) => break,
            Ok(Event::Key(_)) => {}
            Ok(Event::Quit) | Err(_) => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn look_on(sender: Sender<Event>, endpoint: Endpoint, interval: Duration) {
    thread::spawn(move || {
        loop {
            thread::sleep(interval);
            if sender.send(Event::Looked(Box::new(look_again(&endpoint)))).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::example;

    fn look(pid: u64, generation: u64, at: u64, requests: u64) -> Look {
        let (mut status, upstreams) = example();
        (status["pid"], status["generation"]) = (pid.into(), generation.into());
        let traffic = json!({"at": at, "requests": requests, "connections": 1,
            "classes": {"1xx": 0, "2xx": requests, "3xx": 0, "4xx": 0, "5xx": 0, "none": 0},
            "latency": {"bounds_seconds": [0.001], "counts": [requests, 0]}, "errors": []});
        Look { status, traffic, upstreams, caches: Value::Null }
    }

    #[test]
    fn an_upgrade_is_seen_and_survived() {
        let mut live = Live::default();
        live.take(Ok(look(7, 1, 1_000, 10)));
        live.take(Ok(look(7, 1, 2_000, 20)));
        assert_eq!(live.view.rates.as_ref().unwrap().requests, 10.0);
        assert_eq!(json(&live.view)["per_second"]["requests"], 10.0);
        live.take(Err("nobody; trying again".into()));
        assert_eq!(live.view.trouble.as_deref(), Some("nobody; trying again"));
        assert!(live.view.rates.is_some(), "what was there is still shown");
        assert_eq!(json(&live.view), json!({"trouble": "nobody; trying again"}));
        live.take(Ok(look(8, 2, 4_000, 3)));
        assert_eq!((&live.view.trouble, &live.view.rates), (&None, &None), "no rates over such a step");
        assert!(live.view.note.as_deref().unwrap().contains("process 8"));
        live.take(Ok(look(8, 2, 5_000, 8)));
        assert_eq!(live.view.rates.as_ref().unwrap().requests, 5.0);
        assert!(live.view.note.is_some());
        live.take(Ok(look(8, 2, 20_000, 8)));
        assert_eq!(live.view.note, None, "it is old");
        live.take(Ok(look(8, 3, 21_000, 8)));
        assert_eq!(live.view.note.as_deref(), Some("generation 3 is in force"));
    }

    #[test]
    fn an_interval_is_in_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "x", "NaN", "inf", "4000", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
