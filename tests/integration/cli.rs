//! The command line: what each verb prints, where, and the exit status that it promises.

use std::{
    fs,
    net::TcpListener,
    ops::Deref,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    InTime, Origin, Proxy,
    proxy::{config, folder},
};

/// What a verb left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn pointsman(arguments: &[&str]) -> Ended {
    pointsman_in(Path::new("/"), arguments)
}

pub fn pointsman_in(folder: &Path, arguments: &[&str]) -> Ended {
    pointsman_with(folder, &[], arguments)
}

pub fn pointsman_with(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env_remove("POINTSMAN_ADMIN").env_remove("POINTSMAN_TOKEN").envs(variables.iter().copied());
    let output = command.in_time().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder that is gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(folder())
    }

    /// A file of this text in it.
    fn file(&self, text: &str) -> String {
        let file = self.join("test.toml");
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Three things are wrong here, each in a line of its own.
const BROKEN: &str = "\
[[listener]]
name = \"web\"
address = \"nowhere\"
[[route]]
name = \"all\"
upstream = \"ap\"
[[upstream]]
name = \"app\"
conect_timeout = \"2s\"
backend = [{ address = \"127.0.0.1:9\" }]
";

const PLACES: [(u64, u64); 3] = [(3, 11), (6, 12), (9, 1)];

#[test]
fn a_good_configuration_is_confirmed_and_nothing_is_opened() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = config(&["127.0.0.1:9".parse().unwrap()], "");
    let path = folder.file(&text.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string()));
    let ended = pointsman(&["check", "--config", &path]);
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("OK: 1 listener, 1 route, 1 upstream, 1 backend"), "{ended:?}");
    let ended = pointsman(&["check", "--format", "json", "--config", &path]);
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.json(), serde_json::json!({"ok": true, "problems": [], "notes": []}));
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let folder = Folder::new();
    let path = folder.file(BROKEN);
    let ended = pointsman(&["check", "--config", &path]);
    assert_eq!((ended.status, ended.err.as_str()), (Some(2), ""));
    for (line, column) in PLACES {
        assert!(ended.out.contains(&format!("{path}:{line}:{column}: ")), "{line}:{column}: {}", ended.out);
    }
    assert!(ended.out.ends_with("3 problems\n") && !ended.out.contains("good"), "{}", ended.out);
    assert!(ended.out.contains("connect_timeout") && ended.out.contains("`app`"), "hints: {}", ended.out);

    let ended = pointsman(&["check", "--format", "json", "--config", &path]);
    let report = ended.json();
    assert_eq!((ended.status, &report["ok"]), (Some(2), &Value::Bool(false)));
    let problems = report["problems"].as_array().unwrap();
    let places = problems.iter().map(|it| (it["line"].as_u64().unwrap(), it["column"].as_u64().unwrap()));
    assert_eq!(places.collect::<Vec<_>>(), PLACES);
    assert!(problems.iter().all(|it| it["file"] == *path && !it["message"].as_str().unwrap().is_empty()));
}

#[test]
fn what_is_no_toml_is_a_problem_with_a_place() {
    let folder = Folder::new();
    let path = folder.file("[[listener]]\nname = \n");
    let ended = pointsman(&["check", "--config", &path]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.out.contains(&format!("{path}:2:")), "{}", ended.out);
}

#[test]
fn run_reports_the_same_problems_and_does_not_start() {
    let folder = Folder::new();
    let path = folder.file(BROKEN);
    let checked = pointsman(&["check", "--config", &path]).out;
    let ended = pointsman(&["run", "--config", &path]);
    assert_eq!((ended.status, ended.out.as_str()), (Some(2), ""));
    assert_eq!(ended.err.trim_end(), checked.trim_end().strip_suffix("3 problems").unwrap().trim_end());
    assert!(!ended.err.contains("listening"));
}

#[test]
fn a_missing_file_is_reported_by_name() {
    let folder = Folder::new();
    for verb in [&["run"][..], &["check"], &["explain", "GET", "/"]] {
        let named = pointsman_in(&folder, &[verb, &["--config", "nowhere.toml"]].concat());
        assert_eq!((named.status, named.out.as_str()), (Some(2), ""), "{verb:?}");
        assert!(named.err.contains("nowhere.toml") && !named.err.contains("panicked"), "{}", named.err);
    }
    // A folder is there and is no file.
    for verb in ["run", "check"] {
        let ended = pointsman_in(&folder, &[verb, "--config", "."]);
        assert_eq!(ended.status, Some(2));
        assert!(!(ended.out + &ended.err).contains("panicked"));
    }
}

#[test]
fn the_default_file_is_found() {
    let folder = Folder::new();
    fs::create_dir(folder.join("config")).unwrap();
    fs::write(folder.join("config/pointsman.toml"), BROKEN).unwrap();
    let ended = pointsman_in(&folder, &["check"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.out.contains("config/pointsman.toml:3:11: "), "{}", ended.out);
}

#[test]
fn an_address_in_use_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = config(&["127.0.0.1:9".parse().unwrap()], "").replace("127.0.0.1:0", &address);
    let ended = pointsman(&["run", "--config", &folder.file(&text)]);
    assert_eq!(ended.status, Some(1));
    for part in ["test.toml:7:11: listener `web`: cannot listen on ", &address, "in use", "  hint: "] {
        assert!(ended.err.contains(part), "{}", ended.err);
    }
    assert!(!ended.err.contains("listening\""), "{}", ended.err);

    let text = config(&["127.0.0.1:9".parse().unwrap()], &format!("[admin]\naddress = \"{address}\"\n"));
    let ended = pointsman(&["run", "--config", &folder.file(&text)]);
    assert_eq!(ended.status, Some(1));
    let last = ended.err.lines().last().unwrap();
    assert!(last.contains("admin") && last.contains(&address) && last.contains("in use"), "{last}");
}

#[test]
fn explain_names_route_upstream_and_backends() {
    let folder = Folder::new();
    let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
                [[route]]\nname = \"api\"\npaths = [\"/api/*\"]\nupstream = \"app\"\n\
                [[upstream]]\nname = \"app\"\n\
                [[upstream.backend]]\nname = \"one\"\naddress = \"127.0.0.1:9\"\n\
                [[upstream.backend]]\nname = \"two\"\naddress = \"127.0.0.1:10\"\nweight = 0\n";
    let path = folder.file(text);
    let ended = pointsman(&["explain", "--config", &path, "GET", "http://a/api/x", "-H", "X-A: b"]);
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
    for part in ["listener web", "route api", "upstream app (round-robin)", "one", "two", "pick: one"] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    assert!(!ended.out.contains("pick: two"));
    let json = ["explain", "--format", "json", "--config", &path];
    let ended = pointsman(&[&json[..], &["GET", "/api/x"]].concat());
    assert_eq!((ended.status, &ended.json()["routed"]), (Some(0), &Value::Bool(true)));
    let ended = pointsman(&[&json[..], &["GET", "/other"]].concat());
    assert_eq!((ended.status, &ended.json()["routed"]), (Some(3), &Value::Bool(false)));

    let ended = pointsman(&["explain", "--config", &path, "GET", "http://a/other"]);
    assert_eq!(ended.status, Some(3));
    assert!(ended.out.contains("no route") && !ended.out.contains("pick:"), "{}", ended.out);
    for wrong in [&["GET", "/", "-H", "no colon"][..], &["GET", "/", "--from", "nobody"], &["GET"]] {
        let ended = pointsman(&[&["explain", "--config", &path], wrong].concat());
        assert_eq!((ended.status, ended.out.as_str()), (Some(2), ""), "{wrong:?}");
    }
}

#[test]
fn schema_completions_and_manual_are_printed() {
    let ended = pointsman(&["schema"]);
    let schema = ended.json();
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
    for key in ["listener", "route", "upstream", "admin", "log", "runtime"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    for (shell, part) in [("bash", "complete -F"), ("zsh", "#compdef pointsman"), ("fish", "complete -c")] {
        let ended = pointsman(&["completions", shell]);
        assert_eq!(ended.status, Some(0));
        assert!(ended.out.contains(part) && ended.out.contains("healthcheck"), "{shell}");
    }
    assert_eq!(pointsman(&["completions", "cmd"]).status, Some(2));
    let ended = pointsman(&["man"]);
    assert_eq!(ended.status, Some(0));
    assert!(ended.out.contains(".TH pointsman 1") && ended.out.contains(".SH CHECK"), "{}", ended.out);
}

#[test]
fn the_completions_are_good_bash() {
    let folder = Folder::new();
    let path = folder.file(&pointsman(&["completions", "bash"]).out);
    let Ok(output) = Command::new("bash").args(["-n", &path]).output() else {
        return crate::support::skipped("bash");
    };
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn certificates_are_private_and_good_for_the_example() {
    let folder = Folder::new();
    let ended = pointsman_in(&folder, &["certificates", "certs"]);
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""));
    for (name, mode) in [("ca.pem", 0o644), ("demo.pem", 0o644), ("demo.key", 0o600), ("client.key", 0o600)] {
        assert!(ended.out.contains(&format!("certs/{name}\n")), "{}", ended.out);
        let found = fs::metadata(folder.join("certs").join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o077 & !mode, 0, "{name}");
        assert!(mode != 0o600 || found & 0o777 == 0o600, "{name}: {found:o}");
    }
    fs::create_dir(folder.join("config")).unwrap();
    for example in ["tls.toml", "mtls.toml", "peers.toml"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(example);
        fs::copy(source, folder.join("config").join(example)).unwrap();
        let path = format!("config/{example}");
        let ended = pointsman_in(&folder, &["check", "--config", &path]);
        assert_eq!(ended.status, Some(0), "{}", ended.out);
    }
    // Without them it is not good, and says which files it looked for.
    fs::remove_dir_all(folder.join("certs")).unwrap();
    let ended = pointsman_in(&folder, &["check", "--config", "config/tls.toml"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.out.contains("demo.pem") && ended.out.contains("demo.key"), "{}", ended.out);
    // A file is where the folder would be.
    fs::write(folder.join("certs"), "").unwrap();
    let ended = pointsman_in(&folder, &["certificates", "certs"]);
    assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains("certs") && !ended.err.contains("panicked"), "{}", ended.err);
}

#[test]
fn healthcheck_says_whether_a_proxy_is_ready() {
    let origin = Origin::named("hello");
    let proxy = Proxy::start(&config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n"));
    let admin = format!("http://{}", proxy.address("admin"));
    // It waits for two seconds at each step, which on a busy machine may be too few.
    let until_ready = |arguments: &[&str]| {
        let mut ended = pointsman(arguments);
        for _ in 0..4 {
            if ended.status != Some(0) {
                ended = pointsman(arguments);
            }
        }
        ended
    };
    let ended = until_ready(&["healthcheck", "--admin", admin.as_str()]);
    assert_eq!((ended.status, ended.out.as_str(), ended.err.as_str()), (Some(0), "ready\n", ""));
    // As the configuration says, of a container for one.
    let file = proxy.folder().join("asked.toml");
    fs::write(&file, format!("[admin]\naddress = \"{}\"\n", proxy.address("admin"))).unwrap();
    let ended = until_ready(&["healthcheck", "--config", file.to_str().unwrap()]);
    assert_eq!((ended.status, ended.out.as_str(), ended.err.as_str()), (Some(0), "ready\n", ""));
    drop(proxy);
    let ended = pointsman(&["healthcheck", "--admin", &admin]);
    assert_eq!((ended.status, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.contains(&admin), "{}", ended.err);
    assert_eq!(pointsman(&["healthcheck", "--admin", "nonsense"]).status, Some(1));
}

#[test]
fn every_verb_has_help_and_an_unknown_one_is_refused() {
    let all = pointsman(&["--help"]);
    assert_eq!((all.status, all.err.as_str()), (Some(0), ""));
    let verbs = "run check demo explain certificates healthcheck status reload drain enable disable weight \
                 upgrade schema completions man";
    for verb in verbs.split(' ') {
        assert!(all.out.contains(&format!("\n  {verb} ")), "{verb} is not listed");
        let ended = pointsman(&[verb, "--help"]);
        assert_eq!((ended.status, ended.err.as_str()), (Some(0), ""), "{verb}");
        assert!(ended.out.contains(&format!("Usage: pointsman {verb}")), "{}", ended.out);
    }
    let version = pointsman(&["--version"]);
    assert_eq!(version.out, format!("pointsman {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in [&["chekc"][..], &[], &["run", "--no-such"], &["check", "--format", "xml"]] {
        let ended = pointsman(wrong);
        assert_eq!((ended.status, ended.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!ended.err.is_empty());
    }
    assert!(pointsman(&["chekc"]).err.contains("check"), "a hint at what was meant");
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    for verb in ["schema", "man"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .arg(verb)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{verb}");
    }
}

/// As of a disk that is full: a script that goes on would have half a file.
#[test]
fn what_cannot_be_printed_is_a_failure() {
    let folder = Folder::new();
    let file = &folder.file(&config(&["127.0.0.1:9".parse().unwrap()], ""));
    for arguments in [
        &["schema"][..],
        &["man"],
        &["completions", "bash"],
        &["check", "--config", file],
        &["explain", "http://a/", "--config", file],
        &["cache", "generate", "zipf", "--requests", "10"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.args(arguments).stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{arguments:?}: {said}");
        // Whoever has read enough is no failure.
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let status = command.args(arguments).stdin(Stdio::null()).stdout(pipe).status().unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}
