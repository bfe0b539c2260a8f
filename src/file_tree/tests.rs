//! Which file is found, and which never is.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::schema::StorePath;

/// A folder that is deleted with it.
struct Folders(PathBuf);

impl Folders {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pointsman-tree-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root/sub")).unwrap();
        fs::create_dir_all(path.join("root/.git")).unwrap();
        fs::create_dir_all(path.join("root/empty")).unwrap();
        fs::create_dir_all(path.join("root/.well-known/acme-challenge")).unwrap();
        for (file, text) in [
            ("secret", "secret"),
            ("root/index.html", "home"),
            ("root/a.css", "a{}"),
            ("root/a.css.gz", "gz"),
            ("root/a.css.br", "br"),
            ("root/about.html", "about"),
            ("root/sub/index.html", "sub"),
            ("root/.git/config", "hidden"),
            ("root/.env", "hidden"),
            ("root/.well-known/acme-challenge/token", "token.key"),
        ] {
            fs::write(path.join(file), text).unwrap();
        }
        symlink("../secret", path.join("root/out")).unwrap();
        symlink("/etc", path.join("root/etc")).unwrap();
        symlink("..", path.join("root/sub/up")).unwrap();
        symlink("a.css", path.join("root/in")).unwrap();
        symlink("loop", path.join("root/loop")).unwrap();
        Self(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn conf(root: &Path, candidates: &[&str]) -> FilesConf {
    FilesConf {
        root: StorePath(root.to_owned()),
        strip_prefix: String::new(),
        index: vec!["index.htm".into(), "index.html".into()],
        r#try: candidates.iter().map(|text| Candidate::parse(text).unwrap()).collect(),
        precompressed: Coding::ALL.iter().map(|it| it.0).collect(),
        cache_control: String::new(),
    }
}

/// What a path leads to: a file's name, or what else.
fn led_to(conf: &FilesConf, path: &str) -> String {
    let Some(asked) = Asked::of(path, "a.example", Vec::new()) else { return "no name".into() };
    match find(conf, &asked).unwrap() {
        Outcome::File(found) => found.name,
        Outcome::Folder => "folder".into(),
        Outcome::Status(status) => status.to_string(),
        Outcome::Nothing => "nothing".into(),
    }
}

const DEFAULT: [&str; 2] = ["{path}", "{path}/"];

#[test]
fn files_and_what_stands_for_folders_are_found() {
    let folders = Folders::new("found");
    let conf = conf(&folders.root(), &DEFAULT);
    for (path, expected) in [
        ("/a.css", "a.css"),
        ("/", "index.html"),
        ("/sub", "folder"),
        ("/sub/", "sub/index.html"),
        ("/a.css/", "nothing"),
        ("/empty/", "nothing"),
        ("/empty", "nothing"),
        ("/in", "in"),
        ("/nowhere", "nothing"),
        ("/.well-known/acme-challenge/token", ".well-known/acme-challenge/token"),
    ] {
        assert_eq!(led_to(&conf, path), expected, "{path}");
    }
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let folders = Folders::new("out");
    let root = folders.root();
    let made = crate::sync::children::begin(|| Command::new("mkfifo").arg(root.join("pipe")).status());
    assert!(made.unwrap().success());
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let conf = conf(&root, &DEFAULT);
    for path in [
        "/out",
        "/etc/passwd",
        "/sub/up/up/secret",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub/..%5c..%5csecret",
        "/.git/config",
        "/.env",
        "/loop",
        "/pipe",
        "/socket",
        "/a.css%00.html",
        "//etc/passwd",
    ] {
        assert!(["nothing", "no name"].contains(&&*led_to(&conf, path)), "{path}");
    }
    for path in [format!("/{}", "a".repeat(300)), "/a".repeat(5000)] {
        assert_eq!(led_to(&conf, &path), "nothing", "{} bytes", path.len());
    }
    assert_eq!(led_to(&conf, "/sub/up/a.css"), "sub/up/a.css", "a link that stays inside");
    drop(socket);
}

#[test]
fn candidates_come_in_their_order() {
    let folders = Folders::new("order");
    let conf = |candidates: &[&str]| conf(&folders.root(), candidates);
    let page = conf(&["{path}", "{path}/", "/index.html"]);
    assert_eq!(led_to(&page, "/a.css"), "a.css");
    assert_eq!(led_to(&page, "/users/7"), "index.html");
    assert_eq!(led_to(&page, "/.env"), "no name", "no page for what is hidden");
    assert_eq!(led_to(&conf(&["{path}.html", "=410"]), "/about"), "about.html");
    assert_eq!(led_to(&conf(&["{path}.html", "=410"]), "/a.css"), "410");
    assert_eq!(led_to(&conf(&["/sub/"]), "/x"), "sub/index.html");
}

#[test]
fn an_encoding_goes_to_who_takes_it() {
    let folders = Folders::new("encoding");
    let conf = conf(&folders.root(), &DEFAULT);
    let found = |path: &str, codings: &[Coding]| {
        let asked = Asked::of(path, "", codings.to_vec()).unwrap();
        match find(&conf, &asked).unwrap() {
            Outcome::File(found) => (found.coding, found.varies, found.length),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found("/a.css", &[]), (None, true, 3));
    assert_eq!(found("/a.css", &[Coding::Zstd, Coding::Gzip, Coding::Br]), (Some(Coding::Gzip), true, 2));
    assert_eq!(found("/about.html", &[Coding::Br]), (None, false, 5));
}

#[test]
fn a_version_changes_with_what_is_put_in_place() {
    let folders = Folders::new("version");
    let conf = conf(&folders.root(), &DEFAULT);
    let version = || match find(&conf, &Asked::of("/about.html", "", Vec::new()).unwrap()).unwrap() {
        Outcome::File(found) => (found.version, found.modified),
        other => panic!("{other:?}"),
    };
    let file = folders.root().join("about.html");
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
    fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
    let before = version();
    assert_eq!(before, version());
    let other = folders.root().join("other.html");
    fs::write(&other, "ABOUT").unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
    fs::rename(&other, &file).unwrap();
    let after = version();
    assert_eq!((before.1, after.1), (Some(1), Some(1)));
    assert_ne!(before.0, after.0);
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let conf = conf(Path::new("/nowhere/at/all"), &DEFAULT);
    let asked = Asked::of("/a", "", Vec::new()).unwrap();
    assert_eq!(find(&conf, &asked).unwrap_err().kind(), io::ErrorKind::NotFound);
}
