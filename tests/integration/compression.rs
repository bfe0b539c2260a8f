//! `compression` of a route, with curl as the client, and byte by byte.

use std::{
    io::Read,
    process::Command,
    sync::{Mutex, mpsc},
};

use crate::support::{
    Client, Origin, PATIENCE, Proxy, Reply,
    h2::{Http2, request, run, whole},
    skipped,
};

/// Texts that compress well, and are long enough for several turns of an encoder.
fn text() -> String {
    (0..20_000).map(|number| format!("{{\"id\": {number}, \"name\": \"row {}\"}}\n", number % 97)).collect()
}

fn origin() -> Origin {
    Origin::start(|request| {
        let body = text();
        let head = match request.target.as_str() {
            "/image" => "Content-Type: image/png\r\n",
            "/encoded" => "Content-Type: text/html\r\nContent-Encoding: br\r\n",
            "/stored" => "Content-Type: application/json\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n",
            "/part" => "Content-Type: text/html\r\nContent-Range: bytes 0-9/99\r\n",
            "/chunked" => {
                let chunks = body
                    .as_bytes()
                    .chunks(777)
                    .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
                let body: String = chunks.collect();
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
                return Reply::Bytes(format!("{head}{body}0\r\n\r\n").into_bytes());
            }
            _ => "Content-Type: application/json\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\n",
        };
        let status = if request.target == "/part" { "206 Partial Content" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n", body.len());
        match request.method.as_str() {
            "HEAD" => Reply::Bytes(head.into_bytes()),
            _ => Reply::Bytes((head + &body).into_bytes()),
        }
    })
}

fn start(origin: &Origin) -> Proxy {
    let more = "[[cache]]\nname = \"pages\"\nmemory = \"16MiB\"\n\
                [[route]]\nname = \"stored\"\npaths = [\"/stored\"]\nupstream = \"main\"\ncache = \"pages\"\n\
                compression = [\"zstd\", \"br\", \"gzip\"]\n\
                [[route]]\nname = \"off\"\npaths = [\"/off\"]\nupstream = \"main\"\n\
                [[route]]\nname = \"own\"\npaths = [\"/own\"]\ncompression = [\"gzip\"]\ncompression_min = \"1B\"\n\
                respond = { status = 404, body = \"nothing here, nothing here\" }\n\
                [[route]]\nname = \"rest\"\nupstream = \"main\"\ncompression = [\"zstd\", \"br\", \"gzip\"]\n";
    let backend =
        format!("[[upstream]]\nname = \"main\"\n[[upstream.backend]]\naddress = \"{}\"\n", origin.address());
    Proxy::start(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n{more}{backend}"
    ))
}

/// What curl writes with these arguments, which end in a path.
fn curl(proxy: &Proxy, arguments: &[&str]) -> Option<Vec<u8>> {
    let (path, arguments) = arguments.split_last().unwrap();
    let url = format!("http://{}{path}", proxy.address("web"));
    let Ok(output) = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).arg(url).output()
    else {
        skipped("curl");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn curl_reads_each_encoding_as_what_the_backend_sent() {
    let origin = origin();
    let proxy = start(&origin);
    for path in ["/plain", "/chunked", "/stored", "/stored"] {
        for encoding in ["gzip", "br", "zstd", "deflate, gzip;q=0.5"] {
            let accept = format!("Accept-Encoding: {encoding}");
            let Some(body) = curl(&proxy, &["--compressed", "-H", &accept, path]) else { return };
            assert!(body == text().as_bytes(), "{path} {encoding}: {} bytes", body.len());
        }
    }
    proxy.until_logged("\"encoded\"", 16);
    let lines = proxy.access_log();
    let count = |encoding: &str| lines.iter().filter(|line| line["encoded"] == encoding).count();
    assert_eq!(["gzip", "br", "zstd"].map(count), [8, 4, 4]);
    let bytes = lines.iter().map(|line| line["bytes_out"].as_u64().unwrap()).max().unwrap();
    assert!(bytes < text().len() as u64 / 5, "{bytes} bytes went out");
}

#[test]
fn what_is_not_to_be_compressed_comes_as_it_is() {
    let origin = origin();
    let proxy = start(&origin);
    let gzip = "Accept-Encoding: gzip\r\n";
    for (path, headers, vary) in [
        ("/plain", "", true),
        ("/plain", "Accept-Encoding: identity, *;q=0\r\n", true),
        ("/plain", "Accept-Encoding: gzip;q=0\r\n", true),
        ("/image", gzip, false),
        ("/encoded", gzip, false),
        ("/part", gzip, false),
        ("/off", gzip, false),
    ] {
        let response = proxy.connect().get_with(path, "a", headers);
        assert_eq!(response.body, text().as_bytes(), "{path}");
        let own = response.header("content-encoding").filter(|it| *it != "br");
        assert_eq!(own, None, "{path} {headers}");
        assert_eq!(response.header("vary").is_some(), vary, "{path} {headers}");
        assert_eq!(response.header("content-length"), Some(&*text().len().to_string()), "{path}");
    }
}

#[test]
fn the_own_answers_of_a_route_are_compressed_too() {
    let origin = origin();
    let proxy = start(&origin);
    let response = proxy.connect().get_with("/own", "a", "Accept-Encoding: gzip\r\n");
    assert_eq!((response.status, response.header("content-encoding")), (404, Some("gzip")));
    let mut body = String::new();
    flate2::read::GzDecoder::new(&*response.body).read_to_string(&mut body).unwrap();
    assert_eq!(body, "nothing here, nothing here");
}

#[test]
fn heads_conditions_and_streams_agree_with_a_get() {
    let origin = origin();
    let proxy = start(&origin);
    let mut client = proxy.connect();
    client.send("HEAD /plain HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.response("HEAD");
    let get = client.get_with("/plain", "a", "Accept-Encoding: gzip\r\n");
    for name in ["content-encoding", "etag", "vary", "accept-ranges", "content-type"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!((get.header("etag"), head.header("content-length")), (Some("W/\"1\""), None));
    // The cache knows it by the tag that it went out with.
    let _ = client.get_with("/stored", "a", "Accept-Encoding: gzip\r\n");
    let unchanged = client.get_with("/stored", "a", "Accept-Encoding: gzip\r\nIf-None-Match: W/\"1\"\r\n");
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("W/\"1\"")));
    assert_eq!(unchanged.header("vary"), Some("accept-encoding"));
    // A part is of what was stored.
    let part = client.get_with("/stored", "a", "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n");
    assert_eq!(
        (part.status, part.header("content-encoding"), &*part.body),
        (206, None, &text().as_bytes()[..10])
    );
    // One who holds what was compressed cannot join a part of what is not to it.
    let headers = "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: W/\"1\"\r\n";
    assert_eq!(client.get_with("/stored", "a", headers).status, 200);
    run(async {
        let http2 = Http2::connect(&proxy).await;
        let mut asks = request("GET", "/plain");
        asks.headers_mut().insert("accept-encoding", "br".parse().unwrap());
        let response = http2.ask(asks).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "br");
        let body = whole(response.into_body()).await.unwrap();
        assert!(decoded("br", &body) == text());
    });
}

#[test]
fn a_hit_is_never_compressed_twice() {
    let origin = origin();
    let proxy = start(&origin);
    let made = |encoding: &str, source: &str| {
        let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
        let name =
            format!("pointsman_compressed_responses_total{{encoding=\"{encoding}\",source=\"{source}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    let mut client = proxy.connect();
    let mut get =
        |encoding: &str| client.get_with("/stored", "a", &format!("Accept-Encoding: {encoding}\r\n"));
    let _ = get("identity");
    for encoding in ["gzip", "zstd"] {
        let first = get(encoding);
        assert_eq!(made(encoding, "made"), 1);
        for again in 1..=3 {
            let next = get(encoding);
            assert!(next.body == first.body, "{encoding}");
            assert_eq!(next.header("content-encoding"), Some(encoding));
            assert_eq!(next.header("content-length"), Some(&*first.body.len().to_string()));
            assert_eq!((made(encoding, "made"), made(encoding, "kept")), (1, again));
        }
    }
    assert_eq!(get("identity").body, text().as_bytes());
    // What is purged is gone in every encoding.
    let mut admin = Client::connect(proxy.address("admin"));
    let body = "{\"all\": true}";
    let length = body.len();
    admin.send(format!(
        "POST /api/v1/caches/pages/purge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(admin.response("POST").status, 200);
    let _ = get("gzip");
    let _ = get("gzip");
    assert_eq!(origin.requests().iter().filter(|it| it.target == "/stored").count(), 2);
    assert_eq!((made("gzip", "made"), made("gzip", "kept")), (3, 3));
}

/// What a body says that has come so far.
fn decoded(encoding: &str, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    // What is not there yet is an error of these readers.
    match encoding {
        "gzip" => drop(flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out)),
        "br" => drop(brotli::Decompressor::new(bytes, 64).read_to_end(&mut out)),
        _ => {
            let mut context = zstd_safe::DCtx::create();
            let mut chunk = Vec::with_capacity(1 << 16);
            let mut output = zstd_safe::OutBuffer::around(&mut chunk);
            let _ = context.decompress_stream(&mut output, &mut zstd_safe::InBuffer::around(bytes));
            out.append(&mut chunk);
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    for encoding in ["gzip", "br", "zstd"] {
        let (next, wanted) = mpsc::channel();
        events_arrive(encoding, next, wanted);
    }
}

/// A stream of events through an encoder, each sent when the one before was read.
fn events_arrive(encoding: &'static str, next: mpsc::Sender<String>, wanted: mpsc::Receiver<String>) {
    let wanted = Mutex::new(Some(wanted));
    let origin = Origin::start(move |_| {
        let wanted = wanted.lock().unwrap().take();
        Reply::Take(Box::new(move |connection| {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for event in wanted.iter().flatten() {
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            connection.send("0\r\n\r\n");
        }))
    });
    let proxy = start(&origin);
    let mut client = proxy.connect();
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n"));
    let head = String::from_utf8(client.until(b"\r\n\r\n").unwrap()).unwrap().to_lowercase();
    assert!(head.contains(&format!("content-encoding: {encoding}")), "{head}");
    let (mut body, mut expected) = (Vec::new(), String::new());
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        expected.push_str(&event);
        next.send(event).unwrap();
        while decoded(encoding, &body) != expected {
            let size = String::from_utf8(client.until(b"\r\n").unwrap()).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            body.extend(client.exactly(size));
            client.exactly(2);
        }
    }
    assert_eq!(proxy.access_log().len(), 0, "the stream goes on");
    drop(next);
}
