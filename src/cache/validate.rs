//! Validation (RFC 9111 §4.3): asking the origin whether a stored response still holds, answering clients
//! that ask the same of us, and taking over what the origin says.
//!
//! The order for a stale response: [`make_conditional`] → the origin → 304: [`updated_by`], [`merge`], then
//! `storable` and `Freshness::of` on the merged head, because the new fields may forbid storing; anything
//! else with content replaces. The client's own conditions are evaluated on the result ([`is_not_modified`]),
//! so that a 304 of ours is only sent to who has the same representation (§4.3.2).

use crate::{
    cache::{
        date::Date,
        freshness::date_of,
        policy::Policy,
        storable::{Names, is_for_one, is_of_hop, is_stored, nominated},
    },
    fields::{Fields, Known},
    h1::{Method, ResponseHead},
};

/// Takes from a request what asks for less than the whole of one representation: conditions and ranges. What
/// is fetched for the cache must be whole.
pub fn make_unconditional(request: &mut Fields) {
    request.remove_all_known(&[Known::IfNoneMatch, Known::IfModifiedSince, Known::IfRange, Known::Range]);
}

/// Most bytes of the entity tags that one request asks by; servers refuse heads that are much longer.
const MOST_TAGS: usize = 8 * 1024;

/// Makes a request a conditional one for these stored responses (RFC 9111 §4.3.1): the entity tags of all,
/// as far as they have room, and the Last-Modified of a single one; of a single one also a tag without quotes, as it
/// came: servers that send such a tag know it so. False when there is no validator, and the request is a plain one.
pub fn make_conditional<'a>(request: &mut Fields, stored: impl Iterator<Item = &'a Fields>) -> bool {
    make_unconditional(request);
    let (mut tags, mut modified, mut bare, mut count) = (Vec::new(), None, None, 0_usize);
    for fields in stored {
        count += 1;
        modified = fields.known(Known::LastModified);
        bare = fields.known(Known::Etag).and_then(bare_tag);
        let Some(tag) = fields.known(Known::Etag).and_then(EntityTag::parse) else { continue };
        // With `, W/""`.
        if tags.len() + tag.opaque.len() + 6 > MOST_TAGS {
            continue;
        }
        if !tags.is_empty() {
            tags.extend_from_slice(b", ");
        }
        tag.write(&mut tags);
    }
    if let Some(bare) = bare.filter(|_| count == 1) {
        tags.extend_from_slice(bare);
    }
    if !tags.is_empty() {
        request.push_known(Known::IfNoneMatch, &tags);
    }
    let modified = modified.filter(|_| count == 1);
    if let Some(modified) = modified {
        request.push_known(Known::IfModifiedSince, modified);
    }
    !tags.is_empty() || modified.is_some()
}

/// A tag that lacks its quotes, and is else none that could be taken for a list.
fn bare_tag(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let is_bare = value.len() <= MOST_TAGS && value != b"*" && !value.is_empty();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',');
    (is_bare && value.iter().all(is_plain)).then_some(value)
}

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it begins with `W/`.
    pub is_weak: bool,
    /// What is between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a value that is one entity tag. `W` is case-sensitive.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::take(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    fn take(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, quoted) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        // There are no escapes in it: a backslash is a character like others, and a quote ends it.
        let inner = quoted.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', inner)?;
        let opaque = inner.get(..end)?;
        let is_tag = opaque.iter().all(|byte| *byte == 0x21 || (0x23..=0xff).contains(byte) && *byte != 0x7f);
        is_tag.then_some((Self { is_weak, opaque }, inner.get(end + 1..)?))
    }

    /// RFC 9110 §8.8.3.2: both strong and the same.
    pub fn is_strongly(&self, other: &Self) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2: the same, weak or strong.
    pub fn is_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_weak { b"W/\"" } else { b"\"" });
        out.extend_from_slice(self.opaque);
        out.push(b'"');
    }
}

/// Whether the client has what would be served, so that 304 is the answer (RFC 9111 §4.3.2, RFC 9110
/// §13.2.2). `status` and `response` are of what would be served, which came at `received`, and `is_stored` or goes by.
pub fn is_not_modified(
    method: &Method,
    request: &Fields,
    status: u16,
    response: &Fields,
    (received, is_stored): (Date, bool),
) -> bool {
    // RFC 9110 §13.2.1: conditions are evaluated only where the answer without them would be a 2xx; a cache
    // evaluates for 200 and 206 (RFC 9111 §4.3.2).
    if status != 200 || !matches!(method, Method::Get | Method::Head) {
        return false;
    }
    if request.known(Known::IfNoneMatch).is_some() {
        // §13.2.2: with If-None-Match, If-Modified-Since is ignored even where the tags do not match.
        return matches_none_match(request, response);
    }
    let mut since = request.all_known(Known::IfModifiedSince);
    let (Some(value), None) = (since.next(), since.next()) else { return false };
    // §13.1.3: ignored "if the received value is not a valid HTTP-date".
    let Some(since) = Date::parse(value, received) else { return false };
    let modified = response.known(Known::LastModified).and_then(|value| Date::parse(value, received));
    // RFC 9111 §4.3.2: without Last-Modified, Date or the time that the response was received is taken, of what is stored.
    // Of another that says only that the origin answered just now.
    modified
        .or_else(|| is_stored.then(|| date_of(response, received)))
        .is_some_and(|modified| modified <= since)
}

/// RFC 9110 §13.1.2: weak comparison; `*` matches whatever is stored. A list that is broken matches by what
/// could be read before the break.
fn matches_none_match(request: &Fields, stored: &Fields) -> bool {
    let tag = stored.known(Known::Etag).and_then(EntityTag::parse);
    let bare = stored.known(Known::Etag).and_then(bare_tag);
    for value in request.all_known(Known::IfNoneMatch) {
        if value.trim_ascii() == b"*" || bare.is_some_and(|bare| value.trim_ascii() == bare) {
            return true;
        }
        let mut rest = value;
        loop {
            rest = rest.trim_ascii_start();
            if let Some(behind) = rest.strip_prefix(b",") {
                rest = behind;
                continue;
            }
            let Some((one, behind)) = EntityTag::take(rest) else { break };
            if tag.is_some_and(|tag| tag.is_weakly(&one)) {
                return true;
            }
            rest = behind;
        }
    }
    false
}

/// The fields of a 304 made from a stored response: all but those that describe the content that does not
/// come (RFC 9110 §15.4.5). Content-Location, Date, ETag, Vary, Cache-Control and Expires must be sent.
pub fn not_modified_fields(stored: &Fields) -> Fields {
    let mut fields = stored.clone();
    let has_tag = fields.known(Known::Etag).is_some();
    fields.retain(|field| {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        let describes = [
            "content-length",
            "content-type",
            "content-encoding",
            "content-language",
            "content-range",
            "content-digest",
            "content-md5",
        ];
        let is_second_validator = has_tag && is("last-modified");
        !is_second_validator && !describes.iter().any(|name| is(name))
    });
    fields
}

/// Which stored responses a 304 is about, as places in `candidates` (RFC 9111 §4.3.4). These are the
/// responses that the request asked about, and nothing else, with their Dates. Empty means that the 304 cannot
/// be used, and the request is to be sent again without conditions.
///
/// Last-Modified is taken for a weak validator always: whether it is strong (RFC 9110 §8.8.2.2) asks for
/// knowledge of the origin's clock, and weak only updates fewer.
pub fn updated_by(not_modified: &Fields, candidates: &[(&Fields, Date)]) -> Vec<usize> {
    let tag = not_modified.known(Known::Etag).and_then(EntityTag::parse);
    let modified = not_modified.known(Known::LastModified);
    let tag_of = |fields: &Fields, test: &dyn Fn(&EntityTag<'_>) -> bool| {
        fields.known(Known::Etag).and_then(EntityTag::parse).is_some_and(|own| test(&own))
    };
    let most_recent = |matches: &dyn Fn(&Fields) -> bool| -> Vec<usize> {
        let matching = candidates.iter().enumerate().filter(|(_, (fields, _))| matches(fields));
        matching.max_by_key(|(at, (_, date))| (*date, *at)).map(|(at, _)| at).into_iter().collect()
    };
    match (tag, modified) {
        (Some(tag), _) if !tag.is_weak => {
            let is_same = |fields: &Fields| tag_of(fields, &|own| own.is_strongly(&tag));
            let all = candidates.iter().enumerate();
            all.filter(|(_, (fields, _))| is_same(fields)).map(|(at, _)| at).collect()
        }
        (Some(tag), _) => most_recent(&|fields| tag_of(fields, &|own| own.is_weakly(&tag))),
        (None, Some(modified)) => most_recent(&|fields| fields.known(Known::LastModified) == Some(modified)),
        // §4.3.4 has the single one lack a validator as well, since it may not be what was asked about. Here it is: the
        // conditions are made of it alone, and a 304 without any validator answers them.
        (None, None) if candidates.len() == 1 => vec![0],
        (None, None) => Vec::new(),
    }
}

/// Updates a stored response's fields from a newer response's (RFC 9111 §3.2): each field of `newer` replaces
/// those of its name; what it does not have stays.
///
/// Not taken over: what is not stored (§3.1), Content-Length, and what describes the stored bytes, on which
/// the stored response "depends" (Content-Encoding, Content-Range): servers compress on the way and name the
/// coding of the answer that they did not send. Nor Content-Digest, which is of the content of the newer one
/// (RFC 9530 §2), of which a 304 has none. Content-Type and all else that begins with `Content-` is taken over.
pub fn merge(stored: &mut Fields, newer: &Fields, policy: &Policy) {
    let control = policy.control(newer);
    let connection = nominated(newer);
    let mut taken: Vec<(&str, &[u8])> = Vec::with_capacity(newer.len());
    for field in newer.iter() {
        let Ok(name) = std::str::from_utf8(field.name) else { continue };
        if !is_of_bytes(name) && is_stored(&field, &connection, &control, policy) {
            taken.push((name, field.value));
        }
    }
    let names = Names::of(taken.iter().map(|(name, _)| name.as_bytes()));
    stored.retain(|field| !names.have(field.name));
    for (name, value) in &taken {
        stored.push(name, value);
    }
    // What may no longer be stored is no longer stored (§5.2.2.4, §5.2.2.7).
    for name in control.private.names().iter().chain(control.no_cache.names()) {
        stored.remove(name);
    }
}

/// Whether a field describes the bytes that it came with, which a newer response's does not say of those that are stored.
fn is_of_bytes(name: &str) -> bool {
    let names = ["content-length", "content-encoding", "content-range", "content-digest"];
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Adds to a stored response, updated by a 304, what that says for the client alone that asked: of a response with content it
/// would have had this too. It is for the answer to this client, and for no other.
pub fn add_own(response: &mut Fields, not_modified: &Fields, policy: &Policy) {
    // What the stored one forbids holds on, where the newer one does not say otherwise.
    let controls = [policy.control(response), policy.control(not_modified)];
    let connection = nominated(not_modified);
    for field in not_modified.iter() {
        let Ok(name) = std::str::from_utf8(field.name) else { continue };
        let is_own = controls.iter().any(|control| is_for_one(&field, control, policy));
        if is_own && !is_of_hop(&field, &connection) && !is_of_bytes(name) {
            response.push(name, field.value);
        }
    }
}

/// What a response to HEAD says of a stored response to GET that could have been chosen (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// It is the same: [`merge`] the fields.
    Update,
    /// It is another: the stored one is stale from now on.
    Expire,
    /// It says nothing: it is no 200, or has nothing that would show that it is the same.
    Nothing,
}

/// Compares a response to HEAD with a stored response of a body of `length`. "Matching values for any
/// received validator fields", and the same length where one is given: the stored one may have come by
/// chunks, without Content-Length. Without any validator nothing shows that it is the same, and requests for HEAD would
/// keep fresh for ever what nobody asked the origin for again.
pub fn head_effect(response: &ResponseHead, stored: &Fields, length: u64) -> HeadEffect {
    if response.status != 200 {
        return HeadEffect::Nothing;
    }
    let same_validators = ["etag", "last-modified"].iter().all(|name| {
        let value = response.fields.get(name);
        value.is_none() || value == stored.get(name)
    });
    let same_length = response
        .fields
        .known(Known::ContentLength)
        .is_none_or(|value| std::str::from_utf8(value).is_ok_and(|value| value.parse() == Ok(length)));
    let has_validator = ["etag", "last-modified"].iter().any(|name| response.fields.get(name).is_some());
    match same_validators && same_length {
        true if has_validator => HeadEffect::Update,
        true => HeadEffect::Nothing,
        false => HeadEffect::Expire,
    }
}

/// Whether a Range may be served under the request's If-Range (RFC 9110 §13.1.5): there is none, or it names,
/// by strong comparison, what is stored.
pub fn if_range_holds(request: &Fields, stored: &Fields, received: Date) -> bool {
    let mut values = request.all_known(Known::IfRange);
    let Some(value) = values.next() else { return true };
    if values.next().is_some() {
        return false;
    }
    if let Some(tag) = EntityTag::parse(value) {
        return stored.known(Known::Etag).and_then(EntityTag::parse).is_some_and(|own| own.is_strongly(&tag));
    }
    // A date must be a strong validator (§8.8.2.2: Date "at least one second after the Last-Modified value")
    // and the very value.
    let Some(modified) = stored.known(Known::LastModified) else { return false };
    let (Some(asked), Some(own)) = (Date::parse(value, received), Date::parse(modified, received)) else {
        return false;
    };
    let date = stored.known(Known::Date).and_then(|date| Date::parse(date, received));
    asked == own && date.is_some_and(|date| date > own)
}

#[cfg(test)]
mod tests;
