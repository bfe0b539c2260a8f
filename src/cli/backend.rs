//! `pointsman drain`, `enable`, `disable` and `weight`: what a backend of a running Pointsman gets.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, Status,
    admin::{Question, Running, segment},
};

/// Which backend, and how long it is to last.
#[derive(Debug, Args)]
pub struct Backend {
    /// The backend's name or address, after the name of its upstream.
    #[arg(value_name = "UPSTREAM/BACKEND")]
    pub backend: String,
    /// Also write it to the configuration file; otherwise only the running program changes.
    #[arg(long)]
    pub persist: bool,
    /// Only on this node; otherwise its peers in a cluster do the same.
    #[arg(long)]
    pub local: bool,
    #[command(flatten)]
    #[doc(hidden)]
    pub running: Running,
}

/// What is to become of a backend.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    Drain,
    Enable,
    Disable,
    Weight(u32),
}

/// Asks for it and prints what the backend is then.
pub(super) fn change(backend: &Backend, wish: Wish) -> Status {
    let path = path(&backend.backend, wish, (backend.persist, backend.local))?;
    let body = match wish {
        Wish::Weight(weight) => Some(json!({"weight": weight}).to_string()),
        Wish::Drain | Wish::Enable | Wish::Disable => None,
    };
    let question = body.as_ref().map_or(Question::post(&path), |body| Question::patch(&path, body));
    backend.running.print_answer(&question, |answer| text(&backend.backend, answer, backend.persist))
}

fn path(backend: &str, wish: Wish, (is_persisted, is_local): (bool, bool)) -> Result<String, Failure> {
    // Names have no slash; the address of a unix socket has.
    let named = backend.split_once('/').filter(|(upstream, name)| !upstream.is_empty() && !name.is_empty());
    let (upstream, name) = named.ok_or_else(|| {
        Failure::usage(format!(
            "`{backend}` is not a backend: write UPSTREAM/BACKEND, as `pointsman status` shows them"
        ))
    })?;
    let action = match wish {
        Wish::Drain => "/drain",
        Wish::Enable => "/enable",
        Wish::Disable => "/disable",
        Wish::Weight(_) => "",
    };
    let query = match (is_persisted, is_local) {
        (false, false) => "",
        (true, false) => "?persist=true",
        (false, true) => "?local=true",
        (true, true) => "?persist=true&local=true",
    };
    let (upstream, name) = (segment(upstream), segment(name));
    Ok(format!("/api/v1/upstreams/{upstream}/backends/{name}{action}{query}"))
}

fn text(backend: &str, answer: &Value, is_persisted: bool) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let state = answer.get("state").and_then(Value::as_str).unwrap_or("unknown");
    let mut text = format!("{backend}: {state}, weight {}", number("weight"));
    if state == "draining" || state == "disabled" {
        text += &format!(", {} in flight", number("in_flight"));
    }
    text += &format!(" (generation {})\n", number("generation"));
    if !is_persisted && answer.get("override").is_some_and(|it| !it.is_null()) {
        text += "The file is not changed; `--persist` writes it there.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_behind_its_upstream() {
        let path =
            |backend| path(backend, Wish::Drain, (false, false)).map_err(|failure| failure.text().to_owned());
        assert_eq!(path("u/b").unwrap(), "/api/v1/upstreams/u/backends/b/drain");
        let unix = "/api/v1/upstreams/u/backends/unix:%2Frun%2Fa%20b.sock/drain";
        assert_eq!(path("u/unix:/run/a b.sock").unwrap(), unix);
        assert_eq!(
            path("größe/[::1]:80").unwrap(),
            "/api/v1/upstreams/gr%C3%B6%C3%9Fe/backends/%5B::1%5D:80/drain"
        );
        for bad in ["u", "u/", "/b", "/", ""] {
            assert!(path(bad).unwrap_err().contains("UPSTREAM/BACKEND"), "{bad}");
        }
        let weight = super::path("u/b", Wish::Weight(3), (true, false)).unwrap();
        assert_eq!(weight, "/api/v1/upstreams/u/backends/b?persist=true");
    }

    #[test]
    fn a_changed_backend_is_printed() {
        let mut answer = json!({"state": "draining", "weight": 2, "in_flight": 7, "generation": 4,
            "override": {"state": {"base": "enabled", "value": "draining"}}});
        let printed = text("u/b", &answer, false);
        assert!(printed.starts_with("u/b: draining, weight 2, 7 in flight (generation 4)\n"), "{printed}");
        assert!(printed.contains("--persist"));
        answer["override"] = Value::Null;
        answer["state"] = "up".into();
        assert_eq!(text("u/b", &answer, false), "u/b: up, weight 2 (generation 4)\n");
    }
}
