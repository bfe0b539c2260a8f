//! Conditions of routes are conditions wherever it is asked what a route takes; and addresses are one where they mean
//! one.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, notes, parse},
    route::conf::{CONDITIONS, MatchConf, RouteConf},
    schema::Section,
    tls::demo::demo_certificates,
};

/// A condition as it is written, beside those that a listener alone has.
fn written(key: &str) -> &'static str {
    match key {
        "hosts" => "hosts = ['~^a']",
        "paths" => "paths = [\"/a\"]",
        "methods" => "methods = [\"PUT\"]",
        "headers" => "headers = { x-a = \"1\" }",
        "query" => "query = { a = \"1\" }",
        "cookies" => "cookies = { a = true }",
        "clients" => "clients = [\"10.0.0.0/8\"]",
        "scheme" => "scheme = \"https\"",
        "protocol" => "protocol = \"h2\"",
        "ports" => "ports = [8443]",
        "matchers" => "matchers = [\"m\"]",
        "any" => "any = [{ methods = [\"PUT\"] }]",
        "not" => "not = [{ hosts = [\"a.test\"] }]",
        "server_names" => "server_names = [\"a.test\"]",
        "alpn" => "alpn = [\"h2\"]",
        "listeners" => "listeners = [\"web\"]",
        other => panic!("what a route with `{other}` takes is not tested"),
    }
}

/// A folder with the certificates of a listener; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("pointsman-{test}-{}", std::process::id()));
        demo_certificates(&folder.join("certs")).unwrap();
        Self(folder)
    }

    /// What is read of routes of these keys, each of which answers by itself.
    fn read(&self, routes: &[&str], more: &str) -> Result<Config, String> {
        let mut text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\nprotocol = \"https\"\n\
                    [[listener.certificate]]\nchain = \"certs/demo.pem\"\nkey = \"certs/demo.key\"\n\
                    [[matcher]]\nname = \"m\"\nmethods = [\"PUT\"]\n"
            .to_owned();
        for (number, keys) in routes.iter().enumerate() {
            text += &format!("[[route]]\nname = \"r{number}\"\n{keys}\nrespond = {{ status = 200 }}\n");
        }
        parse(&(text + more), &self.0.join("x.toml")).map_err(|problems| problems.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_to_the_system = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn conditions_of_groups_are_conditions_of_routes() {
    let names = |rows: Vec<crate::schema::Row>| rows.into_iter().map(|row| row.key.name).collect::<Vec<_>>();
    let (of_groups, of_routes) = (names(MatchConf::rows()), names(RouteConf::rows()));
    for key in of_groups {
        assert!(CONDITIONS.contains(&key) && of_routes.contains(&key), "{key}");
    }
    assert!(CONDITIONS.iter().all(|key| of_routes.contains(key)));
}

#[test]
fn a_route_with_any_condition_hides_no_other() {
    let folder = Folder::new("hides");
    let read = |routes: &[&str]| folder.read(routes, "");
    // `alpn` is of connections alone, and `listeners` say nothing of a request.
    for key in CONDITIONS.into_iter().filter(|key| !["alpn", "listeners"].contains(key)) {
        let own = written(key);
        let said = |result: Result<Config, String>| match result {
            Ok(config) => notes::notes(&config).join("\n"),
            Err(problems) => problems,
        };
        assert!(!said(read(&[own, ""])).contains("never reached"), "{key} before any");
        assert!(!said(read(&["", own])).contains("never reached"), "{key} behind any");
        assert!(said(read(&[own, own])).contains("`r1` is never reached"), "{key} twice");
        if key != "paths" {
            let every = format!("paths = [\"/*\"]\n{own}");
            assert!(!said(read(&[&every, "paths = ['~^/a']"])).contains("never reached"), "{key} and /*");
        }
    }
    let every = "paths = [\"/*\"]\nhosts = ['~^a']";
    let late = |hosts: &str| read(&[every, &format!("paths = ['~^/a']\nhosts = [{hosts}]")]);
    let is_noted =
        |hosts: &str| late(hosts).is_ok_and(|config| notes::notes(&config).join("").contains("r1"));
    assert!(is_noted("'~^a'"));
    assert!(!is_noted("\"a.test\""), "an exact host comes before every regular expression");
    assert!(!is_noted("'~^a', '~^b'"));
}

#[test]
fn conditions_are_of_requests_and_shared_by_no_policy() {
    let folder = Folder::new("shared");
    let read = |more: &str| folder.read(&[""], more);
    for key in CONDITIONS {
        let policy = format!("[[policy]]\nname = \"p\"\n{}\n", written(key));
        assert!(read(&policy).unwrap_err().contains(&format!("`{key}` cannot be shared")), "{key}");
        let passed = format!(
            "[[listener]]\nname = \"db\"\naddress = \"127.0.0.1:2\"\nprotocol = \"tcp\"\n\
             [[route]]\nname = \"db\"\nlisteners = [\"db\"]\n{}\nupstream = \"u\"\n\
             [[upstream]]\nname = \"u\"\n[[upstream.backend]]\naddress = \"127.0.0.1:3\"\n",
            if key == "listeners" { "" } else { written(key) },
        );
        match read(&passed) {
            Ok(_) => assert_eq!(key, "listeners"),
            Err(problems) => {
                let expected = format!("`{key}` does not apply to a `tcp` listener");
                assert!(problems.contains(&expected), "{key}: {problems}");
            }
        }
    }
}

#[test]
fn what_a_condition_leads_to_is_stored_apart() {
    let folder = Folder::new("apart");
    for key in CONDITIONS.into_iter().filter(|key| *key != "alpn") {
        let config = folder.read(&[written(key)], "").unwrap_or_else(|problems| panic!("{problems}"));
        let by_uri = ["listeners", "hosts", "paths", "methods"].contains(&key);
        assert_eq!(config.route[0].has_more_conditions(), !by_uri, "{key}");
    }
}

#[test]
fn a_route_is_reached_where_the_first_is_not() {
    let folder = Folder::new("listeners");
    let two = "[[listener]]\nname = \"two\"\naddress = \"127.0.0.1:2\"\n";
    let (on_web, on_two) = ("listeners = [\"web\"]", "listeners = [\"two\"]");
    for reached in [&[on_web, ""][..], &[on_web, on_two]] {
        assert!(folder.read(reached, two).is_ok(), "{reached:?}");
    }
    for (hidden, last) in [(&["", on_web][..], "r1"), (&[on_two, on_web, ""], "r2")] {
        let problems = folder.read(hidden, two).unwrap_err();
        assert!(problems.contains(&format!("`{last}` is never reached")), "{problems}");
    }
}

/// What is wrong with backends, each as its table has it, behind a listener with these addresses.
fn said_of(listens: &str, backends: &[&str]) -> String {
    let backends: String = backends.iter().map(|keys| format!("[[upstream.backend]]\n{keys}\n")).collect();
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = {listens}\n[[route]]\nname = \"r\"\nupstream = \"u\"\n\
         [[upstream]]\nname = \"u\"\n{backends}"
    );
    parse(&text, Path::new("x.toml")).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn backends_are_one_where_their_addresses_mean_one() {
    let first = "\"127.0.0.1:1\"";
    for (one, same) in [
        ("App:80", "app:80"),
        ("10.0.0.1:080", "10.0.0.1:80"),
        ("[::1]:80", "[0:0::1]:80"),
        ("unix:/run/./a.sock", "unix:/run/a.sock"),
        ("srv:_http._tcp.App.example", "srv:_http._tcp.app.example"),
    ] {
        let said = said_of(first, &[&format!("address = \"{one}\""), &format!("address = \"{same}\"")]);
        assert!(
            said.contains(&format!("the backend {same} is already defined on line 10")),
            "{same}: {said}"
        );
    }
    let unnamed = "address = \"10.0.0.2:080\"";
    for named in
        ["name = \"10.0.0.2:80\"\naddress = \"10.0.0.3:80\"", "address = \"a:1\"\nname = \"10.0.0.2:80\""]
    {
        for both in [[unnamed, named], [named, unnamed]] {
            let said = said_of(first, &both);
            assert!(said.contains("is called `10.0.0.2:80` too"), "{said}");
        }
    }
    assert_eq!(said_of(first, &["name = \"a:80\"\naddress = \"a:80\"", "address = \"b:80\""]), "");
}

#[test]
fn listeners_share_no_address_however_it_is_spelled() {
    for same in ["127.0.0.1:080", "127.0.0.1:80"] {
        let said = said_of(&format!("[\"127.0.0.1:80\", \"{same}\"]"), &["address = \"a:80\""]);
        assert_eq!(said.matches(&format!("{same} is already used on line 3")).count(), 1, "{said}");
        assert_eq!(said.matches("already").count(), 1, "{said}");
    }
    assert!(said_of("[\"[::1]:80\", \"[0::1]:80\"]", &["address = \"a:80\""]).contains("already used"));
    assert!(said_of("[\"[::1]:0\", \"[0::1]:0\"]", &["address = \"a:80\""]).contains("already in the list"));
}

/// What is wrong with a listener, an admin endpoint and metrics at these addresses.
fn said_beside(listens: &str, admin: &str, metrics: &str) -> String {
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"{listens}\"\n[[route]]\nname = \"r\"\nrespond = {{ status = 200 }}\n\
         [admin]\naddress = \"{admin}\"\ntoken_file = \"env:PATH\"\n[admin.metrics]\naddress = \"{metrics}\"\n"
    );
    parse(&text, Path::new("x.toml")).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn admin_shares_no_port_with_addresses_that_take_it_in() {
    let (one, wide, every, of_six) = ("127.0.0.1:80", "0.0.0.0:80", "[::]:80", "[::1]:80");
    let elsewhere = "127.0.0.1:81";
    for (first, second) in [(one, wide), (one, every), (wide, every), (of_six, every)] {
        for (listens, other) in [(first, second), (second, first)] {
            let said = said_beside(listens, other, elsewhere);
            assert!(said.contains(&format!("{other} cannot be used: {listens} on line 3")), "{said}");
            assert!(said_beside(listens, elsewhere, other).contains("on line 3"), "{listens}, {other}");
            let said = said_beside(elsewhere, listens, other);
            assert!(said.contains(&format!("{other} cannot be used: {listens} on line 8")), "{said}");
        }
    }
    for (listens, other) in [(of_six, wide), (of_six, one), (wide, "127.0.0.1:82"), ("0.0.0.0:0", one)] {
        assert_eq!(said_beside(listens, other, elsewhere), "");
    }
    // Those of listeners are shared.
    assert_eq!(said_of("[\"127.0.0.1:80\", \"0.0.0.0:80\", \"[::]:80\"]", &["address = \"a:80\""]), "");
}

#[test]
fn addresses_of_ipv4_are_that_however_they_are_written() {
    let said = said_of("[\"127.0.0.1:80\", \"[::ffff:127.0.0.1]:80\"]", &["address = \"a:80\""]);
    assert!(said.contains("[::ffff:127.0.0.1]:80 is already used on line 3"), "{said}");
    let text = "[[listener]]\nname = \"web\"\naddress = \"[::ffff:127.0.0.1]:80\"\n\
                [[route]]\nname = \"r\"\nrespond = { status = 200 }\n";
    let config = parse(text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.listener[0].address.to_string(), "127.0.0.1:80");
}

#[test]
fn paths_of_sockets_are_as_long_as_addresses_allow() {
    let socket = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
    let said_at = |listens: usize, backend: usize| {
        let backend = format!("address = \"{}\"", socket(backend));
        said_of(&format!("\"{}\"", socket(listens)), &[&backend])
    };
    assert_eq!(said_at(107, 106), "");
    for said in [said_at(108, 106), said_at(107, 108)] {
        assert!(said.contains("has 108 bytes, and may have 107"), "{said}");
    }
}

/// By whatever name: the log would end what is read from it.
#[test]
fn no_log_goes_into_what_is_read() {
    let folder = Folder::new("own-log");
    let said = |access: &str| {
        let read = folder.read(&[""], &format!("[log]\naccess = \"{access}\"\n"));
        read.map_or_else(|problems| problems, |_| String::new())
    };
    fs::write(folder.0.join("x.toml"), "").unwrap();
    std::os::unix::fs::symlink("x.toml", folder.0.join("other.log")).unwrap();
    std::os::unix::fs::symlink("certs/demo.key", folder.0.join("key.log")).unwrap();
    let of_key = ["certs/demo.key", "certs/../certs/demo.key", "key.log"];
    for access in ["x.toml", "certs/../x.toml", "other.log"].into_iter().chain(of_key) {
        assert!(said(access).contains("is a file of this configuration"), "{access}: {}", said(access));
    }
    assert_eq!(said("access.log"), "");
}

#[test]
fn sockets_of_files_in_two_folders_are_two() {
    let folder = env::temp_dir().join(format!("pointsman-sockets-{}", std::process::id()));
    for name in ["a", "b"] {
        fs::create_dir_all(folder.join(name)).unwrap();
        let text = format!("[[listener]]\nname = \"{name}\"\naddress = \"unix:x.sock\"\n");
        fs::write(folder.join(name).join("web.toml"), text).unwrap();
    }
    let text =
        "include = [\"a/web.toml\", \"b/web.toml\"]\n[[route]]\nname = \"r\"\nrespond = { status = 200 }\n";
    let read = parse(text, &folder.join("x.toml"));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(read.unwrap_or_else(|problems| panic!("{problems}")).listener.len(), 2);
}
