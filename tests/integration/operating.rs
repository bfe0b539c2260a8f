//! The verbs that talk to a running program: what they do to it, what they print, and where they find it.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    cli::{Ended, pointsman, pointsman_in, pointsman_with},
    collapse::{cached, metric},
    support::{
        Client, Origin, Proxy, Reply, eventually,
        proxy::{config, folder},
    },
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// A verb at the proxy's endpoint.
fn at(proxy: &Proxy, arguments: &[&str]) -> Ended {
    let admin = format!("http://{}", proxy.address("admin"));
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    pointsman(&all)
}

fn good(ended: &Ended) -> &str {
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    assert!(!ended.out.contains('\x1b'), "no colours into a pipe: {}", ended.out);
    &ended.out
}

fn backend(proxy: &Proxy, name: &str) -> Value {
    let answer = Client::connect(proxy.address("admin")).get_with("/api/v1/upstreams/u", "localhost", "");
    let upstream: Value = serde_json::from_str(&answer.text()).unwrap();
    upstream["backends"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
}

fn file(proxy: &Proxy) -> String {
    fs::read_to_string(proxy.folder().join("pointsman.toml")).unwrap()
}

#[test]
fn status_shows_what_runs() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    (0..7).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    eventually("they are counted", || backend(&proxy, "b0")["requests"] == 7);
    let ended = at(&proxy, &["status"]);
    let text = good(&ended);
    for part in [
        &format!("version     {}\n", env!("CARGO_PKG_VERSION")),
        &format!("process     {}, up ", proxy.pid()),
        "generation  1 (",
        "last reload OK, at ",
        "upstream u (round-robin)\n",
        "\nb0       ",
        &proxy.address("web").to_string(),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("overrides") && !text.contains("certificates"), "what is not there: {text}");
    let json = at(&proxy, &["status", "--json"]).json();
    assert_eq!((&json["pid"], &json["generation"]), (&proxy.pid().into(), &1.into()));
    assert_eq!(json["upstreams"][0]["backends"][0]["requests"], 7);
}

#[test]
fn a_reload_applies_the_file_or_reports_every_problem() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], ADMIN);
    let proxy = Proxy::start(&text);
    assert_eq!(good(&at(&proxy, &["reload"])), "nothing changed: generation 1 stays in force\n");
    proxy.edit(&text.replace("workers = 2", "workers = 3"));
    // The file is watched, too, and may have been read before.
    let ended = at(&proxy, &["reload"]);
    assert!(good(&ended).contains("generation 2"), "{ended:?}");
    let json = at(&proxy, &["reload", "--json"]).json();
    assert_eq!((&json["changed"], &json["generation"]), (&false.into(), &2.into()));

    proxy.edit(&text.replace("upstream = \"u\"", "upstream = \"v\"\nnonsense = [1, 2]"));
    let path = proxy.folder().join("pointsman.toml");
    let ended = at(&proxy, &["reload"]);
    assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""));
    let check = pointsman(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(ended.err, check.out, "the same as `check` prints");
    assert!(ended.err.contains("^^^") && ended.err.ends_with("2 problems\n"), "{}", ended.err);
    let ended = at(&proxy, &["reload", "--json"]);
    assert_eq!((ended.status, &ended.json()["error"]["code"]), (Some(1), &"bad_config".into()));
    // What was in force goes on, and status says so.
    assert_eq!(proxy.get("/").status, 200);
    let status = at(&proxy, &["status"]);
    assert!(good(&status).contains("REFUSED") && status.out.contains("^^^"), "{}", status.out);
}

#[test]
fn a_backend_is_drained_and_enabled_and_weighed() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let text = config(&[one.address(), two.address()], ADMIN);
    let proxy = Proxy::start(&text);
    let ended = at(&proxy, &["drain", "u/b0"]);
    assert!(good(&ended).starts_with("u/b0: draining, weight 1, 0 in flight (generation 2)\n"), "{ended:?}");
    (0..10).for_each(|_| assert_eq!(proxy.get("/").text(), "two"));
    assert!(good(&at(&proxy, &["status"])).contains("u/b0: state draining instead of enabled"));
    let json = at(&proxy, &["disable", "u/b0", "--json"]).json();
    assert_eq!((&json["name"], &json["state"]), (&"b0".into(), &"disabled".into()));
    assert_eq!(good(&at(&proxy, &["enable", "u/b0"])), "u/b0: up, weight 1 (generation 4)\n");
    // By its address, too.
    let ended = at(&proxy, &["weight", &format!("u/{}", two.address()), "3"]);
    assert!(good(&ended).contains("weight 3"), "{ended:?}");
    assert!(good(&at(&proxy, &["status"])).contains(" 3* "), "the weight is marked");
    assert_eq!(file(&proxy), text, "only the running program knows");

    let ended = at(&proxy, &["weight", "u/b1", "5", "--persist"]);
    assert!(good(&ended).contains("weight 5") && !ended.out.contains("--persist"), "{ended:?}");
    assert!(file(&proxy).contains("weight = 5"), "{}", file(&proxy));
    good(&at(&proxy, &["drain", "u/b0", "--persist"]));
    assert!(file(&proxy).contains("state = \"draining\""), "{}", file(&proxy));
}

const HITS: &str = "pointsman_cache_requests_total{cache=\"pages\",result=\"hit\"}";
const MISSES: &str = "pointsman_cache_requests_total{cache=\"pages\",result=\"miss\"}";

#[test]
fn a_cache_is_shown_and_purged() {
    let origin = Origin::start(|request| {
        let body = &request.target;
        let head = format!("Content-Length: {}\r\nCache-Control: max-age=60\r\nSurrogate-Key: t", body.len());
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into())
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    for target in ["/a", "/a", "/a", "/b"] {
        proxy.connect().get_with(target, "test", "");
    }
    eventually("all are counted", || metric(&proxy, HITS) + metric(&proxy, MISSES) == 4);
    let shown = at(&proxy, &["status"]);
    let line = good(&shown).lines().find(|line| line.starts_with("pages")).unwrap();
    assert!(line.contains("50.0 %") && line.contains(" of 256.0 MiB"), "{line}");
    let json: Value = serde_json::from_str(good(&at(&proxy, &["status", "--json"]))).unwrap();
    assert_eq!(json["caches"][0]["stored"]["objects"], 2);
    let soft = at(&proxy, &["purge", "pages", "--prefix", "http://test/", "--soft"]);
    assert_eq!(good(&soft), "pages: 2 responses marked as stale\n");
    let one = at(&proxy, &["purge", "pages", "--url", "http://test/a", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(good(&one)).unwrap(), serde_json::json!({"purged": 1}));
    assert_eq!(good(&at(&proxy, &["purge", "pages", "--tag", "t"])), "pages: 1 response removed\n");
    assert_eq!(good(&at(&proxy, &["purge", "pages", "--all"])), "pages: 0 responses removed\n");
    for (arguments, status, why) in [
        (&["purge", "pagse", "--all"][..], 1, "did you mean `pages`?"),
        (&["purge", "pages", "--url", "/a"], 1, "write the whole URL"),
        (&["purge", "pages"], 2, "--all"),
        (&["purge", "pages", "--all", "--tag", "t"], 2, "cannot be used with"),
    ] {
        let ended = at(&proxy, arguments);
        assert!(ended.status == Some(status) && ended.err.contains(why), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[test]
fn a_refusal_has_a_hint_and_changes_nothing() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    for (arguments, part) in [
        (&["drain", "u/none"][..], "none"),
        (&["drain", "none/b0"], "none"),
        (&["weight", "u/b0", "70000"], "65535"),
    ] {
        let ended = at(&proxy, arguments);
        assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(ended.err.starts_with("refused: ") && ended.err.contains(part), "{}", ended.err);
        assert!(ended.err.contains("\n  hint: "), "{}", ended.err);
    }
    let ended = at(&proxy, &["drain", "u/none", "--json"]);
    assert_eq!((ended.status, ended.json()["error"]["code"].is_string()), (Some(1), true));
    for usage in [
        &["drain", "b0"][..],
        &["drain"],
        &["weight", "u/b0"],
        &["weight", "u/b0", "-1"],
        &["weight", "u/b0", "many"],
        &["status", "--interval", "1"],
        &["status", "--watch", "--interval", "0"],
    ] {
        let ended = at(&proxy, usage);
        assert_eq!((ended.status, ended.out.as_str()), (Some(2), ""), "{usage:?}: {ended:?}");
    }
    assert_eq!(at(&proxy, &["status", "--json"]).json()["generation"], 1);
}

#[test]
fn nobody_there_is_said_with_what_was_tried() {
    let free = crate::support::free();
    let admin = format!("http://{free}");
    for verb in [
        &["status"][..],
        &["status", "--watch"],
        &["reload"],
        &["drain", "u/b"],
        &["weight", "u/b", "1"],
        &["upgrade"],
    ] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--admin", &admin]);
        let ended = pointsman(&arguments);
        assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""), "{verb:?}");
        assert!(
            ended.err.contains(&format!("{admin} does not answer: nothing listens there")),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("hint: ") && ended.err.contains("from --admin"), "{}", ended.err);
    }
    let root = std::path::Path::new("/");
    let ended = pointsman_with(root, &[("POINTSMAN_ADMIN", &admin)], &["status"]);
    assert!(ended.status == Some(1) && ended.err.contains("$POINTSMAN_ADMIN"), "{ended:?}");
    let ended = pointsman(&["status", "--admin", "unix:/nowhere/admin.sock"]);
    assert!(ended.status == Some(1) && ended.err.contains("unix:/nowhere/admin.sock"), "{ended:?}");
    for bad in ["https://127.0.0.1:1", "127.0.0.1:1", "unix:"] {
        let ended = pointsman(&["status", "--admin", bad]);
        assert!(ended.status == Some(2) && ended.err.contains("http://ADDRESS:PORT"), "{ended:?}");
    }
    // A listener for requests is no admin endpoint.
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    let ended = pointsman(&["status", "--admin", &format!("http://{}", proxy.address("web"))]);
    assert!(ended.status == Some(1) && ended.err.contains("is it the admin endpoint?"), "{ended:?}");
}

/// A proxy whose admin endpoint is a unix socket and wants a token; both are in its configuration.
fn guarded() -> (Proxy, PathBuf, String) {
    let origin = Origin::named("one");
    let folder = folder();
    fs::create_dir(folder.join("config")).unwrap();
    fs::write(folder.join("token"), "s3cret\n").unwrap();
    let more = "[admin]\naddress = \"unix:admin.sock\"\ntoken_file = \"token\"\n";
    let text = config(&[origin.address()], more);
    // Where it is looked for by default, and what it names is found from there.
    let moved = text.replace("unix:admin.sock", "unix:../admin.sock").replace("\"token\"", "\"../token\"");
    fs::write(folder.join("config/pointsman.toml"), moved).unwrap();
    (Proxy::start_in(folder.clone(), &text), folder, text)
}

#[test]
fn the_configuration_says_where_and_with_which_token() {
    let (proxy, folder, text) = guarded();
    let path = folder.join("pointsman.toml");
    let path = path.to_str().unwrap();
    good(&pointsman(&["status", "--config", path]));
    good(&pointsman_in(&folder, &["status"]));
    // What is wrong elsewhere in the file must not keep anyone from asking what is wrong.
    proxy.edit(&text.replace("upstream = \"u\"", "upstream = \"v\""));
    let ended = pointsman(&["reload", "--config", path]);
    assert!(ended.status == Some(1) && ended.err.ends_with("1 problem\n"), "{ended:?}");
    fs::write(path, "[admin]\naddress = \"nonsense\"\n").unwrap();
    let ended = pointsman(&["status", "--config", path]);
    // Whether somebody answers at the default is another matter.
    assert!(
        ended.err.contains("pointsman.toml:2:11: ") && ended.err.contains("trying http://127.0.0.1:9900"),
        "{}",
        ended.err
    );
    let ended = pointsman(&["status", "--config", "/nowhere/p.toml"]);
    assert!(ended.status == Some(2) && ended.err.contains("/nowhere/p.toml"), "{ended:?}");
}

#[test]
fn the_token_comes_from_a_file_or_the_environment() {
    let (_proxy, folder, _) = guarded();
    let admin = format!("unix:{}", folder.join("admin.sock").display());
    let token = folder.join("token");
    let root = std::path::Path::new("/");
    let status = ["status", "--admin", &admin];
    good(&pointsman(&["status", "--admin", &admin, "--token-file", token.to_str().unwrap()]));
    good(&pointsman_with(root, &[("POINTSMAN_TOKEN", "s3cret")], &status));
    let ended = pointsman(&status);
    assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains("--token-file") && ended.err.contains("POINTSMAN_TOKEN"), "{}", ended.err);
    let ended = pointsman_with(root, &[("POINTSMAN_TOKEN", "wrong")], &status);
    assert!(ended.status == Some(1) && ended.err.contains("not accepted"), "{ended:?}");
    assert!(!ended.err.contains("wrong"), "a token is not printed: {ended:?}");
    let ended = pointsman_with(root, &[("POINTSMAN_TOKEN", "a\r\nX: b")], &status);
    assert_eq!(ended.status, Some(2));
    let ended = pointsman(&["status", "--admin", &admin, "--token-file", "/nowhere/token"]);
    assert!(ended.status == Some(2) && ended.err.contains("/nowhere/token"), "{ended:?}");
}

#[test]
fn a_plan_shows_the_changes_and_makes_none() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], ADMIN);
    let proxy = Proxy::start(&text);
    let own = proxy.folder().join("pointsman.toml");
    let plan = |path: &std::path::Path, more: &[&str]| {
        let mut arguments = vec!["check", "--against-running", "--config", path.to_str().unwrap()];
        arguments.extend(more);
        at(&proxy, &arguments)
    };
    assert_eq!(good(&plan(&own, &[])), "nothing would change\n");
    let other = proxy.folder().join("other.toml");
    fs::write(
        &other,
        text.replace("name = \"b0\"", "name = \"b0\"\nweight = 4")
            + "[[upstream]]\nname = \"new\"\n[[upstream.backend]]\naddress = \"127.0.0.1:9\"\n",
    )
    .unwrap();
    let ended = plan(&other, &[]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("+ upstream") && line.ends_with("new")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("~ backend") && line.contains("weight")), "{lines:?}");
    assert!(
        ended.err.contains("the running program uses") && ended.err.contains("other.toml"),
        "{}",
        ended.err
    );
    let json = plan(&other, &["--format", "json"]).json();
    assert_eq!(json["changes"], true);
    assert_eq!(at(&proxy, &["status", "--json"]).json()["generation"], 1, "nothing was changed");

    fs::write(&other, text.replace("upstream = \"u\"", "upstream = \"v\"")).unwrap();
    let ended = plan(&other, &[]);
    assert!(ended.status == Some(2) && ended.out.contains("other.toml:"), "{ended:?}");
    // A good file, and nobody to ask.
    let free = crate::support::free();
    let admin = format!("http://{free}");
    let ended =
        pointsman(&["check", "--against-running", "--config", own.to_str().unwrap(), "--admin", &admin]);
    assert!(ended.status == Some(1) && ended.err.contains("does not answer"), "{ended:?}");
}

#[test]
fn an_upgrade_prints_the_process_that_serves() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], ADMIN);
    let proxy = Proxy::start(&text);
    // Until the program before has ended, both accept.
    let until_over = |pid: &Value| {
        eventually("the one before ends", || {
            !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| !it.contains(") Z "))
        });
    };
    let ended = at(&proxy, &["upgrade"]);
    until_over(&proxy.pid().into());
    let pid = at(&proxy, &["status", "--json"]).json()["pid"].clone();
    assert_ne!(pid, proxy.pid());
    assert!(good(&ended).contains(&format!("process {pid} serves")), "{ended:?}");
    assert_eq!(proxy.get("/").text(), "one");
    let json = at(&proxy, &["upgrade", "--json"]).json();
    until_over(&pid);
    assert_eq!(at(&proxy, &["status", "--json"]).json()["pid"], json["pid"], "that one serves");
    // One that cannot serve does not take over, and that is logged.
    proxy.edit("nonsense");
    let ended = at(&proxy, &["upgrade"]);
    assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains("the new program does not serve"), "{}", ended.err);
    assert_eq!(at(&proxy, &["status", "--json"]).json()["pid"], json["pid"]);
}
