use std::io::Read;

use super::*;
use crate::{
    filter::{BodyPlan, EncodedHead, Filter, Filters, stage::Stage},
    net::Buffer,
};

fn filter(codings: &[Coding]) -> Filters {
    let types = conf::TYPES.map(str::to_owned);
    let levels = LevelsConf { zstd: 3, br: 2, gzip: 5 };
    Filters::new(Compression::of(codings, &types, 100, &levels).map(Filter::Compression))
}

const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

/// A response of 200 with a text of this length to a request that takes gzip, changed by `change`.
fn exchange(change: impl FnOnce(&mut Exchange)) -> Exchange {
    let mut exchange = Exchange::default();
    exchange.request.fields.push("accept-encoding", b"gzip");
    exchange.response.status = 200;
    exchange.response.fields.push("content-type", b"Text/HTML; charset=utf-8");
    exchange.response.fields.push("content-length", b"1000");
    exchange.response.fields.push("etag", b"\"a\"");
    exchange.response.fields.push("accept-ranges", b"bytes");
    change(&mut exchange);
    exchange
}

fn passed(exchange: &mut Exchange, length: Option<u64>) -> BodyPlan {
    let (mut facts, mut plan) = (ResponseFacts { length, ..ResponseFacts::default() }, BodyPlan::default());
    filter(&ALL).on_response(exchange, &mut facts, &mut plan);
    plan
}

fn has(exchange: &Exchange, name: &str) -> Option<String> {
    exchange.response.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn the_head_says_what_becomes_of_the_body() {
    let mut exchange = exchange(|_| {});
    let plan = passed(&mut exchange, Some(1000));
    assert_eq!(plan.stages.len(), 1);
    assert_eq!(has(&exchange, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(has(&exchange, "vary").as_deref(), Some("accept-encoding"));
    assert_eq!(has(&exchange, "etag").as_deref(), Some("W/\"a\""));
    assert_eq!(has(&exchange, "content-length"), None);
    assert_eq!(has(&exchange, "accept-ranges"), None);
}

#[test]
fn a_head_says_what_a_get_would() {
    let mut exchange = exchange(|exchange| exchange.request.method = Method::Head);
    // The length of what follows a HEAD is none.
    let plan = passed(&mut exchange, Some(0));
    assert!(plan.stages.is_empty());
    assert_eq!(has(&exchange, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(has(&exchange, "etag").as_deref(), Some("W/\"a\""));
    assert_eq!(has(&exchange, "content-length"), None);
}

#[test]
fn what_goes_out_as_is_varies_too() {
    let mut exchange = exchange(|exchange| exchange.request.fields.remove("accept-encoding"));
    exchange.response.fields.push("vary", b"origin");
    assert!(passed(&mut exchange, Some(1000)).stages.is_empty());
    let vary: Vec<_> = exchange.response.fields.all("vary").collect();
    assert_eq!(vary, [&b"origin"[..], b"accept-encoding"]);
    assert_eq!(has(&exchange, "etag").as_deref(), Some("\"a\""));
    assert_eq!(has(&exchange, "content-length").as_deref(), Some("1000"));
}

/// Else a cache on the way takes it for what everybody gets.
#[test]
fn what_others_get_compressed_varies_as_it_is() {
    type Change = fn(&mut Exchange);
    let cases: [(&str, Change); 4] = [
        ("no-transform asked", |it| it.request.fields.push("cache-control", b"no-transform")),
        ("a part", |it| it.response.status = 206),
        ("a part of this much", |it| {
            it.response.status = 206;
            it.response.fields.set("content-length", b"10");
            it.response.fields.push("content-range", b"bytes 0-9/1000");
        }),
        ("a part of what is not known", |it| {
            it.response.status = 206;
            it.response.fields.push("content-range", b"bytes 0-9/*");
        }),
    ];
    for (what, change) in cases {
        let mut exchange = exchange(change);
        let plan = passed(&mut exchange, Some(10).filter(|_| what != "no-transform asked"));
        assert!(plan.stages.is_empty() && plan.replaced.is_none(), "{what}");
        assert_eq!(has(&exchange, "vary").as_deref(), Some("accept-encoding"), "{what}");
        assert_eq!(has(&exchange, "etag").as_deref(), Some("\"a\""), "{what}");
    }
}

fn lines(exchange: &Exchange) -> Vec<u8> {
    let mut lines = Vec::new();
    exchange.response.fields.write_lines(|_| true, &mut lines);
    lines
}

#[test]
fn what_may_not_be_compressed_stays_as_it_is() {
    type Change = fn(&mut Exchange);
    let cases: [(&str, Change); 14] = [
        ("a part of little", |it| {
            it.response.status = 206;
            it.response.fields.push("content-range", b"bytes 0-9/99");
        }),
        ("content-range", |it| it.response.fields.push("content-range", b"bytes 0-9/10")),
        ("no-transform", |it| it.response.fields.push("cache-control", b"max-age=1, no-transform")),
        ("encoded", |it| it.response.fields.push("content-encoding", b"br")),
        ("an image", |it| it.response.fields.set("content-type", b"image/png")),
        ("no type", |it| it.response.fields.remove("content-type")),
        ("a digest", |it| it.response.fields.push("repr-digest", b"sha-256=:AA==:")),
        ("a digest to come", |it| it.response.fields.push("trailer", b"X-Sum, repr-Digest")),
        ("no content", |it| it.response.status = 204),
        ("a switch", |it| it.response.status = 101),
        ("reset", |it| it.response.status = 205),
        ("a short head", |it| {
            it.request.method = Method::Head;
            it.response.fields.set("content-length", b"99");
        }),
        ("a tunnel", |it| it.request.method = Method::Connect),
        ("longer name", |it| it.response.fields.set("content-type", b"application/jsonp")),
    ];
    for (what, change) in cases {
        let mut exchange = exchange(change);
        let before = lines(&exchange);
        let plan = passed(&mut exchange, Some(1000));
        assert!(plan.stages.is_empty() && plan.replaced.is_none(), "{what}");
        assert_eq!(lines(&exchange), before, "{what}");
    }
    let mut short = exchange(|_| {});
    assert!(passed(&mut short, Some(99)).stages.is_empty(), "a short one");
    assert_eq!(has(&short, "vary"), None);
    let mut other = exchange(|it| it.response.fields.push("trailer", b"x-sum"));
    assert_eq!(passed(&mut other, Some(1000)).stages.len(), 1, "trailers that say nothing of the bytes");
}

#[test]
fn an_unchanged_one_has_the_tag_it_had() {
    for (held, expected) in
        [(&b"W/\"a\""[..], "W/\"a\""), (b"\"x\", W/\"a\"", "W/\"a\""), (b"\"a\"", "\"a\""), (b"*", "\"a\"")]
    {
        let mut exchange = exchange(|exchange| exchange.response.status = 304);
        exchange.request.fields.push("if-none-match", held);
        assert!(passed(&mut exchange, None).stages.is_empty());
        assert_eq!(has(&exchange, "etag").as_deref(), Some(expected));
        assert_eq!(has(&exchange, "vary").as_deref(), Some("accept-encoding"));
        assert_eq!(has(&exchange, "content-encoding"), None);
    }
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Gzip => {
            let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut out);
        }
        Coding::Br => {
            let _ = brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out);
        }
        Coding::Zstd => {
            let mut context = zstd_safe::DCtx::create();
            let mut input = zstd_safe::InBuffer::around(bytes);
            loop {
                let mut chunk = Vec::with_capacity(1 << 16);
                let mut output = zstd_safe::OutBuffer::around(&mut chunk);
                context.decompress_stream(&mut output, &mut input).unwrap();
                let is_over = chunk.is_empty();
                out.append(&mut chunk);
                if is_over {
                    break;
                }
            }
        }
    }
    out
}

fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let words = ["alpha ", "beta ", "{\"id\":", "null,", "gamma\n", "0123456789"];
    let mut text = Vec::new();
    while text.len() < length {
        text.extend_from_slice(words[rng.usize(..words.len())].as_bytes());
    }
    text.truncate(length);
    text
}

#[test]
fn a_body_is_the_same_once_decoded_however_it_comes() {
    let levels = LevelsConf { zstd: 3, br: 2, gzip: 5 };
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let coding = ALL[rng.usize(..3)];
        let whole = text(rng.usize(..200_000), seed);
        let expected = Expected { length: rng.bool().then_some(whole.len() as u64), is_events: rng.bool() };
        let mut stage = Compressed::new(coding, &levels, expected).unwrap();
        let (mut rest, mut all) = (&whole[..], Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.usize(1..=rest.len()));
            rest = later;
            let mut block = Buffer::copy_of(now);
            while !block.is_empty() {
                let before = block.len();
                all.extend(stage.take(&mut block).unwrap().iter().flat_map(|it| it.to_vec()));
                assert!(before - block.len() <= crate::filter::stage::SLICE);
            }
            if rng.u8(..4) == 0 {
                while let Some(out) = stage.flush().unwrap() {
                    all.extend_from_slice(&out);
                }
                let behind = whole.len() - rest.len();
                assert_eq!(decoded(coding, &all), whole[..behind], "{coding:?} of seed {seed}, flushed");
            }
        }
        while let Some(out) = stage.finish().unwrap() {
            all.extend_from_slice(&out);
        }
        assert_eq!(decoded(coding, &all), whole, "{coding:?} of seed {seed}");
        assert!(whole.len() < 1000 || all.len() < whole.len(), "{coding:?} of seed {seed}");
    }
}

#[test]
fn nothing_is_flushed_twice() {
    let levels = LevelsConf { zstd: 3, br: 2, gzip: 5 };
    for coding in ALL {
        let expected = Expected { length: None, is_events: true };
        let mut stage = Compressed::new(coding, &levels, expected).unwrap();
        assert!(stage.flush().unwrap().is_none(), "{coding:?}");
        let mut block = Buffer::copy_of(b"data: 1\n\n");
        stage.take(&mut block).unwrap();
        assert!(stage.flush().unwrap().is_some() && stage.flush().unwrap().is_none(), "{coding:?}");
    }
}

#[test]
fn media_types_are_matched_by_their_patterns() {
    for (media, pattern, expected) in [
        ("text/html", "text/*", true),
        ("text/html", "text/html", true),
        ("application/ld+json", "*+json", true),
        ("application/json", "*+json", false),
        ("text", "text/*", false),
        ("image/png", "*", true),
        ("", "*", false),
    ] {
        assert_eq!(MediaPattern::of(pattern).has(media.as_bytes()), expected, "{media} {pattern}");
    }
}

/// A stored response whose body is there in gzip.
#[derive(Debug, Default)]
struct Stored(std::sync::OnceLock<EncodedHead>);

impl Kept for Stored {
    fn find(&self, coding: Coding) -> Option<Bytes> {
        (coding == Coding::Gzip).then(|| Bytes::from_static(b"encoded"))
    }

    fn head(&self, coding: Coding) -> Option<&EncodedHead> {
        self.0.get().filter(|_| coding == Coding::Gzip)
    }

    fn keep_head(&self, _: Coding, head: EncodedHead) {
        let _ = self.0.set(head);
    }
}

/// The fields that go out, in the order of their names, and whether it is the encoded body that they are of.
fn from(stored: &Stored, filter: &Filters, is_alone: bool, exchange: &mut Exchange) -> (Vec<String>, bool) {
    let kept: Option<&dyn Kept> = Some(stored);
    let mut facts = ResponseFacts { length: Some(1000), is_alone, kept, ..ResponseFacts::default() };
    let mut plan = BodyPlan::default();
    filter.on_response(exchange, &mut facts, &mut plan);
    let lines = String::from_utf8(lines(exchange)).unwrap();
    let mut lines: Vec<String> = lines.lines().map(str::to_lowercase).collect();
    lines.sort();
    (lines, plan.replaced.is_some())
}

#[test]
fn a_kept_head_is_what_it_was_made_to_be() {
    type Change = fn(&mut Exchange);
    let all: [Change; 6] = [
        |_| {},
        |exchange| exchange.response.fields.set("etag", b"W/\"a\""),
        |exchange| exchange.response.fields.remove("etag"),
        |exchange| exchange.response.fields.push("vary", b"accept-encoding, origin"),
        |exchange| exchange.response.fields.push("content-encoding", b"identity"),
        |exchange| exchange.response.fields.remove("accept-ranges"),
    ];
    for change in all {
        let (stored, filter) = (Stored::default(), filter(&ALL));
        let first = from(&stored, &filter, true, &mut exchange(change));
        assert!(first.1 && stored.0.get().is_some());
        // What the proxy itself says of each response is beside it.
        let mut second = exchange(change);
        second.response.fields.push("age", b"5");
        let mut second = from(&stored, &filter, true, &mut second);
        second.0.retain(|line| line != "age: 5");
        assert_eq!(second, first);
    }
}

#[test]
fn a_head_is_kept_for_what_it_is_of() {
    let (stored, all) = (Stored::default(), filter(&ALL));
    assert!(from(&stored, &all, false, &mut exchange(|_| {})).1);
    assert!(stored.0.get().is_none(), "another filter may have changed it");
    assert!(from(&stored, &all, true, &mut exchange(|_| {})).1);
    let fixed = |exchange: &mut Exchange| exchange.response.fields.push("cache-control", b"no-transform");
    let asked = |exchange: &mut Exchange| exchange.request.fields.push("cache-control", b"no-transform");
    let partial = |exchange: &mut Exchange| exchange.response.status = 206;
    let not_taken = |exchange: &mut Exchange| exchange.request.fields.set("accept-encoding", b"identity");
    assert!(!from(&stored, &all, false, &mut exchange(fixed)).1);
    assert!(!from(&stored, &all, true, &mut exchange(asked)).1);
    assert!(!from(&stored, &all, true, &mut exchange(partial)).1);
    assert!(!from(&stored, &all, true, &mut exchange(not_taken)).1);
    // A route that compresses other types.
    let levels = LevelsConf { zstd: 3, br: 2, gzip: 5 };
    let other = Compression::of(&ALL, &["image/*".to_owned()], 100, &levels).map(Filter::Compression);
    assert!(!from(&stored, &Filters::new(other), true, &mut exchange(|_| {})).1);
    let head = from(&stored, &all, true, &mut exchange(|exchange| exchange.request.method = Method::Head));
    assert!(!head.1 && head.0.contains(&"content-encoding: gzip".to_owned()));
}
