//! Active checks and passive ejection, as configured.

use std::time::Duration;

use serde_json::json;

use crate::schema::{Data, Node, Reader, Table, Value, choice, name, section};

choice! {
    /// The kind of check.
    pub enum CheckKind {
        /// Sends `GET` for a path; only the status decides, and the body is ignored.
        Http = "http",
        /// Connects, then exchanges `send` and `expect` if given.
        Tcp = "tcp",
        /// Sends `send` as a datagram and waits for one that contains `expect`.
        Udp = "udp",
        /// Asks the backend's `grpc.health.v1.Health`, over HTTP/2, whether `service` is serving.
        Grpc = "grpc",
    }
}

choice! {
    /// State of a backend before its first check.
    pub enum InitialState {
        /// Up.
        Up = "up",
        /// Down until a check passes.
        Down = "down",
    }
}

section! {
    /// Active health checks; on when the table is present.
    pub struct HealthCheckConf {
        /// The kind of check.
        pub kind: CheckKind = "http";
        /// Path to request (`http`).
        pub path: String = "/healthz";
        /// `Host` to send (`http`, `grpc`); empty = the backend's address.
        pub host: String = "";
        /// Extra header fields to send (`http`, `grpc`), such as `{ authorization = "Bearer …" }`.
        pub headers: Vec<(String, String)> = {};
        /// Port to check instead of the backend's.
        pub port: Option<u16>, in 1 to 65535;
        /// Service to ask about (`grpc`); empty = the server as a whole.
        pub service: String = "";
        /// Statuses that pass (`http`): single ones or ranges.
        pub expect_status: Vec<StatusRange> = ["200-399"];
        /// What to send after connecting (`tcp`) or as a datagram (`udp`). Write unprintable bytes as in "\\u0000".
        pub send: String = "";
        /// What the answer must contain (`tcp`, `udp`); empty = anything.
        pub expect: String = "";
        /// Time between checks.
        pub interval: Duration = "2s", in "10ms" to "1d";
        /// A check fails after this long without an answer.
        pub timeout: Duration = "1s", in "1ms" to "1h";
        /// Passed checks in a row that mark a backend up.
        pub rise: u32 = 2, in 1 to 1000;
        /// Failed checks in a row that mark a backend down.
        pub fall: u32 = 3, in 1 to 1000;
        /// State of a backend before its first check.
        pub initial: InitialState = "up";
    }
    check Self::check;
}

/// Fields that say how a check is sent.
const OURS: [&str; 5] = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];

impl HealthCheckConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if !self.path.starts_with('/') || self.path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let message = format!("`{}` is not a path", self.path);
            let hint = "a path must begin with `/` and contain no spaces";
            table.reader.problem_with(table.place_of("path"), message, hint);
        }
        if self.expect_status.is_empty() && table.places_in("expect_status").is_empty() {
            let message = "no status passes this check";
            let hint = "list statuses, such as [\"200-399\"], or leave the key out";
            table.reader.problem_with(table.place_of("expect_status"), message, hint);
        }
        if http::HeaderValue::from_str(&self.host).is_err() {
            let message = "the value of `host` is not allowed in a header";
            table.reader.problem_with(
                table.place_of("host"),
                message,
                "it cannot contain control characters",
            );
        }
        name::check_header_fields(table.entries_of("headers"), table.reader);
        name::check_spellings(table.entries_of("headers"), table.reader);
        for entry in table.entries_of("headers") {
            if OURS.contains(&entry.key.to_ascii_lowercase().as_str()) {
                let message = format!("`{}` cannot be set", entry.key);
                let hint = "the check sets this header itself; set the host with `host`";
                table.reader.problem_with(entry.place, message, hint);
            }
        }
        let only = match self.kind {
            CheckKind::Http => ["send", "expect", "service"].as_slice(),
            CheckKind::Tcp | CheckKind::Udp => &["path", "host", "headers", "expect_status", "service"],
            CheckKind::Grpc => &["path", "expect_status", "send", "expect"],
        };
        if self.kind == CheckKind::Udp && self.send.is_empty() {
            let message = "a check of kind `udp` has nothing to send: `send` is empty";
            let hint = "set `send` to a request that the server answers, and `expect` to part of the answer";
            table.reader.missing(table.place_of("kind"), message, hint);
        }
        // A message and its length are smaller than any window.
        if self.service.len() > 1024 {
            let message = "the service name is too long";
            table.reader.problem_with(table.place_of("service"), message, "it may have at most 1,024 bytes");
        }
        for key in only {
            if let Some(entry) = table.entry(key) {
                let kind = self.kind.name();
                let message = format!("`{key}` has no effect in a check of kind `{kind}`");
                table.reader.problem_with(entry.place, message, "leave it out, or set `kind`");
            }
        }
    }
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The least that passes.
    pub first: u16,
    /// The greatest that passes.
    pub last: u16,
}

impl StatusRange {
    /// Whether `status` is in the range.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl Value for StatusRange {
    fn kind() -> String {
        "a status or a range of statuses".into()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"},
            {"type": "integer", "minimum": 100, "maximum": 599},
        ]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.data {
            Data::Integer(number) => number.to_string(),
            _ => reader.text(node, "a status, such as \"200\" or \"200-399\"")?.to_owned(),
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let bound = |text: &str| {
            let status: Option<u16> = text.trim().parse().ok();
            status.filter(|status| (100..=599).contains(status))
        };
        match (bound(first), bound(last)) {
            (Some(first), Some(last)) if first <= last => return Some(Self { first, last }),
            (Some(first), Some(last)) => {
                let message = format!("the range `{text}` is empty");
                reader.problem_with(node.place, message, format!("did you mean `{last}-{first}`?"));
            }
            _ => {
                let message = format!("`{text}` is not a status");
                let hint = "use a status from 100 to 599, \"200\", or a range, \"200-399\"";
                reader.problem_with(node.place, message, hint);
            }
        }
        None
    }
}

section! {
    /// Passive health checks (outlier detection): backends that fail real requests are ejected for a while.
    pub struct OutlierConf {
        /// Failures in a row (connect errors, timeouts, resets, responses that are no HTTP, 502, 503, 504) that eject a backend; 0 = off. A response that is too large for `limits` is none.
        pub consecutive_failures: u32 = 5, in 0 to 1000000;
        /// Percentage of failed requests within `window` that ejects a backend; 0 = off.
        pub failure_percent: u32 = 50, in 0 to 100;
        /// Fewest requests within `window` for `failure_percent` to apply.
        pub minimum_requests: u32 = 20, in 1 to 1000000;
        /// Time over which `failure_percent` is measured.
        pub window: Duration = "10s", in "100ms" to "1d";
        /// How long an ejection lasts, times the number of recent ejections; at most five minutes, unless this is longer.
        pub base_ejection: Duration = "30s", in "1ms" to "1d";
        /// Largest percentage of the backends that may be ejected at once (one always may be). Backends that active checks mark down do not count.
        pub max_ejected_percent: u32 = 50, in 0 to 100;
    }
}
