//! What a write makes of what is stored (RFC 9111 §4.4).

use super::{Stage, Step, case, get, ok, request, response};

fn stored() -> Step {
    get().origin(ok("Cache-Control: max-age=60, stale-if-error=60\nETag: \"a\""))
}

fn gone() -> Step {
    get().origin(ok("Cache-Control: max-age=60")).gets(200)
}

#[test]
fn writes_that_succeed_invalidate_their_target() {
    let stage = Stage::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "FOO", "M-SEARCH", "get", "MKCOL"] {
        for status in ["200 OK", "201 Created", "204 No Content", "302 Found", "303 See Other"] {
            let write = request(method).sends("x").origin(response(status, ""));
            case(
                &stage,
                "RFC 9111 §4.4",
                &format!("{method} with {status}"),
                &[stored(), write, gone(), get()],
            );
        }
        for status in ["400 Bad", "403 Forbidden", "404 Not Found", "500 Oops", "503 Busy"] {
            let write = request(method).sends("x").origin(response(status, ""));
            case(&stage, "RFC 9111 §4.4", &format!("{method} with {status}"), &[stored(), write, get()]);
        }
    }
}

#[test]
fn safe_methods_invalidate_nothing() {
    let stage = Stage::new();
    for method in ["OPTIONS", "HEAD", "GET"] {
        let asks = request(method).with("If-Match: \"a\"").origin(response("404 Not Found", ""));
        case(&stage, "RFC 9111 §4.4", method, &[stored(), asks, get().gets(200).reads("answer 1")]);
    }
    case(
        &stage,
        "RFC 9111 §4.4",
        "OPTIONS that succeeds",
        &[stored(), request("OPTIONS").origin(ok("")), get()],
    );
}

#[test]
fn all_variants_and_only_those_of_the_uri_are_invalidated() {
    let stage = Stage::new();
    let variant = |value: &str| get().with(&format!("X-A: {value}"));
    let fresh = || ok("Cache-Control: max-age=60\nVary: X-A");
    case(
        &stage,
        "RFC 9111 §4.4",
        "variants",
        &[
            variant("1").origin(fresh()),
            variant("2").origin(fresh()),
            request("POST").with("X-A: 3").origin(ok("")),
            variant("1").origin(fresh()),
            variant("2").origin(fresh()),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.4",
        "other URIs",
        &[
            get().at("?a=1").origin(ok("Cache-Control: max-age=60")),
            get().at("?a=2").origin(ok("Cache-Control: max-age=60")),
            request("POST").at("?a=1").origin(ok("")),
            get().at("?a=2"),
            get().at("?a=1").origin(ok("Cache-Control: max-age=60")),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.4",
        "another host",
        &[
            get().host("a").origin(ok("Cache-Control: max-age=60")),
            request("POST").host("b").origin(ok("")),
            get().host("a"),
        ],
    );
}

#[test]
fn locations_of_the_same_origin_are_invalidated() {
    let stage = Stage::new();
    for field in ["Location", "Content-Location"] {
        for reference in [
            "http://test{path}/other",
            "{path}/other",
            "http://TEST:80{path}/other",
            "//test{path}/other",
            "{path}/x/../other#part",
        ] {
            let write = request("POST").origin(response("201 Created", format!("{field}: {reference}")));
            case(
                &stage,
                "RFC 9111 §4.4",
                &format!("{field}: {reference}"),
                &[
                    get().at("/other").origin(ok("Cache-Control: max-age=60")),
                    write,
                    get().at("/other").origin(ok("Cache-Control: max-age=60")),
                ],
            );
        }
    }
}

#[test]
fn locations_of_another_origin_are_not() {
    let stage = Stage::new();
    for field in ["Location", "Content-Location"] {
        for reference in [
            "http://other{path}/other",
            "https://test{path}/other",
            "http://test:81{path}/other",
            "//other{path}/other",
            "http://test@other{path}/other",
        ] {
            let write = request("POST").origin(response("201 Created", format!("{field}: {reference}")));
            case(
                &stage,
                "RFC 9111 §4.4",
                &format!("{field}: {reference}"),
                &[
                    get().at("/other").origin(ok("Cache-Control: max-age=60")),
                    get()
                        .at("/other")
                        .host("other")
                        .origin(ok("Cache-Control: max-age=60"))
                        .reads("answer 2"),
                    write,
                    get().at("/other").reads("answer 1"),
                    get().at("/other").host("other").reads("answer 2"),
                ],
            );
        }
        let write = request("POST").origin(response("404 Not Found", format!("{field}: {{path}}/other")));
        case(
            &stage,
            "RFC 9111 §4.4",
            &format!("{field} of an error"),
            &[get().at("/other").origin(ok("Cache-Control: max-age=60")), write, get().at("/other")],
        );
    }
}

#[test]
fn writes_go_through_with_what_they_send() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4",
        "each of them",
        &[
            request("POST").sends("x").asks("content-length", "1").origin(ok("Cache-Control: max-age=60")),
            request("POST")
                .sends("xy")
                .asks("content-length", "2")
                .origin(ok("Cache-Control: max-age=60"))
                .has("cache-status", "pointsman; fwd=method"),
        ],
    );
}
