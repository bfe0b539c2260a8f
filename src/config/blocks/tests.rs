//! What is laid under what.

use std::{fs, path::Path};

use crate::{
    config::{Config, notes, parse, socket_access::SocketAccess},
    health::conf::CheckKind,
    route::conf::ValueMatch,
    tls::{
        conf::{ClientAuthMode, Starttls},
        demo::demo_certificates,
    },
};

const REST: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:80\"\n\
                    [[listener]]\nname = \"raw\"\naddress = \"127.0.0.1:81\"\nprotocol = \"tcp\"\n";

fn parsed(text: &str) -> Config {
    parse(&format!("{text}{REST}"), Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

const ROUTES: &str = r#"
[[route]]
name = "plain"
upstream = "u"
[[route]]
name = "own"
hosts = ["own.example"]
timeout = "1s"
response_headers = { set = { x-a = "own" } }
upstream = "u"
[[route]]
name = "passed"
listeners = ["raw"]
upstream = "v"
[[upstream]]
name = "u"
backend = [{ address = "127.0.0.1:9000" }]
[[upstream]]
name = "v"
backend = [{ address = "127.0.0.1:9001" }]
"#;

#[test]
fn what_a_table_says_itself_goes_before_defaults() {
    let config = parsed(&format!(
        "[defaults.route]\ntimeout = \"9s\"\nresponse_headers = {{ set = {{ x-a = \"all\", x-b = \"all\" }} }}\n{ROUTES}"
    ));
    let [plain, own, passed] = [0, 1, 2].map(|index| &config.route[index]);
    assert_eq!((plain.timeout.as_secs(), own.timeout.as_secs(), passed.timeout.as_secs()), (9, 1, 9));
    let set = |route: &crate::route::conf::RouteConf| {
        let mut set = route.response_headers.set.clone();
        set.sort();
        set.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(set(plain), ["x-a=all", "x-b=all"]);
    assert_eq!(set(own), ["x-a=own", "x-b=all"], "tables are laid under tables");
    assert!(set(passed).is_empty(), "it means nothing there");
}

#[test]
fn what_has_no_meaning_for_a_table_is_left_out() {
    let config = parsed(&format!(
        "[defaults.listener]\ntimeouts = {{ header = \"3s\" }}\nlimits = {{ headers = 7 }}\nquic = true\n\
         [defaults.route]\npaths = [\"/a/*\"]\nalpn = [\"h2\"]\nforwarded = true\n\
         [defaults.upstream]\nsticky = {{}}\nmax_idle = 3\nhash_on = \"path\"\nudp = {{ idle = \"5s\" }}\n{ROUTES}"
    ));
    let [web, raw] = [0, 1].map(|index| &config.listener[index]);
    assert_eq!((web.limits.headers, raw.limits.headers), (7, 100));
    assert!(!web.quic && !raw.quic);
    assert!(config.route[0].forwarded && !config.route[2].forwarded && config.route[2].paths.is_empty());
    assert!(config.route.iter().all(|route| route.alpn.is_empty()));
    let [u, v] = [0, 1].map(|index| &config.upstream[index]);
    assert_eq!((u.max_idle, v.max_idle), (3, 256));
    assert!(u.sticky.is_some() && v.sticky.is_none());
}

#[test]
fn what_a_table_says_itself_is_refused_as_ever() {
    let text = ROUTES.replace("listeners = [\"raw\"]", "listeners = [\"raw\"]\nforwarded = true");
    let problems = parse(&format!("{text}{REST}"), Path::new("x.toml")).unwrap_err();
    assert!(problems.to_string().contains("`forwarded` does not apply to a `tcp` listener"), "{problems}");
}

#[test]
fn later_policies_go_before_earlier_and_before_defaults() {
    let with = |policies: &str, own: &str| {
        let text = format!(
            "[defaults.route]\ntimeout = \"1s\"\ntunnel_idle = \"1s\"\nmin_rate = 1\nhalf_close_timeout = \"1s\"\n\
             [[policy]]\nname = \"a\"\ntimeout = \"2s\"\ntunnel_idle = \"2s\"\nmin_rate = 2\n\
             [[policy]]\nname = \"b\"\ntimeout = \"3s\"\ntunnel_idle = \"3s\"\n\
             [[route]]\nname = \"r\"\npolicies = {policies}\nrespond = {{ status = 200 }}\n{own}\n\
             [[route]]\nname = \"t\"\nlisteners = [\"raw\"]\nupstream = \"v\"\n\
             [[upstream]]\nname = \"v\"\nbackend = [{{ address = \"h:1\" }}]\n"
        );
        let route = parsed(&text).route[0].clone();
        let seconds = [route.timeout, route.tunnel_idle, route.half_close_timeout].map(|it| it.as_secs());
        (seconds, route.min_rate.0)
    };
    assert_eq!(with("[\"a\", \"b\"]", ""), ([3, 3, 1], 2));
    assert_eq!(with("[\"b\", \"a\"]", ""), ([2, 2, 1], 2));
    assert_eq!(with("[\"a\", \"b\"]", "timeout = \"4s\""), ([4, 3, 1], 2));
    assert_eq!(with("[]", ""), ([1, 1, 1], 1));
}

#[test]
fn false_takes_a_shared_table_away() {
    let text = format!(
        "[defaults.upstream]\nhealth_check = {{ path = \"/up\" }}\nsticky = {{ cookie = \"c\" }}\n{}",
        ROUTES.replace("name = \"u\"\n", "name = \"u\"\nhealth_check = false\n")
    );
    let config = parsed(&text);
    assert!(config.upstream[0].health_check.is_none() && config.upstream[0].sticky.is_some());
    assert_eq!(config.upstream[1].health_check.as_ref().unwrap().path, "/up");
}

#[test]
fn a_check_of_another_kind_is_another_check() {
    let text = format!(
        "[defaults.upstream]\nhealth_check = {{ kind = \"http\", path = \"/up\" }}\n{}",
        ROUTES.replace("name = \"u\"\n", "name = \"u\"\nhealth_check = { kind = \"tcp\" }\n")
    );
    let check = parsed(&text).upstream[0].health_check.clone().unwrap();
    assert_eq!((check.kind, check.path.as_str()), (CheckKind::Tcp, "/healthz"));
}

#[test]
fn a_policy_that_no_route_names_is_noted() {
    let unused = format!("[[policy]]\nname = \"p\"\ntimeout = \"1s\"\n{ROUTES}");
    let noted =
        |text: &str| notes(&parsed(text)).into_iter().any(|it| it.contains("policy `p` is not used by any"));
    assert!(noted(&unused));
    assert!(!noted(&unused.replace("name = \"plain\"", "name = \"plain\"\npolicies = [\"p\"]")));
}

#[test]
fn included_files_have_their_own_folder_and_lines() {
    let folder = std::env::temp_dir().join(format!("pointsman-include-{}", std::process::id()));
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    let route = "[[route]]\nname = \"passed\"\nlisteners = [\"raw\"]\nupstream = \"v\"\n";
    fs::write(
        folder.join("conf.d/b.toml"),
        "[[upstream]]\nname = \"v\"\nbackend = [{ address = \"unix:b.sock\" }]",
    )
    .unwrap();
    fs::write(folder.join("conf.d/a.toml"), route).unwrap();
    fs::write(folder.join("conf.d/.hidden.toml"), "nonsense").unwrap();
    let text = format!("include = [\"conf.d/*.toml\", \"*.conf\"]\n{REST}");
    let read = || parse(&text, &folder.join("x.toml"));
    let config = read().unwrap();
    let socket = format!("unix:{}", folder.join("conf.d/b.sock").display());
    assert_eq!(config.upstream[0].backend[0].address.to_string(), socket);
    let names = config.include.files.iter().map(|it| it.file_name().unwrap().to_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["a.toml", "b.toml"]);
    assert!(notes(&config).iter().any(|it| it.contains("`*.conf`")), "{:?}", notes(&config));
    let files = config.files();
    for file in ["conf.d", "conf.d/*.toml", "conf.d/a.toml", "conf.d/b.toml"] {
        assert!(files.contains(&folder.join(file)), "{file} is watched");
    }
    fs::write(folder.join("conf.d/a.toml"), format!("\n\n{route}timeout = 7\n")).unwrap();
    let problem = read().unwrap_err().0.remove(0);
    assert_eq!((problem.file, problem.line), (folder.join("conf.d/a.toml"), 7));
    assert_eq!((problem.text.as_str(), problem.column), ("timeout = 7", 11));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn too_many_files_are_refused() {
    let folder = std::env::temp_dir().join(format!("pointsman-include-many-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for number in 0..257 {
        fs::write(folder.join(format!("{number}.part")), "").unwrap();
    }
    let text = format!("include = [\"*.part\"]\n{REST}{ROUTES}");
    let problems = parse(&text, &folder.join("x.toml")).unwrap_err().to_string();
    assert!(problems.contains("more than 256 files are included"), "{problems}");
    fs::remove_file(folder.join("7.part")).unwrap();
    parse(&text, &folder.join("x.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    fs::remove_dir_all(&folder).unwrap();
}

/// What is read where there are certificates in `certs`; the folder is gone then.
fn with_certificates(test: &str, text: &str) -> Config {
    let folder = std::env::temp_dir().join(format!("pointsman-blocks-{test}-{}", std::process::id()));
    demo_certificates(&folder.join("certs")).unwrap();
    let read = parse(text, &folder.join("x.toml"));
    fs::remove_dir_all(&folder).unwrap();
    read.unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_folder_of_certificates_ends_tls_as_one_certificate_does() {
    let text = format!(
        "[defaults.listener]\nclient_auth = {{ mode = \"require\", ca = \"certs/ca.pem\" }}\nstarttls = \"postgres\"\n\
         [[listener]]\nname = \"db\"\naddress = \"127.0.0.1:82\"\nprotocol = \"tcp\"\ncertificates = \"certs\"\n\
         [[route]]\nname = \"db\"\nlisteners = [\"db\"]\nupstream = \"v\"\n{ROUTES}{REST}"
    );
    let [db, web, raw] = &with_certificates("folder", &text).listener[..] else { panic!("three") };
    assert_eq!((db.client_auth.mode, db.starttls), (ClientAuthMode::Require, Starttls::Postgres));
    for plain in [web, raw] {
        assert_eq!((plain.client_auth.mode, plain.starttls), (ClientAuthMode::Off, Starttls::Off));
    }
}

#[test]
fn its_own_header_wins_however_it_is_spelled() {
    let text = ROUTES.replace(
        "response_headers = { set = { x-a = \"own\" } }",
        "response_headers = { set = { x-a = \"own\", kind = \"own\" }, add = { x-c = \"own\" } }\n\
         headers = { x-d = { prefix = \"own\" } }",
    );
    let shared = "[defaults.route]\nheaders = { X-D = { suffix = \"all\" } }\n\
                  response_headers = { set = { X-A = \"all\", Kind = \"all\", X-B = \"all\" }, add = { X-C = \"all\", x-C = \"all\" } }\n\
                  [defaults.upstream]\nhealth_check = { headers = { X-A = \"all\" } }\n";
    let text = text.replace("name = \"u\"\n", "name = \"u\"\nhealth_check.headers = { x-a = \"own\" }\n");
    let config = parsed(&format!("{shared}{text}"));
    let [plain, own] = [0, 1].map(|index| &config.route[index]);
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&own.response_headers.set), ["x-a=own", "kind=own", "x-b=all"]);
    assert_eq!(pairs(&own.response_headers.add), ["x-c=own"]);
    assert_eq!(pairs(&plain.response_headers.add), ["x-c=all", "x-c=all"]);
    assert_eq!(own.headers.0, [("x-d".to_owned(), ValueMatch::Prefix("own".to_owned()))]);
    let checks = config.upstream[0].health_check.as_ref().unwrap();
    assert_eq!(pairs(&checks.headers), ["x-a=own"]);
}

#[test]
fn conditions_on_tls_stay_where_a_listener_has_tls() {
    let text = format!(
        "[defaults.route]\nserver_names = [\"intern.example\"]\nalpn = [\"h2\"]\n\
         [[listener]]\nname = \"secure\"\naddress = \"127.0.0.1:82\"\nprotocol = \"https\"\ncertificates = \"certs\"\n\
         [[listener]]\nname = \"names\"\naddress = \"127.0.0.1:83\"\nprotocol = \"tls\"\n\
         [[route]]\nname = \"all\"\npaths = [\"/all\"]\nrespond = {{ status = 200 }}\n\
         [[route]]\nname = \"both\"\npaths = [\"/a\"]\nlisteners = [\"web\", \"secure\"]\nrespond = {{ status = 200 }}\n\
         [[route]]\nname = \"clear\"\npaths = [\"/b\"]\nlisteners = [\"web\"]\nrespond = {{ status = 200 }}\n\
         [[route]]\nname = \"names\"\nlisteners = [\"names\"]\nupstream = \"v\"\n{ROUTES}{REST}"
    );
    let config = with_certificates("names", &text);
    let said = |name: &str| {
        let route = config.route.iter().find(|route| route.name == name).unwrap();
        (!route.server_names.is_empty(), !route.alpn.is_empty())
    };
    let found = ["all", "both", "clear", "names", "passed"].map(said);
    let expected = [(true, false), (true, false), (false, false), (true, true), (false, false)];
    assert_eq!(found, expected);
}

#[test]
fn what_is_of_tls_sockets_and_datagrams_is_ignored_elsewhere() {
    let text = "[defaults.listener]\nquic = true\nproxy_protocol_udp = \"every\"\nmode = \"0660\"\nowner = 0\ngroup = 0\n\
         tls = { profile = \"modern\" }\nalpn = [\"http/1.1\"]\ncertificates = \"certs\"\n\
         [[listener]]\nname = \"secure\"\naddress = [\"127.0.0.1:82\", \"unix:web.sock\"]\nprotocol = \"https\"\n\
         [[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:83\"\n\
         [[listener]]\nname = \"names\"\naddress = \"unix:names.sock\"\nprotocol = \"tls\"\n\
         [[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:53\"\nprotocol = \"udp\"\n\
         [[route]]\nname = \"web\"\nrespond = { status = 200 }\n\
         [[route]]\nname = \"names\"\nlisteners = [\"names\"]\nupstream = \"v\"\n\
         [[route]]\nname = \"dns\"\nlisteners = [\"dns\"]\nupstream = \"v\"\n\
         [[upstream]]\nname = \"v\"\nbackend = [{ address = \"127.0.0.1:9001\" }]\n";
    let [secure, plain, names, dns] = &with_certificates("ignored", text).listener[..] else {
        panic!("four")
    };
    assert_eq!((secure.alpn.len(), secure.certificate.len(), secure.access().mode), (1, 3, Some(0o660)));
    assert_eq!((names.quic, names.access().owner), (false, Some(0)));
    for other in [plain, dns] {
        assert!(other.alpn.is_empty() && other.certificate.is_empty());
        assert_eq!(other.access(), SocketAccess::default());
        assert!(!other.quic && other.tls == plain.tls && other.tls != secure.tls);
    }
}

#[test]
fn a_check_of_its_own_kind_replaces_one_without_kind() {
    let check = |shared: &str, own: &str| {
        let own = format!("name = \"u\"\nhealth_check = {own}\n");
        let text = ROUTES.replace("name = \"u\"\n", &own);
        let config = parsed(&format!("[defaults.upstream]\nhealth_check = {shared}\n{text}"));
        config.upstream[0].health_check.clone().unwrap()
    };
    let plain = check("{ path = \"/up\", interval = \"5s\" }", "{ kind = \"tcp\" }");
    assert_eq!((plain.kind, plain.interval.as_secs()), (CheckKind::Tcp, 2));
    let same = check("{ path = \"/up\" }", "{ kind = \"http\", interval = \"5s\" }");
    assert_eq!((same.path.as_str(), same.interval.as_secs()), ("/up", 5));
    // Without a kind of its own it is the shared one, changed.
    let changed = check("{ kind = \"tcp\", expect = \"OK\" }", "{ interval = \"5s\" }");
    assert_eq!((changed.kind, changed.expect.as_str()), (CheckKind::Tcp, "OK"));
}

#[test]
fn an_upstream_that_gets_copies_has_what_is_of_requests() {
    let text = ROUTES.replace("name = \"plain\"", "name = \"plain\"\nmirror = { upstream = \"v\" }");
    let shared = parsed(&format!("[defaults.upstream]\nresponse_timeout = \"9s\"\n{text}"));
    assert_eq!(shared.upstream[1].response_timeout.as_secs(), 9);
    let own = parsed(&text.replace("name = \"v\"\n", "name = \"v\"\nresponse_timeout = \"9s\"\n"));
    assert_eq!(own.upstream[1].response_timeout.as_secs(), 9);
    // Datagrams beside copies are not all that comes.
    let dns = "[[listener]]\nname = \"dns\"\naddress = \"127.0.0.1:53\"\nprotocol = \"udp\"\n\
               [[route]]\nname = \"dns\"\nlisteners = [\"dns\"]\nupstream = \"v\"\n";
    let text = text.replace("upstream = \"v\"\n[[upstream]]", "upstream = \"u\"\n[[upstream]]");
    let text = text.replace("name = \"v\"\n", "name = \"v\"\nmax_idle = 3\n");
    assert_eq!(parsed(&format!("{dns}{text}")).upstream[1].max_idle, 3);
}
