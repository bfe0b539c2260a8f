//! Files that a configuration includes: what comes, changes and goes takes effect, and edits are written where things are.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    cli::pointsman_in,
    support::{
        Client, Origin, Proxy, eventually,
        proxy::{config, folder},
    },
};

const IN_FORCE: &str = "configuration in force";
const REFUSED: &str = "configuration refused";

/// A route for a host, with an upstream of its own.
fn service(name: &str, origin: &Origin) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\nupstream = \"{name}\"\n\
         [[upstream]]\nname = \"{name}\"\n\n# The one.\n[[upstream.backend]]\nname = \"b\"\naddress = \"{}\" # here\n",
        origin.address()
    )
}

/// What is at a host.
fn at(proxy: &Proxy, host: &str) -> String {
    let answer = proxy.connect().get_with("/", host, "");
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}

#[test]
fn files_that_come_change_and_go_take_effect() {
    let (main, one, two) = (Origin::named("main"), Origin::named("one"), Origin::named("two"));
    let folder = folder();
    let text = format!("include = [\"conf.d/*.toml\"]\n{}", config(&[main.address()], ""));
    let proxy = Proxy::start_in(folder.clone(), &text);
    assert_eq!(at(&proxy, "a.example"), "main");
    proxy.until_logged("`include` lists `conf.d/*.toml`, but there is no such file", 1);
    // A folder that comes, and a file in it.
    fs::create_dir(folder.join("conf.d")).unwrap();
    let file = folder.join("conf.d/a.toml");
    fs::write(&file, service("a", &one)).unwrap();
    eventually("the new file takes effect", || at(&proxy, "a.example") == "one");
    fs::write(&file, service("a", &two)).unwrap();
    eventually("its edit takes effect", || at(&proxy, "a.example") == "two");
    fs::write(folder.join("conf.d/b.toml"), service("b", &one)).unwrap();
    eventually("a second one takes effect", || at(&proxy, "b.example") == "one");
    // Hidden files, such as those of editors, are not looked at.
    fs::write(folder.join("conf.d/.b.toml.toml"), "nonsense").unwrap();
    fs::remove_file(&file).unwrap();
    eventually("what is gone has no effect", || at(&proxy, "a.example") == "main");
    assert_eq!(at(&proxy, "b.example"), "one");
    assert_eq!(proxy.count_logged(REFUSED), 0);
}

#[test]
fn a_broken_file_changes_nothing_and_is_blamed() {
    let (main, one) = (Origin::named("main"), Origin::named("one"));
    let folder = folder();
    fs::create_dir(folder.join("conf.d")).unwrap();
    let file = folder.join("conf.d/a.toml");
    fs::write(&file, service("a", &one)).unwrap();
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let text = format!("include = [\"conf.d/*.toml\"]\n{}", config(&[main.address()], admin));
    let proxy = Proxy::start_in(folder, &text);
    fs::write(&file, service("a", &one).replace("hosts", "hots")).unwrap();
    proxy.until_logged(REFUSED, 1);
    assert_eq!(at(&proxy, "a.example"), "one");
    let status = ask(&proxy, "GET", "/api/v1/status", "");
    let problem = &status["last_reload"]["problems"][1];
    assert!(problem["file"].as_str().unwrap().ends_with("conf.d/a.toml"), "{problem}");
    assert_eq!((&problem["line"], &problem["message"]), (&3.into(), &"unknown key `hots` in `route`".into()));
    // What an administrator changes says nothing of a file that is broken meanwhile.
    let changed = ask(&proxy, "PATCH", "/api/v1/upstreams/a/backends/b", "{\"weight\": 3}");
    assert_eq!(changed["weight"], 3, "{changed}");
    fs::write(&file, service("a", &main)).unwrap();
    eventually("the good file takes effect", || at(&proxy, "a.example") == "main");
}

#[test]
fn a_persisted_change_is_written_where_the_upstream_is() {
    let (main, one) = (Origin::named("main"), Origin::named("one"));
    let folder = folder();
    fs::create_dir(folder.join("conf.d")).unwrap();
    let file = folder.join("conf.d/a.toml");
    let before = service("a", &one);
    fs::write(&file, &before).unwrap();
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n[defaults.upstream]\nmax_idle = 3\n";
    let text = format!("include = [\"conf.d/*.toml\"]\n{}", config(&[main.address()], admin));
    let proxy = Proxy::start_in(folder.clone(), &text);
    let changed = ask(&proxy, "PATCH", "/api/v1/upstreams/a/backends/b?persist=true", "{\"weight\": 3}");
    assert_eq!((&changed["weight"], &changed["override"]), (&3.into(), &Value::Null), "{changed}");
    let line = format!("address = \"{}\" # here\n", one.address());
    assert_eq!(fs::read_to_string(&file).unwrap(), before.replace(&line, &format!("{line}weight = 3\n")));
    assert_eq!(fs::read_to_string(folder.join("pointsman.toml")).unwrap(), text, "the other stays as it is");
    // It is no edit of another's: nothing is read again.
    proxy.signal("HUP");
    proxy.until_logged("configuration unchanged", 1);
    assert_eq!(proxy.count_logged(IN_FORCE), 1);
    let whole = Client::connect(proxy.address("admin")).get("/api/v1/config").text();
    assert_eq!(whole, text, "the configuration file itself");
}

#[test]
fn persisted_change_leaves_edits_of_other_files_to_be_read() {
    let (main, one, two) = (Origin::named("main"), Origin::named("one"), Origin::named("two"));
    let folder = folder();
    fs::create_dir(folder.join("conf.d")).unwrap();
    let (a, b) = (folder.join("conf.d/a.toml"), folder.join("conf.d/b.toml"));
    fs::write(&a, service("a", &one)).unwrap();
    fs::write(&b, service("b", &one)).unwrap();
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let text = format!("include = [\"conf.d/*.toml\"]\n{}", config(&[main.address()], admin));
    let proxy = Proxy::start_in(folder, &text);
    let persist = |weight: &str| {
        let target = "/api/v1/upstreams/b/backends/b?persist=true";
        let changed = ask(&proxy, "PATCH", target, &format!("{{\"weight\": {weight}}}"));
        assert_eq!(changed["weight"].to_string(), weight, "{changed}");
        assert!(fs::read_to_string(&b).unwrap().contains(&format!("weight = {weight}\n")));
    };
    // One that is broken stays refused, and is told of by whoever asks for it.
    fs::write(&a, service("a", &two).replace("hosts", "hots")).unwrap();
    proxy.until_logged(REFUSED, 1);
    persist("3");
    assert_eq!(ask(&proxy, "GET", "/api/v1/status", "")["last_reload"]["ok"], false);
    let reloaded = ask(&proxy, "POST", "/api/v1/reload", "");
    assert!(reloaded.to_string().contains("unknown key `hots`"), "{reloaded}");
    assert_eq!(at(&proxy, "a.example"), "one");
    // A good one, and a new one, that come right before are applied a moment later.
    fs::write(&a, service("a", &two)).unwrap();
    fs::write(a.with_file_name("c.toml"), service("c", &two)).unwrap();
    persist("5");
    eventually("the edit is applied", || at(&proxy, "a.example") == "two");
    eventually("the new file is read", || at(&proxy, "c.example") == "two");
    assert_eq!(ask(&proxy, "GET", "/api/v1/status", "")["last_reload"]["ok"], true);
    fs::write(&a, service("a", &main)).unwrap();
    persist("7");
    eventually("the next edit is applied", || at(&proxy, "a.example") == "main");
    // What was written itself is no edit of another's. A generation is in force before the line is written.
    let generation = || ask(&proxy, "GET", "/api/v1/status", "")["generation"].as_u64().unwrap();
    eventually("all is logged", || proxy.count_logged(IN_FORCE) as u64 + 1 == generation());
    let in_force = proxy.count_logged(IN_FORCE);
    proxy.signal("HUP");
    proxy.until_logged("configuration unchanged", 1);
    assert_eq!(proxy.count_logged(IN_FORCE), in_force);
}

#[test]
fn check_and_explain_name_the_file_and_line() {
    let folder = folder();
    fs::create_dir(folder.join("conf.d")).unwrap();
    let origin = Origin::named("one");
    fs::write(
        folder.join("conf.d/a.toml"),
        service("a", &origin).replace("hosts", "policies = [\"p\"]\nhosts"),
    )
    .unwrap();
    let main = config(&[origin.address()], "[[policy]]\nname = \"p\"\ntimeout = \"5s\"\n");
    fs::write(folder.join("x.toml"), format!("include = [\"conf.d/*.toml\"]\n{main}")).unwrap();
    let good = pointsman_in(&folder, &["check", "--config", "x.toml"]);
    assert_eq!(good.status, Some(0), "{good:?}");
    let explained = pointsman_in(&folder, &["explain", "--config", "x.toml", "GET", "http://a.example/"]);
    let lines: Vec<String> =
        explained.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let of_policy = line_of(&folder.join("x.toml"), "timeout = \"5s\"");
    assert!(lines.contains(&format!("timeout x.toml:{of_policy}")), "{explained:?}");
    assert!(lines.contains(&"hosts conf.d/a.toml:4".to_owned()), "{explained:?}");
    fs::write(folder.join("conf.d/b.toml"), service("a", &origin)).unwrap();
    let twice = pointsman_in(&folder, &["check", "--config", "x.toml"]);
    assert_eq!(twice.status, Some(2));
    for part in
        ["conf.d/b.toml:2:8: the route `a` is already defined on line 2 of conf.d/a.toml", "    2 | name"]
    {
        assert!(twice.out.contains(part), "{twice:?}");
    }
}

fn line_of(file: &Path, text: &str) -> usize {
    fs::read_to_string(file).unwrap().lines().position(|line| line == text).unwrap() + 1
}

fn ask(proxy: &Proxy, method: &str, target: &str, body: &str) -> Value {
    let mut client = Client::connect(proxy.address("admin"));
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.response(method);
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}
