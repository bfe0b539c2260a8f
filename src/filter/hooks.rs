//! Where a filter may change a response.

use crate::{exchange::Exchange, template::Place};

/// A filter: what it does not do with a response, it leaves out.
pub(super) trait ResponseFilter {
    /// Changes the head in `exchange.response`, when all else that Pointsman says of a response is in it and nothing of it went out. Called
    /// once for each response, 101 included, and not for interim responses that a backend sends before it.
    fn on_head(&self, _: &mut Exchange, _: Place<'_>) {}
}
