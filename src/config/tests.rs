//! Example files are good, broken files get exactly the diagnosis that is beside them, the
//! reference is up to date, and nothing that is read makes the reader panic.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    balance::conf::Policy,
    schema::{Node, Problem},
    tls::demo::demo_certificates,
};

/// A folder with copies of `config/` and `tests/broken/`, and certificates where they look for them;
/// gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("pointsman-{test}-{}", std::process::id());
        let folder = env::temp_dir().join(name);
        for name in ["config", "config/conf.d", "config/examples", "tests/broken", "tests/broken/included"] {
            let target = folder.join(name);
            fs::create_dir_all(&target).unwrap();
            for (file, text) in files(Path::new(name)) {
                fs::write(target.join(file.file_name().unwrap()), text).unwrap();
            }
        }
        fs::create_dir_all(folder.join("config/pages")).unwrap();
        for page in ["404.html", "sorry.html"] {
            fs::copy(Path::new("config/pages").join(page), folder.join("config/pages").join(page)).unwrap();
        }
        demo_certificates(&folder.join("certs")).unwrap();
        demo_certificates(&folder.join("tests/certs")).unwrap();
        fs::write(folder.join("tests/certs/blank"), " \n").unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        fs::write(folder.join("tests/certs/broken.pem"), broken).unwrap();
        Self(folder)
    }

    fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_to_the_system = fs::remove_dir_all(&self.0);
    }
}

/// The TOML files of a folder with their text, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_example_is_good() {
    let folder = Folder::new("examples");
    let examples = files(Path::new("config"));
    let programs = files(Path::new("config/examples"));
    assert!(examples.len() >= 7 && programs.len() >= 12);
    for (path, _) in examples.into_iter().chain(programs) {
        if let Err(problems) = load(&folder.join(&path)) {
            panic!("{problems}");
        }
    }
}

#[test]
fn the_default_file_has_two_backends_and_every_listener() {
    let config = load(Path::new("config/pointsman.toml")).unwrap();
    assert_eq!(config.route[0].listeners, ["web"]);
    assert_eq!(config.upstream[0].backend.len(), 2);
    assert_eq!(config.upstream[0].retry.on.len(), 5);
}

/// `UPDATE_DOCS=1 cargo test every_policy_has_an_example` adds those that are missing.
#[test]
fn every_policy_has_an_example() {
    let path = Path::new("config/balancing.toml");
    let config = load(path).unwrap();
    let is_missing = |policy: &Policy| !config.upstream.iter().any(|upstream| upstream.balance == *policy);
    let missing: String = Policy::ALL
        .iter()
        .filter(|(policy, ..)| is_missing(policy))
        .map(|(_, name, doc)| {
            format!(
                "\n# {doc}\n[[route]]\nname = \"{name}\"\npaths = [\"/{name}/*\"]\nupstream = \"{name}\"\n\n\
                 [[upstream]]\nname = \"{name}\"\nbalance = \"{name}\"\n\n\
                 [[upstream.backend]]\nname = \"a\"\naddress = \"127.0.0.1:8081\"\n\n\
                 [[upstream.backend]]\nname = \"b\"\naddress = \"127.0.0.1:8082\"\n"
            )
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    assert!(env::var_os("UPDATE_DOCS").is_some(), "without an example in {path:?}:{missing}");
    fs::write(path, fs::read_to_string(path).unwrap() + &missing).unwrap();
}

/// `UPDATE_BROKEN=1 cargo test broken` writes the expectations anew; read every one before committing.
#[test]
fn broken_files_get_exactly_the_expected_diagnosis() {
    let folder = Folder::new("broken");
    let broken = files(Path::new("tests/broken"));
    assert!(broken.len() >= 60, "only {} broken files", broken.len());
    let mut wrong = Vec::new();
    for (path, _) in broken {
        let file = folder.join(&path);
        let (text, status) = check_report(&file, &load(&file), CheckFormat::Text);
        // Certificates are in a temporary folder, of which nothing must be seen.
        let text = text.replace(&format!("{}/", folder.0.display()), "");
        assert_eq!(status, 2, "{} is taken for good", path.display());
        // The admin API shows the same, but for what is only this program's affair.
        for problem in load(&folder.join(&path)).unwrap_err().0 {
            let shown = Problem { is_lacking: false, ..problem.clone() };
            assert_eq!(Problem::from_json(&problem.to_json()), Some(shown));
        }
        let expected = path.with_extension("expected");
        if env::var_os("UPDATE_BROKEN").is_some() {
            fs::write(&expected, &text).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if text != wanted {
            wrong.push(format!("{}\n--- wanted\n{wanted}--- got\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `UPDATE_DOCS=1 cargo test reference` writes `docs/configuration.md` anew.
#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new("docs/configuration.md");
    for (_, name, about) in crate::balance::conf::Policy::ALL {
        assert!(reference().contains(&format!("`{name}`:{about}")), "{name} is not explained");
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all("docs").unwrap();
        fs::write(path, reference()).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == reference(), "run `UPDATE_DOCS=1 cargo test reference`");
}

#[test]
fn the_schema_refuses_unknown_keys_and_has_defaults() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let upstream = &schema["properties"]["upstream"]["items"]["properties"];
    assert_eq!(upstream["balance"]["default"], "round-robin");
    assert_eq!(upstream["balance"]["enum"].as_array().unwrap().len(), Policy::ALL.len());
    assert_eq!(upstream["retry"]["properties"]["attempts"]["maximum"], 100);
    assert_eq!(schema["properties"]["runtime"]["additionalProperties"], false);
}

#[test]
fn the_schema_has_shared_tables() {
    let schema = schema();
    let defaults = &schema["properties"]["defaults"]["properties"];
    assert_eq!(defaults["route"]["properties"]["timeout"]["default"], "0s");
    assert!(defaults["route"]["properties"].get("upstream").is_none());
    assert_eq!(defaults["upstream"]["required"], serde_json::json!([]));
    let policy = &schema["properties"]["policy"]["items"];
    assert_eq!(policy["required"], serde_json::json!(["name"]));
    assert!(policy["properties"].get("hosts").is_none() && policy["properties"].get("limits").is_some());
    // `false` takes away what can be absent, and nothing else.
    let upstream = &schema["properties"]["upstream"]["items"]["properties"];
    assert_eq!(upstream["health_check"]["type"], serde_json::json!(["object", "boolean"]));
    assert_eq!(
        upstream["health_check"]["not"],
        serde_json::json!({"const": true}),
        "`true` takes nothing away"
    );
    let scheme = &schema["properties"]["route"]["items"]["properties"]["scheme"]["enum"];
    assert_eq!(*scheme, serde_json::json!(["http", "https", false]));
    assert_eq!(upstream["name"]["type"], "string");
    assert!(upstream["name"].get("not").is_none());
    assert_eq!(policy["properties"]["cache"]["type"], serde_json::json!(["string", "boolean"]));
}

/// The schema and the reader agree on the examples and on what is unknown in them.
#[test]
fn every_key_of_the_examples_is_in_the_schema() {
    fn walk(node: &Node, schema: &serde_json::Value, file: &Path) {
        for entry in node.entries() {
            if let Some(properties) = schema.get("properties") {
                let inner = properties.get(&entry.key);
                assert!(inner.is_some(), "{}: {}", file.display(), entry.key);
                walk(&entry.node, inner.unwrap(), file);
            }
        }
        for item in node.items() {
            walk(item, &schema["items"], file);
        }
    }
    for (path, text) in files(Path::new("config")) {
        let (root, _) = Node::parse(std::str::from_utf8(&text).unwrap());
        walk(&root, &schema(), &path);
    }
}

/// Every default and every bound in every row is TOML that the row's own type takes, within the range.
#[test]
fn defaults_written_out_are_the_defaults() {
    fn write(path: &str, rows: &[crate::schema::Row], text: &mut String) {
        for row in rows.iter().filter(|row| !row.later && row.nested.is_none()) {
            if let Some(default) = row.key.default {
                text.push_str(&format!("{path}{} = {default}\n", row.key.name));
            }
        }
        for row in rows.iter().filter(|row| !row.later) {
            if let Some(nested) = row.nested.as_ref().filter(|nested| !nested.repeated && !row.required) {
                let optional = [
                    "admin",
                    "sticky",
                    "tls",
                    "rewrite",
                    "health_check",
                    "redirect",
                    "respond",
                    "files",
                    "disk",
                    "journal",
                ];
                if !optional.contains(&row.key.name) {
                    write(&format!("{path}{}.", row.key.name), &nested.rows, text);
                }
            }
        }
    }
    let minimal = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\nPLACE_L\n[[upstream]]\nname = \"u\"\nPLACE_U\n[[upstream.backend]]\naddress = \"h:1\"\n[[route]]\nname = \"r\"\nupstream = \"u\"\nPLACE_R\n[[cache]]\nname = \"c\"\nPLACE_C\n";
    let rows = |name: &str| {
        let all = <Config as crate::schema::Section>::rows();
        all.into_iter().find(|row| row.key.name == name).unwrap().nested.unwrap().rows
    };
    let mut full = minimal.to_owned();
    let tables =
        [("PLACE_L", "listener"), ("PLACE_U", "upstream"), ("PLACE_R", "route"), ("PLACE_C", "cache")];
    for (mark, name) in tables {
        let mut text = String::new();
        write("", &rows(name), &mut text);
        // These are for other policies than the default, and of tables that need a name.
        let text: Vec<&str> = text
            .lines()
            .filter(|line| {
                !["hash_on = ", "write_back.", "mirror."].iter().any(|other| line.starts_with(other))
            })
            .collect();
        full = full.replace(mark, &(text.join("\n") + "\n"));
    }
    let bare = tables.iter().fold(minimal.to_owned(), |text, (mark, _)| text.replace(mark, ""));
    let file = Path::new("x.toml");
    let full = parse(&full, file).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(full, parse(&bare, file).unwrap());
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_too() {
    let missing = load(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.toml: there is no file no/such.toml"), "{missing}");
    let folder = load(Path::new("config")).unwrap_err().to_string();
    assert!(folder.contains("is a folder"), "{folder}");
}

/// Nobody writes into it: who opened it as a file would wait for ever, with the reloads or the place of a check.
#[test]
fn a_pipe_instead_of_a_file_is_a_problem() {
    let folder = env::temp_dir().join(format!("pointsman-pipes-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let made = crate::sync::children::begin(|| {
        std::process::Command::new("mkfifo").arg(folder.join("pipe")).status()
    });
    assert!(made.is_ok_and(|made| made.success()));
    let text = r#"
        [admin]
        address = "unix:admin.sock"
        token_file = "pipe"
        [trace]
        otlp = "http://127.0.0.1:4318"
        headers = { authorization = "file:pipe" }
        [[listener]]
        name = "web"
        address = "127.0.0.1:80"
        protocol = "https"
        certificate = [{ chain = "pipe", key = "pipe" }]
        client_auth = { mode = "require", ca = "pipe" }
        [[route]]
        name = "r"
        upstream = "u"
        error_pages = { 404 = "pipe" }
        [[upstream]]
        name = "u"
        backend = [{ address = "127.0.0.1:81" }]
        tls = { ca = "pipe", certificate = { chain = "/dev/zero", key = "pipe" } }
    "#;
    let (told, hear) = std::sync::mpsc::channel();
    let file = folder.join("x.toml");
    std::thread::spawn(move || told.send(parse(text, &file).unwrap_err().to_string()));
    // A second is enough, but for a machine that does much else.
    let problems = hear.recv_timeout(std::time::Duration::from_secs(20)).expect("it is waited for");
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(problems.matches("it is a pipe, a socket or a device").count(), 8, "{problems}");
    assert_eq!(problems.matches("pipe is not a file").count(), 1, "{problems}");
}

#[test]
fn json_has_the_contract_s_keys() {
    let file = Path::new("tests/broken/unknown-policy.toml");
    let (text, status) = check_report(file, &load(file), CheckFormat::Json);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = report["problems"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["file", "line", "column", "message", "hint", "source", "width"]);
    assert_eq!(report["problems"][0]["source"], "balance = \"least-conections\"");
    assert_eq!((status, &report["ok"]), (2, &serde_json::json!(false)));
}

/// Cuts, doubles, swaps and garbles bytes of the example files: nothing panics, and every problem
/// has a place that is in the text.
#[test]
fn mangled_files_never_panic_and_problems_have_places() {
    let texts: Vec<String> = files(Path::new("config"))
        .into_iter()
        .chain(files(Path::new("tests/broken")))
        .map(|(_, text)| String::from_utf8_lossy(&text).into_owned())
        .collect();
    let folder = Folder::new("mangled");
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3000 {
        let mut bytes = random.choice(&texts).unwrap().clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            mangle(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Err(problems) = parse(&text, &folder.join("config/mangled.toml")) else {
            continue;
        };
        assert!(!problems.0.is_empty());
        for problem in problems.0 {
            let included = fs::read_to_string(&problem.file);
            let text = included.as_ref().unwrap_or(&text);
            let line = text.split('\n').nth(problem.line - 1).unwrap_or_default();
            assert!(problem.column >= 1 && problem.column <= line.chars().count() + 2, "{problem}");
            assert!(!problem.message.is_empty() && !problem.to_string().is_empty());
        }
    }
}

fn mangle(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    const PIECES: [&str; 12] =
        ["\"", "'", "[", "]]", "{", "}", "=", "\n", "é", "-1", "99999999999999999999", "\\"];
    if bytes.is_empty() {
        return;
    }
    let at = random.usize(0..bytes.len());
    let end = (at + random.usize(0..30)).min(bytes.len());
    match random.u8(0..5) {
        0 => drop(bytes.drain(at..end)),
        1 => bytes[at] = random.u8(..),
        2 => {
            let piece: Vec<u8> = bytes[at..end].to_vec();
            let to = random.usize(0..bytes.len());
            bytes.splice(to..to, piece);
        }
        3 => drop(bytes.splice(at..at, random.choice(PIECES).unwrap().bytes())),
        _ => bytes.truncate(at),
    }
}
