//! Counts instructions: a test starts this program again under callgrind, with a test that does what is to be counted.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use xxhash_rust::xxh3::xxh3_64;

use super::MOST;

/// Says, in the program that is counted, where names of what it does are to be written.
const FOLDER: &str = "POINTSMAN_COUNTED";
/// … and which share of it is to be done.
const SHARE: &str = "POINTSMAN_COUNTED_SHARE";
/// So many programs share the work.
const SHARES: u64 = 2;

/// The function that is counted, as callgrind knows it.
const COUNTED: &str = concat!(module_path!(), "::the_run_that_is_counted");

/// Writes down what is counted, one name a run.
pub(crate) struct Recorder {
    names: fs::File,
    share: u64,
}

impl Recorder {
    /// Present only where it is counted; otherwise the test has nothing to do.
    pub(crate) fn of_environment() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        let share = std::env::var(SHARE).unwrap().parse().unwrap();
        Some(Self { names: fs::File::create(folder.join("names")).unwrap(), share })
    }

    /// Whether a run of this name is counted by this program, and by no other.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        xxh3_64(name.as_bytes()) % SHARES == self.share
    }

    /// Counts what a run of this name costs, if another program does not.
    pub(crate) fn count(&mut self, name: &str, mut run: impl FnMut()) {
        if self.is_own(name) {
            writeln!(self.names, "{}", name.escape_debug()).unwrap();
            the_run_that_is_counted(&mut run);
        }
    }
}

/// Callgrind counts what happens within ([`COUNTED`]), and writes it down when this returns.
#[inline(never)]
fn the_run_that_is_counted(run: &mut dyn FnMut()) {
    run();
}

/// Runs the ignored test of this path, which counts each name twice, the second time with an input of twice the size;
/// gives the names whose cost grows by more than [`MOST`], each with both counts. `None` where there is no valgrind.
pub(crate) fn check(test: &str) -> Option<Vec<String>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        skip();
        return None;
    }
    let shares: Vec<_> = (0..SHARES).map(|share| begin(test, share)).collect();
    let grown = shares.into_iter().flat_map(|(folder, child)| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let grown = grown(&folder);
        fs::remove_dir_all(&folder).unwrap();
        grown
    });
    Some(grown.collect())
}

fn begin(test: &str, share: u64) -> (PathBuf, Child) {
    let name = format!("pointsman-linear-{}-{:x}", std::process::id(), fastrand::u64(..));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    let child = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args([format!("--toggle-collect={COUNTED}"), format!("--dump-after={COUNTED}")])
        .args(["--dump-line=no", &format!("--callgrind-out-file={}/out", folder.display())])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--test-threads=1", "--nocapture"])
        .env(FOLDER, &folder)
        .env(SHARE, share.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (folder, child)
}

fn grown(folder: &Path) -> Vec<String> {
    let names = fs::read_to_string(folder.join("names")).unwrap();
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let mut grown = Vec::new();
    for (at, name) in names.lines().enumerate() {
        let part = fs::read_to_string(folder.join(format!("out.{}", at + 1))).unwrap();
        let count = total(&part).unwrap_or_else(|| panic!("no total of {name}"));
        let Some(once) = seen.insert(name, count) else { continue };
        if std::env::var_os("POINTSMAN_COUNTS").is_some() {
            eprintln!("{count:>12} {:.2} {name}", count as f64 / once as f64);
        }
        if count as f64 > once as f64 * MOST {
            grown.push(format!("{name}: {once}, then {count}"));
        }
    }
    grown
}

/// The number of instructions of a part that callgrind wrote.
fn total(part: &str) -> Option<u64> {
    let line = part
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    line.trim().parse().ok()
}

/// Says to `tests/run` that it did not run.
fn skip() {
    let line = "valgrind is not installed\n";
    match std::env::var_os("POINTSMAN_SKIPPED") {
        Some(file) => {
            let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        None => eprint!("skipped: {line}"),
    }
}

#[test]
#[ignore = "is run by the test below, under callgrind"]
fn planted() {
    let Some(mut recorder) = Recorder::of_environment() else { return };
    for size in [4000_usize, 8000] {
        let bytes = vec![b'a'; size];
        recorder.count("once", || assert_eq!(memchr::memchr(b'b', &bytes), None));
        recorder.count("anew", || {
            (0..bytes.len()).for_each(|from| assert_eq!(memchr::memchr(b'b', &bytes[from..]), None));
        });
    }
}

#[test]
fn a_reader_that_begins_anew_is_found() {
    let Some(grown) = check("linear::callgrind::planted") else { return };
    assert!(matches!(&grown[..], [one] if one.starts_with("anew")), "{grown:?}");
}
