use proptest::prelude::*;

use super::*;
use crate::cache::directive::LONGEST;

const NOW: Date = Date(1_795_000_000);
const AT_ONCE: Times = Times { requested: NOW, received: NOW };

fn head(status: u16, lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead { status, ..ResponseHead::default() };
    for (name, value) in lines {
        head.fields.push(name, value.as_bytes());
    }
    head
}

fn of(lines: &[(&str, &str)]) -> Freshness {
    of_with(200, lines, &Policy::default(), AT_ONCE)
}

fn of_with(status: u16, lines: &[(&str, &str)], policy: &Policy, times: Times) -> Freshness {
    let head = head(status, lines);
    Freshness::of(&head, &ResponseControl::of(&head.fields), policy, times)
}

fn request(value: &str) -> RequestControl {
    let mut fields = Fields::default();
    fields.push("cache-control", value.as_bytes());
    RequestControl::of(&fields)
}

fn later(seconds: u64) -> Date {
    Date(NOW.0 + seconds)
}

fn http(seconds: i64) -> String {
    Date(NOW.0.saturating_add_signed(seconds)).to_string()
}

#[test]
fn the_strongest_source_of_a_lifetime_counts() {
    let (date, expires, modified) = (http(0), http(30), http(-1000));
    let mut lines = vec![
        ("Last-Modified", modified.as_str()),
        ("Date", date.as_str()),
        ("Expires", expires.as_str()),
        ("Cache-Control", "max-age=20"),
        ("Cache-Control", "s-maxage=10"),
    ];
    let mut seen = Vec::new();
    while !lines.is_empty() {
        let freshness = of(&lines);
        seen.push((freshness.lifetime(), freshness.source()));
        lines.pop();
    }
    assert_eq!(
        seen,
        [
            (10, Source::SharedMaxAge),
            (20, Source::MaxAge),
            (30, Source::Expires),
            (100, Source::Heuristic),
            (100, Source::Heuristic),
        ]
    );
    assert_eq!(of(&[]).source(), Source::Nothing);
    assert!(!of(&[]).is_fresh(NOW));
}

#[test]
fn max_age_hides_expires_whatever_both_say() {
    let (past, future, date) = (http(-10_000), http(10_000), http(0));
    for expires in [past.as_str(), "0"] {
        let lines = [("Cache-Control", "max-age=3600"), ("Expires", expires), ("Date", date.as_str())];
        assert!(of(&lines).is_fresh(NOW), "{expires}");
    }
    for control in ["max-age=0", "s-maxage=0", "max-age=x", "s-maxage=0, max-age=99"] {
        assert!(
            !of(&[("Cache-Control", control), ("Expires", &future), ("Date", &date)]).is_fresh(NOW),
            "{control}"
        );
    }
}

#[test]
fn expires_counts_from_date_or_from_when_it_came() {
    assert_eq!(of(&[("Expires", &http(60)), ("Date", &http(-40))]).lifetime(), 100);
    assert_eq!(of(&[("Expires", &http(60))]).lifetime(), 60);
    assert_eq!(of(&[("Expires", &http(60)), ("Date", "yesterday")]).lifetime(), 60);
    assert_eq!(of(&[("Expires", &http(-60))]).lifetime(), 0);
}

#[test]
fn an_expires_that_is_no_date_is_in_the_past() {
    for expires in ["0", "-1", "", "never", "Thu, 18 Aug 2050 02:01:18 UTC", "Thu, 18 Aug 50 02:01:18 GMT"] {
        let freshness = of(&[("Expires", expires), ("Last-Modified", &http(-100_000))]);
        assert_eq!((freshness.lifetime(), freshness.source()), (0, Source::Expires), "{expires}");
    }
}

#[test]
fn a_targeted_field_hides_expires() {
    let freshness = of(&[("CDN-Cache-Control", "max-age=0"), ("Expires", &http(1000))]);
    assert_eq!(freshness.lifetime(), 0);
    let freshness = of(&[("CDN-Cache-Control", "foo"), ("Expires", &http(1000))]);
    assert_eq!(freshness.source(), Source::Nothing);
}

#[test]
fn heuristics_are_for_their_statuses_and_public_ones_only() {
    let modified = http(-1000);
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        let freshness = of_with(status, &[("Last-Modified", &modified)], &Policy::default(), AT_ONCE);
        assert_eq!((freshness.lifetime(), freshness.source()), (100, Source::Heuristic), "{status}");
    }
    for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599] {
        let freshness = of_with(status, &[("Last-Modified", &modified)], &Policy::default(), AT_ONCE);
        assert_eq!(freshness.source(), Source::Nothing, "{status}");
        let lines = [("Last-Modified", modified.as_str()), ("Cache-Control", "public")];
        assert_eq!(
            of_with(status, &lines, &Policy::default(), AT_ONCE).source(),
            Source::Heuristic,
            "{status}"
        );
    }
}

#[test]
fn the_configuration_turns_heuristics_off_and_gives_a_default() {
    let policy = Policy { heuristic: 0.0, default_ttl: 7, ..Policy::default() };
    let freshness = of_with(200, &[("Last-Modified", &http(-1000))], &policy, AT_ONCE);
    assert_eq!((freshness.lifetime(), freshness.source()), (7, Source::Configured));
    // It is for those that say nothing.
    assert_eq!(of_with(200, &[("Expires", "0")], &policy, AT_ONCE).lifetime(), 0);
    assert_eq!(of_with(200, &[("Last-Modified", &http(50))], &Policy::default(), AT_ONCE).lifetime(), 0);
    assert_eq!(of_with(500, &[], &policy, AT_ONCE).source(), Source::Nothing);
}

#[test]
fn age_is_the_greater_of_date_and_age() {
    let times = Times { requested: Date(NOW.0 - 3), received: NOW };
    let age = |lines: &[(&str, &str)]| of_with(200, lines, &Policy::default(), times).age(later(10));
    // The delay of the answer counts as age, because it may have been generated at its beginning.
    assert_eq!(age(&[]), 13);
    assert_eq!(age(&[("Age", "100")]), 113);
    assert_eq!(age(&[("Age", "100"), ("Date", &http(-500))]), 510);
    assert_eq!(age(&[("Age", "100"), ("Date", &http(500))]), 113);
}

#[test]
fn the_first_age_counts_and_malformed_ones_do_not() {
    let age = |values: &[&str]| {
        let lines: Vec<_> = values.iter().map(|value| ("Age", *value)).collect();
        of(&lines).age(NOW)
    };
    assert_eq!(age(&["7200, 0"]), 7200);
    assert_eq!(age(&["7200", "0"]), 7200);
    assert_eq!(age(&["0, 7200"]), 0);
    assert_eq!(age(&["0", "7200"]), 0);
    for value in ["abc", "-7200", "7200.0", "", "\"7200\""] {
        assert_eq!(age(&[value]), 0, "{value}");
    }
    assert_eq!(age(&["99999999999999999999"]), LONGEST);
}

#[test]
fn a_response_that_arrives_older_than_its_lifetime_is_stale() {
    assert!(!of(&[("Cache-Control", "max-age=3600"), ("Age", "7200")]).is_fresh(NOW));
    assert!(!of(&[("CDN-Cache-Control", "max-age=3600"), ("Age", "7200")]).is_fresh(NOW));
    assert!(!of(&[("Cache-Control", "max-age=3600"), ("Age", "3600")]).is_fresh(NOW));
    assert!(of(&[("Cache-Control", "max-age=3600"), ("Age", "3599")]).is_fresh(NOW));
}

#[test]
fn fresh_is_served_and_stale_is_validated() {
    let freshness = of(&[("Cache-Control", "max-age=10")]);
    let plain = RequestControl::default();
    assert_eq!(freshness.verdict(&plain, later(9)), Verdict::Fresh);
    assert_eq!(freshness.verdict(&plain, later(10)), Verdict::Validate(Reason::Stale));
    assert_eq!((freshness.ttl(NOW), freshness.ttl(later(15))), (10, -5));
}

/// Else what is stored would be fresh until the clock has caught up, and as long again.
#[test]
fn what_came_before_the_clock_was_set_back_is_validated() {
    let plain = RequestControl::default();
    let came = |after| Times { requested: later(after), received: later(after) };
    let mut freshness = of_with(200, &[("Cache-Control", "max-age=5")], &Policy::default(), came(3600));
    for now in [0, 3000, 3598] {
        assert_eq!(freshness.verdict(&plain, later(now)), Verdict::Validate(Reason::Stale));
        assert!(!freshness.is_fresh(later(now)) && freshness.ttl(later(now)) <= 0);
    }
    // Threads read the clock one after the other.
    assert_eq!(freshness.verdict(&plain, later(3599)), Verdict::Fresh);
    // A purge meanwhile holds when the clock has caught up, too.
    freshness.expire(later(0));
    assert_eq!(freshness.verdict(&plain, later(3601)), Verdict::Validate(Reason::Stale));
}

#[test]
fn no_cache_is_validated_each_time() {
    let policy = Policy { stale_while_revalidate: 99, stale_if_error: 99, ..Policy::default() };
    let freshness = of_with(200, &[("Cache-Control", "no-cache, max-age=10")], &policy, AT_ONCE);
    for control in ["", "max-stale", "max-age=100"] {
        assert_eq!(freshness.verdict(&request(control), NOW), Verdict::Validate(Reason::Stale), "{control}");
        assert!(!freshness.may_serve_on_error(&request(control), NOW), "{control}");
    }
    // The form with names is about these fields only.
    let freshness = of(&[("Cache-Control", "no-cache=\"x\", max-age=10")]);
    assert_eq!(freshness.verdict(&RequestControl::default(), NOW), Verdict::Fresh);
}

#[test]
fn what_a_request_asks_for_is_kept() {
    let freshness = of(&[("Cache-Control", "max-age=100"), ("Age", "10")]);
    let verdict = |value: &str, after| freshness.verdict(&request(value), later(after));
    assert_eq!(verdict("max-age=10", 0), Verdict::Fresh);
    assert_eq!(verdict("max-age=9", 0), Verdict::Validate(Reason::Request));
    assert_eq!(verdict("max-age=0", 0), Verdict::Validate(Reason::Request));
    assert_eq!(verdict("min-fresh=90", 0), Verdict::Fresh);
    assert_eq!(verdict("min-fresh=91", 0), Verdict::Validate(Reason::Request));
    assert_eq!(verdict("no-cache", 0), Verdict::Validate(Reason::Request));
    // A request's no-store says nothing about what is stored already.
    assert_eq!(verdict("no-store", 0), Verdict::Fresh);
    assert_eq!(verdict("max-stale", 5000), Verdict::Stale);
    assert_eq!(verdict("max-stale=10", 100), Verdict::Stale);
    assert_eq!(verdict("max-stale=9", 100), Verdict::Validate(Reason::Stale));
    assert_eq!(verdict("max-stale=x", 100), Verdict::Validate(Reason::Stale));
}

#[test]
fn only_if_cached_never_asks_the_origin() {
    let freshness = of(&[("Cache-Control", "max-age=10")]);
    assert_eq!(freshness.verdict(&request("only-if-cached"), NOW), Verdict::Fresh);
    assert_eq!(freshness.verdict(&request("only-if-cached"), later(10)), Verdict::GatewayTimeout);
    assert_eq!(freshness.verdict(&request("only-if-cached, no-cache"), NOW), Verdict::GatewayTimeout);
    assert_eq!(freshness.verdict(&request("only-if-cached, max-stale"), later(10)), Verdict::Stale);
}

#[test]
fn stale_while_revalidate_serves_within_its_window() {
    let freshness = of(&[("Cache-Control", "max-age=10, stale-while-revalidate=5")]);
    let plain = RequestControl::default();
    assert_eq!(freshness.verdict(&plain, later(14)), Verdict::StaleWhileRevalidate);
    assert_eq!(freshness.verdict(&plain, later(15)), Verdict::Validate(Reason::Stale));
    assert_eq!(freshness.verdict(&request("max-age=60"), later(12)), Verdict::Validate(Reason::Stale));
    assert_eq!(freshness.verdict(&request("no-cache"), later(12)), Verdict::Validate(Reason::Request));
    assert!(!freshness.may_serve_on_error(&plain, later(12)));
    // Where the response does not say, the configuration does.
    let policy = Policy { stale_while_revalidate: 5, ..Policy::default() };
    let verdict = |control: &str| {
        of_with(200, &[("Cache-Control", control)], &policy, AT_ONCE).verdict(&plain, later(12))
    };
    assert_eq!(verdict("max-age=10"), Verdict::StaleWhileRevalidate);
    assert_eq!(verdict("max-age=10, stale-while-revalidate=0"), Verdict::Validate(Reason::Stale));
}

#[test]
fn stale_if_error_serves_within_its_window() {
    let freshness = of(&[("Cache-Control", "max-age=10, stale-if-error=5")]);
    let plain = RequestControl::default();
    assert_eq!(freshness.verdict(&plain, later(12)), Verdict::Validate(Reason::Stale));
    assert!(freshness.may_serve_on_error(&plain, later(14)));
    assert!(!freshness.may_serve_on_error(&plain, later(15)));
    assert!(freshness.may_serve_on_error(&request("stale-if-error=10"), later(15)));
    assert!(!freshness.may_serve_on_error(&request("no-cache"), later(12)));
    assert!([500, 502, 503, 504].into_iter().all(is_error));
    assert!(![200, 404, 501, 505].into_iter().any(is_error));
}

#[test]
fn what_forbids_stale_forbids_each_kind_of_it() {
    for control in ["must-revalidate, max-age=10", "proxy-revalidate, max-age=10", "s-maxage=10"] {
        let control = format!("{control}, stale-while-revalidate=60, stale-if-error=60");
        let freshness = of(&[("Cache-Control", &control)]);
        assert_eq!(freshness.verdict(&RequestControl::default(), later(9)), Verdict::Fresh, "{control}");
        for asked in ["max-stale", "", "max-stale=100"] {
            assert_eq!(
                freshness.verdict(&request(asked), later(12)),
                Verdict::Validate(Reason::Stale),
                "{control}"
            );
            assert!(!freshness.may_serve_on_error(&request(asked), later(12)), "{control}");
        }
    }
}

#[test]
fn immutable_is_not_validated_while_it_is_fresh() {
    let freshness = of(&[("Cache-Control", "max-age=100, immutable")]);
    assert_eq!(freshness.verdict(&request("max-age=0"), later(9)), Verdict::Fresh);
    assert_eq!(freshness.verdict(&request("no-cache"), later(9)), Verdict::Validate(Reason::Request));
    assert_eq!(freshness.verdict(&request("max-age=0"), later(100)), Verdict::Validate(Reason::Request));
}

#[test]
fn what_could_not_be_read_is_not_fresh() {
    assert!(!of(&[("Cache-Control", "max-age=60, a=\"b")]).is_fresh(NOW));
}

#[test]
fn expired_responses_may_be_served_stale_invalidated_ones_may_not() {
    let mut freshness = of(&[("Cache-Control", "max-age=100, stale-if-error=50")]);
    freshness.expire(later(5));
    assert!(!freshness.is_fresh(later(5)));
    assert!(freshness.may_serve_on_error(&RequestControl::default(), later(6)));
    freshness.invalidate();
    assert!(!freshness.may_serve_on_error(&RequestControl::default(), later(6)));
    assert_eq!(freshness.verdict(&request("max-stale"), later(6)), Verdict::Validate(Reason::Stale));
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fresh => 0,
        Verdict::Stale | Verdict::StaleWhileRevalidate => 1,
        Verdict::Validate(_) | Verdict::GatewayTimeout => 2,
    }
}

proptest! {
    #[test]
    fn nothing_becomes_fresher_with_time(
        control in "(max-age=[0-9]{1,2}|s-maxage=[0-9]{1,2}|no-cache|public)(, (stale-while-revalidate=[0-9]{1,2}|must-revalidate|immutable|stale-if-error=[0-9]{1,2})){0,3}",
        asked in "|max-age=[0-9]{1,2}|max-stale|max-stale=[0-9]|min-fresh=[0-9]",
        age in 0_u64..50,
        times in (0_u64..200, 0_u64..200),
    ) {
        let freshness = of(&[("Cache-Control", &control), ("Age", &age.to_string())]);
        let (early, late) = (later(times.0.min(times.1)), later(times.0.max(times.1)));
        let asked = request(&asked);
        prop_assert!(rank(freshness.verdict(&asked, early)) <= rank(freshness.verdict(&asked, late)));
        prop_assert!(freshness.may_serve_on_error(&asked, early) || !freshness.may_serve_on_error(&asked, late));
        prop_assert!(freshness.age(early) <= freshness.age(late) && freshness.ttl(early) >= freshness.ttl(late));
    }

    #[test]
    fn no_values_make_the_arithmetic_overflow(
        values in ("[0-9]{0,25}", "[0-9]{0,25}", "[a-zA-Z0-9 ,:]{0,30}"),
        now in any::<u64>(),
    ) {
        let control = format!("max-age={}", values.0);
        let freshness = of(&[("Cache-Control", &control), ("Age", &values.1), ("Date", &values.2)]);
        let _ = (freshness.ttl(Date(now)), freshness.verdict(&request("min-fresh=9999999999"), Date(now)));
    }
}
