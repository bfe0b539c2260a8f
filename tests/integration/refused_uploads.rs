//! Uploads that are refused before they are there, by the clients of Java and Go: they see the status, not a connection
//! that broke.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use crate::support::{
    Origin, Proxy, eventually, free,
    proxy::config_of,
    python_tool, skipped,
    tls::{self, SECURE},
};

/// Two listeners that take 1 KiB, and nothing for `/private`; with a file that is larger.
fn refusing() -> (Origin, Proxy) {
    let origin = Origin::named("hello");
    // A client that is just started may take long to send what is not wanted.
    let limits = "[listener.limits]\nbody_bytes = \"1KiB\"\n[listener.linger]\ntime = \"1m\"\n";
    let plain = format!("[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n{limits}");
    let private = "[[route]]\nname = \"private\"\npaths = [\"/private\"]\nrespond = { status = 401 }\n";
    let text = config_of(
        &[origin.address().to_string()],
        &format!("{SECURE}{limits}{plain}"),
        &format!("---\n{private}"),
    );
    let proxy = Proxy::start_in(tls::folder(), &text);
    fs::write(proxy.folder().join("upload"), vec![b'x'; 20 << 20]).unwrap();
    (origin, proxy)
}

/// Where both listeners refuse, and with what.
fn refusals(proxy: &Proxy) -> [(String, u16); 4] {
    let plain = format!("http://localhost:{}", proxy.address("plain").port());
    let secure = format!("https://localhost:{}", proxy.address("web").port());
    [
        (format!("{plain}/"), 413),
        (format!("{plain}/private"), 401),
        (format!("{secure}/"), 413),
        (format!("{secure}/private"), 401),
    ]
}

#[test]
fn java_sees_why_its_uploads_are_refused() {
    if Command::new("javac").arg("-version").output().is_err() {
        return skipped("javac");
    }
    let (origin, proxy) = refusing();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/Upload.java");
    let refusals = refusals(&proxy);
    let mut command = Command::new("timeout");
    command
        .args(["120", "java", script])
        .arg(proxy.folder().join("upload"))
        .arg(proxy.folder().join("ca.pem"));
    let output = command.args(refusals.iter().map(|(url, _)| url)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = refusals.iter().flat_map(|(_, status)| {
        ["of old, length known", "of old, chunked", "HTTP_1_1, length known", "HTTP_1_1, unknown"]
            .into_iter()
            .chain(["HTTP_2, length known", "HTTP_2, unknown"])
            .map(move |client| format!("{client}: {status}\n"))
    });
    assert_eq!(said, expected.collect::<String>(), "{}", String::from_utf8_lossy(&output.stderr));
    let over_http2 = || proxy.access_log().iter().filter(|line| line["protocol"] == "HTTP/2.0").count();
    eventually("all are logged", || over_http2() >= 4);
    assert_eq!(over_http2(), 4, "{:?}", proxy.access_log());
    assert!(origin.requests().is_empty());
}

/// Caddy, whose client is Go's: what it is asked for goes on to a listener.
struct Caddy {
    child: Child,
    address: SocketAddr,
}

impl Caddy {
    /// `versions` as its `transport http` has them.
    fn start(proxy: &Proxy, to: &str, versions: &str) -> Option<Self> {
        let program = python_tool("caddy")?;
        let address = free();
        let tls = if to.starts_with("https:") { "tls_trust_pool file ca.pem" } else { "" };
        let text = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://{address} {{\n\treverse_proxy {to} {{\n\
             \t\ttransport http {{\n\t\t\tversions {versions}\n\t\t\t{tls}\n\t\t}}\n\t}}\n}}\n"
        );
        fs::write(proxy.folder().join("caddyfile"), text).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--adapter", "caddyfile", "--config", "caddyfile"]).current_dir(proxy.folder());
        command.env("HOME", proxy.folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut caddy = Self { child: command.spawn().unwrap(), address };
        eventually("caddy listens", || {
            assert!(caddy.child.try_wait().unwrap().is_none(), "caddy does not start");
            TcpStream::connect(address).is_ok()
        });
        Some(caddy)
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn go_sees_why_its_uploads_are_refused() {
    let (origin, proxy) = refusing();
    let file = proxy.folder().join("upload");
    for (listener, scheme, versions, protocol) in [
        ("plain", "http", "1.1", "HTTP/1.1"),
        ("web", "https", "1.1", "HTTP/1.1"),
        ("web", "https", "2", "HTTP/2.0"),
    ] {
        let to = format!("{scheme}://localhost:{}", proxy.address(listener).port());
        let Some(caddy) = Caddy::start(&proxy, &to, versions) else { return };
        let before = proxy.access_log().len();
        for (path, status) in [("/", "413"), ("/private", "401"), ("/", "413")] {
            // Of known length, and of a length that nobody knows before.
            for field in ["Accept: */*", "Transfer-Encoding: chunked"] {
                let output = Command::new("curl")
                    .args([
                        "-sS",
                        "--max-time",
                        "20",
                        "-o",
                        "/dev/null",
                        "-w",
                        "%{http_code}",
                        "-H",
                        field,
                        "-T",
                    ])
                    .arg(&file)
                    .arg(format!("http://{}{path}", caddy.address))
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                assert_eq!(
                    said,
                    status,
                    "{to} {versions} {path} {field}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        eventually("all are logged", || proxy.access_log().len() >= before + 6);
        let lines = proxy.access_log().split_off(before);
        assert!(lines.iter().all(|line| line["protocol"] == protocol), "{protocol}: {lines:?}");
    }
    assert!(origin.requests().is_empty());
}
