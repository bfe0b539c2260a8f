//! Names of fields that a backend may take for others: what of them goes on, over each version and in trailers.

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::stage::{Act, Stage, run};
use crate::http::h2::serve;

const OK: &[Act] =
    &[Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok")];

/// A route that says who the user is, and a listener that lets names with signs pass.
const ROUTES: &str = "[[listener]]\nname = \"lax\"\naddress = \"127.0.0.1:0\"\nunderscores = \"pass\"\n\
    [[route]]\nname = \"all\"\nupstream = \"app\"\n\
    request_headers = { set = { x-user = \"ann\" }, remove = [\"x-role\"] }\n\
    [[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\nkey = { headers = [\"x-tenant\"] }\n\
    no_store = [{ headers = { x-preview = true } }]\n\
    [[route]]\nname = \"cached\"\npaths = [\"/cached\"]\nupstream = \"app\"\ncache = \"pages\"\n";

/// Routes that keep what some headers say from a backend, and such a listener.
const GUARDS: &str = "[[listener]]\nname = \"lax\"\naddress = \"127.0.0.1:0\"\nunderscores = \"pass\"\n\
    [[route]]\nname = \"admin\"\nheaders = { x-admin = \"1\" }\nrespond = { status = 403 }\n\
    [[route]]\nname = \"internal\"\nany = [{ headers = { x-internal = true } }]\nrespond = { status = 403 }\n\
    [[route]]\nname = \"all\"\nupstream = \"app\"\n";

/// What a backend may take for fields that only proxies, or the route, may set.
fn disguises() -> Vec<String> {
    let mut all = vec!["x.forwarded_for".to_owned(), "x_real-ip".to_owned()];
    for name in ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "x-original-url", "x-host", "x-user"] {
        all.extend("_.~+!#$%&'*^|`".chars().map(|sign| name.replace('-', &sign.to_string())));
    }
    all
}

/// What the backend was asked last, in lower case.
fn asked(stage: &Stage) -> String {
    stage.backend.requests.borrow().last().unwrap().to_ascii_lowercase()
}

fn assert_no_disguise(asked: &str) {
    for name in disguises() {
        assert!(!asked.contains(&format!("\n{name}:")), "{name}: {asked}");
    }
    assert!(!asked.contains("evil") && asked.contains("\nx-plain: 1"), "{asked}");
}

#[test]
fn disguises_go_no_further_over_http1_nor_in_trailers() {
    run(async || {
        let stage = Stage::new("", ROUTES, OK);
        let lines: String = disguises().iter().map(|name| format!("{name}: evil\r\n")).collect();
        for listener in [0, 1] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}X-Plain: 1\r\n");
            let answer = stage.talk_to(listener, format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_no_disguise(&asked(&stage));
            let head = head.replace(&lines, "");
            // Fewer than a parser of trailers takes.
            for lines in lines.split_inclusive("\r\n").collect::<Vec<_>>().chunks(40) {
                let body = format!("2\r\nhi\r\n0\r\n{}X-Sum: 7\r\n\r\n", lines.concat());
                let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
                let answer = stage.talk_to(listener, request.as_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                assert_no_disguise(&asked(&stage));
                assert!(asked(&stage).contains("\nx-sum: 7"), "{}", asked(&stage));
            }
        }
    });
}

#[test]
fn disguises_go_no_further_over_http2_nor_in_trailers() {
    run(async || {
        let stage = Stage::new("", ROUTES, OK);
        let evil: HeaderMap = disguises()
            .iter()
            .map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("evil")))
            .collect();
        for listener in [0, 1] {
            let (client, connection) = stage.connect_to(listener);
            tokio::task::spawn_local(serve(connection));
            let (mut send, driver) = client::handshake(client).await.unwrap();
            tokio::task::spawn_local(driver);
            let mut request = http::Request::post("http://a.test/").body(()).unwrap();
            *request.headers_mut() = evil.clone();
            request.headers_mut().insert("x-plain", HeaderValue::from_static("1"));
            let (response, mut body) = send.send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"hi"), false).unwrap();
            let mut trailers = evil.clone();
            trailers.insert("x-sum", HeaderValue::from_static("7"));
            body.send_trailers(trailers).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
            let asked = asked(&stage);
            assert_no_disguise(&asked);
            assert!(asked.contains("\nx-sum: 7"), "{asked}");
        }
    });
}

/// Where they are let pass, a route still has the last word, and a cache is told what it finds responses by.
#[test]
fn names_that_pass_are_none_that_anything_else_depends_on() {
    run(async || {
        let stage = Stage::new("", ROUTES, OK);
        let get = async |path: &str, lines: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
            let answer = stage.talk_to(1, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            asked(&stage)
        };
        let lines = "X_Role: admin\r\nx.role: admin\r\nX.User: root\r\nx_api_key: 1\r\n";
        let of_route = get("/", lines).await;
        assert!(of_route.contains("\nx_api_key: 1") && of_route.contains("\nx-user: ann"), "{of_route}");
        assert!(!of_route.contains("admin") && !of_route.contains("root"), "{of_route}");
        let lines = "X_HTTP_Method_Override: HEAD\r\nX.Host: evil\r\nx_method_override: evil\r\nX_HTTP_Method: evil\r\n\
                     X_Tenant: evil\r\nx_preview: evil\r\nAccept.Encoding: evil\r\nx_api_key: 1\r\n";
        let of_cache = get("/cached", lines).await;
        assert!(of_cache.contains("\nx_api_key: 1"), "{of_cache}");
        assert!(!of_cache.contains("evil") && !of_cache.contains("override"), "{of_cache}");
    });
}

/// Else who may not say `X-Admin` says `X_Admin`, which CGI makes the same variable of.
#[test]
fn names_by_which_routes_are_chosen_go_no_further_otherwise() {
    run(async || {
        let stage = Stage::new("", GUARDS, OK);
        let get = async |line: &str| {
            let request =
                format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{line}\r\nx_api_key: 1\r\n\r\n");
            stage.talk_to(1, request.as_bytes()).await
        };
        for line in ["X-Admin: 1", "x-internal: no"] {
            let answer = get(line).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
        }
        for line in ["X_Admin: 1", "x.admin: 1", "X_Internal: 1", "x~internal: 1"] {
            let answer = get(line).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{line}: {answer}");
            let asked = asked(&stage);
            assert!(asked.contains("\nx_api_key: 1"), "{asked}");
            assert!(!asked.contains("admin") && !asked.contains("internal"), "{line}: {asked}");
        }
    });
}
