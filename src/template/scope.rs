//! What placeholders are filled from.

use regex::Regex;

use crate::exchange::Exchange;

/// Where a request came and goes, by name; empty where that is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The listener that it came over.
    pub listener: &'a str,
    /// The route that took it.
    pub route: &'a str,
    /// The backend that answered, or was asked last.
    pub backend: &'a str,
    /// The regular expressions of the route's paths.
    pub captures: &'a [Regex],
}

/// A request, and where it came and goes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The request.
    pub exchange: &'a Exchange,
    /// Where it came and goes.
    pub place: Place<'a>,
}
