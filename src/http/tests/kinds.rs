//! A table of response kinds × methods × framings × versions: whatever answers, what leaves is one well-formed response
//! with what every response has.

use super::stage::{Act, Stage, run};

/// A response as a client sees it.
struct Seen {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Parses all that came on a connection that was closed behind one response, strictly.
fn parse(answer: &str, method: &str) -> Seen {
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap();
    assert!(status.starts_with("HTTP/1.1 "), "{status}");
    let status = status[9..12].parse().unwrap();
    let fields: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen { status, fields, body: String::new() };
    let has_no_body = method == "HEAD" || matches!(status, 204 | 304);
    let (chunked, lengths) = (seen.all("transfer-encoding").len(), seen.all("content-length"));
    assert!(chunked + lengths.len() <= 1 || has_no_body && chunked == 0, "two framings: {head}");
    seen.body = match (has_no_body, lengths.first(), chunked) {
        (true, ..) => {
            assert_eq!(rest, "", "bytes behind a response without a body: {head}");
            String::new()
        }
        (false, Some(length), _) => {
            assert_eq!(rest.len(), length.parse::<usize>().unwrap(), "length and body differ: {head}");
            rest.to_owned()
        }
        (false, None, 1) => unchunked(rest),
        (false, None, _) => rest.to_owned(),
    };
    seen
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, more) = rest.split_once("\r\n").unwrap_or_else(|| panic!("no chunk in {rest:?}"));
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            assert_eq!(more, "\r\n", "bytes behind the last chunk");
            return body;
        }
        body.push_str(&more[..size]);
        rest = more[size..].strip_prefix("\r\n").unwrap();
    }
}

const EDITS: &str = "response_headers = { set = { x-edited = \"yes\" }, remove = [\"x-secret\"] }";

/// What the backend answers, with fields that must go no further.
pub(super) const FRAMINGS: [(&str, &[Act]); 6] = [
    (
        "length",
        &[Act::Send(b"HTTP/1.1 200 OK\r\nX-Secret: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nhello")],
    ),
    (
        "chunks",
        &[Act::Send(
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        )],
    ),
    ("until close", &[Act::Send(b"HTTP/1.0 200 OK\r\nX-Secret: 1\r\n\r\nhello"), Act::Close]),
    ("no content", &[Act::Send(b"HTTP/1.1 204 No Content\r\nX-Secret: 1\r\n\r\n")]),
    ("not modified", &[Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n")]),
    ("broken", &[Act::Send(b"HTTP/1.1 nonsense\r\n\r\n"), Act::Close]),
];

/// A path for each kind of response, and its status for GET where that is not the backend's.
pub(super) const KINDS: [(&str, Option<u16>); 6] = [
    ("/proxied", None),
    ("/cached", None),
    ("/collapsed", None),
    ("/moved", Some(308)),
    ("/own", Some(200)),
    ("/nowhere", Some(404)),
];

pub(super) fn routes() -> String {
    format!(
        "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\ndefault_ttl = \"60s\"\n\
         [[route]]\nname = \"proxied\"\npaths = [\"/proxied\"]\nupstream = \"app\"\n{EDITS}\n\
         [[route]]\nname = \"cached\"\npaths = [\"/cached\"]\nupstream = \"app\"\ncache = \"pages\"\n{EDITS}\n\
         [[route]]\nname = \"collapsed\"\npaths = [\"/collapsed\"]\nupstream = \"app\"\ncollapse = true\n{EDITS}\n\
         [[route]]\nname = \"moved\"\npaths = [\"/moved\"]\nredirect = {{ to = \"https://new.test/\" }}\n{EDITS}\n\
         [[route]]\nname = \"own\"\npaths = [\"/own\"]\nrespond = {{ status = 200, body = \"hello\" }}\n{EDITS}\n"
    )
}

fn request(method: &str, path: &str, version: &str, framing: &str) -> Vec<u8> {
    let (fields, body) = match framing {
        "length" => ("Content-Length: 3\r\n", "abc"),
        "chunks" => ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        _ => ("", ""),
    };
    format!("{method} {path} HTTP/{version}\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n{body}")
        .into_bytes()
}

/// Checks what every response has, and what none has.
fn check(seen: &Seen, what: &str, path: &str) {
    assert_eq!(seen.all("via").len(), 1, "{what}: Via");
    assert_eq!(seen.all("date").len(), 1, "{what}: Date");
    for name in ["x-hop", "keep-alive", "upgrade"] {
        assert!(seen.all(name).is_empty(), "{what}: {name} is of the hop behind");
    }
    let edited = path != "/nowhere";
    assert_eq!(seen.all("x-edited").len(), usize::from(edited), "{what}: edits");
    assert!(seen.all("x-secret").is_empty() || !edited, "{what}: edits remove");
    assert_eq!(seen.all("proxy-status").len(), usize::from(seen.status >= 400), "{what}: Proxy-Status");
}

#[test]
fn responses_are_well_formed_and_have_the_common_fields() {
    let mut cases = 0;
    for (name, script) in FRAMINGS {
        for (path, own) in KINDS {
            for method in ["GET", "HEAD", "POST"] {
                for version in ["1.0", "1.1"] {
                    for framing in ["none", "length", "chunks"] {
                        if (method != "POST" && framing != "none")
                            || (version == "1.0" && framing == "chunks")
                        {
                            continue;
                        }
                        // Twice, since the second may come from the cache.
                        run(async || {
                            let stage = Stage::new("", &routes(), script);
                            for turn in ["first", "second"] {
                                let what = format!("{name} {method} {path} HTTP/{version} {framing} {turn}");
                                let answer = stage.talk(&request(method, path, version, framing)).await;
                                let seen = parse(&answer, method);
                                check(&seen, &what, path);
                                assert_eq!(seen.status, expected(name, own), "{what}: {answer}");
                                let is_whole = seen.status == 200 && method != "HEAD";
                                assert!(!is_whole || seen.body == "hello", "{what}: {answer}");
                                cases += 1;
                            }
                            stage.assert_all_is_given_back(name).await;
                        });
                    }
                }
            }
        }
    }
    assert_eq!(cases, 6 * 6 * 9 * 2);
}

/// The status of a response of this framing, or of Pointsman's own.
pub(super) fn expected(framing: &str, own: Option<u16>) -> u16 {
    match (own, framing) {
        (Some(status), _) => status,
        (None, "no content") => 204,
        // An answer to a question that nobody asked, and yet an answer.
        (None, "not modified") => 304,
        (None, "broken") => 502,
        _ => 200,
    }
}
