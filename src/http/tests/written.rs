//! What a write leaves of what is stored, where the backend names places in its answer.

use super::stage::{Act, Stage, run};

const PAGE: &[Act] =
    &[Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nold")];

/// A route with a cache and these keys.
fn routes(policy: &str, keys: &str) -> String {
    format!(
        "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\nwrite_policy = {policy:?}\n\
         [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n{keys}\n"
    )
}

async fn ask(stage: &Stage, method: &str, target: &str, fields: &str) -> String {
    let (length, body) = if method == "GET" { ("", "") } else { ("Content-Length: 3\r\n", "new") };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n");
    stage.talk(format!("{head}{fields}{length}\r\n{body}").as_bytes()).await
}

/// Whether a GET goes to the backend.
async fn is_asked(stage: &Stage, target: &str, fields: &str) -> bool {
    let before = stage.backend.requests.borrow().len();
    let answer = ask(stage, "GET", target, fields).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stage.backend.requests.borrow().len() > before
}

/// Whether the content of a PUT is stored, to which the backend gives an entity tag and this place.
async fn is_stored_when_put(stage: &Stage, target: &str, fields: &str, location: &str) -> bool {
    let kept = "ETag: \"2\"\r\nCache-Control: max-age=60";
    let answer = format!("HTTP/1.1 204 X\r\n{kept}\r\nLocation: {location}\r\n\r\n");
    stage.script(&[Act::Send(answer.leak().as_bytes())]);
    let written = ask(stage, "PUT", target, fields).await;
    assert!(written.starts_with("HTTP/1.1 204"), "{written}");
    stage.script(PAGE);
    !is_asked(stage, target, fields).await
}

const BY_TLS: &str = "X-Forwarded-Proto: https\r\n";
const BY_NAME: &str = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example\r\n";

/// The backend names what the client has, by the scheme and the host that it is told.
#[test]
fn places_on_the_clients_origin_are_forgotten() {
    for (fields, answer, is_forgotten) in [
        (
            BY_TLS,
            &b"HTTP/1.1 201 X\r\nLocation: https://a.example/other\r\nContent-Length: 0\r\n\r\n"[..],
            true,
        ),
        (BY_TLS, b"HTTP/1.1 204 X\r\nContent-Location: https://a.example/other\r\n\r\n", true),
        (BY_TLS, b"HTTP/1.1 204 X\r\nContent-Location: http://a.example/other\r\n\r\n", true),
        (BY_NAME, b"HTTP/1.1 204 X\r\nContent-Location: https://www.example/other\r\n\r\n", true),
        (BY_TLS, b"HTTP/1.1 204 X\r\nContent-Location: https://www.example/other\r\n\r\n", false),
        ("", b"HTTP/1.1 204 X\r\nContent-Location: https://a.example/other\r\n\r\n", false),
    ] {
        run(async || {
            let stage = Stage::new("", &routes("around", ""), PAGE);
            stage.is_trusted.set(true);
            assert!(is_asked(&stage, "/other", fields).await);
            assert!(!is_asked(&stage, "/other", fields).await);
            stage.script(&[Act::Send(answer)]);
            let written = ask(&stage, "PUT", "/q", fields).await;
            assert!(written.starts_with("HTTP/1.1 20"), "{written}");
            stage.script(PAGE);
            let what = String::from_utf8_lossy(answer).into_owned();
            assert_eq!(is_asked(&stage, "/other", fields).await, is_forgotten, "{fields}{what}");
        });
    }
}

/// Else what belongs to the one URL would be served for the other.
#[test]
fn content_is_stored_for_no_url_but_its_own() {
    for (fields, location, is_stored) in [
        (BY_TLS, "https://a.example/x", false),
        (BY_NAME, "https://www.example/x", false),
        ("", "https://b.example/q", false),
        (BY_TLS, "http://a.example/q", true),
        (BY_NAME, "https://www.example/q", true),
    ] {
        run(async || {
            let stage = Stage::new("", &routes("through", ""), PAGE);
            stage.is_trusted.set(true);
            assert_eq!(
                is_stored_when_put(&stage, "/q", fields, location).await,
                is_stored,
                "{fields}{location}"
            );
        });
    }
}

const TOLD: &str = "rewrite = { strip_prefix = \"/wiki\", host = \"wiki.internal\", responses = true }";
const UNTOLD: &str = "rewrite = { strip_prefix = \"/wiki\", host = \"wiki.internal\" }";
const BELOW: &str = "rewrite = { add_prefix = \"/v2\", responses = true }";

/// The backend names what it knows, and stored is what clients know.
#[test]
fn places_behind_a_rewrite_are_forgotten_as_clients_know_them() {
    for (keys, answer, url) in [
        (TOLD, &b"HTTP/1.1 204 X\r\nLocation: /b\r\n\r\n"[..], "/wiki/b"),
        (TOLD, b"HTTP/1.1 204 X\r\nContent-Location: http://wiki.internal/b\r\n\r\n", "/wiki/b"),
        (TOLD, b"HTTP/1.1 204 X\r\nLocation: http://a.example/b\r\n\r\n", "/wiki/b"),
        (TOLD, b"HTTP/1.1 204 X\r\nLocation: b\r\n\r\n", "/wiki/b"),
        (UNTOLD, b"HTTP/1.1 204 X\r\nLocation: /b\r\n\r\n", "/wiki/b"),
        (UNTOLD, b"HTTP/1.1 204 X\r\nLocation: http://wiki.internal/b\r\n\r\n", "/wiki/b"),
        // It knows how clients see it.
        (UNTOLD, b"HTTP/1.1 204 X\r\nLocation: /wiki/b\r\n\r\n", "/wiki/b"),
        (UNTOLD, b"HTTP/1.1 204 X\r\nLocation: /b\r\n\r\n", "/b"),
        (BELOW, b"HTTP/1.1 204 X\r\nLocation: /v2/b\r\n\r\n", "/b"),
        (BELOW, b"HTTP/1.1 204 X\r\nContent-Location: http://a.example/v2/b\r\n\r\n", "/b"),
        (BELOW, b"HTTP/1.1 204 X\r\nContent-Location: http://B/v2/b\r\n\r\n", "/b"),
    ] {
        run(async || {
            let stage = Stage::new("", &routes("around", keys), PAGE);
            assert!(is_asked(&stage, url, "").await && is_asked(&stage, "/wiki/c", "").await);
            assert!(!is_asked(&stage, url, "").await);
            stage.script(&[Act::Send(answer)]);
            let written = ask(&stage, "POST", "/wiki/a", "").await;
            assert!(written.starts_with("HTTP/1.1 204"), "{written}");
            stage.script(PAGE);
            let what = String::from_utf8_lossy(answer).into_owned();
            assert!(is_asked(&stage, url, "").await, "{keys} {what}");
            assert!(!is_asked(&stage, "/wiki/c", "").await, "of which nothing was said: {keys} {what}");
        });
    }
}

/// A backend names its own URL as it knows that.
#[test]
fn content_is_stored_behind_a_rewrite_for_its_own_url() {
    for (keys, location, is_stored) in
        [(TOLD, "/q", true), (UNTOLD, "http://wiki.internal/q", true), (TOLD, "/x", false)]
    {
        run(async || {
            let stage = Stage::new("", &routes("through", keys), PAGE);
            assert_eq!(
                is_stored_when_put(&stage, "/wiki/q", "", location).await,
                is_stored,
                "{keys} {location}"
            );
        });
    }
}

/// What was there before is not there any more.
#[test]
fn what_is_moved_or_copied_to_is_forgotten() {
    for (keys, from, to, destination) in [
        ("", "/a", "/b", "http://a.example/b"),
        ("", "/a", "/b", "/b"),
        (TOLD, "/wiki/a", "/wiki/b", "http://a.example/wiki/b"),
        (UNTOLD, "/wiki/a", "/wiki/b", "/wiki/b"),
        (BELOW, "/a", "/b", "http://a.example/b"),
    ] {
        for method in ["COPY", "MOVE"] {
            run(async || {
                let stage = Stage::new("", &routes("around", keys), PAGE);
                assert!(is_asked(&stage, to, "").await && !is_asked(&stage, to, "").await);
                stage.script(&[Act::Send(b"HTTP/1.1 204 X\r\n\r\n")]);
                let done = ask(&stage, method, from, &format!("Destination: {destination}\r\n")).await;
                assert!(done.starts_with("HTTP/1.1 204"), "{done}");
                stage.script(PAGE);
                assert!(is_asked(&stage, to, "").await, "{method} {keys} {destination}");
            });
        }
    }
}
