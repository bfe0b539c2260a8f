//! Programs that other programs talk to: repositories, registries, objects, databases.

use std::{fs, net::SocketAddr};

use super::{Example, backend, greeter, plain, with_fields};
use crate::support::{Client, Origin, Reply, eventually, tls};

#[test]
fn gitlab_takes_pushes_of_any_size_and_its_sockets() {
    let origin = backend("workhorse", |request| match request.target.as_str() {
        "/broken" => Some(Reply::Close(Vec::new())),
        _ => None,
    });
    let example = Example::start("gitlab", &[("127.0.0.1:8181", &origin)]);
    assert!(example.is_sent_to_tls("git.example.com"));
    let refs = example.get("https://git.example.com/group/app.git/info/refs?service=git-receive-pack");
    assert!(refs.text().starts_with("workhorse\nGET /group/app.git/info/refs?service=git-receive-pack "));
    let pack = example.proxy.folder().join("pack");
    fs::write(&pack, vec![b'p'; 20 << 20]).unwrap();
    let data = format!("@{}", pack.display());
    let pushed = example.curl(
        "https://git.example.com/group/app.git/git-receive-pack",
        &["--max-time", "120", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", &data],
    );
    assert_eq!(pushed.status, 200);
    let request = origin.requests().into_iter().find(|it| it.method == "POST").unwrap();
    assert_eq!(request.body.len(), 20 << 20);
    assert!(example.socket("git.example.com", "/-/cable").ends_with("workhorse speaks"));
    let page = example.get("https://git.example.com/group/app");
    let head = page.text().to_lowercase();
    assert!(
        head.contains("x-forwarded-ssl: on\r\n") && head.contains("x-forwarded-proto: https\r\n"),
        "{head}"
    );
    assert_eq!(example.get("https://git.example.com/-/metrics").status, 200);
    assert_eq!(example.stranger("https://git.example.com/-/metrics").status, 403);
    let broken = example.get("https://git.example.com/broken");
    assert_eq!(broken.status, 502);
    assert_eq!(broken.header("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn a_registry_is_asked_by_those_who_may() {
    let realm =
        "Docker-Distribution-Api-Version: registry/2.0\r\nWWW-Authenticate: Basic realm=\"images\"\r\n";
    let refuse = move |request: &crate::support::Request| match request.header("authorization") {
        None => with_fields("401 Unauthorized", realm, "{}"),
        Some(_) => None,
    };
    let (one, two) = (backend("one", refuse), backend("two", refuse));
    let example = Example::start("registry", &[("127.0.0.1:5000", &one), ("127.0.0.1:5001", &two)]);
    let ping = example.get("https://registry.example.com/v2/");
    assert_eq!((ping.status, ping.header("www-authenticate")), (401, Some("Basic realm=\"images\"")));
    assert_eq!(ping.header("docker-distribution-api-version"), Some("registry/2.0"));
    let login = ["-u", "a:b"];
    let manifest = example.curl("https://registry.example.com/v2/app/manifests/latest", &login);
    assert_eq!(
        (manifest.status, manifest.header("docker-distribution-api-version")),
        (200, Some("registry/2.0"))
    );
    assert!(
        manifest.text().to_lowercase().contains("host: registry.example.com\r\n"),
        "Location is written by it"
    );
    for (agent, status) in
        [("docker/1.4.1 go/go1.3", 404), ("Go 1.1 package http", 404), ("docker/27.1.1 go/go1.22", 200)]
    {
        let response = example.curl("https://registry.example.com/v2/", &["-u", "a:b", "-A", agent]);
        assert_eq!(response.status, status, "{agent}");
    }
    let delete = ["-u", "a:b", "-X", "DELETE"];
    let url = "https://registry.example.com/v2/app/manifests/sha256:00";
    assert_eq!(example.curl(url, &delete).status, 200);
    assert_eq!(example.curl(url, &[&delete[..], &["--interface", "127.0.0.9"]].concat()).status, 403);
}

#[test]
fn objects_are_asked_for_as_they_were_signed() {
    let nodes: Vec<Origin> = ["n1", "n2", "n3", "n4"].map(plain).into();
    let consoles: Vec<Origin> = ["c1", "c2"].map(plain).into();
    let mut backends = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        backends.push((["127.0.0.1:9000", "127.0.0.2:9000", "127.0.0.3:9000", "127.0.0.4:9000"][at], node));
    }
    for (at, console) in consoles.iter().enumerate() {
        backends.push((["127.0.0.1:9001", "127.0.0.2:9001"][at], console));
    }
    let example = Example::start("minio", &backends);
    for (host, path) in [
        ("s3.example.com", "/bucket//two/slashes"),
        ("s3.example.com", "/bucket/a%2Fb%20c?x-id=GetObject&list-type=2"),
        ("bucket.s3.example.com", "/a+b;c=d"),
    ] {
        let seen = example.curl(&format!("https://{host}{path}"), &["-H", "x_amz_meta: 1"]).text();
        assert!(seen.contains(&format!("GET {path} HTTP/1.1\r\n")), "{seen}");
        let seen = seen.to_lowercase();
        assert!(seen.contains(&format!("host: {host}\r\n")) && seen.contains("x_amz_meta: 1\r\n"), "{seen}");
    }
    let put = ["-X", "PUT", "-H", "Expect: 100-continue", "--data-binary", "object"];
    assert_eq!(example.curl("https://s3.example.com/bucket/a", &put).status, 200);
    let console = example.get("https://console.example.com/");
    let cookie = console.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let name = console.text()[..2].to_owned();
    for _ in 0..4 {
        let again = example.curl("https://console.example.com/", &["-H", &format!("Cookie: {cookie}")]);
        assert_eq!(again.text()[..2], name);
    }
    assert!(example.socket("console.example.com", "/ws/trace").ends_with(" speaks"));
}

#[test]
fn connections_follow_the_primary() {
    // A node each, with PostgreSQL and Patroni at the same ports.
    let role = |primary: bool| {
        move |request: &crate::support::Request| {
            let is_primary = request.target.starts_with("/primary");
            Reply::Text(if is_primary == primary { 200 } else { 503 }, String::new())
        }
    };
    let port = crate::support::free().port();
    let patroni = Origin::start_at(SocketAddr::new("127.0.0.2".parse().unwrap(), port), role(true));
    let other = Origin::start_at(SocketAddr::new("127.0.0.3".parse().unwrap(), port), role(false));
    let (one, two) = (greeter("127.0.0.2:0", "one"), greeter("127.0.0.3:0", "two"));
    let backends = [("10.0.0.1:5432", one.to_string()), ("10.0.0.2:5432", two.to_string())];
    let port_row = format!("port = {port}");
    let texts = [("port = 8008", &*port_row), ("interval = \"3s\"", "interval = \"50ms\"")];
    let example = Example::start_with("postgresql", tls::folder(), &backends, &texts);
    let greeted = |listener: &str| {
        let mut client = Client::connect(example.proxy.address(listener));
        String::from_utf8(client.exactly(3)).unwrap()
    };
    eventually("the primary is known", || greeted("primary") == "one");
    eventually("the replica is known", || greeted("replicas") == "two");
    for _ in 0..5 {
        assert_eq!((&*greeted("primary"), &*greeted("replicas")), ("one", "two"));
    }
    assert!(other.requests().iter().any(|it| it.target == "/replica?lag=10MB"));
    drop((patroni, other));
    eventually("nobody is primary", || greeted("primary").is_empty());
}
