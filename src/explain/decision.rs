//! What a route does with a request.

use super::{cached::CacheAnswer, destination::Destination};
use crate::filter::Answer;

/// What a route does with the request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It sends the client elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// It answers itself.
    Respond {
        /// The status.
        status: u16,
        /// The body's media type.
        content_type: String,
        /// The body's length.
        bytes: usize,
    },
    /// It passes the request on.
    Forward {
        /// The head as a backend gets it, a line each.
        head: Vec<String>,
        /// Where to; several where the route splits.
        destinations: Vec<Destination>,
        /// What a cache does with it before.
        cache: Option<Box<CacheAnswer>>,
    },
    /// It passes the connection on.
    Pass {
        /// Where to; several where the route splits.
        destinations: Vec<Destination>,
    },
}

impl Decision {
    /// What is said of an answer that no backend gives.
    pub(super) fn of_answer(answer: Answer) -> Self {
        let Answer { status, fields, body } = answer;
        let text = |name: &str| {
            let value = fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        match text("location") {
            Some(location) => Self::Redirect { status, location },
            None => Self::Respond {
                status,
                content_type: text("content-type").unwrap_or_default(),
                bytes: body.len(),
            },
        }
    }
}
