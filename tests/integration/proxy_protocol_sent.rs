//! The PROXY protocol towards backends: what connections begin with, and whose they are.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use pointsman::net::proxy_protocol::{
    Addresses, Header, Parsed, parse,
    write::{self, Additions, Ssl},
};

use crate::{
    real_servers::Server,
    support::{
        Client, PATIENCE, Proxy, eventually,
        proxy::{config_of, folder},
        tls::{self, Manner, SECURE, TlsClient},
    },
};

/// A server that reads a PROXY header from each connection, and answers each request on it with the client that the
/// header named and the number of the request.
struct Behind {
    address: SocketAddr,
    headers: Arc<Mutex<Vec<Header>>>,
}

impl Behind {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, headers) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = headers.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { address, headers }
    }

    fn headers(&self) -> Vec<Header> {
        self.headers.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Header>>) {
    let (mut seen, mut header, mut number) = (Vec::new(), None, 0);
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..length]);
        if header.is_none() {
            match parse(&seen) {
                Ok(Parsed::Partial) => continue,
                Ok(Parsed::Done(read)) => {
                    seen.drain(..read.length);
                    kept.lock().unwrap().push(read.clone());
                    header = Some(read);
                }
                // A connection that begins with anything else is closed, which the client sees.
                Err(_) => return,
            }
        }
        if seen.ends_with(b"\r\n\r\n") {
            number += 1;
            let client = header.as_ref().and_then(|it| it.addresses).map(|it| it.source.to_string());
            let body = format!("{} {number}", client.unwrap_or_default());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            seen.clear();
            if stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn tcp(backend: SocketAddr, listener: &str, upstream: &str) -> String {
    config_of(
        &[backend.to_string()],
        &format!("protocol = \"tcp\"\n{listener}"),
        &format!("{upstream}\n---\n"),
    )
    .replace("name = \"all\"\n", "name = \"all\"\nlisteners = [\"web\"]\n")
}

fn web(backend: SocketAddr, listener: &str, upstream: &str) -> String {
    config_of(&[backend.to_string()], listener, &format!("{upstream}\n---\n"))
}

/// Asks over a connection of its own; who asked, and what came back.
fn ask(proxy: &Proxy, first: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(first).unwrap();
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("\r\n\r\n") || seen.ends_with("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "{seen}");
        seen.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    (own, seen.split("\r\n\r\n").nth(1).unwrap().to_owned())
}

#[test]
fn tunnels_name_both_ends_in_either_version() {
    for version in ["v1", "v2"] {
        let behind = Behind::start();
        let proxy = Proxy::start(&tcp(behind.address, "", &format!("proxy_protocol = \"{version}\"")));
        let (own, said) = ask(&proxy, b"");
        assert_eq!(said, format!("{own} 1"), "{version}");
        let ends = behind.headers()[0].addresses.unwrap();
        assert_eq!((ends.source.to_string(), ends.destination), (own, proxy.address("web")), "{version}");
    }
}

#[test]
fn a_header_that_came_is_passed_on() {
    let behind = Behind::start();
    let from = "proxy_protocol_from = [\"127.0.0.0/8\"]";
    for config in [tcp, web] {
        let proxy = Proxy::start(&config(behind.address, from, "proxy_protocol = \"v2\""));
        let (_, said) = ask(&proxy, b"PROXY TCP6 2001:db8::7 2001:db8::8 12345 443\r\n");
        assert_eq!(said, "[2001:db8::7]:12345 1");
        let ends = behind.headers().pop().unwrap().addresses.unwrap();
        assert_eq!(ends.destination.to_string(), "[2001:db8::8]:443");
    }
}

/// Else what its certificate gets a client is everybody's.
#[test]
fn what_is_for_a_certificate_is_not_stored() {
    let behind = Behind::start();
    let from = "proxy_protocol_from = [\"127.0.0.0/8\"]";
    let text = web(behind.address, from, "proxy_protocol = \"v2\"")
        .replace("workers = 2", "workers = 1")
        .replace("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"pages\"\n");
    let proxy = Proxy::start(&(text + "[[cache]]\nname = \"pages\"\ndefault_ttl = \"60s\"\n"));
    let header = |port: u16, has_certificate| {
        let source = SocketAddr::from(([192, 0, 2, 7], port));
        let ends = Addresses { source, destination: "192.0.2.8:443".parse().unwrap() };
        let ssl = Some(Ssl { version: "TLSv1.3", has_certificate });
        write::v2(Some(ends), &Additions { ssl, ..Additions::default() })
    };
    for (port, has_certificate) in [(1001, true), (1002, false), (1003, true)] {
        let (_, said) = ask(&proxy, &header(port, has_certificate));
        assert_eq!(said, format!("192.0.2.7:{port} 1"));
    }
    // Without one they share what the first of them got.
    eventually("it is stored", || ask(&proxy, &header(1004, false)).1 == "192.0.2.7:1002 1");
}

#[test]
fn additions_that_came_are_passed_on_and_not_replaced() {
    let behind = Behind::start();
    let from = "proxy_protocol_from = [\"127.0.0.0/8\"]";
    let ends = "[2001:db8::7]:12345".parse().unwrap();
    let ends = Addresses { source: ends, destination: "[2001:db8::8]:443".parse().unwrap() };
    let came = Additions {
        unique_id: Some(b"theirs"),
        passed: &[0xE0, 0, 2, 1, 2],
        crc32c: true,
        ..Additions::default()
    };
    let came = write::v2(Some(ends), &came);
    for config in [tcp, web] {
        let own = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"unique-id\", \"crc32c\"]";
        let proxy = Proxy::start(&config(behind.address, from, own));
        let (_, said) = ask(&proxy, &came);
        assert_eq!(said, "[2001:db8::7]:12345 1");
        let header = behind.headers().pop().unwrap();
        assert_eq!(header.tlvs, b"\xE0\0\x02\x01\x02\x05\0\x06theirs");
    }
}

#[test]
fn a_connection_of_requests_is_one_clients_alone() {
    let behind = Behind::start();
    let trusts = "trusted_proxies = [\"127.0.0.0/8\"]";
    let proxy = Proxy::start(&web(behind.address, trusts, "proxy_protocol = \"v2\""));
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    let of = |client: &mut Client, fields: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client.response("GET").text()
    };
    let first = of(&mut one, "");
    assert_eq!(of(&mut one, ""), first.replace(" 1", " 2"), "its own connection goes on");
    let other = of(&mut two, "");
    assert!(other.ends_with(" 1") && other != first, "{other}");
    assert_eq!(of(&mut one, ""), first.replace(" 1", " 3"));
    // Several clients come over one connection of a proxy.
    for (client, number) in [("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.2", 1), ("192.0.2.1", 1)] {
        let said = of(&mut one, &format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(said, format!("{client}:0 {number}"));
    }
    // Over HTTP/1.1 a later client of the same pool would have got the first one's name.
    drop((one, two));
    let (own, said) = ask(&proxy, b"");
    assert_eq!(said, format!("{own} 1"));
}

#[test]
fn additions_tell_of_tls_and_names() {
    let behind = Behind::start();
    let folder = tls::folder();
    let all = "proxy_protocol = \"v2\"\n\
        proxy_protocol_tlvs = [\"alpn\", \"authority\", \"crc32c\", \"unique-id\", \"ssl\"]";
    let proxy = Proxy::start_in(folder.clone(), &web(behind.address, SECURE, all));
    let manner = Manner { alpn: &["http/1.1"], ..Manner::default() };
    let mut client = TlsClient::connect(proxy.address("web"), "localhost", &manner.config(&folder)).unwrap();
    assert!(client.get("localhost", "/").unwrap().ends_with(" 1"));
    let header = behind.headers().pop().unwrap();
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(header.authority.as_deref(), Some("localhost"));
    assert!(header.unique_id.is_some_and(|id| !id.is_empty()));
    assert_eq!(header.ssl.as_deref(), Some(&b"\x01\0\0\0\x01\x21\0\x07TLSv1.3"[..]));
    // Without TLS there is nothing to say of it.
    let proxy = Proxy::start(&tcp(behind.address, "", all));
    ask(&proxy, b"");
    let header = behind.headers().pop().unwrap();
    assert_eq!((header.alpn, header.authority, header.ssl), (None, None, None));
}

#[test]
fn checks_say_that_they_are_nobodys() {
    for version in ["v1", "v2"] {
        let behind = Behind::start();
        let check = format!(
            "proxy_protocol = \"{version}\"\nhealth_check = {{ initial = \"down\", interval = \"100ms\" }}"
        );
        let proxy = Proxy::start(&web(behind.address, "", &check));
        eventually("it is up", || proxy.connect().get("/").status == 200);
        let headers = behind.headers();
        assert_eq!(headers[0].addresses, None, "{version}");
        assert!(headers.iter().any(|header| header.addresses.is_some()));
    }
}

#[test]
fn haproxy_and_nginx_understand_it() {
    const HAPROXY: &str = "global\n  log stderr local0 emerg\ndefaults\n  mode http\n  timeout client 10s\n  timeout connect 10s\n  timeout server 10s\n\
        frontend f\n  bind ADDRESS accept-proxy\n  http-request return status 200 content-type text/plain lf-string \"%ci:%cp %[dst]:%[dst_port] %[fc_pp_authority]\"\n";
    const NGINX: &str = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
        events { worker_connections 200; }
        http { access_log off;
            client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
            server { listen ADDRESS proxy_protocol; default_type text/plain;
                return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port \"; } }";
    let folder = folder();
    let prefix = folder.to_str().unwrap();
    let servers = [
        Server::start("haproxy", &["-db", "-f"], &folder, HAPROXY),
        Server::start("nginx", &["-e", "stderr", "-p", prefix, "-c"], &folder, NGINX),
    ];
    let check = "\nhealth_check = { initial = \"down\", interval = \"100ms\" }";
    for server in servers.into_iter().flatten() {
        for (config, version) in
            [(tcp as fn(_, &str, &str) -> _, "v1"), (tcp, "v2"), (web, "v1"), (web, "v2")]
        {
            let upstream = format!("proxy_protocol = \"{version}\"{check}");
            let proxy = Proxy::start(&config(server.address, "", &upstream));
            let (sender, said) = mpsc::channel();
            eventually("a check has passed", || {
                let answer = std::panic::catch_unwind(|| ask(&proxy, b""));
                let is_up = answer.as_ref().is_ok_and(|(_, body)| body.starts_with("127.0.0.1:"));
                is_up && sender.send(answer.unwrap()).is_ok()
            });
            let (own, body) = said.recv().unwrap();
            assert_eq!(body.trim_end(), format!("{own} {}", proxy.address("web")), "{version}");
        }
    }
}

#[test]
fn an_edit_names_clients_that_were_connected_before() {
    let behind = Behind::start();
    let config = |upstream: &str| config_of(&[behind.address.to_string()], "", &format!("{upstream}---\n"));
    let proxy = Proxy::start(&config(""));
    let mut kept = proxy.connect();
    // This backend takes nobody without a header.
    assert_eq!(kept.get("/").status, 502);
    proxy.edit(&config("proxy_protocol = \"v1\"\n"));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(kept.get("/").status, 200);
    let named = behind.headers().first().and_then(|header| header.addresses).unwrap();
    assert!(named.source.ip().is_loopback() && named.source.port() != 0, "{named:?}");
    assert_eq!(named.destination, proxy.address("web"), "{named:?}");
}
