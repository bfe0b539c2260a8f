//! nginx, HAProxy and dnsmasq, as Debian packages them, behind and in front of Pointsman.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{
    Client, Origin, Proxy,
    client::Response,
    eventually,
    proxy::{config, config_of, folder},
    uninterrupted,
};

/// A server in the foreground; it is killed when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it with a configuration that has `ADDRESS` and `FOLDER` in it; `None`, and a line that
    /// says so, when it is not installed.
    pub fn start(name: &str, arguments: &[&str], folder: &Path, text: &str) -> Option<Self> {
        let address = crate::support::free();
        Self::start_at(address, name, arguments, folder, text)
    }

    /// The same at an address that the configuration has.
    pub fn start_at(
        address: SocketAddr,
        name: &str,
        arguments: &[&str],
        folder: &Path,
        text: &str,
    ) -> Option<Self> {
        // Asked for its version one of them would begin to serve.
        let is_there = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
        if !is_there.status.success() {
            crate::support::skipped(name);
            return None;
        }
        let file = folder.join(format!("{name}.conf"));
        let text = text.replace("ADDRESS", &address.to_string());
        fs::write(&file, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        let mut command = Command::new(name);
        command.args(arguments).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self { child: command.spawn().unwrap(), address };
        eventually(&format!("{name} listens"), || {
            assert!(server.child.try_wait().unwrap().is_none(), "{name} does not start");
            TcpStream::connect(address).is_ok()
        });
        Some(server)
    }

    /// nginx that serves the folder's `files`.
    fn nginx(folder: &Path) -> Option<Self> {
        let text = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
            events { worker_connections 200; }
            http {
                types { text/plain txt; }
                access_log off;
                client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
                fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
                gzip on; gzip_types text/plain; gzip_proxied any;
                server {
                    listen ADDRESS; root FOLDER/files;
                    location = /number { default_type text/plain; return 200 $connection_requests; }
                }
            }";
        let prefix = folder.to_str().unwrap();
        Self::start("nginx", &["-e", "stderr", "-p", prefix, "-c"], folder, text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes in which no stretch is like another.
fn large() -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..1_000_000).map(next).collect()
}

fn behind() -> Option<(Server, Proxy)> {
    let folder = folder();
    fs::create_dir(folder.join("files")).unwrap();
    fs::write(folder.join("files/large.bin"), large()).unwrap();
    fs::write(folder.join("files/words.txt"), "words and words ".repeat(1000)).unwrap();
    let server = Server::nginx(&folder)?;
    let proxy = Proxy::start_in(folder, &config(&[server.address], ""));
    Some((server, proxy))
}

fn ask(client: &mut Client, method: &str, target: &str, fields: &str) -> Response {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response(method)
}

#[test]
fn files_of_nginx_arrive_whole_in_parts_or_unchanged() {
    let Some((_server, proxy)) = behind() else { return };
    let mut client = proxy.connect();
    let whole = ask(&mut client, "GET", "/large.bin", "");
    assert_eq!((whole.status, whole.is_whole), (200, true));
    assert!(whole.body == large(), "every byte is as it was");
    assert_eq!(whole.header("content-length"), Some("1000000"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));

    let part = ask(&mut client, "GET", "/large.bin", "Range: bytes=500000-500099\r\n");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 500000-500099/1000000")));
    assert!(part.body == large()[500_000..500_100]);
    let parts = ask(&mut client, "GET", "/large.bin", "Range: bytes=0-9,999990-\r\n");
    assert_eq!(parts.status, 206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges"));
    let beyond = ask(&mut client, "GET", "/large.bin", "Range: bytes=1000000-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */1000000")));

    let tag = whole.header("etag").unwrap();
    let unchanged = ask(&mut client, "GET", "/large.bin", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, Some(tag), 0));
    let since = format!("If-Modified-Since: {}\r\n", whole.header("last-modified").unwrap());
    assert_eq!(ask(&mut client, "GET", "/large.bin", &since).status, 304);
    assert_eq!(ask(&mut client, "GET", "/large.bin", "If-Match: \"other\"\r\n").status, 412);

    let head = ask(&mut client, "HEAD", "/large.bin", "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("1000000"), 0));
    assert_eq!(ask(&mut client, "GET", "/missing", "").status, 404);
    assert_eq!(ask(&mut client, "POST", "/words.txt", "Content-Length: 0\r\n").status, 405);
    assert_eq!(ask(&mut client, "GET", "/large.bin", "").body.len(), 1_000_000, "the connection goes on");
}

#[test]
fn connections_to_nginx_are_used_again() {
    let Some((_server, proxy)) = behind() else { return };
    let mut client = proxy.connect();
    let numbers: Vec<String> = (0..20).map(|_| client.get("/number").text()).collect();
    assert_eq!(numbers, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_nginx_compresses_passes_through_as_it_is() {
    let Some((server, proxy)) = behind() else { return };
    let mut client = proxy.connect();
    let plain = ask(&mut client, "GET", "/words.txt", "");
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 16_000));
    let through = ask(&mut client, "GET", "/words.txt", "Accept-Encoding: gzip\r\n");
    let direct = ask(&mut Client::connect(server.address), "GET", "/words.txt", "Accept-Encoding: gzip\r\n");
    assert_eq!(through.header("content-encoding"), Some("gzip"));
    assert!(through.is_whole && through.body.starts_with(&[0x1f, 0x8b]));
    assert!(through.body == direct.body, "it is neither undone nor done twice");
}

#[test]
fn haproxy_in_front_names_its_clients() {
    let origin = Origin::named("hello");
    let listener = "proxy_protocol_from = [\"127.0.0.0/8\"]\n";
    for (send, source) in [("send-proxy-v2", "127.0.0.5"), ("send-proxy", "127.0.0.6")] {
        let proxy = Proxy::start(&config_of(&[origin.address().to_string()], listener, ""));
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
             listen front\n bind ADDRESS\n server pointsman {} {send}\n",
            proxy.address("web")
        );
        let Some(server) = Server::start("haproxy", &["-db", "-f"], proxy.folder(), &text) else { return };
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let mut client = Client::connect(server.address);
        client.stream = socket.into();
        client.stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        for _ in 0..3 {
            assert_eq!(client.get("/through").text(), "hello");
            assert_eq!(origin.last().header("x-forwarded-for"), Some(source), "and not HAProxy's own");
        }
        assert_eq!(proxy.logged("/through")["client"], source);
        // Who goes around HAProxy is not served.
        let before = origin.requests().len();
        let mut direct = proxy.connect();
        direct.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(direct.response("GET").status, 0);
        assert_eq!(origin.requests().len(), before);
    }
}

#[test]
fn haproxy_behind_serves_over_kept_connections() {
    let folder = folder();
    let origin = Origin::start(|request| crate::support::Reply::Text(200, request.target.clone()));
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         listen front\n bind ADDRESS\n server app {}\n",
        origin.address()
    );
    let Some(server) = Server::start("haproxy", &["-db", "-f"], &folder, &text) else { return };
    let proxy = Proxy::start_in(folder, &config(&[server.address], ""));
    let mut client = proxy.connect();
    for number in 0..20 {
        assert_eq!(client.get(&format!("/{number}")).text(), format!("/{number}"));
    }
    client
        .send("POST /post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "/post");
    assert_eq!(origin.last().body, b"hello");
    assert!(matches!(origin.last().all("via")[..], [via] if via.starts_with("1.1 pointsman-")));
}

/// dnsmasq that knows names, at the same port of TCP and UDP.
fn dnsmasq(folder: &Path) -> Option<Server> {
    let free = crate::support::free();
    let names: String = (0..100).map(|number| format!("address=/n{number}.test/10.0.0.{number}\n")).collect();
    let text = format!(
        "no-resolv\nno-hosts\nbind-interfaces\nlisten-address={}\nport={}\nuser=\npid-file=\n{names}",
        free.ip(),
        free.port()
    );
    Server::start_at(free, "dnsmasq", &["-k", "-C"], folder, &text)
}

/// A question for the address of a name (RFC 1035 §4.1).
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Asks over TCP, where a message comes behind its length (RFC 1035 §4.2.2).
pub fn answer_over_tcp(mut stream: TcpStream, question: &[u8]) -> Vec<u8> {
    stream.write_all(&[&[0, question.len() as u8], question].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn in_front_of_dns(server: &Server, folder: std::path::PathBuf, address: SocketAddr) -> Proxy {
    let check = "health_check = { kind = \"udp\", interval = \"1s\", timeout = \"1s\", expect = \"\\u0004test\", send = \"\\u0000\\u0001\\u0001\\u0000\\u0000\\u0001\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0002n0\\u0004test\\u0000\\u0000\\u0001\\u0000\\u0001\" }";
    let config = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"udp\"\nprotocol = \"udp\"\naddress = \"{address}\"\n\
         [[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"{address}\"\n\
         [[route]]\nname = \"dns\"\nlisteners = [\"udp\", \"tcp\"]\nupstream = \"dns\"\n\
         [[upstream]]\nname = \"dns\"\nudp = {{ idle = \"5s\", responses = 1 }}\n{check}\n\
         [[upstream.backend]]\naddress = \"{}\"\n",
        server.address
    );
    Proxy::start_in(folder, &config)
}

#[test]
fn dnsmasq_answers_every_question_of_dnsperf() {
    let folder = folder();
    let Some(server) = dnsmasq(&folder) else { return };
    let free = crate::support::free();
    let proxy = in_front_of_dns(&server, folder, free);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.connect(free).unwrap();
    for number in 0..100 {
        socket.send(&question(number, &format!("n{number}.test"))).unwrap();
        let mut bytes = [0; 512];
        let length = uninterrupted(|| socket.recv(&mut bytes)).unwrap();
        assert_eq!(bytes[..2], number.to_be_bytes());
        assert_eq!(bytes[..length].last_chunk(), Some(&[10, 0, 0, number as u8]));
    }
    // The same port of TCP (RFC 7766 §8).
    let answer = answer_over_tcp(TcpStream::connect(free).unwrap(), &question(7, "n7.test"));
    assert_eq!(answer.last_chunk(), Some(&[10, 0, 0, 7]));
    assert_eq!(crate::collapse::metric(&proxy, "pointsman_backend_up"), 1, "{:#?}", proxy.log());
    if Command::new("dnsperf").arg("-h").output().is_err() {
        return crate::support::skipped("dnsperf");
    }
    let names: String = (0..100).map(|number| format!("n{number}.test A\n")).collect();
    let file = proxy.folder().join("names");
    fs::write(&file, names).unwrap();
    let mut command = Command::new("dnsperf");
    command.args([
        "-s",
        "127.0.0.1",
        "-c",
        "20",
        "-l",
        "2",
        "-Q",
        "2000",
        "-p",
        &free.port().to_string(),
        "-d",
    ]);
    let output = String::from_utf8(command.arg(&file).output().unwrap().stdout).unwrap();
    let number = |name: &str| -> Option<u64> {
        output
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let (sent, done) = (number("Queries sent:"), number("Queries completed:"));
    // A busy machine sends fewer than it was asked for.
    assert!(sent >= Some(100) && sent == done, "{output}\n{:#?}", proxy.log());
    assert!(output.contains("NOERROR") && !output.contains("SERVFAIL"), "{output}");
}
