//! Responses that do not come as a backend sent them: pages for errors, files as answers, and places that are told as
//! clients see them.

use std::fs;

use crate::support::{Origin, Proxy, Reply, eventually, nobody, proxy};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = proxy::folder();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/broken" => Reply::Text(503, "the backend's own words".to_owned()),
        "/gone" => Reply::Text(404, "no such thing".to_owned()),
        "/v2/moved" => Reply::Bytes(
            b"HTTP/1.1 302 Found\r\nLocation: http://app.internal/v2/login?next=/v2/\r\n\
              Set-Cookie: s=1; Path=/v2; Domain=app.internal\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        ),
        _ => Reply::Text(200, format!("{} {}", request.target, request.header("destination").unwrap_or("-"))),
    })
}

fn config(origin: &Origin) -> String {
    format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nerror_pages = {{ 404 = \"nowhere.html\" }}\n\
         [[route]]\nname = \"hidden\"\npaths = [\"/broken\", \"/gone\"]\nupstream = \"live\"\n\
         error_pages = {{ 503 = \"busy.txt\", 4xx = \"nowhere.html\" }}\nintercept_errors = true\n\
         [[route]]\nname = \"open\"\npaths = [\"/open/*\"]\nupstream = \"live\"\nrewrite = {{ strip_prefix = \"/open\" }}\n\
         error_pages = {{ 5xx = \"busy.txt\" }}\n\
         [[route]]\nname = \"dead\"\npaths = [\"/dead\"]\nupstream = \"dead\"\nerror_pages = {{ 5xx = \"busy.txt\" }}\n\
         [[route]]\nname = \"file\"\npaths = [\"/file\"]\nrespond = {{ status = 200, file = \"plain.html\" }}\n\
         [[route]]\nname = \"app\"\npaths = [\"/app/*\"]\nupstream = \"live\"\n\
         rewrite = {{ strip_prefix = \"/app\", add_prefix = \"/v2\", host = \"app.internal\", responses = true }}\n\
         [[upstream]]\nname = \"dead\"\n[[upstream.backend]]\naddress = \"{}\"\n\
         [[upstream]]\nname = \"live\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        nobody(),
        origin.address()
    )
}

fn start(origin: &Origin) -> Proxy {
    let files = [
        ("nowhere.html", "<h1>{status}</h1><style>p{color:red}</style><p>{path} at {host}</p>"),
        ("plain.html", "<p>{path}</p>"),
        ("busy.txt", "busy ({status}, {error})"),
    ];
    Proxy::start_in(folder(&files), &config(origin))
}

#[test]
fn pages_stand_for_errors_of_their_statuses() {
    let origin = origin();
    let proxy = start(&origin);
    let mut client = proxy.connect();
    for (path, status, body) in [
        ("/nowhere/<a>", 404, "<h1>404</h1><style>p{color:red}</style><p>/nowhere/&lt;a&gt; at a</p>"),
        ("/broken", 503, "busy (503, )"),
        ("/gone", 404, "<h1>404</h1><style>p{color:red}</style><p>/gone at a</p>"),
        ("/open/broken", 503, "the backend's own words"),
        ("/dead", 502, "busy (502, could not connect to the backend)"),
    ] {
        let response = client.get_with(path, "a", "");
        assert_eq!((response.status, &*response.text()), (status, body), "{path}");
        assert_eq!(response.header("content-length"), Some(&*body.len().to_string()), "{path}");
    }
    client.send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response("HEAD");
    let get = client.get_with("/nowhere", "a", "");
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert!(head.header("content-length").is_some());
    // Programs get what they can read.
    let response = client.get_with("/nowhere", "a", "Accept: application/json\r\n");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("vary"), Some("accept"));
    // And nothing of what the backend said in its place.
    for (accept, media, begin) in [
        ("application/json", "application/json", "{\"error\":{"),
        ("image/png", "text/plain; charset=utf-8", "404: the backend answered with an error\n"),
    ] {
        let response = client.get_with("/gone", "a", &format!("Accept: {accept}\r\n"));
        assert_eq!((response.status, response.header("content-type")), (404, Some(media)));
        assert_eq!(response.header("vary"), Some("accept"));
        let text = response.text();
        assert!(text.starts_with(begin) && !text.contains("no such thing"), "{text}");
    }
}

#[test]
fn an_edited_page_is_read_again() {
    let origin = origin();
    let proxy = start(&origin);
    assert_eq!(proxy.get("/file").header("content-type"), Some("text/html; charset=utf-8"));
    fs::write(proxy.folder().join("plain.html"), "<p>new: {path}</p>").unwrap();
    eventually("the file is read", || proxy.get("/file").text() == "<p>new: /file</p>");
    fs::write(proxy.folder().join("nowhere.html"), "<p>gone: {status}</p>").unwrap();
    eventually("the page is read", || proxy.get("/nowhere").text() == "<p>gone: 404</p>");
    // One that cannot be used leaves what there was.
    fs::write(proxy.folder().join("nowhere.html"), "<p>{pahth}</p>").unwrap();
    proxy.until_logged("unknown placeholder", 1);
    assert_eq!(proxy.get("/nowhere").text(), "<p>gone: 404</p>");
}

#[test]
fn places_are_as_the_client_sees_them() {
    let origin = origin();
    let proxy = start(&origin);
    let response = proxy.connect().get_with("/app/moved", "www.example", "");
    assert_eq!(response.header("location"), Some("http://www.example/app/login?next=/v2/"));
    assert_eq!(response.header("set-cookie"), Some("s=1; Path=/app"));
    let mut client = proxy.connect();
    client.send("MOVE /app/a HTTP/1.1\r\nHost: www.example\r\nDestination: http://www.example/app/b\r\n\r\n");
    assert_eq!(client.response("MOVE").text(), "/v2/a /v2/b");
    client.send("MOVE /app/a HTTP/1.1\r\nHost: www.example\r\nDestination: http://elsewhere/app/b\r\n\r\n");
    assert_eq!(client.response("MOVE").status, 400, "the backend might take it for its own");
}

#[test]
fn an_error_before_the_path_is_known_has_its_own() {
    let page = "{method} {path} with {query}";
    let origin = origin();
    let text = config(&origin).replace("404 = \"nowhere.html\"", "400 = \"bad.txt\"");
    let proxy = Proxy::start_in(
        folder(&[("bad.txt", page), ("nowhere.html", ""), ("plain.html", ""), ("busy.txt", "")]),
        &format!("[runtime]\nworkers = 1\n{text}"),
    );
    let mut client = proxy.connect();
    for path in ["/file", "/file?and-more=of-it"] {
        assert_eq!(client.get_with(path, "a", "").status, 200);
        let mut other = proxy.connect();
        other.send("GET /bad?a=b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        let response = other.response("GET");
        assert_eq!((response.status, &*response.text()), (400, "GET /bad with a=b"), "after {path}");
    }
}
