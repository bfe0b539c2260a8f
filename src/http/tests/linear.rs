//! Whole requests cost what they are long, wherever in them, or in the response, a stranger puts what is hard to read.
//! How that is counted: `tests/linear`.

use tokio::runtime::LocalRuntime;

use super::stage::{Act, Stage, runtime};
use crate::linear::{FEW, Recorder, check};

/// Sizes that are compared: less than a target may have.
const SIZES: [usize; 2] = [3500, 7000];

const UPSTREAM: &str =
    "sticky = { cookie = \"s\" }\noutlier = { consecutive_failures = 0, failure_percent = 0 }";

const ROUTES: &str = "[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\npurge_header = \"surrogate-key\"\nkey = { sorted = true }\n\
    [[route]]\nname = \"cached\"\npaths = [\"/cached/*\"]\nupstream = \"app\"\ncache = \"pages\"\n\
    [[route]]\nname = \"moved\"\npaths = [\"/moved/*\"]\nredirect = { to = \"https://{host}{path_and_query}\" }\n\
    [[route]]\nname = \"collapsed\"\npaths = [\"/collapsed\"]\nupstream = \"app\"\ncollapse = true\n\
    [[route]]\nname = \"all\"\nupstream = \"app\"\n";

const OF_REQUESTS: [&str; 25] = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Length",
    "Cookie",
    "Expect",
    "Forwarded",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Pragma",
    "Range",
    "Referer",
    "TE",
    "Traceparent",
    "Tracestate",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Other",
];

const OF_RESPONSES: [&str; 18] = [
    "Age",
    "Cache-Control",
    "CDN-Cache-Control",
    "Connection",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Expires",
    "Last-Modified",
    "Location",
    "Set-Cookie",
    "Surrogate-Key",
    "Vary",
    "Via",
    "Cache-Status",
    "X-Other",
];

/// A worker, and how it is asked.
struct Path {
    runtime: LocalRuntime,
    stage: Stage,
}

impl Path {
    fn new() -> Self {
        let runtime = runtime();
        let stage = runtime.block_on(async { Stage::new(UPSTREAM, ROUTES, &[]) });
        // What is believed is read further than what is not.
        stage.is_trusted.set(true);
        Self { runtime, stage }
    }

    fn answer(&self, response: Vec<u8>) {
        self.stage.script(&[Act::Send(response.leak()), Act::Close]);
    }

    fn ask(&self, request: &[u8]) -> String {
        let answer = self.runtime.block_on(self.stage.talk(request));
        assert!(answer.starts_with("HTTP/1.1 ") && !answer.contains("no_backend"), "{answer}");
        answer
    }
}

fn request(line: &str, name: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{name}: ");
    [head.as_bytes(), value, b"\r\n\r\n"].concat()
}

fn response(name: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{name}: ");
    [head.as_bytes(), value, b"\r\n\r\nhello"].concat()
}

#[test]
#[ignore = "is run by the test below, under callgrind"]
fn counted() {
    let Some(mut recorder) = Recorder::of_environment() else { return };
    let path = Path::new();
    // Under callgrind all of it takes minutes, and nothing may become stale between two counts.
    let vary = b"max-age=86400\r\nETag: \"1\"\r\nVary: Accept, Accept-Language, Cookie, X-Other";
    path.answer(response("Cache-Control", vary));
    path.ask(b"GET /cached/a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    for pattern in FEW {
        for size in SIZES {
            let bytes = pattern.bytes("", size);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut count = |name: &str, request: &[u8]| {
                let (is_read, name) = (name.ends_with("/cached/a"), format!("{name} {}", pattern.name()));
                if is_read && recorder.is_own(&name) {
                    path.ask(request); // What is stored of it answers both.
                }
                recorder.count(&name, || drop(path.ask(request)));
            };
            path.answer(response("Cache-Control", vary));
            for name in OF_REQUESTS {
                for to in ["/cached/a", "/collapsed"] {
                    count(&format!("{name} of {to}"), &request(&format!("GET {to}"), name, &bytes));
                }
            }
            for to in ["/cached/", "/cached/?", "/moved/", "/"] {
                count(&format!("target {to}"), &request(&format!("GET {to}{text}"), "X-A", b"1"));
            }
            count("Host", format!("GET / HTTP/1.0\r\nHost: {text}\r\n\r\n").as_bytes());
            count(
                "names of fields",
                format!("GET / HTTP/1.0\r\n{}: 1\r\n\r\n", text.replace(',', ":1\r\n")).as_bytes(),
            );
            for (at, name) in OF_RESPONSES.iter().enumerate() {
                path.answer(response(name, &bytes));
                for method in ["GET", "PUT"] {
                    let line = format!("{method} /cached/{at}/{size}/{}", pattern.name().len());
                    count(&format!("{name} answers {method}"), &request(&line, "X-A", b"1"));
                }
            }
        }
    }
    bodies(&mut recorder, &path);
}

/// Bodies in tiny chunks: of requests, and of responses that are fetched, and then read from the cache.
fn bodies(recorder: &mut Recorder, path: &Path) {
    for count in [2000, 4000] {
        let chunks = format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(count));
        let ends = "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        path.answer(response("X-A", b"1"));
        let upload = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{ends}{chunks}");
        recorder.count("upload in tiny chunks", || drop(path.ask(upload.as_bytes())));
        path.answer(
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=86400\r\n{ends}{chunks}").into_bytes(),
        );
        for to in [format!("/{count}"), format!("/cached/b/{count}")] {
            let ask = request(&format!("GET {to}"), "X-A", b"1");
            let name = if to.starts_with("/cached") { "cached" } else { "proxied" };
            recorder.count(&format!("response in tiny chunks, {name}"), || drop(path.ask(&ask)));
            path.ask(&ask);
            let is_hit = |answer: &str| answer.contains("; hit;");
            recorder.count(&format!("the same again, {name}"), || {
                let answer = path.ask(&ask);
                assert_eq!(is_hit(&answer), name == "cached", "{answer:.600}");
            });
        }
    }
}

#[test]
fn every_request_path_is_linear() {
    let Some(grown) = check("http::tests::linear::counted") else { return };
    assert!(grown.is_empty(), "cost more than twice as much for twice the input:\n{}", grown.join("\n"));
}
