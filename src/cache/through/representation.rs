//! What a successful PUT says of the representation that it left at the origin: for the write policy `through`.
//!
//! A stored response is only made of an exchange that says so itself: RFC 9110 §9.3.4, "An origin server MUST NOT send
//! a validator field … in a successful response to PUT unless the request's representation data was saved without any
//! transformation", and a lifetime that it states. What it does not say is asked for by the next GET.

use crate::{
    cache::{
        freshness::{Source, Times},
        policy::Policy,
        storable::Refusal,
        stored_head::StoredHead,
    },
    fields::{Fields, Known},
    h1::{Method, RequestHead, ResponseHead},
};

/// Why the representation of a write is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// Only PUT says what a GET would get.
    Method,
    /// Only 200, 201 and 204 do.
    Status,
    /// A part of the representation was sent (`Content-Range`).
    Part,
    /// The response names another URI (`Location`, `Content-Location`), or the request may have led the origin to one.
    OtherUri,
    /// The response has no validator: the representation may have been transformed.
    NoValidator,
    /// The response states no lifetime.
    NoLifetime,
    /// What a GET gets depends on its fields.
    Vary,
    /// The response has another content coding than the request.
    Coding,
    /// The body is larger than what is kept, or the origin answered before it had all of it.
    Body,
    /// Another write or a purge came meanwhile.
    Overtaken,
    /// It was not asked for before (`admission`).
    NotAdmitted,
    /// What forbids to store a response to GET.
    Refused(Refusal),
}

impl Unkept {
    /// A word for it, as the detail of Cache-Status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Part => "partial",
            Self::OtherUri => "other-uri",
            Self::NoValidator => "no-validator",
            Self::NoLifetime => "no-lifetime",
            Self::Vary => "vary",
            Self::Coding => "content-encoding",
            Self::Body => "body",
            Self::Overtaken => "overtaken",
            Self::NotAdmitted => "not-admitted",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

/// Fields of the request that belong to the representation.
const OF_REQUEST: [&str; 3] = ["content-type", "content-encoding", "content-language"];
/// Fields of the response that are about it as a GET would get it.
const OF_RESPONSE: [&str; 8] =
    ["etag", "last-modified", "cache-control", "cdn-cache-control", "date", "expires", "age", "via"];

/// The head of the representation that a PUT left, as a GET would get it, or why that is not known. `tags` names the
/// field by which purges by tag go, `names_another` says whether the response names another URI than the request's.
pub fn representation(
    request: &RequestHead,
    response: &ResponseHead,
    (tags, names_another): (&str, bool),
    policy: &Policy,
    times: Times,
) -> Result<StoredHead, Unkept> {
    let refuse = |why: bool, unkept: Unkept| if why { Err(unkept) } else { Ok(()) };
    refuse(request.method != Method::Put, Unkept::Method)?;
    refuse(!matches!(response.status, 200 | 201 | 204), Unkept::Status)?;
    refuse(request.fields.known(Known::ContentRange).is_some(), Unkept::Part)?;
    refuse(names_another, Unkept::OtherUri)?;
    let has = |name| response.fields.get(name).is_some();
    refuse(!has("etag") && !has("last-modified"), Unkept::NoValidator)?;
    refuse(has("vary"), Unkept::Vary)?;
    let codings = |fields: &Fields| -> Vec<u8> {
        fields.all_known(Known::ContentEncoding).collect::<Vec<_>>().join(&b", "[..]).to_ascii_lowercase()
    };
    refuse(has("content-encoding") && codings(&response.fields) != codings(&request.fields), Unkept::Coding)?;
    refuse(response.fields.has(Known::SetCookie), Unkept::Refused(Refusal::SetCookie))?;
    let mut head = ResponseHead { status: 200, version: response.version, ..ResponseHead::default() };
    copy(&request.fields, &OF_REQUEST, &mut head.fields);
    copy(&response.fields, &OF_RESPONSE, &mut head.fields);
    copy(&response.fields, &[tags], &mut head.fields);
    // As if a GET with these fields had brought it.
    let get = RequestHead { method: Method::Get, ..request.clone() };
    let entry = StoredHead::of(&get, &head, policy, times).map_err(Unkept::Refused)?;
    match entry.freshness.source() {
        Source::SharedMaxAge | Source::MaxAge | Source::Expires => Ok(entry),
        Source::Heuristic | Source::Configured | Source::Nothing => Err(Unkept::NoLifetime),
    }
}

/// The head of what waits in a journal as a GET is answered with it: nobody else may keep it, since the origin has the
/// last word.
pub fn waiting(request: &Fields, times: Times) -> StoredHead {
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    copy(request, &OF_REQUEST, &mut head.fields);
    head.fields.push("Cache-Control", b"no-store");
    StoredHead::checked(&RequestHead::default(), head, &Policy::default(), times).0
}

fn copy(from: &Fields, names: &[&str], to: &mut Fields) {
    for field in from.iter() {
        // A name is text (RFC 9110 §5.1).
        let name = std::str::from_utf8(field.name).unwrap_or_default();
        if names.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            to.push(name, field.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::date::Date;

    const NOW: Date = Date(1_795_000_000);
    const SAVED: [(&str, &str); 2] = [("ETag", "\"2\""), ("Cache-Control", "max-age=60")];

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
        fields
    }

    fn put(request: &[(&str, &str)], status: u16, response: &[(&str, &str)]) -> Result<StoredHead, Unkept> {
        let request = RequestHead { method: Method::Put, fields: fields(request), ..RequestHead::default() };
        let response = ResponseHead { status, fields: fields(response), ..ResponseHead::default() };
        let times = Times { requested: NOW, received: NOW };
        representation(&request, &response, ("surrogate-key", false), &Policy::default(), times)
    }

    #[test]
    fn a_representation_has_fields_of_request_and_response() {
        let request = [("Content-Type", "text/x"), ("Content-Language", "de"), ("X-Other", "1")];
        let response = [
            ("ETag", "\"2\""),
            ("Content-Type", "text/of-the-response"),
            ("CDN-Cache-Control", "max-age=60"),
            ("Surrogate-Key", "a b"),
            ("X-Other", "2"),
        ];
        for status in [200, 201, 204] {
            let entry = put(&request, status, &response).unwrap();
            let has =
                |name| entry.head.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
            assert_eq!(entry.head.status, 200);
            assert_eq!(has("content-type").as_deref(), Some("text/x"));
            assert_eq!(has("content-language").as_deref(), Some("de"));
            assert_eq!(has("etag").as_deref(), Some("\"2\""));
            assert_eq!(has("surrogate-key").as_deref(), Some("a b"));
            assert_eq!((has("x-other"), entry.freshness.lifetime()), (None, 60));
        }
        assert!(
            put(&[], 200, &[("Last-Modified", &NOW.to_string()), ("Cache-Control", "s-maxage=1")]).is_ok()
        );
        let coded = [("Content-Encoding", "gzip")];
        assert!(put(&coded, 200, &[SAVED[0], SAVED[1], coded[0]]).is_ok());
    }

    #[test]
    fn what_is_not_said_is_not_stored() {
        let with =
            |more: (&'static str, &'static str)| put(&[], 200, &[SAVED[0], SAVED[1], more]).unwrap_err();
        assert_eq!(put(&[], 202, &SAVED).unwrap_err(), Unkept::Status);
        assert_eq!(put(&[], 200, &[SAVED[1]]).unwrap_err(), Unkept::NoValidator);
        assert_eq!(put(&[], 200, &[SAVED[0]]).unwrap_err(), Unkept::Refused(Refusal::Unsaid));
        let modified = (Date(NOW.0 - 1000)).to_string();
        assert_eq!(put(&[], 200, &[("Last-Modified", &modified)]).unwrap_err(), Unkept::NoLifetime);
        assert_eq!(put(&[("Content-Range", "bytes 0-1/2")], 200, &SAVED).unwrap_err(), Unkept::Part);
        assert_eq!(with(("Vary", "Accept-Language")), Unkept::Vary);
        assert_eq!(with(("Content-Encoding", "gzip")), Unkept::Coding);
        assert_eq!(with(("Set-Cookie", "a=b")), Unkept::Refused(Refusal::SetCookie));
        assert_eq!(with(("Cache-Control", "private")), Unkept::Refused(Refusal::Private));
        let authorised = put(&[("Authorization", "x")], 200, &SAVED).unwrap_err();
        assert_eq!(authorised, Unkept::Refused(Refusal::Authorization));
        let no_store = put(&[("Cache-Control", "no-store")], 200, &SAVED).unwrap_err();
        assert_eq!(no_store, Unkept::Refused(Refusal::RequestNoStore));
    }

    #[test]
    fn what_waits_is_for_nobody_to_keep() {
        let entry =
            waiting(&fields(&[("Content-Type", "a"), ("X", "b")]), Times { requested: NOW, received: NOW });
        assert_eq!(entry.head.fields.get("cache-control"), Some(&b"no-store"[..]));
        assert_eq!(
            (entry.head.fields.get("content-type"), entry.head.fields.get("x")),
            (Some(&b"a"[..]), None)
        );
    }
}
