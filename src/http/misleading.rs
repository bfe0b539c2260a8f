//! Fields by which some backends are led to answer for something else than the URI that the answer would be stored
//! under.

use crate::fields::Fields;

/// They go no further where the answer is shared, whoever sends them, since no key has them: a proxy that is trusted may
/// have them from its client.
const MISLEADING: [&str; 10] = [
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether a field of this name is removed from requests whose answer is shared.
pub(super) fn is_removed(name: &[u8]) -> bool {
    MISLEADING.iter().any(|misleading| name.eq_ignore_ascii_case(misleading.as_bytes()))
}

/// Whether a request has fields by which some backends are led to another URI, or method, than it names.
pub(super) fn is_misleading(request: &Fields) -> bool {
    MISLEADING.iter().any(|name| request.get(name).is_some())
}

/// Removes them from a request, but for those that its key has, or whose values are none of the request's.
pub(super) fn remove_misleading(request: &mut Fields, may_stay: impl Fn(&str) -> bool) {
    MISLEADING.iter().filter(|name| !may_stay(name)).for_each(|name| request.remove(name));
}
