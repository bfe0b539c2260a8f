//! The access log and the log: their formats, where they go, and that no client writes in them.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::{
    collapse::metric,
    support::{
        Client, Origin, Proxy, Reply, eventually,
        proxy::{config, folder},
    },
};

/// A proxy whose access log goes to the file `access.log`, with these options of `[log]`.
fn to_a_file(origin: &Origin, options: &str) -> Proxy {
    let text = config(&[origin.address()], "");
    Proxy::start(&text.replace("[log]\n", &format!("[log]\naccess = \"access.log\"\n{options}\n")))
}

fn lines(proxy: &Proxy, file: &str) -> Vec<String> {
    let text = fs::read_to_string(proxy.folder().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for a line with this text.
fn line(proxy: &Proxy, file: &str, text: &str) -> String {
    let mut found = None;
    eventually(&format!("a line with {text}"), || {
        found = lines(proxy, file).into_iter().find(|line| line.contains(text));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn common_and_combined_are_as_others_read_them() {
    let origin = Origin::named("hello");
    for (format, tail) in [("common", ""), ("combined", " \"http://from.test/\" \"me/1.0\"")] {
        let proxy = to_a_file(&origin, &format!("access_format = \"{format}\""));
        let mut client = proxy.connect();
        client.get_with("/a?b=c", "a", "Referer: http://from.test/\r\nUser-Agent: me/1.0\r\n");
        let line = line(&proxy, "access.log", "/a?b=c");
        let pattern = format!(
            r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{{4}}:\d\d:\d\d:\d\d [+-]\d{{4}}\] "GET /a\?b=c HTTP/1\.1" 200 5{}$"#,
            regex::escape(tail)
        );
        assert!(regex::Regex::new(&pattern).unwrap().is_match(&line), "{line}");
        client.get("/bare");
        let bare = self::line(&proxy, "access.log", "/bare");
        assert_eq!(bare.ends_with("200 5 \"-\" \"-\""), format == "combined", "{bare}");
    }
}

#[test]
fn json_has_every_field_and_each_request_one_line() {
    let origin = Origin::named("hello");
    let proxy = to_a_file(&origin, "");
    let mut client = proxy.connect();
    for number in 0..100 {
        client.get(&format!("/{number}"));
    }
    eventually("all lines are there", || lines(&proxy, "access.log").len() == 100);
    for (number, line) in lines(&proxy, "access.log").iter().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["target"], format!("/{number}"));
        for field in
            ["time", "level", "listener", "client", "method", "scheme", "host", "protocol", "request_id"]
        {
            assert!(line[field].is_string(), "{field}");
        }
        for field in ["status", "bytes_in", "bytes_out", "duration_ms", "response_ms", "attempts"] {
            assert!(line[field].is_number(), "{field}");
        }
    }
    assert!(proxy.access_log().is_empty(), "nothing on standard output");
}

#[test]
fn no_client_forges_a_line() {
    let origin = Origin::named("hello");
    let forged = "\"}\\n{\\\"status\\\":200} \x7f\u{e9}\t\\x0a\" 200 5";
    let escaped = regex::Regex::new(r#"\\."#).unwrap();
    for format in ["json", "common", "combined"] {
        let proxy = to_a_file(&origin, &format!("access_format = \"{format}\""));
        let mut client = proxy.connect();
        for target in ["/1%0d%0aforged", "/2\"quoted\"", "/3\\n", "/4?a=\"b\""] {
            let _ = client.try_send(format!(
                "GET {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: x{forged}\r\nReferer: y{forged}\r\n\r\n"
            ));
            if client.response("GET").header("connection").is_some() {
                client = proxy.connect();
            }
        }
        client = proxy.connect();
        client.get("/last");
        line(&proxy, "access.log", "/last");
        let all = lines(&proxy, "access.log");
        assert!(all.len() <= 5, "{all:?}");
        for line in &all {
            assert!(
                line.bytes().all(|byte| (0x20..0x7f).contains(&byte) || (format == "json" && byte >= 0x80)),
                "{line:?}"
            );
            match format {
                "json" => {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    if let Some(agent) = line["user_agent"].as_str() {
                        assert!(agent.starts_with("x\"}\\n"), "{agent}");
                    }
                }
                _ => {
                    // Quotes that are not escaped are those of the format itself.
                    let quotes = escaped.replace_all(line, "").matches('"').count();
                    assert_eq!(quotes, if format == "common" { 2 } else { 6 }, "{line}");
                }
            }
        }
    }
}

#[test]
fn sigusr1_replaces_a_moved_log_without_losing_lines() {
    let origin = Origin::named("hello");
    let proxy = to_a_file(&origin, "");
    let mut client = proxy.connect();
    client.get("/before");
    line(&proxy, "access.log", "/before");
    fs::rename(proxy.folder().join("access.log"), proxy.folder().join("access.log.1")).unwrap();
    client.get("/between");
    line(&proxy, "access.log.1", "/between");
    assert!(!proxy.folder().join("access.log").exists());
    proxy.signal("USR1");
    eventually("the file is there again", || proxy.folder().join("access.log").exists());
    client.get("/after");
    line(&proxy, "access.log", "/after");
    let targets = |file| lines(&proxy, file).len();
    assert_eq!((targets("access.log.1"), targets("access.log")), (2, 1));
}

#[test]
fn off_is_off_and_the_level_holds() {
    let origin = Origin::start(|_| Reply::Close(Vec::new()));
    let text = config(&[origin.address()], "[upstream.outlier]\nconsecutive_failures = 1\n");
    let mut proxy = Proxy::start(&text.replace("[log]\n", "[log]\naccess = \"off\"\n"));
    proxy.get("/");
    proxy.signal("TERM");
    proxy.wait();
    assert!(proxy.access_log().is_empty());
    assert!(proxy.log().iter().any(|line| line.contains("\"INFO\"")));

    // Without `info` the addresses are not logged, so the port is chosen here.
    let folder = folder();
    let port = crate::support::free().port();
    let text = text
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
        .replace("[log]\n", "[log]\nlevel = \"warn\"\naccess = \"off\"\n");
    fs::write(folder.join("pointsman.toml"), text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["run", "--config"])
        .arg(folder.join("pointsman.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Client::connect(([127, 0, 0, 1], port).into()).get("/");
    let mut error = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = error.next().unwrap().unwrap();
    assert!(first.contains("\"WARN\"") && first.contains("backend is ejected"), "{first}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(error.map_while(Result::ok).all(|line| !line.contains("\"INFO\"")));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_proxy() {
    let origin = Origin::named("hello");
    let folder = folder();
    fs::write(folder.join("pointsman.toml"), config(&[origin.address()], "")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["run", "--config"])
        .arg(folder.join("pointsman.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut error = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = error
        .find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            line["address"].as_str()?.parse().ok()
        })
        .unwrap();
    // Both of its outputs are pipes whose readers are gone.
    drop(child.stdout.take());
    drop(error);
    let mut client = Client::connect(address);
    for _ in 0..2000 {
        assert_eq!(client.get("/a-target-that-is-long-enough-to-fill-a-buffer-soon").status, 200);
    }
    let status = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    for _ in 0..100 {
        assert_eq!(client.get("/after-a-line-of-the-log").status, 200);
    }
    assert!(child.try_wait().unwrap().is_none());
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    drop(client);
    eventually("it ends well", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    fs::remove_dir_all(folder).unwrap();
}

/// As of a disk that is full.
#[test]
fn lines_that_no_file_takes_are_counted_and_told_of() {
    let (origin, folder) = (Origin::named("hello"), folder());
    let text = config(&[origin.address()], "---\n[admin]\naddress = \"127.0.0.1:0\"\n");
    let text = text.replace("[log]\n", "[log]\naccess = \"access.log\"\n");
    let mut command = Command::new("sh");
    // Some kilobytes. What is beyond that is an error, and a signal that ends a program by default.
    command.args(["-c", "ulimit -f 8 && exec \"$0\" run --config \"$1\""]).stdin(Stdio::null());
    command.arg(env!("CARGO_BIN_EXE_pointsman")).arg(folder.join("pointsman.toml"));
    let proxy = Proxy::start_by(command, folder, &text);
    let mut client = proxy.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/a-target-that-is-long-enough-to-fill-a-file-soon").status, 200);
    }
    proxy.until_logged("the access log cannot be written to", 1);
    eventually("they are counted", || metric(&proxy, "pointsman_access_log_dropped_total") > 0);
    // The last line that fits in part is torn.
    let lines = lines(&proxy, "access.log");
    let whole = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(lines.iter().take(lines.len() - 1).all(whole), "{lines:?}");
}
