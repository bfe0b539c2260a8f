//! Reloads: what an edit changes, and everything that it must not touch.

use std::{fs, os::unix::fs::symlink, time::Duration};

use crate::support::{
    Client, Origin, Proxy, Reply, eventually,
    proxy::{config, config_of, folder},
};

/// What a reload says once it is in force.
const IN_FORCE: &str = "configuration in force";
const REFUSED: &str = "configuration refused";

#[test]
fn an_edit_sends_requests_elsewhere_and_open_connections_go_on() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let proxy = Proxy::start(&config(&[one.address()], ""));
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").text(), "one");
    proxy.edit(&config(&[two.address()], ""));
    eventually("the edit takes effect", || kept.get("/").text() == "two");
    // The same connection all along, and nothing was listened to anew.
    assert_eq!(proxy.count_logged("listening\""), 1);
    assert_eq!((one.connections(), two.connections()), (1, 1));
    // What is to be thrown away does not stay open.
    proxy.until_logged(IN_FORCE, 1);
}

#[test]
fn a_broken_edit_changes_nothing_and_gives_its_place() {
    let origin = Origin::named("one");
    let good = config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n");
    let proxy = Proxy::start(&good);
    let mut kept = proxy.connect();
    for broken in [
        good.replace("name = \"all\"", "name = \"all\"\nhost = 1"),
        good.replace("[[route]]", "[[route]"),
        String::new(),
        good.replace("upstream = \"u\"", "upstream = \"v\""),
    ] {
        let before = proxy.count_logged(REFUSED);
        proxy.edit(&broken);
        proxy.until_logged(REFUSED, before + 1);
        assert_eq!(kept.get("/").text(), "one");
        let status = status(&proxy);
        assert_eq!((&status["generation"], &status["last_reload"]["ok"]), (&1.into(), &false.into()));
        let problem = &status["last_reload"]["problems"][0];
        assert!(problem["file"].as_str().unwrap().ends_with("pointsman.toml"), "{problem}");
        assert!(problem["message"].is_string(), "{problem}");
        let metrics = ask(&proxy, "/metrics");
        assert!(metrics.contains("\npointsman_config_last_reload_success 0\n"));
        assert!(metrics.contains("\npointsman_config_generation 1\n"));
    }
    proxy.edit(&good);
    eventually("the good text is good again", || status(&proxy)["last_reload"]["ok"] == true);
    assert_eq!(status(&proxy)["generation"], 1);
    assert_eq!(kept.get("/").text(), "one");
}

#[test]
fn every_way_of_writing_a_file_is_noticed() {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].into_iter().map(Origin::named).collect();
    let text = |index: usize| config(&[origins[index].address()], "");
    let folder = folder();
    fs::create_dir(folder.join("..one")).unwrap();
    fs::create_dir(folder.join("..two")).unwrap();
    let proxy = Proxy::start_in(folder.clone(), &text(0));
    let file = folder.join("pointsman.toml");
    let mut kept = proxy.connect();
    let mut eventually_is = |name: &str| eventually(name, || kept.get("/").text() == name);
    eventually_is("a");
    // As an editor does: another file, renamed over it.
    fs::write(folder.join(".pointsman.toml.swp"), text(1)).unwrap();
    fs::rename(folder.join(".pointsman.toml.swp"), &file).unwrap();
    eventually_is("b");
    // As another does: the old one is moved away first.
    fs::rename(&file, folder.join("pointsman.toml~")).unwrap();
    fs::write(&file, text(2)).unwrap();
    eventually_is("c");
    // As Kubernetes does: a link to a link, and that is swapped.
    fs::write(folder.join("..one/pointsman.toml"), text(3)).unwrap();
    fs::write(folder.join("..two/pointsman.toml"), text(0)).unwrap();
    symlink("..one", folder.join("..data")).unwrap();
    symlink("..data/pointsman.toml", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &file).unwrap();
    eventually_is("d");
    symlink("..two", folder.join("..data_new")).unwrap();
    fs::rename(folder.join("..data_new"), folder.join("..data")).unwrap();
    eventually_is("a");
    // In place, behind both links.
    fs::write(folder.join("..two/pointsman.toml"), text(1)).unwrap();
    eventually_is("b");
    // It is logged a moment after it is so.
    proxy.until_logged(IN_FORCE, 5);
    assert_eq!(proxy.count_logged(IN_FORCE), 5);
}

#[test]
fn nothing_changed_is_nothing_done() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], "");
    let proxy = Proxy::start(&text);
    proxy.edit(&text);
    fs::write(proxy.folder().join("other.toml"), "x").unwrap();
    proxy.signal("HUP");
    proxy.until_logged("configuration unchanged", 1);
    // A comment is a change of the file, and of nothing else.
    proxy.edit(&format!("{text}\n# a comment\n"));
    proxy.until_logged(IN_FORCE, 1);
    assert_eq!(proxy.get("/").text(), "one");
    assert_eq!(proxy.count_logged(IN_FORCE), 1);
}

#[test]
fn listeners_come_go_and_change_and_the_others_never_notice() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], "");
    let second = |name: &str| format!("\n[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n");
    let proxy = Proxy::start(&text);
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").status, 200);

    proxy.edit(&format!("{text}{}", second("extra")));
    let extra = proxy.listening("extra");
    let mut over_extra = Client::connect(extra);
    assert_eq!(over_extra.get("/").status, 200);

    // Another name for the same address: whoever connects meanwhile is served.
    proxy.edit(&format!("{text}{}", second("renamed")));
    assert_eq!(proxy.listening("renamed"), extra);
    eventually("the new name answers", || {
        // The first of them may still have come by the old name; any later one is enough.
        Client::connect(extra).get("/renamed").status == 200
            && proxy
                .access_log()
                .iter()
                .any(|line| line["target"] == "/renamed" && line["listener"] == "renamed")
    });
    // The connection of the old name ends by and by: with the next response, or idle.
    assert!(over_extra.is_closed());

    proxy.edit(&text);
    proxy.until_logged("no longer listening", 1);
    eventually("nobody accepts any more", || std::net::TcpStream::connect(extra).is_err());
    assert_eq!(kept.get("/").status, 200);
    // It is logged a moment after it is so.
    proxy.until_logged(IN_FORCE, 3);
    assert_eq!(proxy.count_logged(IN_FORCE), 3);
}

#[test]
fn exchanges_of_a_removed_listener_are_finished() {
    let (release, origin) = Origin::holding();
    let text = config(&[origin.address()], "");
    let listener = "\n[[listener]]\nname = \"extra\"\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&format!("{text}{listener}"));
    let extra = proxy.address("extra");
    let mut client = Client::connect(extra);
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is there", || origin.connections() == 1);
    proxy.edit(&text);
    proxy.until_logged("no longer listening", 1);
    // It is logged before the workers are told; each knows once it has closed its socket.
    eventually("nobody accepts any more", || std::net::TcpStream::connect(extra).is_err());
    release.send(()).unwrap();
    let response = client.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "whole"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn connections_of_a_removed_listener_end_after_drain_timeout() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/stream" => Reply::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n".into()),
        _ => Reply::Text(200, "done".into()),
    });
    let text =
        config(&[origin.address()], "").replace("workers = 2", "workers = 2\ndrain_timeout = \"300ms\"");
    let extra = "\n[[listener]]\nname = \"extra\"\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&format!("{text}{extra}"));
    let (mut leaving, mut staying) = (Client::connect(proxy.address("extra")), proxy.connect());
    for client in [&mut leaving, &mut staying] {
        client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.until(b"x\r\n").is_some());
    }
    proxy.edit(&text);
    assert!(leaving.is_closed());
    assert!(staying.is_silent_for(Duration::from_millis(100)));
    proxy.until_logged("the drain time of a removed listener is over", 1);
}

#[test]
fn a_taken_port_is_reported_with_its_line() {
    let origin = Origin::named("one");
    // Of those that no connection is given, once it is free.
    let address = crate::support::free();
    let taken = std::net::TcpListener::bind(address).unwrap();
    let text = config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n");
    let proxy = Proxy::start(&text);
    let extra = |address| format!("{text}\n[[listener]]\nname = \"extra\"\naddress = \"{address}\"\n");
    proxy.edit(&extra(address));
    // It is logged before it is what the status says.
    eventually("the port is refused", || {
        let message = &status(&proxy)["last_reload"]["problems"][0]["message"];
        message.as_str().is_some_and(|it| it.contains("in use"))
    });
    let last = status(&proxy)["last_reload"].clone();
    let problem = &last["problems"][0];
    assert!(problem["line"].as_u64().unwrap() > 5, "{problem}");
    assert!(problem["message"].as_str().unwrap().contains("in use"), "{problem}");
    assert_eq!(proxy.get("/").text(), "one");
    // Once it is free, nobody need edit the file again.
    drop(taken);
    assert_eq!(proxy.listening("extra"), address);
    assert_eq!(Client::connect(address).get("/").text(), "one");
}

#[test]
fn an_address_may_widen_and_narrow_over_its_own_port() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], "");
    let free = crate::support::free();
    let at = |address: &str| text.replace("127.0.0.1:0", address);
    let proxy = Proxy::start(&at(&free.to_string()));
    assert_eq!(Client::connect(free).get("/").text(), "one");
    for (number, address) in [format!("0.0.0.0:{}", free.port()), free.to_string()].iter().enumerate() {
        proxy.edit(&at(address));
        proxy.until_logged(IN_FORCE, number + 1);
        // A connection that is half open when its socket is closed is reset; that is another address's end.
        eventually("it answers", || {
            let stream = std::net::TcpStream::connect(free);
            stream.is_ok() && Client::connect(free).get("/").text() == "one"
        });
        assert_eq!(proxy.listening("web").to_string(), *address);
    }
}

#[test]
fn counters_and_averages_go_on_except_for_removed_backends() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let both = config(&[one.address(), two.address()], admin);
    let proxy = Proxy::start(&both);
    (0..10).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    let before = backends(&proxy);
    assert_eq!(before.iter().map(|it| it["requests"].as_u64().unwrap()).sum::<u64>(), 10);
    proxy.edit(&config_of(
        &[one.address().to_string(), two.address().to_string()],
        "",
        &format!("balance = \"least-response-time\"\n---\n{admin}"),
    ));
    proxy.until_logged(IN_FORCE, 1);
    let after = backends(&proxy);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["requests"], after["requests"]);
        assert!(after["ewma_ms"].is_number(), "{after}");
    }
    proxy.edit(&config(&[one.address()], admin));
    proxy.until_logged(IN_FORCE, 2);
    assert_eq!(backends(&proxy).len(), 1);
    let metrics = || ask(&proxy, "/metrics");
    assert!(!metrics().contains(&two.address().to_string()), "{}", metrics());
    let total = |metrics: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with("pointsman_requests_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total(&metrics()), 10);
    // What comes back after it was forgotten begins anew.
    eventually("it is forgotten", || {
        let times = proxy.count_logged(IN_FORCE);
        proxy.edit(&both);
        proxy.until_logged(IN_FORCE, times + 1);
        let anew = backends(&proxy)[1]["requests"] == 0;
        proxy.edit(&config(&[one.address()], admin));
        proxy.until_logged(IN_FORCE, times + 2);
        if !anew {
            // Former generations are looked at once a second: edits that follow faster hardly ever let one be free then.
            std::thread::sleep(Duration::from_millis(1500));
        }
        anew
    });
}

fn ask(proxy: &Proxy, target: &str) -> String {
    Client::connect(proxy.address("admin")).get_with(target, "localhost", "").text()
}

fn status(proxy: &Proxy) -> serde_json::Value {
    serde_json::from_str(&ask(proxy, "/api/v1/status")).unwrap()
}

fn backends(proxy: &Proxy) -> Vec<serde_json::Value> {
    let answer = ask(proxy, "/api/v1/upstreams/u");
    let upstream: serde_json::Value = serde_json::from_str(&answer).unwrap();
    upstream["backends"].as_array().unwrap().clone()
}

/// As tools that mount secrets do; what is read of it comes when somebody writes, or never.
#[test]
fn file_that_becomes_a_pipe_is_refused() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let proxy = Proxy::start(&config(&[one.address()], "[admin]\naddress = \"127.0.0.1:0\"\n"));
    let (file, other) = (proxy.folder().join("pointsman.toml"), proxy.folder().join("other.toml"));
    let made = std::process::Command::new("mkfifo").arg(&other).status().unwrap();
    assert!(made.success());
    fs::rename(&other, &file).unwrap();
    proxy.signal("HUP");
    proxy.until_logged("it is a pipe, a socket or a device", 1);
    assert_eq!(proxy.get("/").text(), "one");
    // It goes on with the next.
    fs::write(&other, config(&[two.address()], "[admin]\naddress = \"127.0.0.1:0\"\n")).unwrap();
    fs::rename(&other, &file).unwrap();
    eventually("the file is followed again", || proxy.get("/").text() == "two");
}
