//! What is wrong is seen at once, also among hundreds; and what was before the page was opened.

use super::*;
use crate::support::{PATIENCE, eventually_within};

#[test]
fn the_head_tells_the_worst_state() {
    if !is_there("the head of the dashboard") {
        return;
    }
    let first = Origin::named("first");
    let proxy = Proxy::start(&quiet(&[first.address()], OUTLIER));
    let browser = Browser::start(1280, 900);
    show(&browser, &proxy);
    browser.wait("#state", |it| it == "● serving");
    assert_eq!(browser.run("return document.querySelector('#alarms').hidden"), true);
    drop(first);
    let load = Load::start(&proxy, &["/"], |_| 20);
    // At least one backend may always be ejected.
    browser.wait("#state", |it| it == "✕ u: no backend is up");
    drop(load);
    assert_eq!(browser.run("return document.title"), "✕ u: no backend is up – Pointsman");
    let is_red = "const of = (it) => getComputedStyle(document.querySelector(it)).color;
        return of('#alarms a') === of('.bad') && document.querySelector('#state').className.includes('bad')";
    assert_eq!(browser.run(is_red), true);
    proxy.edit("[[listener]]\nnmae = \"web\"\n");
    browser.wait("#alarms", |it| it.contains("the last reload failed"));
    browser.wait("#state", |it| it == "✕ u: no backend is up (and 1 more)");
    browser.resize(320, 844);
    let found = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
    assert!(found[0].as_u64() <= found[1].as_u64(), "{found}");
    check_silence(&browser, &page(&proxy));
}

#[test]
fn hundreds_of_backends_are_folded_found_and_sorted() {
    if !is_there("many backends on the dashboard") {
        return;
    }
    let origin = Origin::named("a");
    let mut text = quiet(&[origin.address()], "");
    // Two of them are off, so that there is something to see.
    let more: String = (1..=300)
        .map(|number| {
            let state = if number % 150 == 0 { "disabled" } else { "draining" };
            let state = if number % 150 == 0 || number == 7 { state } else { "enabled" };
            format!("[[upstream.backend]]\nname = \"m{number}\"\naddress = \"10.255.0.1:{number}\"\nstate = \"{state}\"\nweight = 1\n")
        })
        .collect();
    text = text.replacen("[admin]\n", &format!("{more}[admin]\n"), 1);
    let proxy = Proxy::start(&text);
    let browser = Browser::start(1280, 900);
    show(&browser, &proxy);
    let rows = "return document.querySelectorAll('#upstream-list tbody tr').length";
    browser.wait("#upstream-list .fold", |it| it == "Show all 301");
    browser.wait("#upstream-list tbody", |it| it.contains("m7") && it.contains("m150"));
    assert_eq!(browser.run(rows), 3, "what is not up is shown where the rest is folded");
    browser.fill("#upstream-filter", "M29 up");
    browser.wait("#upstream-found", |it| it == "11 of 301 backends");
    assert_eq!(browser.run(rows), 11);
    browser.fill("#upstream-filter", "nothing like it");
    browser.wait("#upstream-found", |it| it == "0 of 301 backends");
    let all = "const it = document.querySelector('#upstream-filter'); it.value = '';
        it.dispatchEvent(new Event('input')); return 0";
    browser.run(all);
    browser.click("#upstream-list .fold");
    browser.wait("#upstream-list .fold", |it| it == "Fold");
    assert_eq!(browser.run(rows), 200);
    browser.wait("#upstream-list .left-out", |it| it.contains("101 more"));
    let order = "const it = document.querySelector('#upstream-order'); it.value = 'state';
        it.dispatchEvent(new Event('change')); return 0";
    browser.run(order);
    browser.wait(&backend(0, ".name"), |it| it.starts_with("m7"));
    check_silence(&browser, &page(&proxy));
}

#[test]
fn errors_that_are_alike_are_one_row_and_folded() {
    if !is_there("errors on the dashboard") {
        return;
    }
    let text = quiet(&["127.0.0.1:1".parse().unwrap()], "[upstream.retry]\nattempts = 1\n");
    let routes: String = (0..14)
        .map(|number| {
            format!("[[route]]\nname = \"r{number}\"\npaths = [\"/{number}/*\"]\nupstream = \"u\"\n")
        })
        .collect();
    let proxy = Proxy::start(&text.replacen("[[route]]\n", &format!("{routes}[[route]]\n"), 1));
    // The first ones eject the backend, and those of one route are alike all the same.
    for number in 0..14 {
        proxy.get(&format!("/{number}/once-{number}"));
    }
    for _ in 0..5 {
        proxy.get("/13/again");
    }
    let browser = Browser::start(1280, 900);
    show(&browser, &proxy);
    let rows = "return document.querySelectorAll('#error-table tbody tr').length";
    browser.wait("#error-found", |it| it == "19 of 19, 14 alike");
    assert_eq!(browser.run(rows), 10);
    assert!(browser.text("#error-table tbody tr .what").contains("× 6"));
    browser.click("#error-more");
    browser.wait("#error-more", |it| it == "Show fewer");
    assert_eq!(browser.run(rows), 14);
    browser.fill("#error-filter", "once-3 502");
    browser.wait("#error-found", |it| it.starts_with("1 of 19"));
    assert!(browser.text("#error-table").contains("/3/once-3"));
    browser.fill("#error-filter", "nothing of the kind");
    browser.wait("#no-errors", |it| it == "No matches.");
    check_silence(&browser, &page(&proxy));
}

#[test]
fn what_was_before_the_page_is_drawn() {
    if !is_there("the history of the dashboard") {
        return;
    }
    let origin = Origin::named("a");
    let proxy = Proxy::start(&quiet(&[origin.address()], ""));
    let load = Load::start(&proxy, &["/"], |_| 20);
    let history = || {
        let answer = Client::connect(proxy.address("admin")).get("/api/v1/traffic/history").text();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()
    };
    // One each five seconds.
    eventually_within(2 * PATIENCE, "three samples are there", || {
        history()["samples"].as_array().unwrap().len() >= 3
    });
    let found = history();
    assert_eq!(found["every_seconds"], 5);
    let requests = |place: usize| found["samples"][place]["requests"].as_u64().unwrap();
    assert!(requests(0) < requests(1) && requests(1) < requests(2), "{found}");
    let browser = Browser::start(1280, 900);
    let opened = Instant::now();
    show(&browser, &proxy);
    let first = "const d = document.querySelector('#cards .chart .line-1')?.getAttribute('d');
        return d ? Number(d.slice(1).split(' ')[0]) : 120";
    // 120 units are ten minutes: five seconds are one.
    eventually("more is drawn than the page can have seen", || {
        let oldest = (120.0 - browser.run(first).as_f64().unwrap()) * 5.0;
        oldest > opened.elapsed().as_secs_f64() + 1.0
    });
    drop(load);
    check_silence(&browser, &page(&proxy));
}
