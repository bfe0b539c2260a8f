//! The trace that a request came with.

use super::*;

#[test]
fn a_trusted_clients_trace_keeps_its_sampling_decision() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 0"));
    let mut client = trusted(&proxy);
    client.get_with("/unsampled", "a", &traceparent("00"));
    let unsampled = origin.last();
    client.get_with("/sampled", "a", &(traceparent("01") + "tracestate: one=1\r\ntracestate: two=2\r\n"));
    let spans = collector.trace_of("/sampled");
    let [server, attempt] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, PARENT));
    assert_eq!((server.state.as_str(), server.flags, attempt.flags), ("one=1,two=2", 0x301, 0x101));
    let sampled = origin.last();
    assert_eq!(sampled.all("traceparent"), [format!("00-{TRACE}-{}-01", attempt.id)]);
    assert_eq!(sampled.all("tracestate"), ["one=1", "two=2"]);
    let sent = unsampled.header("traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    assert!(!sent.contains(PARENT), "the flag may be another, so the parent is");
    // One batch later it would be here.
    assert!(collector.spans().iter().all(|span| span.get("url.path") != "/unsampled"));
    assert_eq!(proxy.logged("/unsampled")["trace_id"], TRACE);
}

#[test]
fn a_stranger_goes_on_with_its_trace_and_decides_nothing() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let never = proxy(&[origin.address()], &collector.conf("sample = 0"));
    never.connect().get_with("/asks", "a", &traceparent("01"));
    let sent = origin.last().header("traceparent").unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    let always = proxy(&[origin.address()], &collector.conf("sample = 1"));
    always.connect().get_with("/hides", "a", &traceparent("00"));
    let spans = collector.trace_of("/hides");
    assert_eq!((spans[0].trace.as_str(), spans[0].parent.as_str()), (TRACE, PARENT));
    assert!(origin.last().header("traceparent").unwrap().ends_with("-01"));
    trusted(&never).get_with("/marker", "a", &traceparent("01"));
    collector.trace_of("/marker");
    assert!(collector.spans().iter().all(|span| span.get("url.path") != "/asks"));
}

#[test]
fn a_malformed_traceparent_is_replaced_and_its_state_with_it() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    let mut client = trusted(&proxy);
    let doubled = traceparent("01") + &traceparent("01");
    for (path, headers) in [
        ("/short", "traceparent: 00-1-2-01\r\ntracestate: a=1\r\n"),
        ("/zero", "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n"),
        ("/bytes", "traceparent: \u{fc}\u{fc}\r\n"),
        ("/doubled", doubled.as_str()),
    ] {
        assert_eq!(client.get_with(path, "a", headers).status, 200);
        let spans = collector.trace_of(path);
        assert_eq!((spans[0].parent.as_str(), spans.len()), ("", 2));
        assert_ne!(spans[0].trace, TRACE);
        let sent = origin.last();
        assert_eq!(sent.all("traceparent"), [format!("00-{}-{}-01", spans[0].trace, spans[1].id)]);
        assert_eq!(sent.all("tracestate"), [""; 0]);
    }
}

#[test]
fn off_sends_nothing_and_passes_on_what_came() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let off = proxy(&[origin.address()], "[trace]\nsample = 1\n");
    let odd = "traceparent: nonsense\r\ntracestate: a=1\r\n";
    trusted(&off).get_with("/", "a", odd);
    assert_eq!(origin.last().all("traceparent"), ["nonsense"]);
    assert_eq!(origin.last().all("tracestate"), ["a=1"]);
    off.get("/none");
    assert_eq!(origin.last().all("traceparent"), [""; 0]);
    assert!(off.logged("/none").get("trace_id").is_none());

    let mut none = proxy(&[origin.address()], &collector.conf("sample = 0"));
    for number in 0..100 {
        none.get(&format!("/{number}"));
    }
    assert!(none.logged("/99")["trace_id"].is_string());
    // What was gathered would be sent before the end.
    none.signal("TERM");
    assert!(none.wait().success());
    assert_eq!(collector.origin.connections(), 0);
}
