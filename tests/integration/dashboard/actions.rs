//! What can be done: purges, the token, drains.

use super::*;

#[test]
fn a_cache_is_seen_and_purged_after_a_question() {
    if !is_there("caches on the dashboard") {
        return;
    }
    let origin = Origin::start(|_| {
        let head = "Content-Length: 5\r\nCache-Control: max-age=60\r\nSurrogate-Key: t";
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nhello").into())
    });
    let text = cached(&[origin.address()], "").replace("[log]\n", "[log]\naccess = \"off\"\n");
    let proxy = Proxy::start(&text);
    for target in ["/a", "/a", "/a", "/b"] {
        proxy.connect().get_with(target, "test", "");
    }
    let browser = Browser::start(390, 844);
    show(&browser, &proxy);
    browser.wait("#cache-list h3", |it| it == "pages");
    let has = |name: &str, value: &str| {
        browser.wait("#cache-list .facts", |it| {
            let facts: Vec<&str> = it.split_whitespace().collect();
            facts.join(" ").contains(&format!("{name} {value}"))
        });
    };
    has("Hit ratio", "50.0 %");
    has("Objects", "2");
    has("Collapsed", "0");

    // Nothing happens before the question is answered, and with no nothing at all.
    browser.fill("#cache-list .purge input[type=text]", "http://test/a");
    browser.click("button[aria-label='purge pages…']");
    browser.wait("#cache-list .confirm", |it| it.contains("Purge from pages: the URL http://test/a?"));
    browser.click("button[aria-label='keep pages as it is']");
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 2);
    browser.click("button[aria-label='purge pages…']");
    browser.click("button[aria-label='purge pages now']");
    browser.wait("#messages", |it| it.contains("1 response purged from pages."));
    has("Objects", "1");
    has("Purged", "1");

    // What is refused is shown, and stays to be changed.
    browser.fill("#cache-list .purge input[type=text]", "/a");
    browser.click("button[aria-label='purge pages…']");
    browser.click("button[aria-label='purge pages now']");
    browser.wait("#messages", |it| {
        it.contains("Not done") && it.contains("Write the whole") || it.contains("write the whole")
    });
    assert_eq!(
        browser.run("return document.querySelector('#cache-list .purge input[type=text]').value"),
        "/a"
    );
    let choose = "const it = document.querySelector('#cache-list .purge select'); it.value = 'all';
        it.dispatchEvent(new Event('change')); return 0";
    browser.run(choose);
    browser.click("button[aria-label='purge pages…']");
    browser.wait("#cache-list .confirm", |it| it.contains("Purge from pages: everything?"));
    browser.click("button[aria-label='purge pages now']");
    has("Objects", "0");
    for width in [320, 390, 700, 961, 1280] {
        browser.resize(width, 844);
        let found = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
        assert!(found[0].as_u64() <= found[1].as_u64(), "{width}: {found}");
    }
    let console: Vec<String> =
        browser.console().into_iter().filter(|it| !it.contains("status of 422")).collect();
    assert_eq!(console, Vec::<String>::new());
}

#[test]
fn the_page_asks_for_the_token_once_per_tab() {
    if !is_there("the dashboard with a token") {
        return;
    }
    let origin = Origin::named("a");
    let folder = folder();
    std::fs::write(folder.join("token"), "s3cret\n").unwrap();
    let proxy = Proxy::start_in(
        folder,
        &quiet(&[origin.address()], "").replace("[admin]\n", "[admin]\ntoken_file = \"token\"\n"),
    );
    let browser = Browser::start(1280, 900);
    browser.open(&page(&proxy));
    browser.wait("#token", |it| it.contains("needs its token"));
    assert_eq!(browser.text("#main"), "", "nothing is shown before");
    browser.fill("#token-value", "wrong");
    browser.click("#token button");
    browser.wait("#token-error", |it| it == "The token is wrong.");
    // What no header can have: `fetch` fails, and that must not look as if nobody answered, in this tab for good.
    for wrong in ["s3cret\u{200b}", "\u{201c}s3cret\u{201d}"] {
        browser.run("document.getElementById('token-error').textContent = ''");
        browser.fill("#token-value", wrong);
        browser.click("#token button");
        browser.wait("#token-error", |it| it == "The token is wrong.");
    }
    browser.run("sessionStorage.setItem('pointsman-token', 's3cret\u{200b}')");
    browser.open(&page(&proxy));
    browser.wait("#token", |it| it.contains("needs its token"));
    browser.fill("#token-value", "s3cret");
    browser.click("#token button");
    browser.wait("#upstream-list", |it| it.contains("b0"));
    browser.open(&page(&proxy));
    browser.wait("#upstream-list", |it| it.contains("b0"));
    let is_elsewhere =
        "return location.href.includes('s3cret') || document.cookie !== '' || localStorage.length > 0";
    assert_eq!(browser.run(is_elsewhere), false);
    let expected = |it: &String| it.contains("status of 401");
    let console = browser.console();
    assert!(console.iter().all(expected), "{console:?}");
}

#[test]
fn a_backend_is_drained_and_enabled_by_a_click() {
    if !is_there("draining from the dashboard") {
        return;
    }
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let proxy = Proxy::start(&quiet(&[first.address(), second.address()], ""));
    let browser = Browser::start(390, 844);
    show(&browser, &proxy);
    let load = Load::start(&proxy, &["/"], |_| 5);
    browser.wait(&backend(0, ".share .sub"), |it| is_about(it, 50));
    browser.click("button[aria-label='Drain u/b0']");
    browser.wait("#messages", |it| it.contains("Done: drain u/b0."));
    browser.wait(&backend(0, ".state"), |it| it.starts_with("◐ draining"));
    browser.wait(&backend(1, ".share .sub"), |it| it.starts_with("100 %"));
    let before = first.requests().len();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "second", "nothing new goes there");
    }
    assert_eq!(first.requests().len(), before);
    browser.click("button[aria-label='Enable u/b0']");
    browser.wait(&backend(0, ".state"), |it| it.starts_with("● up"));
    browser.fill("input[aria-label='weight of u/b0']", "3");
    browser.click("button[aria-label='set the weight of u/b0']");
    browser.wait(&backend(0, ".share .sub"), |it| is_about(it, 75));
    drop(load);
    check_silence(&browser, &page(&proxy));
}

#[test]
fn a_role_is_seen_and_stepped_down_from() {
    if !is_there("the cluster on the dashboard") {
        return;
    }
    let origin = Origin::named("a");
    // No address, and nobody to ask: the store is not there, so that this node stays standby.
    let cluster = "[cluster]\nnode = \"lb1\"\nelection = \"etcd\"\n\
                   [cluster.etcd]\nendpoints = [\"http://127.0.0.1:9\"]\n\
                   [cluster.on_change]\ncommand = [\"/bin/true\"]\n";
    let proxy = Proxy::start(&quiet(&[origin.address()], &format!("---\n{cluster}")));
    let browser = Browser::start(1280, 900);
    show(&browser, &proxy);
    browser.wait("#listener-panel tbody tr", |it| it.contains("web") && it.contains("http"));
    browser.wait("#cluster-panel tbody tr", |it| it.contains("standby") && it.contains("etcd"));
    browser.wait("#cluster-panel tbody tr .bad", |it| it.contains("127.0.0.1:9"));
    browser.wait("#cluster-summary", |it| it.starts_with("lb1, by etcd."));
    browser.click("#cluster-panel .actions button");
    browser.wait("#cluster-summary", |it| it.contains("It has stepped down."));
    browser.wait("#cluster-panel .actions button", |it| it == "Resume");
    browser.click("#cluster-panel .actions button");
    browser.wait("#cluster-summary", |it| !it.contains("stepped down"));
    check_silence(&browser, &page(&proxy));
}
