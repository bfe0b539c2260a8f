//! Prometheus' text format, version 0.0.4: families of samples with labels.

use std::fmt::{Display, Write};

use crate::telemetry::metrics::{BOUNDS, HistogramSum};

/// What a family's samples are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels as they are between the braces, escaped.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        pairs.iter().fold(Self::default(), |labels, (name, value)| labels.with(name, value))
    }

    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut text = String::with_capacity(self.0.len() + name.len() + value.len() + 4);
        text.push_str(&self.0);
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        Self(text)
    }
}

/// The text as it grows. Writing to a string cannot fail, so what `write!` gives is let go.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    /// Name of the present family.
    name: &'static str,
    /// The `le` label of each bucket.
    bounds: Vec<String>,
}

impl Text {
    pub(super) fn new() -> Self {
        let seconds = BOUNDS.iter().map(|micros| format!("le=\"{}\"", *micros as f64 / 1e6));
        let bounds = seconds.chain([r#"le="+Inf""#.to_owned()]).collect();
        Self { out: String::new(), name: "", bounds }
    }

    /// Begins a family; its samples follow. `name` lacks the common prefix.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let _ = writeln!(self.out, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {}", kind.name());
    }

    pub(super) fn sample(&mut self, labels: &Labels, value: impl Display) {
        let (out, name) = (&mut self.out, self.name);
        let _ = match labels.0.is_empty() {
            true => writeln!(out, "{PREFIX}{name} {value}"),
            false => writeln!(out, "{PREFIX}{name}{{{}}} {value}", labels.0),
        };
    }

    /// A histogram; its buckets are cumulative here. `labels` must not be empty.
    pub(super) fn histogram(&mut self, labels: &Labels, sum: &HistogramSum) {
        let (out, name, labels) = (&mut self.out, self.name, &labels.0);
        let mut count = 0;
        for (bound, bucket) in self.bounds.iter().zip(&sum.buckets) {
            count += bucket;
            let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},{bound}}} {count}");
        }
        let seconds = sum.micros as f64 / 1e6;
        let _ = writeln!(out, "{PREFIX}{name}_sum{{{labels}}} {seconds}");
        let _ = writeln!(out, "{PREFIX}{name}_count{{{labels}}} {count}");
    }

    /// Begins a family that is not Pointsman's own, by its whole name.
    pub(super) fn plain_family(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    pub(super) fn plain_sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        let _ = match labels.0.is_empty() {
            true => writeln!(self.out, "{name} {value}"),
            false => writeln!(self.out, "{name}{{{}}} {value}", labels.0),
        };
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

const PREFIX: &str = "pointsman_";
