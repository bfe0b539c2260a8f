//! What the live view shows, before it has a form.

use serde_json::Value;

#[cfg(test)]
use super::rates::Latency;
use super::rates::{Rates, Sample};
#[cfg(test)]
use crate::cli::answers;

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) status: Value,
    pub(super) traffic: Value,
    pub(super) upstreams: Value,
    pub(super) caches: Value,
    pub(super) sample: Sample,
    /// `None` until there are two looks to compare.
    pub(super) rates: Option<Rates>,
    /// Why the last look gave nothing.
    pub(super) trouble: Option<String>,
    /// What is worth knowing of the last steps: another process, another generation.
    pub(super) note: Option<String>,
}

/// A view with all there is.
#[cfg(test)]
pub(super) fn example_of_view() -> View {
    let (mut status, upstreams) = answers::example();
    status["last_reload"]["ok"] = true.into();
    let error = |path: &str| {
        serde_json::json!({"at": 97_000, "status": 502, "method": "GET", "path": path, "upstream": "app",
            "backend": "b", "kind": "connect", "detail": "connection refused"})
    };
    let errors: Vec<Value> = (0..5).map(|number| error(&format!("/{number}"))).collect();
    let traffic = serde_json::json!({"at": 100_000, "connections": 3, "errors": errors});
    let sample = Sample::read(&status, &traffic, &upstreams);
    let rates = Rates {
        requests: 1234.4,
        classes: [0.0, 1230.0, 0.0, 2.0, 2.4, 0.0],
        bytes_in: 1024.0,
        bytes_out: 2048.0,
        percentiles: [Latency::About(1.25), Latency::About(12.0), Latency::Above(10_000.0)],
        seconds: 10.0,
        shares: [(("app".to_owned(), "10.0.0.1:80".to_owned()), 0.5)].into(),
    };
    let caches = Value::Null;
    View { status, traffic, upstreams, caches, sample, rates: Some(rates), trouble: None, note: None }
}
