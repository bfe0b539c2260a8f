//! What is stored and stale: validated, replaced, or served all the same, and what is said of it.

use std::time::Duration;

use super::stage::{Act, Stage, run};
use crate::runtime::changes::Maker;

const ROUTES: &str = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
    [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
const FRESH: &[Act] = &[Act::Send(
    b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=10, stale-if-error=60\r\nContent-Length: 5\r\n\r\nhello",
)];

/// Stale as soon as it is there, and better than an error.
const STALE: &[Act] = &[Act::Send(
    b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=0, stale-if-error=60\r\nContent-Length: 5\r\n\r\nhello",
)];

async fn get(stage: &Stage, fields: &str) -> String {
    stage.talk(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n").as_bytes()).await
}

fn status_of(answer: &str) -> &str {
    &answer["HTTP/1.1 ".len()..][..3]
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(other, _)| other.eq_ignore_ascii_case(name)))
        .map(|it| it.1)
}

/// Stores a response, lets it get stale by asking for something fresher, and gives what the second answer is.
async fn asked_again(stage: &Stage, script: &[Act], fields: &str) -> String {
    let first = get(stage, "").await;
    assert!(first.ends_with("\r\n\r\nhello"), "{first}");
    stage.script(script);
    get(stage, fields).await
}

#[test]
fn a_hit_asks_nobody_and_says_its_age() {
    run(async || {
        let stage = Stage::new("", ROUTES, FRESH);
        let second = asked_again(&stage, FRESH, "").await;
        assert_eq!(stage.backend.requests.borrow().len(), 1);
        assert!(second.ends_with("\r\n\r\nhello"), "{second}");
        assert_eq!(field(&second, "age"), Some("0"));
        assert!(field(&second, "cache-status").unwrap().starts_with("pointsman; hit; ttl="), "{second}");
    });
}

/// A purge that the next program has answered is not known here, where clients still have connections.
#[test]
fn what_is_stored_is_not_served_behind_an_upgrade() {
    run(async || {
        let stage = Stage::new("", ROUTES, FRESH);
        let changes = &stage.worker.shared.registry.changes;
        for (maker, expected) in
            [(Maker::Own, 1), (Maker::Next, 2), (Maker::Next, 3), (Maker::Own, 3), (Maker::Before, 3)]
        {
            changes.leave_to(maker);
            let answer = get(&stage, "").await;
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
            assert_eq!(stage.backend.requests.borrow().len(), expected, "{maker:?}");
        }
    });
}

/// Else each of them costs a connection.
#[test]
fn what_a_client_has_already_leaves_its_connection() {
    run(async || {
        let private =
            "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: private\r\nContent-Length: 5\r\n\r\nhello";
        let stage = Stage::new("", ROUTES, &[Act::Send(private.as_bytes())]);
        for asked in 1..=3 {
            let answer = get(&stage, "If-None-Match: \"1\"\r\n").await;
            assert_eq!(status_of(&answer), "304", "{answer}");
            let came = (stage.backend.requests.borrow().len(), stage.backend.connections.get());
            assert_eq!(came, (asked, 1));
        }
    });
}

#[test]
fn a_304_validates_the_stored_response_which_answers() {
    run(async || {
        let stage = Stage::new("", ROUTES, FRESH);
        let not_modified = [Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nX-New: 1\r\n\r\n")];
        for credentials in ["", "Cookie: a=b\r\n"] {
            let fields = format!("Cache-Control: no-cache\r\n{credentials}");
            let second = asked_again(&stage, &not_modified, &fields).await;
            assert_eq!(status_of(&second), "200", "{second}");
            assert!(second.ends_with("\r\n\r\nhello"), "{second}");
            assert_eq!(field(&second, "x-new"), Some("1"), "{second}");
            let status = field(&second, "cache-status").unwrap();
            assert!(status.contains("fwd-status=304"), "{status}");
            let asked = stage.backend.requests.borrow().last().unwrap().clone();
            assert!(asked.to_ascii_lowercase().contains("if-none-match: \"1\""), "{asked}");
            stage.script(FRESH);
        }
    });
}

/// Else a client is logged out whose session the backend has renewed; and who else is logged in gets that session.
#[test]
fn what_a_304_says_for_its_client_reaches_that_one() {
    run(async || {
        for control in ["max-age=10, private=\"x-user\"", "max-age=0, private=\"x-user\"", "private"] {
            let stage = Stage::new("", ROUTES, FRESH);
            let own = format!(
                "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: {control}\r\n\
                 Set-Cookie: s=1\r\nSet-Cookie: t=2\r\nX-User: ann\r\n\r\n"
            );
            let own = [Act::Send(own.leak().as_bytes())];
            for (fields, status) in [
                ("", "200"),
                ("Cookie: a=b\r\n", "200"),
                ("If-None-Match: \"1\"\r\n", "304"),
                ("Range: bytes=0-1\r\n", "206"),
            ] {
                let fields = format!("Cache-Control: no-cache\r\n{fields}");
                stage.script(FRESH);
                let second = asked_again(&stage, &own, &fields).await;
                assert_eq!(status_of(&second), status, "{control} {fields}: {second}");
                let cookies = second.to_ascii_lowercase().matches("\r\nset-cookie: ").count();
                assert_eq!(cookies, 2, "{control} {fields}: {second}");
                assert_eq!(field(&second, "x-user"), Some("ann"), "{control} {fields}: {second}");
                stage.script(FRESH);
                let third = get(&stage, "").await;
                assert!(third.ends_with("\r\n\r\nhello"), "{third}");
                assert_eq!((field(&third, "set-cookie"), field(&third, "x-user")), (None, None), "{third}");
            }
        }
    });
}

#[test]
fn what_a_304_says_for_its_client_reaches_no_other() {
    run(async || {
        let stage = Stage::new("", ROUTES, STALE);
        assert!(get(&stage, "").await.ends_with("\r\n\r\nhello"));
        let own = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=10\r\nSet-Cookie: s=1\r\n\r\n";
        stage.script(&[Act::Wait(Duration::from_millis(100)), Act::Send(own)]);
        let clients = tokio::join!(get(&stage, ""), get(&stage, ""));
        let answers = [&clients.0, &clients.1];
        assert!(answers.iter().all(|answer| answer.ends_with("\r\n\r\nhello")), "{answers:?}");
        let cookies = answers.iter().filter(|answer| field(answer, "set-cookie").is_some());
        assert_eq!((cookies.count(), stage.backend.requests.borrow().len()), (1, 2), "{answers:?}");
        assert_eq!(field(&get(&stage, "").await, "set-cookie"), None);
        stage.assert_all_is_given_back("cookies").await;
    });
}

#[test]
fn a_stale_response_covers_errors_until_a_newer_one() {
    run(async || {
        let stage = Stage::new("", ROUTES, STALE);
        for credentials in ["", "Cookie: a=b\r\n"] {
            for broken in [
                &[Act::Send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\noops")][..],
                &[Act::Close],
            ] {
                stage.script(STALE);
                let second = asked_again(&stage, broken, credentials).await;
                assert_eq!(status_of(&second), "200", "{second}");
                assert!(second.ends_with("\r\n\r\nhello"), "{second}");
                assert!(
                    field(&second, "cache-status").unwrap().ends_with("detail=stale-if-error"),
                    "{second}"
                );
            }
        }
        stage.script(&[Act::Send(
            b"HTTP/1.1 200 OK\r\nETag: \"2\"\r\nCache-Control: max-age=10\r\nContent-Length: 5\r\n\r\nworld",
        )]);
        let third = get(&stage, "Cache-Control: no-cache\r\n").await;
        assert!(third.ends_with("\r\n\r\nworld"), "{third}");
        stage.script(&[Act::Close]);
        assert!(get(&stage, "").await.ends_with("\r\n\r\nworld"));
        stage.assert_all_is_given_back("validations").await;
    });
}

#[test]
fn collapsed_range_requests_share_a_fetch_and_get_their_parts() {
    run(async || {
        let script = [&[Act::Wait(Duration::from_secs(1))][..], FRESH].concat();
        let stage = Stage::new("", ROUTES, &script);
        let (whole, part, head, same) = tokio::join!(
            get(&stage, ""),
            get(&stage, "Range: bytes=1-2\r\n"),
            stage.talk(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            get(&stage, "If-None-Match: \"1\"\r\n"),
        );
        assert!(whole.ends_with("\r\n\r\nhello"), "{whole}");
        assert_eq!((status_of(&part), field(&part, "content-range")), ("206", Some("bytes 1-2/5")), "{part}");
        assert!(part.ends_with("\r\n\r\nel"), "{part}");
        assert_eq!((status_of(&head), field(&head, "content-length")), ("200", Some("5")), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!((status_of(&same), field(&same, "content-length")), ("304", None), "{same}");
        assert_eq!(stage.backend.requests.borrow().len(), 1);
        stage.assert_all_is_given_back("sharing").await;
    });
}

#[test]
fn a_304_that_forbids_sharing_is_for_one() {
    run(async || {
        for forbids in ["Cache-Control: private", "Cache-Control: no-store", "Vary: *"] {
            let stage = Stage::new("", ROUTES, STALE);
            let head =
                format!("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n{forbids}\r\nX-Account: 17\r\n\r\n");
            let script = [Act::Wait(Duration::from_millis(100)), Act::Send(head.leak().as_bytes())];
            assert!(get(&stage, "").await.ends_with("\r\n\r\nhello"));
            stage.script(&script);
            let clients = tokio::join!(get(&stage, ""), get(&stage, ""));
            for answer in [&clients.0, &clients.1] {
                assert_eq!((status_of(answer), field(answer, "x-account")), ("200", Some("17")), "{answer}");
            }
            assert_eq!(stage.backend.requests.borrow().len(), 3, "{forbids}: each asks for himself");
            stage.script(STALE);
            assert!(get(&stage, "").await.ends_with("\r\n\r\nhello"));
            let asked = stage.backend.requests.borrow().last().unwrap().to_ascii_lowercase();
            assert!(!asked.contains("if-none-match"), "{forbids}: nothing is stored: {asked}");
            stage.assert_all_is_given_back(forbids).await;
        }
    });
}

/// Else one client that is logged in takes from all others what they share.
#[test]
fn a_304_for_one_leaves_what_is_stored() {
    run(async || {
        let revalidate = ROUTES.replace("[[route]]", "stale_while_revalidate = \"1h\"\n[[route]]");
        for (routes, credentials) in [
            (ROUTES, "Cookie: a=b\r\n"),
            (ROUTES, "Authorization: Basic a\r\n"),
            // The refresh in the background is asked as the request that found it stale.
            (&revalidate, "Cookie: a=b\r\n"),
        ] {
            for forbids in ["Cache-Control: private", "Cache-Control: no-store", "Vary: *"] {
                let stage = Stage::new("", routes, STALE);
                let own = format!("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n{forbids}\r\n\r\n");
                let second = asked_again(&stage, &[Act::Send(own.leak().as_bytes())], credentials).await;
                assert!(second.ends_with("\r\n\r\nhello"), "{forbids}: {second}");
                is_refreshed(&stage, 2).await;
                let holds = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=10\r\n\r\n";
                stage.script(&[Act::Send(holds)]);
                let third = get(&stage, "").await;
                assert!(third.ends_with("\r\n\r\nhello"), "{forbids} {credentials}: {third}");
                is_refreshed(&stage, 3).await;
                let asked = stage.backend.requests.borrow().last().unwrap().to_ascii_lowercase();
                assert!(asked.contains("if-none-match: \"1\""), "it is there still: {asked}");
                stage.assert_all_is_given_back(forbids).await;
            }
        }
    });
}

#[test]
fn each_use_of_what_has_no_cache_is_validated() {
    run(async || {
        let wait = Act::Wait(Duration::from_millis(100));
        let whole =
            b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: no-cache\r\nContent-Length: 5\r\n\r\nhello";
        let stage = Stage::new("", ROUTES, &[wait.clone(), Act::Send(whole)]);
        let holds = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: no-cache\r\n\r\n";
        for (script, asked) in [(Act::Send(whole), 2), (Act::Send(holds), 4)] {
            stage.script(&[wait.clone(), script]);
            let answers = tokio::join!(get(&stage, ""), get(&stage, ""));
            for answer in [&answers.0, &answers.1] {
                assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
            }
            assert_eq!(stage.backend.requests.borrow().len(), asked, "RFC 9111 §5.2.2.4");
        }
        stage.assert_all_is_given_back("no-cache").await;
    });
}

#[test]
fn a_304_for_one_with_credentials_is_not_for_another() {
    run(async || {
        let routes = ROUTES.replace("[[route]]", "collapse = { credentials = true }\n[[route]]");
        let public = b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: public, max-age=0\r\nContent-Length: 5\r\n\r\nhello";
        let stage = Stage::new("", &routes, &[Act::Send(public)]);
        assert!(get(&stage, "").await.ends_with("\r\n\r\nhello"));
        let own = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=0\r\n\r\n";
        stage.script(&[Act::Wait(Duration::from_millis(100)), Act::Send(own)]);
        let clients = tokio::join!(
            get(&stage, "Authorization: Basic a\r\n"),
            get(&stage, "Authorization: Basic b\r\n"),
        );
        for answer in [&clients.0, &clients.1] {
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        }
        let requests = stage.backend.requests.borrow();
        let of = |credentials: &str| requests.iter().filter(|head| head.contains(credentials)).count();
        assert_eq!((of("Basic a"), of("Basic b")), (1, 1), "{requests:?}");
    });
}

#[test]
fn an_outgrown_refresh_does_not_wait_for_a_reader() {
    run(async || {
        let routes = "[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\nmax_object = \"64KiB\"\nstale_while_revalidate = \"1h\"\n\
            [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let stale: &[Act] =
            &[Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nContent-Length: 5\r\n\r\nhello")];
        let stage = Stage::new("", routes, stale);
        let mut large =
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..64 {
            large.extend_from_slice(b"4000\r\n");
            large.resize(large.len() + 0x4000, b'x');
            large.extend_from_slice(b"\r\n");
        }
        large.extend_from_slice(b"0\r\n\r\n");
        let second = asked_again(&stage, &[Act::Send(large.leak())], "").await;
        assert!(second.ends_with("\r\n\r\nhello"), "what is stale is served at once: {second}");
        stage.assert_all_is_given_back("a refresh that outgrew its bounds").await;
    });
}

/// Else it gets nothing, whatever it has: the origin was asked as it asks, and has sent this.
#[test]
fn what_is_for_one_is_not_unchanged_by_its_date() {
    run(async || {
        let private =
            b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Sep 2026 00:00:00 GMT\r\nCache-Control: private\r\nContent-Length: 5\r\n\r\nhello";
        let collapse = "[[route]]\nname = \"all\"\nupstream = \"app\"\ncollapse = true\n";
        for (routes, fields) in [
            (ROUTES, "Authorization: Basic a\r\n"),
            (ROUTES, "Cookie: a=b\r\n"),
            (ROUTES, ""),
            (collapse, ""),
        ] {
            let stage = Stage::new("", routes, &[Act::Send(private)]);
            let fields = format!("{fields}If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n");
            // The second one goes on as it came, since the answer is known to be for one.
            for _ in 0..2 {
                let answer = get(&stage, &fields).await;
                assert_eq!(status_of(&answer), "200", "{fields}: {answer}");
                assert!(answer.ends_with("\r\n\r\nhello"), "{fields}: {answer}");
            }
        }
    });
}

/// Nothing is stored there, and the backend's Date says that it has answered.
#[test]
fn what_is_only_shared_is_not_unchanged_by_its_date() {
    run(async || {
        let route = "[[route]]\nname = \"all\"\nupstream = \"app\"\ncollapse = true\n";
        let script = [
            Act::Wait(Duration::from_secs(1)),
            Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello"),
        ];
        let stage = Stage::new("", route, &script);
        let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
        let answers = tokio::join!(get(&stage, since), get(&stage, since));
        for answer in [&answers.0, &answers.1] {
            assert_eq!(status_of(answer), "200", "{answer}");
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        }
        assert_eq!(stage.backend.requests.borrow().len(), 1);
    });
}

/// Else one client that is logged in takes from all others what they share.
#[test]
fn a_refresh_that_is_for_one_leaves_what_is_stored() {
    run(async || {
        let routes = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\nstale_while_revalidate = \"1h\"\n\
            [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let stale: &[Act] =
            &[Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nContent-Length: 5\r\n\r\nhello")];
        for own in ["Set-Cookie: s=1\r\nCache-Control: max-age=0", "Cache-Control: private"] {
            let stage = Stage::new("", routes, stale);
            let own = format!("HTTP/1.1 200 OK\r\n{own}\r\nContent-Length: 5\r\n\r\nalice");
            let second = asked_again(&stage, &[Act::Send(own.leak().as_bytes())], "Cookie: a=b\r\n").await;
            assert!(second.ends_with("\r\n\r\nhello"), "what is stale is served at once: {second}");
            is_refreshed(&stage, 2).await;
            stage.script(&[Act::Send(
                b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nworld",
            )]);
            let third = get(&stage, "").await;
            assert!(third.ends_with("\r\n\r\nhello"), "it is there still: {third}");
            assert!(field(&third, "cache-status").unwrap().starts_with("pointsman; hit"), "{third}");
            is_refreshed(&stage, 3).await;
            assert!(get(&stage, "").await.ends_with("\r\n\r\nworld"));
            stage.assert_all_is_given_back("refreshes").await;
        }
    });
}

/// Waits until the backend was asked so often, and nothing is fetched any more. The clock is paused.
async fn is_refreshed(stage: &Stage, asked: usize) {
    let is_under_way = || stage.backend.requests.borrow().len() < asked || stage.worker.is_fetching();
    for _ in 0..10_000 {
        if !is_under_way() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("nothing was fetched, or it did not end");
}

#[test]
fn a_416_is_not_stored_for_the_whole() {
    run(async || {
        let routes = "[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\nmax_object = \"1KiB\"\n\
            [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let large = [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n".to_vec(), vec![b'x'; 2000]].concat();
        let large: &[Act] = &[Act::Send(large.leak())];
        let stage = Stage::new("", routes, large);
        assert_eq!(status_of(&get(&stage, "").await), "200");
        // It is known by now that the whole is too large, so that the origin is asked for the part.
        stage.script(&[Act::Send(
            b"HTTP/1.1 416 Range Not Satisfiable\r\nCache-Control: public, max-age=60\r\nContent-Length: 0\r\n\r\n",
        )]);
        assert_eq!(status_of(&get(&stage, "Range: bytes=9999-\r\n").await), "416");
        stage.script(large);
        assert_eq!(status_of(&get(&stage, "").await), "200");
        assert_eq!(stage.backend.requests.borrow().len(), 3);
    });
}

#[test]
fn what_is_not_shared_is_asked_for_as_it_came() {
    run(async || {
        let route = "[[route]]\nname = \"all\"\nupstream = \"app\"\ncollapse = true\n";
        let part =
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe";
        let stage = Stage::new("", route, &[Act::Send(part)]);
        let got = get(&stage, "Cookie: a=b\r\nRange: bytes=0-1\r\n").await;
        assert_eq!((status_of(&got), field(&got, "content-range")), ("206", Some("bytes 0-1/5")), "{got}");
        stage.script(&[Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n")]);
        let got = get(&stage, "Cookie: a=b\r\nIf-None-Match: \"1\"\r\n").await;
        assert_eq!(status_of(&got), "304", "{got}");
        let requests = stage.backend.requests.borrow();
        let asked: Vec<_> = requests.iter().map(|head| head.to_ascii_lowercase()).collect();
        assert_eq!(asked.len(), 2);
        assert!(
            asked[0].contains("range: bytes=0-1") && asked[1].contains("if-none-match: \"1\""),
            "{asked:?}"
        );
    });
}

/// Behind a trusted proxy: what a client may have sent through it goes no further, but for what the route makes of it.
#[test]
fn fields_that_a_route_sets_reach_the_origin() {
    const SETS: &str = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n\
        cache = \"pages\"\nrewrite = { host = \"{header.x-host}\" }\n\
        request_headers = { set = { x-forwarded-port = \"443\" } }\n";
    run(async || {
        let stage = Stage::new("", SETS, FRESH);
        stage.is_trusted.set(true);
        get(&stage, "X-Forwarded-Port: 8\r\nX-Host: b.test\r\nX-Original-URL: /b\r\n").await;
        let asked = stage.backend.requests.borrow()[0].to_ascii_lowercase();
        for (part, is_there) in [
            ("x-forwarded-port: 443\r\n", true),
            ("x-forwarded-port: 8", false),
            ("\r\nhost: b.test\r\n", true),
            ("x-original-url", false),
        ] {
            assert_eq!(asked.contains(part), is_there, "{part}: {asked}");
        }
    });
}
