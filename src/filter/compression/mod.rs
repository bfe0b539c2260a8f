//! `compression` of a route.

mod body;
pub mod conf;
mod counts;
mod encoder;
mod negotiate;

use self::{body::Compressed, conf::LevelsConf, encoder::Expected};
use super::{
    coding::Coding,
    hooks::{Body, Hooks, ResponseFacts},
};
use crate::{
    account,
    exchange::Exchange,
    fields::{Fields, Known, list},
    h1::Method,
};

pub use counts::{Counted, counted, refused};
pub use negotiate::ranked;

/// Compresses bodies on their way to clients that take it (RFC 9110 §8.4).
#[derive(Debug)]
pub struct Compression {
    /// In the order in which they are chosen where a client likes several as much.
    codings: Box<[Coding]>,
    types: Box<[String]>,
    /// Bytes below which a body is not worth it.
    least: u64,
    levels: LevelsConf,
}

impl Compression {
    /// The filter of these encodings; `None` where there are none.
    pub fn of(codings: &[Coding], types: &[String], least: u64, levels: &LevelsConf) -> Option<Self> {
        let types = types.iter().map(|it| it.to_ascii_lowercase()).collect();
        (!codings.is_empty()).then(|| Self { codings: codings.into(), types, least, levels: levels.clone() })
    }

    /// Whether a response is one that would be compressed for a client that takes it.
    fn may(&self, exchange: &Exchange, length: Option<u64>) -> bool {
        let response = &exchange.response;
        let fields = &response.fields;
        // 206 is a part of what is not compressed; the others have no body.
        let is_whole = response.status >= 200 && !matches!(response.status, 204 | 205 | 206 | 304);
        is_whole
            && length.is_none_or(|length| length >= self.least)
            && exchange.request.method != Method::Connect
            && self.takes(fields)
            && !has_digest(fields)
            && !(is_transformed_by_nobody(fields) || is_transformed_by_nobody(&exchange.request.fields))
    }

    /// Whether its type is one of those that are compressed, and nobody has encoded it.
    fn takes(&self, fields: &Fields) -> bool {
        let is_plain = list(fields.all("content-encoding")).all(|it| it.eq_ignore_ascii_case(b"identity"));
        let media = media_type(fields);
        is_plain
            && fields.get("content-range").is_none()
            && self.types.iter().any(|pattern| is_of(&media, pattern))
    }

    /// What a 304 says must be what a 200 would have said (RFC 9110 §15.4.5): a client that holds what was compressed knows
    /// it by the weak validator.
    fn weaken_unchanged(exchange: &mut Exchange) {
        let Some(tag) = exchange.response.fields.get("etag").map(<[u8]>::to_vec) else { return };
        let weak = [b"W/", &*tag].concat();
        let holds_weak = list(exchange.request.fields.all("if-none-match")).any(|it| it == weak);
        if holds_weak {
            exchange.response.fields.set("etag", &weak);
        }
    }
}

impl Hooks for Compression {
    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        if exchange.response.status == 304 {
            Self::weaken_unchanged(exchange);
            vary(&mut exchange.response.fields);
            return Body::Kept;
        }
        let length = facts.length.filter(|_| exchange.request.method != Method::Head);
        let length = length.or_else(|| content_length(&exchange.response.fields));
        if !self.may(exchange, length) {
            return Body::Kept;
        }
        // Also of what goes out as it is: another client would get another one.
        vary(&mut exchange.response.fields);
        let Some(coding) = negotiate::choose(&self.codings, &exchange.request.fields) else {
            return Body::Kept;
        };
        if account::is_full() {
            counts::refuse();
            return Body::Kept;
        }
        if exchange.request.method == Method::Head {
            encode_head(coding, exchange);
            return Body::Kept;
        }
        if let Some(kept) = facts.kept.and_then(|kept| kept.find(coding)) {
            encode_head(coding, exchange);
            counts::count_kept(coding);
            return Body::Replaced(kept);
        }
        let is_events = media_type(&exchange.response.fields) == "text/event-stream";
        match Compressed::new(coding, &self.levels, Expected { length, is_events }) {
            Some(stage) => {
                encode_head(coding, exchange);
                Body::Through(Box::new(stage))
            }
            None => Body::Kept,
        }
    }
}

/// Says in the head that the body is encoded.
fn encode_head(coding: Coding, exchange: &mut Exchange) {
    exchange.encoded = Some(coding.name());
    let fields = &mut exchange.response.fields;
    fields.remove_known(Known::ContentLength);
    // A part of what comes cannot be asked for.
    fields.remove("accept-ranges");
    fields.set("content-encoding", coding.name().as_bytes());
    if let Some(tag) = fields.get("etag").filter(|tag| !tag.starts_with(b"W/")) {
        // It is not the same byte for byte (RFC 9110 §8.8.3).
        let weak = [b"W/", tag].concat();
        fields.set("etag", &weak);
    }
}

/// Adds Accept-Encoding to Vary, where it is not there.
fn vary(fields: &mut Fields) {
    let is_there =
        list(fields.all("vary")).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
    if !is_there {
        fields.push("vary", b"accept-encoding");
    }
}

/// Whether nobody on the way may change what it is (RFC 9111 §5.2.1.6, §5.2.2.6).
fn is_transformed_by_nobody(fields: &Fields) -> bool {
    list(fields.all_known(Known::CacheControl)).any(|it| it.eq_ignore_ascii_case(b"no-transform"))
}

/// Whether a digest of the body is among the fields (RFC 9530, RFC 3230), which would be another one's.
fn has_digest(fields: &Fields) -> bool {
    ["content-digest", "repr-digest", "digest", "content-md5"].iter().any(|name| fields.get(name).is_some())
}

fn content_length(fields: &Fields) -> Option<u64> {
    std::str::from_utf8(fields.known(Known::ContentLength)?).ok()?.parse().ok()
}

/// The media type in lower case, without parameters; empty where there is none.
fn media_type(fields: &Fields) -> String {
    let value = fields.known(Known::ContentType).unwrap_or_default();
    let media = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    String::from_utf8_lossy(media).to_ascii_lowercase()
}

/// Whether a media type is of a pattern: itself, `text/*`, `*+json`, or `*`.
fn is_of(media: &str, pattern: &str) -> bool {
    if media.is_empty() {
        return false;
    }
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(begin), _) => media.starts_with(begin),
        (None, Some(end)) => media.ends_with(end),
        (None, None) => media == pattern,
    }
}

#[cfg(test)]
mod tests;
