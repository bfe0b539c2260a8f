//! What a reload takes over: pools, health, sessions, queues; and files beside the configuration.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
};

use crate::{
    health::backends,
    support::{
        Client, Origin, Proxy, Reply, eventually,
        proxy::{config, config_of, folder},
        tls::{Authority, Manner, SECURE, TlsClient, certificate},
    },
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
const IN_FORCE: &str = "configuration in force";

#[test]
fn idle_connections_to_backends_that_remain_are_used_again() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let text = |backends: &[&Origin], retry: u32| {
        let addresses: Vec<_> = backends.iter().map(|origin| origin.address()).collect();
        // One worker, so that there is one pool.
        config(&addresses, &format!("[upstream.retry]\nattempts = {retry}\n"))
            .replace("workers = 2", "workers = 1")
    };
    let proxy = Proxy::start(&text(&[&one, &two], 2));
    (0..4).for_each(|_| drop(proxy.get("/")));
    assert_eq!((one.connections(), two.connections()), (1, 1));
    // The upstream changes, its backends do not.
    proxy.edit(&text(&[&one, &two], 1));
    proxy.until_logged(IN_FORCE, 1);
    (0..4).for_each(|_| drop(proxy.get("/")));
    assert_eq!((one.connections(), two.connections()), (1, 1));
    // One leaves: what was idle to it is closed, and it gets nothing.
    proxy.edit(&text(&[&one], 1));
    proxy.until_logged(IN_FORCE, 2);
    let before = two.requests().len();
    (0..4).for_each(|_| assert_eq!(proxy.get("/").text(), "one"));
    assert_eq!((one.connections(), two.requests().len()), (1, before));
}

#[test]
fn a_backend_that_is_down_stays_down_over_a_reload() {
    let status = Arc::new(AtomicU16::new(500));
    let shown = status.clone();
    let bad = Origin::start(move |_| Reply::Text(shown.load(SeqCst), "back".into()));
    let good = Origin::named("good");
    let check = "[upstream.health_check]\ninterval = \"20ms\"\ntimeout = \"10s\"\npath = \"/health\"\n";
    let text = |more: &str| config(&[bad.address(), good.address()], &format!("{more}---\n{check}{ADMIN}"));
    let proxy = Proxy::start(&text(""));
    eventually("it is down", || backends(&proxy)[0]["state"] == "down");
    let why = backends(&proxy)[0]["why"].clone();
    let asked = bad.requests().len();
    for (number, more) in
        ["max_idle = 7\n", "balance = \"least-connections\"\n", "balance = \"random\"\n"].iter().enumerate()
    {
        proxy.edit(&text(more));
        proxy.until_logged(IN_FORCE, number + 1);
        assert_eq!(backends(&proxy)[0]["state"], "down");
        assert_eq!(backends(&proxy)[0]["why"], why);
        (0..10).for_each(|_| assert_eq!(proxy.get("/").text(), "good"));
    }
    eventually("checks go on", || bad.requests().len() > asked + 5);
    assert!(bad.requests().iter().all(|request| request.target == "/health"));
    // They still bring it back: it is the new generation that they speak to.
    status.store(200, SeqCst);
    eventually("it is up", || backends(&proxy)[0]["state"] == "up");
    eventually("it serves", || proxy.get("/").text() == "back");
    // Without checks, nothing holds it down.
    status.store(500, SeqCst);
    eventually("it is down again", || backends(&proxy)[0]["state"] == "down");
    proxy.edit(&text("").replace(check, ""));
    proxy.until_logged(IN_FORCE, 4);
    eventually("it is not checked", || backends(&proxy)[0]["state"] == "up");
    let checks = |origin: &Origin| origin.requests().iter().filter(|it| it.target == "/health").count();
    let before = checks(&bad);
    (0..50).for_each(|_| drop(proxy.get("/")));
    assert!(checks(&bad) <= before + 1, "at most the one under way");
}

#[test]
fn a_replaced_certificate_is_served_and_sessions_go_on() {
    let folder = folder();
    let authority = Authority::new(&folder);
    authority.issue(&folder, "demo", &["localhost"]);
    let origin = Origin::named("hello");
    let proxy = Proxy::start_in(folder, &config_of(&[origin.address().to_string()], SECURE, ADMIN));
    let config = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    let connect = || TlsClient::connect(proxy.address("web"), "localhost", &config).unwrap();
    let mut kept = connect();
    assert!(kept.get("localhost", "/").unwrap().ends_with("hello"));
    let first = certificate(&proxy.folder().join("demo.pem"));
    assert_eq!(kept.shown(), first);
    let mut resumed = connect();
    assert!(resumed.is_resumed());
    // With the answer comes a ticket for the next time.
    assert!(resumed.get("localhost", "/").unwrap().ends_with("hello"));

    // First a pair that does not fit: what is served goes on.
    authority.issue(proxy.folder(), "next", &["localhost"]);
    fs::copy(proxy.folder().join("next.pem"), proxy.folder().join("demo.pem")).unwrap();
    proxy.until_logged("configuration refused", 1);
    let fresh = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    let of_fresh = || {
        let mut client = TlsClient::connect(proxy.address("web"), "localhost", &fresh).unwrap();
        assert!(client.get("localhost", "/").unwrap().ends_with("hello"));
        client.shown()
    };
    assert_eq!(of_fresh(), first);
    fs::rename(proxy.folder().join("next.key"), proxy.folder().join("demo.key")).unwrap();
    proxy.until_logged(IN_FORCE, 1);
    let second = certificate(&proxy.folder().join("demo.pem"));
    let anew = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    let client = TlsClient::connect(proxy.address("web"), "localhost", &anew).unwrap();
    assert_eq!(client.shown(), second);
    // The open connection goes on, and a session from before is still resumed.
    assert!(kept.get("localhost", "/").unwrap().ends_with("hello"));
    assert!(connect().is_resumed());
}

#[test]
fn the_admin_endpoint_follows_its_token_and_its_address() {
    let folder = folder();
    fs::write(folder.join("token"), "first\n").unwrap();
    let origin = Origin::named("one");
    let admin = |address: &str| format!("[admin]\naddress = \"{address}\"\ntoken_file = \"token\"\n");
    let proxy = Proxy::start_in(folder, &config(&[origin.address()], &admin("127.0.0.1:0")));
    let status = |address, token: &str| {
        let field = format!("Authorization: Bearer {token}\r\n");
        Client::connect(address).get_with("/api/v1/status", "localhost", &field).status
    };
    let address = proxy.address("admin");
    assert_eq!((status(address, "first"), status(address, "second")), (200, 401));
    fs::write(proxy.folder().join("token"), "second\n").unwrap();
    eventually("the new token holds", || status(address, "second") == 200);
    assert_eq!(status(address, "first"), 401);
    // An empty file is nobody's token.
    fs::write(proxy.folder().join("token"), "\n").unwrap();
    proxy.until_logged("configuration refused", 1);
    assert_eq!((status(address, "second"), status(address, "")), (200, 401));
    fs::write(proxy.folder().join("token"), "second\n").unwrap();

    let free = crate::support::free();
    proxy.edit(&config(&[origin.address()], &admin(&free.to_string())));
    eventually("it answers there", || {
        std::net::TcpStream::connect(free).is_ok() && status(free, "second") == 200
    });
    eventually("and no longer here", || std::net::TcpStream::connect(address).is_err());
    // Beyond loopback it needs a token, also when the file says so later.
    let refused = proxy.count_logged("configuration refused");
    proxy.edit(&config(&[origin.address()], "[admin]\naddress = \"0.0.0.0:0\"\n"));
    proxy.until_logged("configuration refused", refused + 1);
    assert_eq!(status(free, "second"), 200);
    proxy.edit(&config(&[origin.address()], ""));
    eventually("it is off", || std::net::TcpStream::connect(free).is_err());
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn the_access_log_goes_where_the_file_says() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], "");
    let to =
        |sink: &str| text.replace("format = \"json\"", &format!("format = \"json\"\naccess = \"{sink}\""));
    let proxy = Proxy::start(&to("off"));
    assert_eq!(proxy.get("/unseen").status, 200);
    proxy.edit(&to("access.log"));
    proxy.until_logged(IN_FORCE, 1);
    let file = proxy.folder().join("access.log");
    eventually("a line in the file", || {
        proxy.get("/seen");
        fs::read_to_string(&file).is_ok_and(|lines| lines.contains("/seen"))
    });
    proxy.edit(&to("stdout"));
    proxy.until_logged(IN_FORCE, 2);
    proxy.get("/here");
    proxy.logged("/here");
    let lines = fs::read_to_string(&file).unwrap();
    assert!(!lines.contains("/here") && !lines.contains("/unseen"));
}

#[test]
fn a_file_that_is_mounted_by_itself_is_watched_too() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = folder();
    let real = folder.join("real.toml");
    fs::write(&real, config(&[one.address()], "")).unwrap();
    let mounted = folder.join("pointsman.toml");
    let script = "mount --bind \"$1\" \"$2\" && exec \"$3\" run --config \"$2\"";
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        command.arg(&real).arg(&mounted).arg(env!("CARGO_BIN_EXE_pointsman"));
        command
    };
    fs::write(&mounted, "").unwrap();
    if !in_namespace("mount --bind \"$1\" \"$2\"").output().is_ok_and(|output| output.status.success()) {
        crate::support::skipped("mounting in a namespace of its own");
        fs::remove_dir_all(&folder).unwrap();
        return;
    }
    let proxy = Proxy::spawn(in_namespace(script), folder, 1);
    assert_eq!(proxy.get("/").text(), "one");
    fs::write(&real, config(&[two.address()], "")).unwrap();
    eventually("the edit behind the mount is seen", || proxy.get("/").text() == "two");
}
