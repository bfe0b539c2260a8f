//! `compression` of a route.

mod body;
pub mod conf;
mod counts;
mod encoder;
mod head;
mod negotiate;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use self::{body::Compressed, conf::LevelsConf, encoder::Expected, head::Head};
use super::{
    coding::Coding,
    hooks::{Body, Hooks, Kept, ResponseFacts},
};
use crate::{
    account,
    exchange::Exchange,
    fields::{Fields, Known, is_digest, list},
    h1::Method,
};

pub use counts::{Counted, counted, refused};
pub use negotiate::ranked;

/// Compresses bodies on their way to clients that take it (RFC 9110 §8.4).
#[derive(Debug)]
pub struct Compression {
    /// In the order in which they are chosen where a client likes several as much.
    codings: Box<[Coding]>,
    types: Box<[MediaPattern]>,
    /// Bytes below which a body is not worth it.
    least: u64,
    levels: LevelsConf,
    /// Tells filters apart that do not decide alike.
    id: u64,
}

impl Compression {
    /// The filter of these encodings; `None` where there are none.
    pub fn of(codings: &[Coding], types: &[String], least: u64, levels: &LevelsConf) -> Option<Self> {
        let id = xxh3_64(format!("{codings:?} {types:?} {least}").as_bytes());
        let types = types.iter().map(|it| MediaPattern::of(it)).collect();
        (!codings.is_empty()).then(|| Self {
            codings: codings.into(),
            types,
            least,
            levels: levels.clone(),
            id,
        })
    }

    /// Whether what a response of this status has, or has a part of, is compressed for some clients; the whole is of this length.
    fn varies(&self, exchange: &Exchange, seen: &Seen<'_>, length: Option<u64>) -> bool {
        let status = exchange.response.status;
        // The others have no body.
        let has_body = status >= 200 && !matches!(status, 204 | 205 | 304);
        has_body
            && (seen.range.is_none() || status == 206)
            && !seen.is_fixed
            && length.is_none_or(|length| length >= self.least)
            && exchange.request.method != Method::Connect
            && self.types.iter().any(|pattern| pattern.has(seen.media))
    }

    /// The body of a stored response whose head and body were encoded before, for a client that gets it so: what follows from
    /// that head alone is not found out again. The head is made ready. `None` where anything else may count.
    fn ready(&self, exchange: &mut Exchange, kept: &dyn Kept) -> Option<Bytes> {
        let request = &exchange.request;
        if request.method != Method::Get || request.fields.has(Known::CacheControl) || account::is_full() {
            return None;
        }
        let coding = negotiate::remembered(self.id, &self.codings, &request.fields)?;
        let head = kept.head(coding).filter(|head| head.is_of(self.id, exchange.response.status))?;
        let body = kept.find(coding)?;
        head.apply(coding, exchange);
        counts::count_kept(coding);
        Some(body)
    }

    /// What a 304 says must be what a 200 would have said (RFC 9110 §15.4.5): a client that holds what was compressed knows
    /// it by the weak validator.
    fn weaken_unchanged(exchange: &mut Exchange) {
        let Some(tag) = exchange.response.fields.known(Known::Etag).map(<[u8]>::to_vec) else { return };
        let weak = [b"W/", &*tag].concat();
        let holds_weak = list(exchange.request.fields.all_known(Known::IfNoneMatch)).any(|it| it == weak);
        if holds_weak {
            exchange.response.fields.set_known(Known::Etag, &weak);
        }
    }
}

impl Hooks for Compression {
    fn acts_on_requests(&self) -> bool {
        false
    }

    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        let alone = facts.kept.filter(|_| facts.is_alone);
        if let Some(body) = alone.and_then(|kept| self.ready(exchange, kept)) {
            return Body::Replaced(body);
        }
        let seen = Seen::of(&exchange.response.fields);
        let (varies, head) = (seen.varies, Head::of(seen.etag, seen.has_ranges, seen.is_identity));
        if exchange.response.status == 304 {
            Self::weaken_unchanged(exchange);
            vary(varies, &mut exchange.response.fields);
            return Body::Kept;
        }
        let is_part = exchange.response.status == 206;
        let length = match is_part {
            true => seen.range.and_then(whole_length),
            false => {
                let length = facts.length.filter(|_| exchange.request.method != Method::Head);
                length.or_else(|| content_length(&exchange.response.fields))
            }
        };
        if !self.varies(exchange, &seen, length) {
            return Body::Kept;
        }
        let is_events = seen.media.eq_ignore_ascii_case(b"text/event-stream");
        // Also of what goes out as it is: another client would get another one. A part says what the whole would (RFC 9110
        // §15.3.7).
        vary(varies, &mut exchange.response.fields);
        if is_part || is_transformed_by_nobody(exchange.request.fields.all_known(Known::CacheControl)) {
            return Body::Kept;
        }
        let Some(coding) = negotiate::choose(&self.codings, &exchange.request.fields) else {
            return Body::Kept;
        };
        if account::is_full() {
            counts::refuse();
            return Body::Kept;
        }
        if exchange.request.method == Method::Head {
            head.encode(coding, exchange);
            return Body::Kept;
        }
        if let Some(kept) = facts.kept.and_then(|kept| kept.find(coding)) {
            if let Some(alone) = alone.filter(|_| exchange.request.method == Method::Get) {
                alone.keep_head(coding, head.encoded(coding, varies, (self.id, exchange.response.status)));
            }
            head.encode(coding, exchange);
            counts::count_kept(coding);
            return Body::Replaced(kept);
        }
        match Compressed::new(coding, &self.levels, Expected { length, is_events }) {
            Some(stage) => {
                head.encode(coding, exchange);
                Body::Through(Box::new(stage))
            }
            None => Body::Kept,
        }
    }
}

/// What of a response's fields matters here, seen in one pass.
#[derive(Clone, Copy, Debug, Default)]
struct Seen<'a> {
    /// The media type without parameters; empty where there is none.
    media: &'a [u8],
    /// Whether the bytes have to stay what they are: encoded already, with a digest (RFC 9530, RFC 3230), or not to be
    /// transformed.
    is_fixed: bool,
    /// Which part it is.
    range: Option<&'a [u8]>,
    /// Whether Vary names Accept-Encoding, or everything.
    varies: bool,
    /// Whether a part can be asked for.
    has_ranges: bool,
    /// Whether it says that it is not encoded.
    is_identity: bool,
    etag: Option<&'a [u8]>,
}

impl<'a> Seen<'a> {
    fn of(fields: &'a Fields) -> Self {
        let mut seen = Self::default();
        for field in fields.iter() {
            match field.known {
                Known::ContentType => seen.media = without_parameters(field.value),
                Known::CacheControl => seen.is_fixed |= is_transformed_by_nobody([field.value].into_iter()),
                Known::Etag => seen.etag = seen.etag.or(Some(field.value)),
                Known::Vary => {
                    let mut names = list([field.value].into_iter());
                    seen.varies |=
                        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
                }
                Known::ContentRange => seen.range = Some(field.value),
                // Behind the body; a stored response has none.
                Known::Trailer => seen.is_fixed |= list([field.value].into_iter()).any(is_digest),
                Known::AcceptRanges => seen.has_ranges = true,
                Known::ContentEncoding => {
                    seen.is_identity = true;
                    let mut codings = list([field.value].into_iter());
                    seen.is_fixed |= !codings.all(|it| it.eq_ignore_ascii_case(b"identity"));
                }
                // By length first: most fields are none of these.
                Known::Other if matches!(field.name.len(), 6 | 11 | 14) => {
                    seen.is_fixed |= is_digest(field.name);
                }
                _ => {}
            }
        }
        seen
    }
}

/// Adds Accept-Encoding to Vary, where it is not there.
fn vary(is_there: bool, fields: &mut Fields) {
    if !is_there {
        fields.push_known(Known::Vary, b"accept-encoding");
    }
}

/// Whether nobody on the way may change what it is (RFC 9111 §5.2.1.6, §5.2.2.6).
fn is_transformed_by_nobody<'a>(control: impl Iterator<Item = &'a [u8]>) -> bool {
    list(control).any(|it| it.eq_ignore_ascii_case(b"no-transform"))
}

fn content_length(fields: &Fields) -> Option<u64> {
    std::str::from_utf8(fields.known(Known::ContentLength)?).ok()?.parse().ok()
}

/// How long the whole is of which Content-Range says that this is a part (RFC 9110 §14.4).
fn whole_length(range: &[u8]) -> Option<u64> {
    std::str::from_utf8(range).ok()?.rsplit_once('/')?.1.parse().ok()
}

fn without_parameters(media: &[u8]) -> &[u8] {
    let end = media.iter().position(|byte| *byte == b';').unwrap_or(media.len());
    media.get(..end).unwrap_or_default().trim_ascii()
}

/// Media types: one, all that begin or end so, or all.
#[derive(Debug)]
enum MediaPattern {
    One(Box<[u8]>),
    Begin(Box<[u8]>),
    End(Box<[u8]>),
}

impl MediaPattern {
    /// What stands for several has a star at one end: `text/*`, `*+json`, `*`.
    fn of(text: &str) -> Self {
        match (text.strip_suffix('*'), text.strip_prefix('*')) {
            (Some(begin), _) => Self::Begin(begin.as_bytes().into()),
            (None, Some(end)) => Self::End(end.as_bytes().into()),
            (None, None) => Self::One(text.as_bytes().into()),
        }
    }

    /// Whether a media type is one of them, without regard to case (RFC 9110 §8.3.1).
    fn has(&self, media: &[u8]) -> bool {
        let is = |part: Option<&[u8]>, text: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(text));
        match self {
            _ if media.is_empty() => false,
            Self::One(one) => media.eq_ignore_ascii_case(one),
            Self::Begin(begin) => is(media.get(..begin.len()), begin),
            Self::End(end) => is(media.len().checked_sub(end.len()).and_then(|at| media.get(at..)), end),
        }
    }
}

#[cfg(test)]
mod tests;
