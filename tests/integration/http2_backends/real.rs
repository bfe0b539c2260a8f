//! nghttpd and Caddy as backends, without TLS and with it, and backends that agree on something else.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    real_servers::Server,
    support::{
        Proxy, eventually,
        proxy::{config, folder},
        python_tool, skipped, tls,
    },
};

/// nghttpd, or another server; it is killed when this is dropped.
struct Nghttpd {
    child: Child,
    address: SocketAddr,
}

impl Nghttpd {
    fn start(folder: &Path, arguments: &[&str]) -> Option<Self> {
        let address = crate::support::free();
        if Command::new("nghttpd").arg("--version").output().is_err() {
            skipped("nghttpd");
            return None;
        }
        let mut command = Command::new("nghttpd");
        command.args(["--address=127.0.0.1", "--echo-upload", "--htdocs"]).arg(folder);
        command.args(arguments.iter().filter(|it| it.starts_with('-'))).arg(address.port().to_string());
        command.args(arguments.iter().filter(|it| !it.starts_with('-')));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        eventually("nghttpd listens", || TcpStream::connect(address).is_ok());
        Some(Self { child, address })
    }

    fn secure(folder: &Path) -> Option<Self> {
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        Self::start(folder, &[&file("demo.key"), &file("demo.pem")])
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that do not repeat soon.
pub(super) fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(super) fn has_it_whole(proxy: &Proxy) {
    let sent = large();
    let mut client = proxy.connect();
    let got = client.get("/large");
    assert!(got.status == 200 && got.body == sent, "{} {}", got.status, got.body.len());
    let mut writer = client.stream.try_clone().unwrap();
    let head = format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
    let upload = sent.clone();
    let uploading = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, head.as_bytes()).unwrap();
        std::io::Write::write_all(&mut writer, &upload).unwrap();
    });
    let echoed = client.response("PUT");
    uploading.join().unwrap();
    assert!(echoed.status == 200 && echoed.body == sent, "{} {}", echoed.status, echoed.body.len());
}

#[test]
fn large_bodies_pass_both_ways_without_tls() {
    let files = folder();
    fs::write(files.join("large"), large()).unwrap();
    let Some(server) = Nghttpd::start(&files, &["--no-tls"]) else { return };
    has_it_whole(&Proxy::start(&config(&[server.address], "protocol = \"h2\"\n---\n")));
}

pub(super) const TLS: &str =
    "---\n[upstream.tls]\nca = \"ca.pem\"\nserver_name = \"localhost\"\n[upstream.retry]\nattempts = 1\n";

#[test]
fn http2_is_agreed_on_by_alpn() {
    let files = tls::folder();
    fs::write(files.join("large"), large()).unwrap();
    let Some(server) = Nghttpd::secure(&files) else { return };
    for protocol in ["h2", "auto"] {
        let options = format!("protocol = \"{protocol}\"\n{TLS}");
        let proxy = Proxy::start_in(tls::folder_like(&files), &config(&[server.address], &options));
        has_it_whole(&proxy);
        assert_eq!(proxy.logged("/large")["upstream_protocol"], "HTTP/2.0");
    }
}

#[test]
fn caddy_serves_large_files_over_http2() {
    let Some(caddy) = python_tool("caddy") else { return };
    let (files, address) = (tls::folder(), crate::support::free());
    let own = tls::folder_like(&files);
    fs::write(files.join("large"), large()).unwrap();
    let text = format!(
        "{{\nauto_https off\nadmin off\npersist_config off\n}}\nhttps://localhost:{} {{\nbind 127.0.0.1\n\
         tls demo.pem demo.key\nroot .\nfile_server\n}}\n",
        address.port()
    );
    fs::write(files.join("caddyfile"), text).unwrap();
    let mut command = Command::new(caddy);
    command.args(["run", "--adapter", "caddyfile", "--config", "caddyfile"]).current_dir(&files);
    command.env("XDG_DATA_HOME", &files).env("XDG_CONFIG_HOME", &files);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Nghttpd { child, address };
    eventually("Caddy listens", || TcpStream::connect(address).is_ok());
    let options = format!("protocol = \"h2\"\n{TLS}");
    let proxy = Proxy::start_in(own, &config(&[server.address], &options));
    let mut client = proxy.connect();
    for _ in 0..3 {
        let got = client.get_with("/large", "localhost", "");
        assert!(got.status == 200 && got.body == large(), "{} {}", got.status, got.body.len());
    }
    let part = client.get_with("/large", "localhost", "Range: bytes=1000000-1000009\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &large()[1_000_000..1_000_010]));
    assert_eq!(proxy.logged("/large")["upstream_protocol"], "HTTP/2.0");
    assert_eq!(client.get_with("/not-there", "localhost", "").status, 404);
}

/// nginx that speaks HTTP/1.1 over TLS, and says so by ALPN.
fn nginx(files: &Path) -> Option<Server> {
    nginx_at(crate::support::free(), files, "")
}

/// nginx over TLS, that speaks HTTP/2 too where `listen` says so.
fn nginx_at(address: SocketAddr, files: &Path, listen: &str) -> Option<Server> {
    let text = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
        events { worker_connections 200; }
        http {
            access_log off;
            client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
            server {
                listen ADDRESS ssl LISTEN; ssl_certificate FOLDER/demo.pem; ssl_certificate_key FOLDER/demo.key;
                root FOLDER; location = /version { return 200 $server_protocol; }
            }
        }";
    let arguments = ["-e", "stderr", "-p", files.to_str().unwrap(), "-c"];
    Server::start_at(address, "nginx", &arguments, files, &text.replace("LISTEN", listen))
}

#[test]
fn auto_notices_that_a_backend_learned_http2() {
    let files = tls::folder();
    let of_server = tls::folder_like(&files);
    let address = crate::support::free();
    let Some(before) = nginx_at(address, &of_server, "") else { return };
    let proxy = Proxy::start_in(files, &config(&[address], &format!("protocol = \"auto\"\n{TLS}")));
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/version").text(), "HTTP/1.1");
    }
    drop(before);
    let _after = nginx_at(address, &of_server, "http2").unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("/version").text(), "HTTP/2.0");
    }
}

#[test]
fn a_backend_without_http2_fails_and_health_says_it() {
    let files = tls::folder();
    let Some(server) = nginx(&tls::folder_like(&files)) else { return };
    let check =
        "[upstream.health_check]\npath = \"/version\"\ninterval = \"20ms\"\ntimeout = \"10s\"\nfall = 1\n";
    let options = format!("protocol = \"h2\"\n{TLS}{check}");
    let proxy = Proxy::start_in(tls::folder_like(&files), &config(&[server.address], &options));
    proxy.until_logged("backend is down: ", 1);
    let line = proxy.log().into_iter().find(|line| line.contains("backend is down")).unwrap();
    assert!(line.contains("ALPN") || line.contains("NoApplicationProtocol"), "{line}");
    let unchecked = format!("protocol = \"h2\"\n{TLS}");
    let proxy = Proxy::start_in(tls::folder_like(&files), &config(&[server.address], &unchecked));
    assert_eq!(proxy.get("/version").status, 502);
    let line = proxy.logged("/version");
    assert_eq!(line["error"], "upstream_tls");
    let detail = line["error_detail"].as_str().unwrap();
    assert!(detail.contains("ALPN") || detail.contains("NoApplicationProtocol"), "{detail}");
}

#[test]
fn auto_speaks_http1_where_that_is_agreed_on() {
    let files = tls::folder();
    let Some(server) = nginx(&tls::folder_like(&files)) else { return };
    let check = "[upstream.health_check]\npath = \"/version\"\ninterval = \"20ms\"\n";
    let options = format!("protocol = \"auto\"\n{TLS}{check}");
    let proxy = Proxy::start_in(tls::folder_like(&files), &config(&[server.address], &options));
    let mut clients: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response("GET").text(), "HTTP/1.1");
        }
    }
    assert!(proxy.logged("/version")["upstream_protocol"].is_null());
    assert!(!proxy.log().iter().any(|line| line.contains("backend is down")));
}
