//! Fields by which some backends are led to answer for something else than the URI that the answer would be stored
//! under.

use crate::fields::Fields;

/// From a client that is not trusted they go no further where the answer is shared.
const MISLEADING: [&str; 9] = [
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether a request has fields by which some backends are led to another URI, or method, than it names.
pub(super) fn is_misleading(request: &Fields) -> bool {
    MISLEADING.iter().any(|name| request.get(name).is_some())
}

/// Removes them from a request.
pub(super) fn remove_misleading(request: &mut Fields) {
    MISLEADING.iter().for_each(|name| request.remove(name));
}
