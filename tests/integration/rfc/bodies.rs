//! Bodies that are not whole are never served as whole (RFC 9111 §3.3, RFC 9112 §8), and each framing is stored.

use super::{Stage, case, case::Answer, get, ok, request};

const FRESH: &str = "HTTP/1.1 200 OK\nCache-Control: max-age=60\n";

#[test]
fn what_was_cut_off_is_not_stored() {
    let stage = Stage::new();
    for (what, rest) in [
        ("fewer bytes than Content-Length", "Content-Length: 10\n\nhello"),
        ("no byte of it", "Content-Length: 10\n\n"),
        ("without the last chunk", "Transfer-Encoding: chunked\n\n5\nhello\n"),
        ("in the middle of a chunk", "Transfer-Encoding: chunked\n\n5\nhel"),
        ("in the middle of a chunk's size", "Transfer-Encoding: chunked\n\n5\nhello\n1"),
        ("before the end of the trailers", "Transfer-Encoding: chunked\n\n5\nhello\n0\nA: b\n"),
        ("a chunk's size that is none", "Transfer-Encoding: chunked\n\n5\nhello\nxyz\n"),
    ] {
        case(
            &stage,
            "RFC 9111 §3.3",
            what,
            &[
                get().origin(Answer::raw(&format!("{FRESH}{rest}"), true)).broken(),
                get().origin(ok("Cache-Control: max-age=60")),
                get(),
            ],
        );
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_not_stored() {
    let stage = Stage::new();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let raw = format!("{version} 200 OK\nCache-Control: max-age=60\n\nhello");
        case(
            &stage,
            "RFC 9112 §8, RFC 9111 §3.3",
            version,
            &[
                get().origin(Answer::raw(&raw, true)).reads("hello"),
                get().origin(ok("Cache-Control: max-age=60")),
            ],
        );
    }
}

#[test]
fn each_framing_with_an_end_is_stored() {
    let stage = Stage::new();
    for (what, raw) in [
        ("a length", format!("{FRESH}Content-Length: 5\n\nhello")),
        ("chunks", format!("{FRESH}Transfer-Encoding: chunked\n\n2\nhe\n3;x=y\nllo\n0\n\n")),
        ("chunks and trailers", format!("{FRESH}Transfer-Encoding: chunked\n\n5\nhello\n0\nX-T: 1\n\n")),
        ("HTTP/1.0 with a length", FRESH.replace("1.1", "1.0") + "Content-Length: 5\n\nhello"),
    ] {
        case(
            &stage,
            "RFC 9111 §3, RFC 9112 §6",
            what,
            &[
                get().origin(Answer::raw(&raw, true)).reads("hello"),
                get().reads("hello").lacks("x-t").lacks("trailer"),
                request("HEAD").has("content-length", "5"),
                get().with("Range: bytes=1-2").gets(206).reads("el"),
            ],
        );
    }
    let empty = format!("{FRESH}Content-Length: 0\n\n");
    case(
        &stage,
        "RFC 9111 §3",
        "an empty body",
        &[get().origin(Answer::raw(&empty, false)).reads(""), get().reads("").has("content-length", "0")],
    );
}

#[test]
fn trailers_are_not_taken_for_fields() {
    let stage = Stage::new();
    let trailers = "Cache-Control: max-age=60\nETag: \"a\"\nX-T: 1";
    let raw =
        format!("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X-T\n\n5\nhello\n0\n{trailers}\n\n");
    case(
        &stage,
        "RFC 9111 §3.1, RFC 9110 §6.5.1",
        "a lifetime in the trailers",
        &[
            get().origin(Answer::raw(&raw, false)).reads("hello").lacks("x-t").lacks("etag"),
            get().origin(ok("Cache-Control: max-age=60")),
        ],
    );
    let raw = format!(
        "{FRESH}Transfer-Encoding: chunked\nTrailer: Cache-Control\n\n5\nhello\n0\nCache-Control: no-store\nX-T: 1\n\n"
    );
    case(
        &stage,
        "RFC 9111 §3.1",
        "fields of what is stored",
        &[
            get().origin(Answer::raw(&raw, false)).reads("hello"),
            get().reads("hello").lacks("x-t").has("cache-control", "max-age=60"),
        ],
    );
}

#[test]
fn oversized_bodies_are_served_whole_and_not_stored() {
    let stage = Stage::with("max_object = \"8\"");
    let fresh = || ok("Cache-Control: max-age=60").body("12345678");
    case(&stage, "RFC 9111 §3", "as large as may be", &[get().origin(fresh()), get()]);
    let large = || ok("Cache-Control: max-age=60").body("123456789");
    case(
        &stage,
        "RFC 9111 §3",
        "by its length",
        &[
            get().origin(large()).has("cache-status", "pointsman; fwd=uri-miss; detail=too-large"),
            get().origin(large()),
        ],
    );
    let chunks = || Answer::raw(&format!("{FRESH}Transfer-Encoding: chunked\n\n9\n123456789\n0\n\n"), false);
    case(
        &stage,
        "RFC 9111 §3",
        "by its chunks",
        &[get().origin(chunks()).reads("123456789"), get().origin(chunks()).reads("123456789")],
    );
}
