//! Further attempts, as configured.

use serde_json::json;

use crate::schema::{Data, Node, Reader, Size, Value, section, suggest};

section! {
    /// Retries of failed requests, on another backend if there is one.
    pub struct RetryConf {
        /// Attempts in all, including the first; 1 = no retries.
        pub attempts: u32 = 2, in 1 to 100;
        /// Failures to retry: `connect`, `reset`, a status, or `grpc-unavailable`, which is a gRPC call answered with nothing but `grpc-status` 14 and is retried even if it is not idempotent.
        pub on: Vec<RetryOn> = ["connect", "reset", "502", "503", "504"];
        /// Also retry requests that are not idempotent, such as `POST`. After a failed connect, any request is retried.
        pub non_idempotent: bool = false;
        /// How much of a request body to keep for retries; once more than this was sent, the request is not retried.
        pub replay_bytes: Size = "64KiB", in "0" to "64MiB";
        /// Retry budget: retries allowed, as a percentage of the upstream's requests over about the last ten seconds.
        pub budget_percent: u32 = 20, in 0 to 1000;
        /// Retries allowed per second on top of that, however little traffic there is.
        pub budget_min_per_second: u32 = 10, in 0 to 1000000;
    }
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    Connect,
    /// The connection broke before the response's head.
    Reset,
    /// The backend answered a call of gRPC with `UNAVAILABLE` alone.
    GrpcUnavailable,
    /// The backend answered with this status.
    Status(u16),
}

impl Value for RetryOn {
    fn kind() -> String {
        "`connect`, `reset`, `grpc-unavailable` or a status".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(connect|reset|grpc-unavailable|[45][0-9]{2})$"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.data {
            Data::Integer(number) => number.to_string(),
            _ => reader.text(node, &Self::kind())?.to_owned(),
        };
        match text.as_str() {
            "connect" => return Some(Self::Connect),
            "reset" => return Some(Self::Reset),
            "grpc-unavailable" => return Some(Self::GrpcUnavailable),
            _ => {}
        }
        let status: Option<u16> = text.parse().ok();
        match status {
            Some(status) if (400..=599).contains(&status) => return Some(Self::Status(status)),
            Some(_) => {
                let message = format!("`{text}` is not a status that can be retried");
                reader.problem_with(node.place, message, "only statuses from 400 to 599 can");
            }
            None => {
                let message = format!("`{text}` is not a condition that can be retried");
                let hint = suggest::did_you_mean(
                    &text,
                    ["connect", "reset", "grpc-unavailable", "502", "503", "504"],
                );
                reader.problem_with(node.place, message, hint);
            }
        }
        None
    }
}
