//! Files of a folder (`files` of a route), to clients that people have.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use crate::support::{Origin, PATIENCE, Proxy, client::Response, eventually, proxy, skipped};

/// A folder of files, and a proxy that serves them by these routes.
fn start(routes: &str) -> Proxy {
    let folder = proxy::folder();
    fs::create_dir_all(folder.join("root/sub")).unwrap();
    fs::create_dir_all(folder.join("root/.well-known/acme-challenge")).unwrap();
    for (name, text) in [
        ("secret", "secret"),
        ("busy.html", "<p>{status}</p>"),
        ("root/index.html", "<p>home</p>"),
        ("root/a.txt", "0123456789"),
        ("root/a.css", "a { color: red }"),
        ("root/a.css.br", "as brotli"),
        ("root/a.css.gz", "as gzip"),
        ("root/sub/index.html", "<p>sub</p>"),
        ("root/.env", "hidden"),
        ("root/.well-known/acme-challenge/token", "token.key"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    symlink("../secret", folder.join("root/out")).unwrap();
    Proxy::start_in(folder, &format!("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{routes}"))
}

const PLAIN: &str = "[[route]]\nname = \"all\"\nfiles = { root = \"root\", cache_control = \"max-age=60\" }\n\
    error_pages = { 4xx = \"busy.html\" }\n";

fn ask(proxy: &Proxy, method: &str, path: &str, fields: &str) -> Response {
    let mut client = proxy.connect();
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
    client.response(method)
}

fn get(proxy: &Proxy, path: &str, fields: &str) -> Response {
    ask(proxy, "GET", path, fields)
}

#[test]
fn files_are_served_with_validators_types_and_ranges() {
    let proxy = start(PLAIN);
    let whole = get(&proxy, "/a.txt?x", "");
    assert_eq!((whole.status, &*whole.text()), (200, "0123456789"));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("cache-control", "max-age=60"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    assert!(whole.header("date").is_some());
    let head = ask(&proxy, "HEAD", "/a.txt", "");
    assert_eq!((head.status, head.header("content-length"), &*head.text()), (200, Some("10"), ""));
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for (fields, status, body) in [
        (format!("If-None-Match: {tag}\r\n"), 304, ""),
        (format!("If-None-Match: \"x\", {tag}\r\n"), 304, ""),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200, "0123456789"),
        (format!("If-Modified-Since: {date}\r\n"), 304, ""),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 200, "0123456789"),
        (format!("If-Match: {tag}\r\n"), 200, "0123456789"),
        ("If-Match: \"x\"\r\n".to_owned(), 412, ""),
        ("Range: bytes=2-4\r\n".to_owned(), 206, "234"),
        ("Range: bytes=-3\r\n".to_owned(), 206, "789"),
        ("Range: bytes=8-\r\n".to_owned(), 206, "89"),
        ("Range: bytes=10-\r\n".to_owned(), 416, ""),
        ("Range: bytes=0-0,9-9\r\n".to_owned(), 200, "0123456789"),
        (format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"), 206, "234"),
        ("Range: bytes=2-4\r\nIf-Range: \"x\"\r\n".to_owned(), 200, "0123456789"),
    ] {
        let response = get(&proxy, "/a.txt", &fields);
        assert_eq!((response.status, &*response.text()), (status, body), "{fields}");
        let range = response.header("content-range");
        assert_eq!(range.is_some(), matches!(status, 206 | 416), "{fields}");
        for name in ["etag", "cache-control"] {
            assert_eq!(response.header(name).is_some(), !matches!(status, 412 | 416), "{name} {fields}");
        }
    }
    assert_eq!(get(&proxy, "/a.txt", "Range: bytes=10-\r\n").header("content-range"), Some("bytes */10"));
}

#[test]
fn only_what_is_below_the_folder_is_served() {
    let proxy = start(PLAIN);
    let page = "<p>404</p>";
    for path in
        ["/out", "/.env", "/%2e%2e/secret", "/..%2fsecret", "/sub/..;/..;/secret", "/nowhere", "/a.txt/"]
    {
        let response = get(&proxy, path, "");
        assert!((400..=404).contains(&response.status), "{path}: {}", response.status);
        assert!(!response.text().contains("secret") && !response.text().contains("hidden"), "{path}");
    }
    assert_eq!(get(&proxy, "/nowhere", "").text(), page);
    let put = ask(&proxy, "PUT", "/a.txt", "Content-Length: 0\r\n");
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, HEAD")));
    let folder = get(&proxy, "/sub?a=b", "");
    assert_eq!((folder.status, folder.header("location")), (308, Some("/sub/?a=b")));
    assert_eq!(get(&proxy, "/sub/", "").text(), "<p>sub</p>");
    assert_eq!(get(&proxy, "/", "").text(), "<p>home</p>");
    let token = get(&proxy, "/.well-known/acme-challenge/token", "");
    assert_eq!((token.status, &*token.text()), (200, "token.key"));
    let missing = proxy.logged("/nowhere");
    assert_eq!(missing["status"], 404, "{missing}");
}

#[test]
fn encodings_beside_a_file_go_to_who_takes_them() {
    let proxy = start(&format!("{PLAIN}compression = [\"gzip\"]\ncompression_min = \"0\"\n"));
    for (accept, encoding, body) in [
        ("br;q=0.5, gzip", Some("gzip"), "as gzip"),
        ("gzip, br", Some("br"), "as brotli"),
        ("identity", None, "a { color: red }"),
    ] {
        let response = get(&proxy, "/a.css", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((response.header("content-encoding"), &*response.text()), (encoding, body), "{accept}");
        assert!(response.header("vary").unwrap().eq_ignore_ascii_case("accept-encoding"), "{accept}");
        assert_eq!(response.header("content-type"), Some("text/css; charset=utf-8"));
    }
    let tag = |accept: &str| {
        let response = get(&proxy, "/a.css", &format!("Accept-Encoding: {accept}\r\n"));
        response.header("etag").unwrap().to_owned()
    };
    assert_ne!(tag("br"), tag("identity"));
    // What has none beside it is compressed on its way.
    assert_eq!(get(&proxy, "/a.txt", "Accept-Encoding: gzip\r\n").header("content-encoding"), Some("gzip"));
}

#[test]
fn an_application_of_one_page_has_its_paths() {
    let routes = "[[route]]\nname = \"assets\"\npaths = [\"/@assets/*\"]\n\
         files = { root = \"root\", strip_prefix = \"/@assets\", try = [\"{path}\", \"=410\"] }\n\
         [[route]]\nname = \"app\"\nfiles = { root = \"root\", try = [\"{path}\", \"{path}/\", \"/index.html\"] }\n";
    let proxy = start(routes);
    for (path, status, body) in [
        ("/users/7", 200, "<p>home</p>"),
        ("/a.txt", 200, "0123456789"),
        ("/sub/", 200, "<p>sub</p>"),
        ("/@assets/a.txt", 200, "0123456789"),
        ("/%40assets/a%2etxt", 200, "0123456789"),
    ] {
        let response = get(&proxy, path, "");
        assert_eq!((response.status, &*response.text()), (status, body), "{path}");
    }
    assert_eq!(get(&proxy, "/@assets/nowhere", "").status, 410);
    assert_eq!(get(&proxy, "/.git/config", "").status, 404);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let explained = command.args(["explain", "--config"]).arg(proxy.folder().join("pointsman.toml"));
    let explained = explained.args(["GET", "http://a.example/users/7"]).output().unwrap();
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("answers 200 with") && text.contains("root/index.html: 11 bytes"), "{text}");
}

#[test]
fn what_is_sent_is_what_was_opened() {
    let proxy = start(PLAIN);
    let path = proxy.folder().join("root/large");
    let old = vec![b'o'; 8 << 20];
    fs::write(&path, &old).unwrap();
    let mut client = proxy.connect();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = String::from_utf8(client.until(b"\r\n\r\n").unwrap()).unwrap();
    assert!(head.contains("200 OK"), "{head}");
    // Another is put in its place, as `mv` and `rsync` do.
    fs::write(proxy.folder().join("root/new"), "new").unwrap();
    fs::rename(proxy.folder().join("root/new"), &path).unwrap();
    assert_eq!(client.exactly(old.len()), old);
    assert_eq!(get(&proxy, "/large", "").text(), "new");
}

#[test]
fn a_file_that_shrinks_breaks_the_response_off() {
    let proxy = start(PLAIN);
    let path = proxy.folder().join("root/large");
    fs::write(&path, vec![b'o'; 64 << 20]).unwrap();
    let mut client = proxy.connect();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until(b"\r\n\r\n").unwrap();
    File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let rest = client.exactly(64 << 20);
    assert!(rest.len() < 64 << 20 && rest.iter().all(|byte| *byte == b'o'), "{}", rest.len());
    assert!(client.is_closed());
    eventually("it is logged", || proxy.access_log().iter().any(|line| line["error"] == "file_unreadable"));
    assert_eq!(get(&proxy, "/a.txt", "").status, 200);
}

#[test]
fn a_gigabyte_goes_through_little_memory() {
    let proxy = start(PLAIN);
    File::create(proxy.folder().join("root/sparse")).unwrap().set_len(1 << 30).unwrap();
    let before = proxy.memory();
    // Slow ones hold little, however many.
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("GET /sparse HTTP/1.1\r\nHost: a\r\n\r\n");
            client.until(b"\r\n\r\n").unwrap();
            client
        })
        .collect();
    let url = format!("http://{}/sparse", proxy.address("web"));
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{size_download} %{http_code}", &url]);
    assert_eq!(String::from_utf8_lossy(&text(&mut curl)), format!("{} 200", 1_u64 << 30));
    let grown = proxy.highest_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    drop(slow);
}

#[test]
fn files_under_way_may_be_bounded() {
    let proxy = start("[[route]]\nname = \"all\"\nfiles = { root = \"root\" }\nmax_in_flight = 1\n");
    File::create(proxy.folder().join("root/sparse")).unwrap().set_len(1 << 30).unwrap();
    let mut slow = proxy.connect();
    slow.send("GET /sparse HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.until(b"\r\n\r\n").unwrap();
    let refused = get(&proxy, "/a.txt", "");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(slow);
    eventually("its place is free", || get(&proxy, "/a.txt", "").status == 200);
}

/// It is held by whoever takes too little of a large file, but not for as long as he likes.
#[test]
fn slow_download_keeps_no_place_of_its_route() {
    let proxy = start(
        "[[route]]\nname = \"all\"\nfiles = { root = \"root\" }\nmax_in_flight = 1\nmin_rate = \"1GiB\"\n",
    );
    File::create(proxy.folder().join("root/sparse")).unwrap().set_len(1 << 30).unwrap();
    let mut slow = proxy.connect();
    slow.send("GET /sparse HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.until(b"\r\n\r\n").unwrap();
    assert_eq!(get(&proxy, "/a.txt", "").status, 503);
    eventually("its place is free", || get(&proxy, "/a.txt", "").status == 200);
    drop(slow);
}

fn text(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn has(program: &str) -> bool {
    let has =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !has {
        skipped(program);
    }
    has
}

#[test]
fn downloads_that_broke_off_are_continued() {
    let proxy = start(PLAIN);
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(proxy.folder().join("root/video.mp4"), &bytes).unwrap();
    let url = format!("http://{}/video.mp4", proxy.address("web"));
    let target = |name: &str| {
        let path = proxy.folder().join(name);
        File::create(&path).unwrap().write_all(&bytes[..400_000]).unwrap();
        path
    };
    let partial = target("by-curl");
    text(Command::new("curl").args(["-sS", "-f", "-C", "-", "-o"]).arg(&partial).arg(&url));
    assert_eq!(fs::read(&partial).unwrap(), bytes);
    // What a player asks for: the end first, where some formats have their index.
    let end = text(Command::new("curl").args(["-sS", "-f", "-r", "-1000", &url]));
    assert_eq!(end, bytes[999_000..]);
    if has("wget") {
        let partial = target("by-wget");
        text(Command::new("wget").args(["-q", "-c", "-O"]).arg(&partial).arg(&url));
        assert_eq!(fs::read(&partial).unwrap(), bytes);
        // Again: there is nothing more, which is 416, and no failure.
        text(Command::new("wget").args(["-q", "-c", "-O"]).arg(&partial).arg(&url));
    }
}

#[test]
fn a_deployment_moves_the_folder_by_a_link() {
    let proxy = start("[[route]]\nname = \"all\"\nfiles = { root = \"current\" }\n");
    assert_eq!(get(&proxy, "/v", "").status, 503, "there is no folder yet");
    let release = |name: &str| {
        let folder = proxy.folder().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("v"), name).unwrap();
        symlink(&folder, proxy.folder().join("next")).unwrap();
        fs::rename(proxy.folder().join("next"), proxy.folder().join("current")).unwrap();
    };
    for name in ["one", "two"] {
        release(name);
        assert_eq!(get(&proxy, "/v", "").text(), name);
    }
}

#[test]
fn apt_updates_from_a_folder() {
    if !has("apt-get") {
        return;
    }
    let proxy = start(PLAIN);
    let root = proxy.folder().join("root/debian");
    fs::create_dir_all(&root).unwrap();
    let packages = "Package: nothing\nVersion: 1\nArchitecture: all\nMaintainer: a <a@a.example>\n\
         Filename: ./nothing_1_all.deb\nSize: 0\n\
         SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nDescription: nothing\n";
    fs::write(root.join("Packages"), packages).unwrap();
    let list = |folder: &Path| {
        for name in ["lists/partial", "archives/partial", "etc"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let source = format!("deb [trusted=yes] http://{}/debian ./\n", proxy.address("web"));
        fs::write(folder.join("etc/sources.list"), source).unwrap();
    };
    let state = proxy.folder().join("apt");
    list(&state);
    let option = |name: &str, path: &str| format!("{name}={}", state.join(path).display());
    let apt = |more: &[&str]| {
        let mut command = Command::new("timeout");
        // On a busy machine apt itself takes longer than what is asked for.
        command.arg((6 * PATIENCE).as_secs().to_string()).args(more);
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "Acquire::Languages=none"]);
        command.args(["-o", "Acquire::AllowInsecureRepositories=true", "-o", "Debug::NoLocking=true"]);
        command.args(["-o", "APT::Sandbox::User=", "-o", "Acquire::http::Proxy=DIRECT"]);
        for (name, path) in [
            ("Dir::Etc::sourcelist", "etc/sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "archives"),
            ("Dir::Cache::archives", "archives"),
        ] {
            command.args(["-o", &option(name, path)]);
        }
        String::from_utf8(text(&mut command)).unwrap()
    };
    apt(&["apt-get", "-q", "update"]);
    let policy = apt(&["apt-cache", "policy", "nothing"]);
    assert!(policy.contains("Candidate: 1"), "{policy}");
    // The second time by If-Modified-Since.
    apt(&["apt-get", "-q", "update"]);
    eventually("it is told that nothing has changed", || {
        proxy.access_log().iter().any(|line| line["status"] == 304)
    });
}

#[test]
fn what_is_no_file_goes_to_the_upstream_behind_it() {
    let origin = Origin::named("the program");
    let route = "[[route]]\nname = \"all\"\nfiles = { root = \"root\", cache_control = \"max-age=60\" }\nupstream = \"u\"\n";
    let upstream =
        format!("[[upstream]]\nname = \"u\"\n[[upstream.backend]]\naddress = \"{}\"\n", origin.address());
    let proxy = start(&format!("{route}{upstream}"));
    let file = get(&proxy, "/a.txt", "Range: bytes=2-3\r\n");
    assert_eq!((file.status, &*file.text(), file.header("cache-control")), (206, "23", Some("max-age=60")));
    assert_eq!(get(&proxy, "/", "").text(), "<p>home</p>");
    assert_eq!(get(&proxy, "/sub", "").header("location"), Some("/sub/"));
    assert!(origin.requests().is_empty());
    // What is not there, what is hidden, and what leads out of the folder is the upstream's to answer.
    for path in ["/users/7?x=1", "/.env", "/out"] {
        assert_eq!(get(&proxy, path, "").text(), "the program", "{path}");
    }
    assert_eq!(origin.requests()[0].target, "/users/7?x=1");
    // So are methods that no file answers, with their bodies, and an upgrade.
    let posted = ask(&proxy, "POST", "/a.txt", "Content-Length: 0\r\n");
    assert_eq!((posted.status, &*posted.text()), (200, "the program"));
    let key = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(get(&proxy, "/a.txt", key).text(), "the program");
    // What curl offers with `--http2` is no reason.
    let offer =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    assert_eq!(get(&proxy, "/a.txt", offer).text(), "0123456789");
    let explain = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let command = command.args(["explain", "--config"]).arg(proxy.folder().join("pointsman.toml"));
        let output = command.args(["GET", &format!("http://a.example{path}")]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(explain("/a.txt").contains("root/a.txt"), "{}", explain("/a.txt"));
    assert!(!explain("/a.txt").contains("\n    to "), "{}", explain("/a.txt"));
    let other = explain("/users/7");
    assert!(other.contains("looks for") && other.contains("; otherwise it goes on"), "{other}");
    assert!(other.contains(&origin.address().to_string()), "{other}");
}
