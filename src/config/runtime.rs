//! `[runtime]`: workers and draining.

use std::{num::NonZeroU16, time::Duration};

use serde_json::json;

use crate::schema::{Data, Node, Reader, Size, Value, section};

section! {
    /// The process: worker threads, the memory limit, and draining.
    pub struct RuntimeConf {
        /// Number of worker threads, each with its own event loop; `auto` starts one per core.
        pub workers: Workers = "auto";
        /// Limit on the memory that traffic in progress may use: requests, buffers and bodies. At the limit, new requests are refused with 503. Cached objects do not count. 0 = half the memory of the machine or its control group.
        pub memory: Size = "0", in "0" to "1024TiB";
        /// On shutdown: how long to keep accepting connections while `/readyz` already answers 503, so that load balancers in front can notice.
        pub drain_delay: Duration = "0s", in "0s" to "1h";
        /// On shutdown: how long open connections, requests, and fetches into caches may take to finish; the rest are then closed.
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
