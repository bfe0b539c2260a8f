//! Whether a shared cache may store a response, and which of its fields (RFC 9111 §3).
//!
//! Previous stop: `control`; next stop: `freshness`. Set-Cookie is the one place where this is stricter than
//! the standard (§7.3: it "does not inhibit caching"): a cookie for one must not go to all unless the file
//! says so.

use crate::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        freshness::Source,
        policy::Policy,
        status_code::{is_heuristic, is_never_stored, is_understood},
        vary::Vary,
    },
    fields::{Field, Fields, Known, list},
    h1::{Method, RequestHead, ResponseHead},
};

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only responses to GET are stored.
    Method,
    /// Responses of its status are not stored, by the configuration.
    Status,
    /// Its status says that it is for the client that asked (RFC 6585).
    OneClient,
    /// The request has `no-store`.
    RequestNoStore,
    /// 1xx
    NotFinal,
    /// 206 and 416: of parts nothing is stored, they are only served from a stored whole.
    Partial,
    /// 304 updates what is stored and is nothing by itself.
    NotModified,
    /// The status, or the range of statuses, is not one whose rules are known here, and the response has
    /// `must-understand`.
    NotUnderstood,
    /// `no-store`
    NoStore,
    /// `private`
    Private,
    /// The request has Authorization, and the response does not allow to share.
    Authorization,
    /// The response has Set-Cookie, which is not stored unless configured.
    SetCookie,
    /// `Vary: *`: no request would ever match it.
    VaryAny,
    /// Nothing says that it may be stored.
    Unsaid,
}

impl Refusal {
    /// A word for it, as the detail of Cache-Status and in what explains a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::OneClient => "one-client",
            Self::RequestNoStore => "request-no-store",
            Self::NotFinal => "interim",
            Self::Partial => "partial",
            Self::NotModified => "not-modified",
            Self::NotUnderstood => "must-understand",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::Unsaid => "no-lifetime",
        }
    }
}

/// Whether the response to a request may be stored (RFC 9111 §3). `source` is where its lifetime comes from.
/// Whether its body is whole shows at its end: a body that broke off never comes to `fill::Source::finish`.
pub fn storable(
    request: &RequestHead,
    asked: &RequestControl,
    response: &ResponseHead,
    control: &ResponseControl,
    source: Source,
    policy: &Policy,
) -> Result<(), Refusal> {
    let fields = &response.fields;
    refuse(request.method != Method::Get, Refusal::Method)?;
    refuse(asked.no_store, Refusal::RequestNoStore)?;
    refuse(!policy.stores(response.status), Refusal::Status)?;
    refuse(is_never_stored(response.status), Refusal::OneClient)?;
    refuse(response.status < 200, Refusal::NotFinal)?;
    refuse(matches!(response.status, 206 | 416), Refusal::Partial)?;
    refuse(response.status == 304, Refusal::NotModified)?;
    refuse(control.must_understand && !is_understood(response.status), Refusal::NotUnderstood)?;
    // §5.2.2.3: with must-understand, "the cache SHOULD ignore the no-store directive".
    refuse(control.no_store && !control.must_understand, Refusal::NoStore)?;
    refuse(control.private.is_whole(), Refusal::Private)?;
    refuse(request.fields.has(Known::Authorization) && !control.allows_credentials, Refusal::Authorization)?;
    let cookie_is_left_out = is_excepted(control, "set-cookie");
    refuse(
        fields.has(Known::SetCookie) && !policy.store_set_cookie && !cookie_is_left_out,
        Refusal::SetCookie,
    )?;
    refuse(matches!(Vary::of(fields), Vary::Any), Refusal::VaryAny)?;
    refuse(!says_that_it_may(response, control, source), Refusal::Unsaid)
}

fn refuse(why: bool, refusal: Refusal) -> Result<(), Refusal> {
    if why { Err(refusal) } else { Ok(()) }
}

/// The last point of RFC 9111 §3: one of these must be there. A status that is cacheable by heuristics counts
/// only where the heuristics or the configuration give it a lifetime, or a validator gives it a use.
fn says_that_it_may(response: &ResponseHead, control: &ResponseControl, source: Source) -> bool {
    let has_validator = || {
        response.fields.known(Known::Etag).is_some() || response.fields.known(Known::LastModified).is_some()
    };
    match source {
        Source::SharedMaxAge | Source::MaxAge | Source::Expires | Source::Heuristic | Source::Configured => {
            true
        }
        Source::Nothing => {
            (control.public || control.no_cache.is_whole())
                && has_validator()
                && (control.public || is_heuristic(response.status))
        }
    }
}

/// The fields that are stored: all but those that RFC 9111 §3.1 excepts. Age is left out too, as each answer
/// gets its own (§4).
pub fn stored_fields(response: &ResponseHead, control: &ResponseControl, policy: &Policy) -> Fields {
    let mut fields = response.fields.clone();
    let connection = nominated(&response.fields);
    fields.retain(|field| is_stored(&field, &connection, control, policy));
    fields
}

/// The names that Connection has (RFC 9110 §7.6.1).
pub(super) fn nominated(fields: &Fields) -> Names {
    Names::of(list(fields.all_known(Known::Connection)))
}

/// Names of fields, found by bisection however many there are.
pub(super) struct Names(Vec<Vec<u8>>);

impl Names {
    /// These, compared without regard to case.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_ascii_lowercase).collect();
        names.sort_unstable();
        Self(names)
    }

    /// Whether this is one of them.
    pub(super) fn have(&self, name: &[u8]) -> bool {
        let lower = || name.iter().map(u8::to_ascii_lowercase);
        self.0.binary_search_by(|other| other.iter().copied().cmp(lower())).is_ok()
    }
}

/// Whether one field of a response is stored; `connection` is what [`nominated`] gave for it.
pub(super) fn is_stored(
    field: &Field<'_>,
    connection: &Names,
    control: &ResponseControl,
    policy: &Policy,
) -> bool {
    !is_of_hop(field, connection) && !is_for_one(field, control, policy)
}

/// Whether a field of a response is for this program alone (RFC 9111 §3.1), or made anew for each answer.
pub(super) fn is_of_hop(field: &Field<'_>, connection: &Names) -> bool {
    let is_of_hop = match field.known {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::Te
        | Known::TransferEncoding
        | Known::Upgrade
        | Known::Http2Settings
        // Trailer fields are not stored, so that none may be announced.
        | Known::Trailer
        // §3.1: specific to the proxy that asked for them.
        | Known::ProxyAuthenticate
        | Known::ProxyAuthorization => true,
        _ => [&b"proxy-authentication-info"[..], b"age"].iter().any(|name| field.name.eq_ignore_ascii_case(name)),
    };
    is_of_hop || connection.have(field.name)
}

/// Whether a field of a response is for the client alone that asked: cookies, unless they are stored, and what `private` and
/// `no-cache` name (RFC 9111 §5.2.2.4, §5.2.2.7).
pub(super) fn is_for_one(field: &Field<'_>, control: &ResponseControl, policy: &Policy) -> bool {
    let is_cookie = field.known == Known::SetCookie && !policy.store_set_cookie;
    let scopes = [&control.private, &control.no_cache];
    let mut names = scopes.into_iter().flat_map(|scope| scope.names());
    is_cookie || names.any(|name| name.as_bytes().eq_ignore_ascii_case(field.name))
}

fn is_excepted(control: &ResponseControl, name: &str) -> bool {
    [&control.private, &control.no_cache].iter().any(|scope| scope.names().iter().any(|other| other == name))
}

#[cfg(test)]
mod tests;
