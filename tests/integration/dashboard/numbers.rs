//! What is shown: numbers, names, errors, whatever the answers are.

use super::*;

#[test]
fn traffic_moves_the_numbers_and_a_killed_backend_is_seen() {
    if !is_there("the dashboard in a browser") {
        return;
    }
    let first = Origin::named("first");
    let second = Origin::named("second");
    let text = quiet(&[first.address(), second.address()], OUTLIER);
    let proxy = Proxy::start(&text.replace("[runtime]\n", "[runtime]\ndrain_delay = \"60s\"\n"));
    let browser = Browser::start(1280, 900);
    show(&browser, &proxy);
    browser.wait("#state", |it| it == "● serving");
    let version = env!("CARGO_PKG_VERSION");
    browser.wait("#facts", |it| it.contains(version) && it.contains("Generation") && it.contains("primary"));
    browser.wait("#cards", |it| it.contains("0/s"));
    assert!(browser.run("return document.querySelector('#caches').hidden").as_bool().unwrap());
    // A mark that a reload of the page would take away.
    browser.run("window.isSamePage = true; return 0");

    let load = Load::start(&proxy, &["/"], |_| 5);
    let moves = |text: &str| text.trim_end_matches("/s").parse::<f64>().is_ok_and(|rate| rate > 5.0);
    browser.wait("#cards .value span", moves);
    browser.wait(&backend(0, ".share .sub"), |it| is_about(it, 50));
    browser.wait("#cards article:nth-child(2)", |it| it.contains("ms") || it.contains("µs"));
    browser.wait("#route-table tbody tr td", |it| it == "all");
    for number in [0, 1] {
        browser.wait(&backend(number, ".state"), |it| it.starts_with("● up"));
    }
    assert_eq!(browser.text("#no-errors"), "None.");

    drop(first);
    browser.wait(&backend(0, ".state"), |it| it.contains("▲ ejected") && it.contains("3 failures in a row"));
    browser.wait("#upstream-list .tally", |it| it.contains("1 of 2 up"));
    browser.wait(&backend(1, ".share .sub"), |it| it.starts_with("100 %"));
    assert!(browser.text(&backend(1, ".state")).starts_with("● up"), "the other one is as it was");
    drop(second);
    browser.wait("#error-table", |it| it.contains("502") && it.contains("GET /") && it.contains("→ u/b"));
    browser.wait("#cards article:nth-child(3) .value span", |it| it != "0/s");
    drop(load);
    assert_eq!(browser.run("return window.isSamePage"), true, "all this without loading the page again");
    check_silence(&browser, &page(&proxy));

    // The state is shown in words when the endpoint drains, and when it is gone.
    proxy.signal("TERM");
    browser.wait("#state", |it| it == "◐ draining");
    proxy.signal("KILL");
    browser.wait("#state", |it| it == "✕ not reachable");
    browser.wait("#banner", |it| it.contains("does not answer") && it.contains("ago"));
    assert!(browser.text("#upstream-list").contains("b1"), "what was known is still shown");
}

#[test]
fn names_and_errors_are_shown_as_text_on_every_screen() {
    if !is_there("the dashboard on small screens") {
        return;
    }
    let origin = Origin::named("a");
    let long = "a-name-that-is-longer-than-any-screen-of-a-phone-is-wide-0123456789";
    let text = quiet(&[origin.address(), "127.0.0.1:1".parse().unwrap()], "[upstream.retry]\nattempts = 1\n")
        .replace("name = \"all\"", &format!("name = \"{long}\""))
        .replace("name = \"b1\"", &format!("name = \"{long}\""))
        .replace("\"u\"", &format!("\"{long}\""));
    let proxy = Proxy::start(&text);
    for number in 0..20 {
        proxy.get(&format!("/<img/src=x/onerror=window.isBroken=1>{long}{long}{number}"));
    }
    let browser = Browser::start(390, 844);
    show(&browser, &proxy);
    browser.wait("#upstream-list", |it| it.contains(long));
    browser.wait("#route-table", |it| it.contains(long));
    browser.wait("#error-table", |it| {
        it.contains("<img/src=x/onerror=window.isBroken=1>") && it.contains("502")
    });
    assert!(browser.run("return window.isBroken ?? null").is_null());
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), 0);
    // The widest that a row gets: its weight is changed and not yet set.
    browser.fill("input[aria-label$='/b0']", "7");
    // And the widest that a time gets, which the page would say of an error of an hour ago.
    let long_ago = "document.querySelectorAll('td.when .sub').forEach((it) => {
            it.textContent = '59\\u202fmin 59\\u202fs ago';
        });";
    for width in [390, 320, 700, 960, 961, 1000, 1159, 1160, 1280] {
        browser.resize(width, 844);
        let found = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
        assert!(found[0].as_u64() <= found[1].as_u64() && found[1] == width, "{width}: {found}");
        let wide = "return [...document.querySelectorAll('.panel, .card, td')].filter((it) => it.checkVisibility() &&
            it.scrollWidth > it.clientWidth + 1).map((it) => it.innerText)";
        assert_eq!(browser.run(&format!("{long_ago} {wide}")), serde_json::json!([]), "{width}");
    }
    let colours = "const of = (it) => getComputedStyle(document.querySelector(it));
        return [of('body').backgroundColor, of('body').color, of('.panel').backgroundColor]";
    browser.prefer("light");
    let light = browser.run(colours);
    browser.prefer("dark");
    let dark = browser.run(colours);
    for part in 0..3 {
        assert_ne!(light[part], dark[part], "{light} {dark}");
    }
    // Every control has a name for those who do not see it.
    let nameless = "return [...document.querySelectorAll('button, input')].filter((it) =>
        !it.getAttribute('aria-label') && !it.textContent.trim() && !it.labels?.length).length";
    assert_eq!(browser.run(nameless), 0);
    check_silence(&browser, &page(&proxy));
}

#[test]
fn an_incomplete_answer_blanks_nothing_else() {
    if !is_there("the dashboard with broken answers") {
        return;
    }
    // Its admin endpoint is a backend that plays one, with the real page.
    let real = Origin::named("a");
    let proxy = Proxy::start(&quiet(&[real.address()], ""));
    let html = Client::connect(proxy.address("admin")).get_with("/", "localhost", "").text();
    let changed = Arc::new(AtomicBool::new(false));
    let is_changed = changed.clone();
    let fake = Origin::start(move |request| {
        let error = "{\"error\": {\"code\": \"no\", \"message\": \"it is frozen\", \"hint\": \"thaw it\"}}";
        let path = request.target.split('?').next().unwrap();
        let (status, body) = match (request.method.as_str(), path) {
            ("GET", "/") => {
                return Reply::Close(
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{html}").into(),
                );
            }
            ("GET", "/api/v1") => (200, "{\"endpoints\": [{\"path\": \"/api/v1/caches\"}, null]}"),
            ("GET", "/api/v1/caches") => {
                (200, "{\"caches\": [{\"name\": \"pages\", \"hit_ratio\": 0.75, \"stored\": {\"bytes\": \"many\"}}, null, 7]}")
            }
            ("GET", "/api/v1/status") => (200, FAILED_RELOAD),
            ("GET", "/api/v1/traffic") => {
                (200, "{\"latency\": 7, \"routes\": [{}], \"errors\": [{\"at\": 5}]}")
            }
            ("GET", "/api/v1/upstreams") if is_changed.load(SeqCst) => (500, error),
            ("GET", "/api/v1/upstreams") => (
                200,
                "{\"upstreams\": [{\"name\": \"u\", \"backends\": [
                {\"name\": \"b/1\", \"state\": \"draining\", \"weight\": 2, \"override\": {\"state\": {\"base\": \"enabled\", \"value\": \"draining\"}}},
                {\"name\": \"<b>c\", \"state\": \"new\"}, null]}]}",
            ),
            ("POST", "/api/v1/config/plan") => (200, "{\"backends\": {\"added\": [\"c\"], \"gone\": []}}"),
            _ => (409, error),
        };
        Reply::Text(status, body.to_owned())
    });
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/", fake.address()));
    browser.wait("#upstream-list", |it| it.contains("◐ draining") && it.contains("changed: state"));
    browser.wait("#upstream-list", |it| it.contains("? new") && it.contains("<b>c"));
    assert_eq!(browser.run("return document.querySelectorAll('b').length"), 0);
    browser.wait("#error-table", |it| it.contains("(no route)"));
    browser.wait("#cache-list", |it| it.contains("pages") && it.contains("75.0 %"));
    browser.wait("#reload-summary", |it| it.contains("failed") && it.contains("by SIGHUP"));
    let problem = browser.wait("#problems", |it| it.contains("my.toml:3:5"));
    assert!(problem.contains("    wieght = 1\n    ^") && problem.contains("Hint: did you mean"), "{problem}");

    // What is refused is shown, with its hint; and what is typed stays.
    browser.click("button[aria-label='Enable u/b/1']");
    browser.wait("#messages", |it| it.contains("Not done: enable u/b/1. It is frozen (thaw it)"));
    browser.click("#upstream-list .title input");
    browser.fill("input[aria-label='weight of u/b/1']", "7");
    browser.click("button[aria-label='set the weight of u/b/1']");
    browser.wait("#messages", |it| it.contains("Not done: weight 7 for u/b/1."));
    let asked = fake.requests();
    let of = |method: &str| asked.iter().find(|it| it.method == method).unwrap();
    assert_eq!(of("POST").target, "/api/v1/upstreams/u/backends/b%2F1/enable");
    assert_eq!(of("PATCH").target, "/api/v1/upstreams/u/backends/b%2F1?persist=true");
    assert_eq!(of("PATCH").body, b"{\"weight\":7}");
    assert_eq!(browser.run("return document.querySelector('.weight input').value"), "7");
    browser.click("#plan");
    browser.wait("#plan-text", |it| it == "backends:\n  added:\n    - c\n  gone: none");

    // Nobody looks: nothing is asked.
    browser.behind_another(|| {
        let mut before = 0;
        eventually("it is silent", || {
            let count = fake.requests().len();
            let is_silent = count == before;
            before = count;
            if !is_silent {
                std::thread::sleep(Duration::from_millis(2500));
            }
            is_silent
        });
    });
    changed.store(true, SeqCst);
    browser.wait("#upstreams .broken", |it| it.contains("it is frozen"));
    assert!(browser.text("#upstream-list").contains("draining"), "what was known is still shown");
    browser.wait("#reload-summary", |it| it.contains("failed"));
    let own: Vec<String> = browser
        .console()
        .into_iter()
        .filter(|it| !it.contains("status of 409") && !it.contains("status of 500"))
        .collect();
    assert_eq!(own, Vec::<String>::new());
}

/// The parts of the script that know nothing of the page, run as they are.
#[test]
fn numbers_are_those_of_the_answers() {
    if !is_there("the numbers of the dashboard") {
        return;
    }
    let browser = Browser::start(390, 844);
    let parts = concat!(
        include_str!("../../../src/admin/dashboard/format.js"),
        include_str!("../../../src/admin/dashboard/history.js")
    );
    let run = |script: &str| browser.run(&format!("{parts}\n{script}"));
    let texts = run("return [count(999), count(1234), count(12345), count(4.5e6), count(undefined), rate(0), rate(0.01),
        rate(4.25), rate(1234.6), bytes(999), bytes(1500), bytes(25e6), time(0.00025), time(0.0042), time(12), time(null),
        span(0), span(59), span(61), span(3600), span(90061), span(86400 * 3)]");
    let expected = serde_json::json!([
        "999",
        "1\u{2009}234",
        "12.3k",
        "4.5M",
        "0",
        "0",
        "<0.1",
        "4.3",
        "1\u{2009}235",
        "999\u{202f}B",
        "1.5\u{202f}kB",
        "25\u{202f}MB",
        "250\u{202f}µs",
        "4.2\u{202f}ms",
        "12\u{202f}s",
        "–",
        "0\u{202f}s",
        "59\u{202f}s",
        "1\u{202f}min 1\u{202f}s",
        "1\u{202f}h",
        "1\u{202f}d 1\u{202f}h",
        "3\u{202f}d",
    ]);
    assert_eq!(texts, expected);

    // A hundred in the second bucket, 10 to 20 ms: they are taken to be spread evenly in it.
    let latency = |counts: &str| format!("{{latency: {{bounds_seconds: [0.01, 0.02], counts: {counts}}}}}");
    let of = |before: &str, now: &str| run(&format!("return percentiles({before}, {now}, [0.5, 0.9, 0.99])"));
    let close = |found: &serde_json::Value, expected: [f64; 3]| {
        let found: Vec<f64> = found.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect();
        let is_close = found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-9);
        assert!(is_close, "{found:?}");
    };
    close(&of(&latency("[7, 0, 0]"), &latency("[7, 100, 0]")), [0.015, 0.019, 0.0199]);
    close(&of(&latency("[0, 0, 0]"), &latency("[50, 40, 10]")), [0.01, 0.02, 0.02]);
    close(&of("undefined", &latency("[0, 0, 5]")), [0.02, 0.02, 0.02]);
    for nothing in [of(&latency("[7, 1, 0]"), &latency("[7, 1, 0]")), of("{}", "{}")] {
        assert_eq!(nothing, serde_json::json!([null, null, null]));
    }

    let rates = run("const it = new History();
        const add = (at, requests, uptime_seconds = at) =>
            it.add({at: at * 1000, uptime_seconds, requests, classes: {'5xx': requests / 10}});
        for (let second = 0; second <= 700; second += 1) add(second, second * 50);
        const found = [it.points.at(-1).requests, it.points.at(-1).errors, it.over((it) => it.requests), it.points.length];
        add(700, 99999);
        found.push(it.points.length);
        add(701, 3);
        found.push(it.points.length);
        add(702, 53);
        found.push(it.points.at(-1).requests);
        add(703, 3, 1);
        found.push(it.points.length);
        return found");
    let expected = serde_json::json!([50, 5, 50, 601, 601, 601, 50, 0]);
    assert_eq!(
        rates, expected,
        "ten minutes are kept, and a program that began anew is not compared with the old"
    );
}

const FAILED_RELOAD: &str = r#"{"generation": 4, "draining": false, "last_reload": {"ok": false, "by": "SIGHUP",
    "at": "2026-11-22T08:00:00.000Z", "problems": [{"file": "my.toml", "line": 3, "column": 5,
    "message": "there is no `wieght`", "hint": "did you mean `weight`?", "source": "    wieght = 1"}]}}"#;
