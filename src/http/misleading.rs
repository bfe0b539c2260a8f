//! Fields by which some backends are led to answer for something else than the URI that the answer would be stored
//! under.
//!
//! They go no further where the answer is shared, whoever sends them, since no key has them: a proxy that is trusted may
//! have them from its client. Other spellings of them (`x_host`) go no further anywhere (`http::received`).

use crate::fields::{Fields, Known, MISLEADING, is_respelled};

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

/// Removes other spellings of what an answer is stored by: of these names, which its key or a condition has, and of those that
/// caches look at (`Accept_Encoding`). Some backends answer by them, and others would get that answer who never sent them.
pub(super) fn remove_respelled<'n>(request: &mut Fields, names: impl Iterator<Item = &'n str>) {
    remove_spellings(request, names, |name| Known::of_respelled(name).is_named());
}

/// Removes other spellings of the fields by which routes are chosen: some backends take `x_admin` for `X-Admin`, and whom a
/// condition keeps from saying the one would say the other.
pub(super) fn remove_respelled_conditions<'n>(request: &mut Fields, names: impl Iterator<Item = &'n str>) {
    remove_spellings(request, names, |_| false);
}

/// Removes other spellings of these names that are not themselves among them, and what else is told to be one.
fn remove_spellings<'n>(
    request: &mut Fields,
    names: impl Iterator<Item = &'n str>,
    is_another: impl Fn(&[u8]) -> bool,
) {
    // Only where `underscores` lets them pass.
    if !request.has(Known::Underscored) {
        return;
    }
    let names: Vec<&str> = names.collect();
    request.retain(|field| {
        let is_meant = || names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let is_respelling = || names.iter().any(|name| is_respelled(field.name, name.as_bytes()));
        field.known != Known::Underscored || is_meant() || !(is_another(field.name) || is_respelling())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_the_key_are_removed() {
        let mut fields = Fields::default();
        let names = ["X-Tenant", "X_Tenant", "x.tenant", "accept_encoding", "x_api_key", "x_tenants"];
        names.iter().for_each(|name| fields.push(name, b"1"));
        remove_respelled(&mut fields, ["x-tenant"].into_iter());
        let left: Vec<_> = fields.iter().map(|field| field.name.to_vec()).collect();
        assert_eq!(left, [&b"X-Tenant"[..], b"x_api_key", b"x_tenants"]);
        remove_respelled(&mut fields, ["x-tenant", "x-api-key", "x_api_key"].into_iter());
        assert_eq!(fields.len(), 3, "what the key has, or a route sets, is meant");
    }

    #[test]
    fn other_spellings_of_conditions_alone_are_removed() {
        let mut fields = Fields::default();
        for name in ["X-Admin", "X_Admin", "x.admin", "accept_encoding", "x_role", "x.role"] {
            fields.push(name, b"1");
        }
        remove_respelled_conditions(&mut fields, ["x-admin", "x_role"].into_iter());
        let left: Vec<_> = fields.iter().map(|field| field.name.to_vec()).collect();
        assert_eq!(left, [&b"X-Admin"[..], b"accept_encoding", b"x_role"]);
    }

    /// Not only here: with a cache and without, they would have a backend do another thing than was looked at.
    #[test]
    fn no_other_spelling_of_what_misleads_is_passed() {
        for name in MISLEADING {
            for sign in ["_", ".", "~"] {
                let spelled = name.replace('-', sign);
                assert_eq!(Known::of(spelled.as_bytes()), Known::Disguised, "{spelled}");
            }
        }
    }
}
