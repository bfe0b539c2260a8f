//! Writes of a journal on their way to backends that take their time, and answer before or behind them.

use std::time::Duration;

use tokio::time::Instant;

use super::stage::{Act, Stage, run};
use crate::{
    fields::Fields, http::writeback::deliver::send, upstream::request_head::Settled,
    writeback::journal::Write,
};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const DONE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

/// A backend that takes 64 KiB every so many seconds, and must not take nothing for so many; a socket lets more in when
/// some of those have gone.
fn taking(pace: u64, patience: u64, is_early: bool) -> Stage {
    let script: &[Act] = if is_early { &[] } else { &[Act::Send(DONE)] };
    let timeouts = format!("response_timeout = \"{patience}s\"\nbody_timeout = \"{patience}s\"\n");
    let stage = Stage::new(&timeouts, ROUTE, script);
    stage.read_slowly(Duration::from_secs(pace));
    if is_early {
        stage.answer_early(DONE, Duration::ZERO);
    }
    stage
}

/// A write of this length.
fn write(length: usize) -> Write {
    Write {
        idempotency: "a".into(),
        uri: Box::default(),
        route: "all".into(),
        method: "PUT".into(),
        target: "/a".into(),
        authority: "a".into(),
        scheme: "http".into(),
        fields: Fields::default(),
        body: vec![b'x'; length].into(),
        accepted: 0,
        writer: String::new(),
        settled: 0,
    }
}

/// Delivers a write of this length; whether the backend has it.
async fn deliver(stage: &Stage, length: usize) -> bool {
    match send(&stage.worker, &write(length)).await {
        Ok((status, rest)) => status == 201 && rest.discard().await,
        Err(_) => false,
    }
}

#[test]
fn steady_backend_has_a_write_in_any_time() {
    for is_early in [false, true] {
        run(async || {
            let stage = taking(10, 60, is_early);
            let begun = Instant::now();
            assert!(deliver(&stage, 1_400_000).await, "{is_early}");
            assert!(begun.elapsed() > Duration::from_secs(120), "{is_early}: {:?}", begun.elapsed());
            stage.assert_all_is_given_back("a slow delivery").await;
            assert_eq!(stage.backend.requests.borrow().len(), 1, "{is_early}: it came whole, and once");
        });
    }
}

/// What is left of it would hold up other writes, and a backend that has too much to do, for nothing.
#[test]
fn who_refuses_a_write_early_gets_no_more_of_it() {
    run(async || {
        let stage = taking(10, 60, true);
        stage.answer_early(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", Duration::ZERO);
        let begun = Instant::now();
        let (status, rest) = send(&stage.worker, &write(1_400_000)).await.unwrap();
        rest.let_go().await;
        assert_eq!(status, 503);
        // It reads the first piece after ten seconds, and all of it in more than two minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        stage.assert_all_is_given_back("a refused delivery").await;
    });
}

/// It takes some within each timeout, and all of it would take most of an hour.
#[test]
fn who_takes_a_write_bit_by_bit_is_left() {
    for is_early in [false, true] {
        run(async || {
            let stage = taking(50, 300, is_early);
            let begun = Instant::now();
            assert!(!deliver(&stage, 3_000_000).await, "{is_early}");
            let took = begun.elapsed();
            assert!((1_600..1_700).contains(&took.as_secs()), "{is_early}: {took:?}");
            stage.assert_all_is_given_back("a delivery that was left").await;
        });
    }
}

/// As any request that comes over it, whose backend may do without (nginx and IIS do not compress).
#[test]
fn a_delivery_has_the_via_of_its_listener() {
    for (via, expected) in [("on", Some(false)), ("off", None), ("edge", Some(true))] {
        run(async || {
            let routes = format!(
                "[[listener]]\nname = \"own\"\naddress = \"127.0.0.1:0\"\nvia = \"{via}\"\n\
                 [[route]]\nname = \"all\"\nlisteners = [\"own\"]\nupstream = \"app\"\n"
            );
            let stage = Stage::new("", &routes, &[Act::Send(DONE)]);
            assert!(deliver(&stage, 5).await, "{via}");
            let requests = stage.backend.requests.borrow();
            let line = requests[0].lines().find(|line| line.starts_with("via: "));
            assert_eq!(line.map(|line| line.ends_with(" edge")), expected, "{via}: {line:?}");
        });
    }
}

/// Else it would be tried for ever, and its URI be blocked: the client has long heard that it is accepted.
#[test]
fn limits_on_clients_are_none_on_deliveries() {
    for limit in ["buffer = \"1KiB\"\n", "[listener.limits]\nbody_bytes = \"1KiB\"\n"] {
        run(async || {
            let stage = Stage::new("", &format!("{ROUTE}{limit}"), &[Act::Send(DONE)]);
            assert!(deliver(&stage, 5000).await, "{limit}");
            assert!(stage.backend.requests.borrow()[0].ends_with("xxx"), "{limit}");
            stage.assert_all_is_given_back("a delivery beyond a limit").await;
        });
    }
}

/// Else a backend that sends to https whatever does not say that it came so would answer 301, and that counts as taken.
#[test]
fn a_delivery_goes_by_the_edits_of_its_acceptance() {
    const NAMES: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
    let edited = format!("{ROUTE}request_headers = {{ remove = {NAMES:?} }}\n");
    let all = Settled::of(NAMES.into_iter());
    for (route, then, expected) in [
        (&*edited, Settled::default(), &NAMES[..]),
        (ROUTE, all, &[][..]),
        (&*edited, all, &[][..]),
        (ROUTE, Settled::of(["x-forwarded-for"].into_iter()), &NAMES[1..]),
    ] {
        run(async || {
            let stage = Stage::new("", route, &[Act::Send(DONE)]);
            let write = Write { settled: then.bits(), ..write(5) };
            let (status, rest) = send(&stage.worker, &write).await.unwrap();
            assert_eq!((status, rest.discard().await), (201, true));
            let requests = stage.backend.requests.borrow();
            let is_there =
                |name: &&&str| requests[0].lines().any(|line| line.starts_with(&format!("{name}:")));
            let there: Vec<&str> = NAMES.iter().filter(is_there).copied().collect();
            assert_eq!(there, expected, "{route}: {}", requests[0]);
            let id = requests[0].lines().find_map(|line| line.strip_prefix("x-request-id:"));
            assert!(id.is_none_or(|id| !id.trim().is_empty()), "{}", requests[0]);
        });
    }
}
