//! The configurations of `config/examples`, each with scripted backends in the places of the real ones, and its rules that
//! matter.

mod applications;
mod clients;
mod infrastructure;
mod media;
mod sites;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::support::{
    Origin, Proxy, Reply, Request,
    client::Response,
    tls::{self, Manner, TlsClient},
};

/// An example that runs.
struct Example {
    proxy: Proxy,
}

impl Example {
    /// Runs an example with these backends in the places of its addresses. Its other folders are those beside it.
    fn start(name: &str, backends: &[(&str, &Origin)]) -> Self {
        let backends: Vec<_> =
            backends.iter().map(|(address, origin)| (*address, origin.address().to_string())).collect();
        Self::start_with(name, tls::folder(), &backends, &[])
    }

    /// The same in a folder, with other texts in the places of some.
    fn start_with(name: &str, folder: PathBuf, backends: &[(&str, String)], texts: &[(&str, &str)]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let mut text = fs::read_to_string(source.join("examples").join(name).with_extension("toml")).unwrap();
        let mut place = |from: &str, to: &str| {
            assert!(text.contains(from), "{name} has no {from}");
            text = text.replace(from, to);
        };
        for (from, to) in texts {
            place(from, to);
        }
        for (address, origin) in backends {
            place(&format!("address = \"{address}\""), &format!("address = \"{origin}\""));
        }
        let pages = format!("\"{}/", source.join("pages").display());
        let is_listened =
            |line: &str| line.starts_with("address = \"[::]:") || line.contains("127.0.0.1:9900");
        // Comments name tables, which are counted.
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| match is_listened(line) {
            true => "address = \"127.0.0.1:0\"".to_owned(),
            // Whoever comes from another address is a stranger.
            false => line.replace("127.0.0.0/8", "127.0.0.1/32"),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text.replace("../../certs/", "").replace("\"../pages/", &pages);
        Self { proxy: Proxy::start_in(folder, &text) }
    }

    /// What `curl` gets for a URL, wherever its name leads.
    fn curl(&self, url: &str, args: &[&str]) -> Response {
        let listener = if url.starts_with("https:") { "web" } else { "plain" };
        let to = format!("::{}", self.proxy.address(listener));
        let mut command = Command::new("curl");
        command.args(["-s", "-S", "-k", "-i", "--http1.1", "--path-as-is", "--max-time", "20"]);
        let output = command.args(["--connect-to", &to]).args(args).arg(url).output().unwrap();
        let at = |bytes: &[u8]| bytes.windows(4).position(|it| it == b"\r\n\r\n");
        let mut rest = &output.stdout[..];
        while rest.starts_with(b"HTTP/1.1 1") {
            rest = &rest[at(rest).unwrap() + 4..];
        }
        let end = at(rest).unwrap_or_else(|| panic!("{url}: {}", String::from_utf8_lossy(&output.stderr)));
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let body = rest[end + 4..].to_vec();
        Response { status, headers: lines.map(field).collect(), body, ..Response::default() }
    }

    fn get(&self, url: &str) -> Response {
        self.curl(url, &[])
    }

    /// The same from an address that nobody knows.
    fn stranger(&self, url: &str) -> Response {
        self.curl(url, &["--interface", "127.0.0.9"])
    }

    /// All that comes back for a request that ends its connection, or turns it into something else.
    fn raw(&self, request: &str) -> String {
        let config = Manner { alpn: &["http/1.1"], ..Manner::default() }.config(self.proxy.folder());
        let client = TlsClient::connect(self.proxy.address("web"), "localhost", &config).unwrap();
        client.last(request).unwrap()
    }

    /// Opens a WebSocket; gives what the backend says over it until it ends it.
    fn socket(&self, host: &str, target: &str) -> String {
        self.raw(&format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
    }

    /// Whether the plain listener sends a client to the same over TLS.
    fn is_sent_to_tls(&self, host: &str) -> bool {
        let response = self.get(&format!("http://{host}/a?b=c"));
        response.status == 301 && response.header("location") == Some(&*format!("https://{host}/a?b=c"))
    }
}

/// A backend that says its name and what it was asked, and takes WebSockets; `special` has the first word.
fn backend(
    name: &'static str,
    special: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |request| {
        if let Some(reply) = special(request) {
            return reply;
        }
        if let Some(key) = request.header("sec-websocket-key") {
            let proof = pointsman::websocket::accept(key.as_bytes());
            return Reply::Close(
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {proof}\r\n\r\n{name} speaks"
                )
                .into_bytes(),
            );
        }
        Reply::Text(200, format!("{name}\n{}", request.head))
    })
}

fn plain(name: &'static str) -> Origin {
    backend(name, |_| None)
}

/// A response with these fields, and this body.
fn with_fields(status: &str, fields: &str, body: &str) -> Option<Reply> {
    let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
    Some(Reply::Bytes(text.into_bytes()))
}

/// A server that says this to whoever connects.
fn greeter(address: &str, greeting: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut { stream }, greeting.as_bytes());
        }
    });
    address
}
