//! gRPC's own library in front of the proxy and behind it, and what clients get where the proxy fails.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use crate::support::{
    Proxy, free,
    h2::{Http2, request, run},
    http2_origin::{Came, Http2Origin, Served},
    nobody,
    proxy::config,
    python_tool, skipped,
};

/// How long a script may say nothing; the soak runs have some that work for minutes.
const SILENCE: Duration = Duration::from_secs(600);

/// A run of a script of gRPC's library; it is killed when this is dropped.
pub(super) struct Python {
    pub(super) child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Python {
    pub(super) fn start(arguments: &[&str]) -> Option<Self> {
        Self::script("grpc_calls.py", arguments)
    }

    /// A run of a script beside this file; none without the library.
    pub(super) fn script(name: &str, arguments: &[&str]) -> Option<Self> {
        let python = python_tool("python3")?;
        let has_it = Command::new(&python).args(["-c", "import grpc"]).stderr(Stdio::null()).status();
        if !has_it.is_ok_and(|status| status.success()) {
            skipped("grpcio");
            return None;
        }
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/http2_backends/");
        let mut command = Command::new(python);
        command.arg(format!("{scripts}{name}")).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line.trim_end().to_owned());
            }
        });
        Some(Self { child, input, lines })
    }

    /// A server that says which port it has, and where that is.
    pub(super) fn listening(mut self) -> (Self, SocketAddr) {
        let line = self.line();
        let port: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
        (self, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A client that does what a case says.
    pub(super) fn case(case: &str, proxy: &Proxy) -> Self {
        Self::start(&[case, &proxy.address("web").to_string()]).unwrap()
    }

    /// What it says next; nothing once it has ended.
    pub(super) fn line(&mut self) -> String {
        match self.lines.recv_timeout(SILENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => panic!("it has said nothing for {SILENCE:?}"),
        }
    }

    pub(super) fn go_on(&mut self) {
        self.say("");
    }

    /// Says a line to it.
    pub(super) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The line before the last of a client that found all to be good.
    pub(super) fn good(mut self) -> String {
        let mut last = String::new();
        loop {
            match self.line() {
                line if line == "good" => return last,
                line if line.is_empty() => panic!("it was not good; {last}"),
                line => last = line,
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, and where it is.
pub(super) fn server(name: &str) -> Option<(Python, SocketAddr)> {
    // One that it can have again after a restart: nobody else is given that port meanwhile.
    Python::start(&["serve", name, &free().port().to_string()]).map(Python::listening)
}

/// With time to connect, on a busy machine too.
pub(super) const H2: &str = "protocol = \"h2\"\nconnect_timeout = \"20s\"\n---\n";

#[test]
fn calls_of_all_kinds_pass() {
    let Some((_server, address)) = server("a") else { return };
    let proxy = Proxy::start(&config(&[address], H2));
    for case in ["kinds", "failures", "large", "metadata"] {
        Python::case(case, &proxy).good();
    }
    let line = proxy.logged("/t.T/Echo");
    assert_eq!((line["status"].as_u64(), line["grpc_status"].as_u64()), (Some(200), Some(0)));
    assert!(!proxy.logged("/t.T/Nothing")["grpc_status"].is_null());
}

#[test]
fn a_deadline_ends_the_call_at_the_server_too() {
    let Some((mut server, address)) = server("a") else { return };
    let proxy = Proxy::start(&config(&[address], H2));
    Python::case("deadline", &proxy).good();
    assert_eq!((server.line(), server.line()), ("began".to_owned(), "cancelled".to_owned()));
}

#[test]
fn a_call_that_is_cancelled_ends_at_the_server() {
    let Some((mut server, address)) = server("a") else { return };
    let proxy = Proxy::start(&config(&[address], H2));
    let mut client = Python::case("cancel", &proxy);
    assert_eq!((client.line(), server.line()), ("asked".to_owned(), "began".to_owned()));
    client.go_on();
    assert_eq!(server.line(), "cancelled");
    client.good();
}

/// What a call to this backend is answered: HTTP status, and the fields of gRPC.
fn failed(proxy: &Proxy) -> (u16, String, String) {
    run(async {
        let client = Http2::connect(proxy).await;
        let mut asked = request("POST", "/t.T/Echo");
        asked.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
        let response = client.ask(asked).await.unwrap();
        let field =
            |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!(field("content-type"), "application/grpc");
        (response.status().as_u16(), field("grpc-status"), field("grpc-message"))
    })
}

#[test]
fn failures_of_the_proxy_have_codes_of_grpc() {
    let proxy = Proxy::start(&config(&[nobody()], &format!("{H2}[upstream.retry]\nattempts = 1\n")));
    let (status, code, message) = failed(&proxy);
    assert_eq!((status, &*code, &*message), (200, "14", "could not connect to the backend"));
    let line = proxy.logged("/t.T/Echo");
    assert_eq!((line["status"].as_u64(), line["grpc_status"].as_u64()), (Some(200), Some(14)));
    assert_eq!(line["error"], "connect");
    let silent = Http2Origin::start(&[], |_, _| {});
    let text = config(&[silent.address()], &format!("response_timeout = \"100ms\"\n{H2}"));
    assert_eq!(failed(&Proxy::start(&text)).1, "4");
    let no_route = text.replace("upstream = \"u\"\n", "upstream = \"u\"\nhosts = [\"other\"]\n");
    assert_eq!(failed(&Proxy::start(&no_route)).1, "12");
    let denied = text.replace("upstream = \"u\"\n", "upstream = \"u\"\ndeny = [\"127.0.0.0/8\"]\n");
    assert_eq!(failed(&Proxy::start(&denied)).1, "7");
}

#[test]
fn the_client_s_deadline_shortens_ours() {
    let silent = Http2Origin::start(&[], |_, _| {});
    let proxy = Proxy::start(&config(&[silent.address()], H2));
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut asked = request("POST", "/t.T/Slow");
        asked.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        // Connecting is of this time too, and takes a busy machine a moment.
        asked.headers_mut().insert("grpc-timeout", "2S".parse().unwrap());
        let response = client.ask(asked).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4");
    });
    silent.until("its stream is cancelled", |seen| matches!(seen.came, Came::Reset(_, 8)));
    assert_eq!(silent.heads()[0].get("grpc-timeout"), Some("2S"));
}

#[test]
fn grpc_over_http1_is_told_what_it_needs() {
    let origin = Http2Origin::echo();
    let proxy = Proxy::start(&config(&[origin.address()], H2));
    for (media, status) in [("application/grpc", 400), ("application/grpc-web+proto", 200)] {
        let mut client = proxy.connect();
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: {media}\r\nContent-Length: 0\r\n\r\n"
        ));
        let response = client.response("POST");
        assert_eq!(response.status, status, "{media}");
        assert!(status == 200 || response.text().contains("gRPC needs HTTP/2"), "{}", response.text());
    }
}

#[test]
fn unavailable_goes_elsewhere_where_that_is_asked_for() {
    let busy = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
            served.head(head.stream, &fields, true);
        }
    });
    let good = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")];
            served.head(head.stream, &fields, true);
        }
    });
    let backends = [busy.address(), good.address()];
    let code = |proxy: &Proxy| failed(proxy).1;
    let proxy =
        Proxy::start(&config(&backends, &format!("{H2}[upstream.retry]\non = [\"grpc-unavailable\"]\n")));
    assert_eq!([code(&proxy), code(&proxy), code(&proxy)], ["0", "0", "0"]);
    let plain = Proxy::start(&config(&backends, H2));
    let codes = [code(&plain), code(&plain)];
    assert!(codes.contains(&"14".to_owned()), "{codes:?}");
}

/// Three calls of which each is answered so eject their backend.
fn ejects(answer: impl Fn(&mut Served, u32) + Send + Sync + 'static) {
    let busy = Http2Origin::start(&[], move |served, came| {
        if let Came::Head(head) = came {
            answer(served, head.stream);
        }
    });
    let options = format!("{H2}[upstream.outlier]\nconsecutive_failures = 3\n");
    let proxy = Proxy::start(&config(&[busy.address()], &options).replace("workers = 2", "workers = 1"));
    for _ in 0..3 {
        failed(&proxy);
    }
    proxy.until_logged("backend is ejected", 1);
}

#[test]
fn a_backend_that_is_unavailable_is_ejected() {
    const HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];
    ejects(|served, stream| served.head(stream, &[&HEAD[..], &[("grpc-status", "14")]].concat(), true));
    ejects(|served, stream| {
        served.head(stream, &HEAD, false);
        served.head(stream, &[("grpc-status", "14")], true);
    });
}
