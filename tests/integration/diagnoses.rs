//! What is said of a start or a reload that fails: in which form, at which place, and how often.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, Proxy,
    proxy::{config, folder},
};

/// What a start says that fails, and its status.
fn failing(folder: &Path, text: &str) -> (String, Option<i32>) {
    let file = folder.join("pointsman.toml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("timeout");
    let command = command.args(["20", env!("CARGO_BIN_EXE_pointsman"), "run", "--config"]).arg(file);
    let output = command.output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_start_that_fails_follows_the_log_format() {
    let (origin, folder) = (Origin::named("hello"), folder());
    let good = config(&[origin.address()], "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = good.replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let broken = good.replace("upstream = \"u\"\n[[upstream]]", "upstream = \"x\"\n[[upstream]]");
    for (text, status, part) in [
        (&busy, Some(1), "cannot listen on"),
        (&broken, Some(2), "there is no upstream `x`"),
        (&format!("{good}\n[nonsense"), Some(2), "nonsense"),
    ] {
        let (said, ended) = failing(&folder, text);
        assert_eq!(ended, status, "{said}");
        let last = said.lines().last().unwrap();
        let line: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(line["level"], "ERROR");
        let message = line["message"].as_str().unwrap();
        assert!(message.contains(part) && message.contains("pointsman.toml:"), "{message}");
        let (said, ended) = failing(&folder, &text.replace("format = \"json\"", "format = \"text\""));
        assert_eq!(ended, status, "{said}");
        assert!(said.contains(part) && !said.contains("{\"level\""), "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_without_use_is_told_with_its_line() {
    let (origin, folder) = (Origin::named("hello"), folder());
    fs::write(folder.join("file"), "").unwrap();
    for key in ["disk", "journal"] {
        let cache = format!(
            "---\n[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\nwrite_policy = \"back\"\n\
             write_back = {{ networks = [\"10.0.0.0/8\"] }}\njournal = {{ path = \"journal\" }}\n{key}.path = \"file/within\"\n{}",
            if key == "disk" { "disk.size = \"64MiB\"\n" } else { "" }
        );
        let cache = match key {
            "journal" => cache.replace("journal = { path = \"journal\" }\n", ""),
            _ => cache,
        };
        let text = config(&[origin.address()], &cache).replacen("format = \"json\"", "format = \"text\"", 1);
        let text = text.replacen("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"pages\"\n", 1);
        let line = text.lines().position(|line| line.starts_with(&format!("{key}.path"))).unwrap() + 1;
        let (said, ended) = failing(&folder, &text);
        assert_eq!(ended, Some(1), "{said}");
        let place = format!("pointsman.toml:{line}:");
        assert!(said.contains(&place) && said.contains(&format!("cannot open the {key} of cache")), "{said}");
    }
    let text = config(&[origin.address()], "").replacen(
        "format = \"json\"",
        "format = \"text\"\naccess = \"/proc/self/nothing.log\"",
        1,
    );
    let (said, ended) = failing(&folder, &text);
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("pointsman.toml:5:") && said.contains("hint: create the folder"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_bad_file_counts_once_and_keeps_its_time() {
    let origin = Origin::named("hello");
    let admin = "---\n[admin]\naddress = \"127.0.0.1:0\"\n";
    let good = config(&[origin.address()], admin);
    let proxy = Proxy::start(&good);
    let ask = |path: &str| Client::connect(proxy.address("admin")).get_with(path, "localhost", "").text();
    let failed = || {
        let metrics = ask("/metrics");
        let line =
            metrics.lines().find(|it| it.starts_with("pointsman_config_reloads_total{result=\"failure\""));
        line.unwrap_or_else(|| panic!("{metrics}")).split(' ').next_back().unwrap().to_owned()
    };
    let at = || {
        let status: serde_json::Value = serde_json::from_str(&ask("/api/v1/status")).unwrap();
        status["last_reload"]["at"].as_str().unwrap().to_owned()
    };
    let bad = format!("{good}nonsense = 1\n");
    proxy.edit(&bad);
    proxy.until_logged("configuration refused", 1);
    let first = at();
    // The same is written again, and tried again.
    for _ in 0..3 {
        proxy.edit(&bad);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(400) {
            assert_eq!(proxy.get("/").status, 200);
        }
    }
    assert_eq!((failed(), at()), ("1".to_owned(), first));
    // Another one with the same fault is another.
    proxy.edit(&format!("# again\n{bad}"));
    proxy.until_logged("configuration refused", 2);
    assert_eq!(failed(), "2");
    proxy.edit(&format!("# good\n{good}"));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(failed(), "2");
}
