//! `[runtime]`: workers and draining.

use std::{num::NonZeroU16, time::Duration};

use serde_json::json;

use crate::schema::{Data, Node, Reader, Size, Value, section};

section! {
    /// The process: its workers, and how it stops.
    pub struct RuntimeConf {
        /// Worker threads, one event loop each: `auto` (one per core) or a number.
        pub workers: Workers = "auto";
        /// Memory for what clients and backends have under way: requests, buffers, bodies; beyond, the newest is refused (503). What caches store is not in it. 0 = half of what the machine or the control group has.
        pub memory: Size = "0", in "0" to "1024TiB";
        /// Time during which `/readyz` says 503 and connections are still accepted.
        pub drain_delay: Duration = "0s", in "0s" to "1h";
        /// Time after which what is left is closed.
        pub drain_timeout: Duration = "30s", in "0s" to "1d";
    }
}

/// How many workers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core that the process may use.
    Auto,
    /// So many.
    Count(NonZeroU16),
}

impl Value for Workers {
    fn kind() -> String {
        "`auto` or a number from 1 to 1024".into()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 1024}]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.text() == Some("auto") {
            return Some(Self::Auto);
        }
        let Data::Integer(number) = node.data else {
            reader.wrong_type(node, &Self::kind());
            return None;
        };
        let count = u16::try_from(number).ok().filter(|count| *count <= 1024);
        let count = count.and_then(NonZeroU16::new);
        if count.is_none() {
            let message = format!("`workers` must be from 1 to 1024, not {number}");
            let hint = "`workers = \"auto\"` runs one per core";
            reader.problem_with(node.place, message, hint);
        }
        count.map(Self::Count)
    }
}
