//! Names with several addresses: one backend, of which not all answer, and a backend for each.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use crate::{
    admin_api::{ask, good},
    support::{
        Client, Origin, Proxy, Reply, eventually,
        proxy::{config_of, folder},
    },
};

/// Somebody at an address who never takes a connection: the queue is full for as long as this lives.
fn black_hole(address: SocketAddr) -> Vec<Socket> {
    let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let fill = |_| {
        let socket = stream();
        socket.set_nonblocking(true).unwrap();
        let _is_under_way = socket.connect(&address.into());
        socket
    };
    std::iter::once(listener).chain((0..4).map(fill)).collect()
}

/// The program, with the folder's configuration, where a file of the system is another; `None`, and a line that says so,
/// where that cannot be had.
fn with_file_of_system(folder: &Path, file: &Path, of_system: &str) -> Option<Command> {
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        command.arg(file).arg(of_system).arg(env!("CARGO_BIN_EXE_pointsman"));
        command.arg(folder.join("pointsman.toml"));
        command
    };
    let can = in_namespace("mount --bind \"$1\" \"$2\"").output().is_ok_and(|it| it.status.success());
    if !can {
        crate::support::skipped("mounting in a namespace of its own");
        fs::remove_dir_all(folder).unwrap();
        return None;
    }
    Some(in_namespace("mount --bind \"$1\" \"$2\" && exec \"$3\" run --config \"$4\""))
}

#[test]
fn an_address_without_answer_does_not_take_its_name_down() {
    let origin = Origin::start(|_| {
        Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none".to_vec())
    });
    let port = origin.address().port();
    let _holes = ["127.0.0.2", "127.0.0.9"].map(|host| black_hole(format!("{host}:{port}").parse().unwrap()));
    let folder = folder();
    let hosts = folder.join("hosts");
    fs::write(&hosts, "127.0.0.2 app.test\n127.0.0.1 app.test\n127.0.0.9 app.test\n").unwrap();
    let Some(command) = with_file_of_system(&folder, &hosts, "/etc/hosts") else { return };
    let file = folder.join("pointsman.toml");
    let more = "retry = { attempts = 1 }\nconnect_timeout = \"10s\"\nhealth_check = { kind = \"tcp\", interval = \"50ms\", timeout = \"10s\", rise = 1, \
                fall = 1, initial = \"down\" }\n---\n";
    let config = config_of(&[format!("app.test:{port}")], "", more);
    fs::write(&file, config.replace("name = \"b0\"\n", "name = \"b0\"\naddresses = \"one\"\n")).unwrap();
    let proxy = Proxy::spawn(command, folder, 1);
    eventually("the check passes", || proxy.get("/").status == 200);
    let begun = Instant::now();
    for _ in 0..160 {
        assert_eq!(proxy.get("/").text(), "one");
    }
    // The first of each worker may wait twice; those after it know better. If none did, they took forty seconds.
    assert!(begun.elapsed().as_secs() < 32, "{:?}", begun.elapsed());
    assert_eq!(proxy.count_logged("backend is down"), 0, "no check failed");
}

/// dnsmasq at port 53 of an address of the loopback network, since the system's file has no place for a port.
struct NameServer {
    child: Child,
    hosts: PathBuf,
    address: String,
}

impl NameServer {
    /// `None`, and a line that says so, where that cannot be had.
    fn start(folder: &Path) -> Option<Self> {
        let id = std::process::id();
        let address = format!("127.53.{}.{}", id / 250 % 250, id % 250 + 1);
        let hosts = folder.join("addresses");
        fs::write(&hosts, "").unwrap();
        let mut command = Command::new("dnsmasq");
        command.args(["-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user="]);
        command.args(["--pid-file=", "--local-ttl=1", "--local=/test/", "--log-facility=/dev/null"]);
        command.arg(format!("--listen-address={address}"));
        command.arg(format!("--addn-hosts={}", hosts.display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
        let mut server = child.map(|child| Self { child, hosts, address });
        let listens = server.as_mut().is_some_and(|server| {
            let mut listens = false;
            eventually("dnsmasq listens or ends", || {
                listens = std::net::TcpStream::connect((&*server.address, 53)).is_ok();
                listens || server.child.try_wait().unwrap().is_some()
            });
            listens
        });
        if !listens {
            crate::support::skipped("dnsmasq at port 53");
        }
        server.filter(|_| listens)
    }

    /// Has a name lead to these from here on.
    fn set(&self, name: &str, hosts: &[&str]) {
        let lines: String = hosts.iter().map(|host| format!("{host} {name}\n")).collect();
        fs::write(&self.hosts, lines).unwrap();
        let told = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Backends by name, as the admin endpoint shows them.
fn backends(proxy: &Proxy) -> HashMap<String, serde_json::Value> {
    let (_, answer) = ask(proxy, "GET", "/api/v1/upstreams", "");
    let backends = answer["upstreams"][0]["backends"].as_array().unwrap().clone();
    backends.into_iter().map(|it| (it["name"].as_str().unwrap().to_owned(), it)).collect()
}

fn names(proxy: &Proxy) -> Vec<String> {
    let mut names: Vec<String> = backends(proxy).into_keys().collect();
    names.sort();
    names
}

/// Who answers, and what Host the backend saw.
fn origins(port: u16) -> Vec<Origin> {
    let start = |host: u8| {
        let reply = move |request: &crate::support::Request| {
            Reply::Text(200, format!("{host} {}", request.header("host").unwrap_or_default()))
        };
        Origin::start_at(SocketAddr::from(([127, 0, 0, host], port)), reply)
    };
    (1..=4).map(start).collect()
}

/// Which of the origins answer over a number of requests.
fn answering(proxy: &Proxy) -> Vec<String> {
    let mut all: Vec<String> = (0..16).map(|_| proxy.get("/").text()).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn each_address_of_a_name_comes_and_goes_as_backend() {
    let folder = folder();
    let Some(server) = NameServer::start(&folder) else { return };
    let resolv = folder.join("resolv.conf");
    fs::write(&resolv, format!("nameserver {}\noptions timeout:1\n", server.address)).unwrap();
    let Some(command) = with_file_of_system(&folder, &resolv, "/etc/resolv.conf") else { return };
    let port = crate::support::free().port();
    let origins = origins(port);
    server.set("app.test", &["127.0.0.1"]);
    let more = "retry = { attempts = 1 }\nhost = \"{backend.address}\"\n\
                health_check = { kind = \"http\", interval = \"50ms\", timeout = \"10s\", rise = 1, fall = 1 }\n---\n\
                [admin]\naddress = \"127.0.0.1:0\"\n\
                [[route]]\nname = \"page\"\npaths = [\"/page\"]\nrespond = { status = 200, file = \"page.html\" }\n";
    fs::write(folder.join("page.html"), "page").unwrap();
    fs::write(folder.join("pointsman.toml"), config_of(&[format!("app.test:{port}")], "", more)).unwrap();
    let proxy = Proxy::spawn(command, folder, 2);
    eventually("it serves", || proxy.get("/").status == 200);
    assert_eq!(names(&proxy), ["b0"], "a name with one address is one backend");
    let host = format!("app.test:{port}");
    assert_eq!(answering(&proxy), [format!("1 {host}")]);

    server.set("app.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    eventually("each is a backend", || names(&proxy) == ["b0@127.0.0.1", "b0@127.0.0.2", "b0@127.0.0.3"]);
    assert_eq!(answering(&proxy), [1, 2, 3].map(|it| format!("{it} {host}")), "with the name in Host");
    // What is done to one of them is done to that one, and not in the file.
    good(&proxy, "POST", "/api/v1/upstreams/u/backends/b0@127.0.0.2/disable", "");
    assert_eq!(answering(&proxy), [1, 3].map(|it| format!("{it} {host}")));
    let persist = "/api/v1/upstreams/u/backends/b0@127.0.0.3/disable?persist=true";
    let (status, answer) = ask(&proxy, "POST", persist, "");
    assert_eq!((status, &answer["error"]["code"]), (409, &"address_of_name".into()), "{answer}");
    good(&proxy, "PATCH", "/api/v1/upstreams/u/backends/b0", "{\"weight\": 5}");
    assert!(backends(&proxy).values().all(|it| it["weight"] == 5), "a name is all of its addresses");

    // One goes, one comes; what is known of the others stays.
    let requests = |proxy: &Proxy| backends(proxy)["b0@127.0.0.3"]["requests"].as_u64().unwrap();
    let before = requests(&proxy);
    server.set("app.test", &["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    eventually("the set is another", || names(&proxy) == ["b0@127.0.0.2", "b0@127.0.0.3", "b0@127.0.0.4"]);
    assert_eq!(answering(&proxy), [3, 4].map(|it| format!("{it} {host}")), "2 is still disabled");
    assert!(requests(&proxy) >= before && before > 0);
    let asked = origins[0].requests().len();
    assert_eq!(answering(&proxy).len(), 2);
    assert_eq!(origins[0].requests().len(), asked, "neither requests nor checks go to what left");

    // No answer is no change, and neither is an edit that has nothing to do with it.
    server.set("other.test", &["127.0.0.1"]);
    eventually("the look-up fails", || proxy.count_logged("does not resolve") > 0);
    assert_eq!(names(&proxy).len(), 3);
    assert_eq!(proxy.get("/").status, 200);
    let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
    let changes =
        metrics.lines().find(|line| line.starts_with("pointsman_backend_address_changes_total ")).unwrap();
    assert_eq!(changes, "pointsman_backend_address_changes_total 2");
    assert!(metrics.contains("pointsman_config_reloads_total{result=\"success\"} 2"), "of the two overrides");
    // What a generation needs beside names is gone: that is the file's failure, and no other.
    fs::remove_file(proxy.folder().join("page.html")).unwrap();
    eventually("the file is refused", || failures(&proxy) == 1);
    server.set("app.test", &["127.0.0.2", "127.0.0.3"]);
    proxy.until_logged("new addresses of a name could not be applied", 1);
    assert_eq!((failures(&proxy), names(&proxy).len()), (1, 3));
    fs::write(proxy.folder().join("page.html"), "page").unwrap();
    eventually("both are in force", || names(&proxy) == ["b0@127.0.0.2", "b0@127.0.0.3"]);
    server.set("app.test", &["127.0.0.4"]);
    eventually("it is one again", || names(&proxy) == ["b0"]);
    assert_eq!(answering(&proxy), [format!("4 {host}")]);
}

/// How many reloads were refused.
fn failures(proxy: &Proxy) -> u64 {
    let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
    let name = "pointsman_config_reloads_total{result=\"failure\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}
