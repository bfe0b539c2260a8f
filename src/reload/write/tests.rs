//! Replacing, refusing, and being killed in between.

use std::{
    env,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::*;

/// A folder of its own; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("pointsman-write-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_to_the_system = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn replaces_through_a_link_and_keeps_the_mode() {
    let folder = Folder::new("link");
    let (file, link) = (folder.join("real.toml"), folder.join("link.toml"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.toml", &link).unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    fs::write(folder.join(".real.toml.pointsman-new"), "left by a crash").unwrap();
    replace(&link, b"old", b"new").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    assert_ne!(fs::metadata(&file).unwrap().ino(), inode, "it was replaced, not written in place");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(folder.names(), ["link.toml", "real.toml"]);
}

#[test]
fn a_file_that_was_edited_meanwhile_is_left_alone() {
    let folder = Folder::new("edited");
    let file = folder.join("x.toml");
    fs::write(&file, "theirs").unwrap();
    let error = replace(&file, b"old", b"new").unwrap_err();
    assert!(matches!(error, WriteError::Edited(_)), "{error}");
    assert_eq!((error.reason(), error.code()), (Reason::Conflict, "edited_meanwhile"));
    assert!(error.to_string().ends_with("x.toml was edited meanwhile"));
    assert_eq!(fs::read(&file).unwrap(), b"theirs");
    assert_eq!(folder.names(), ["x.toml"]);
}

#[test]
fn one_process_writes_at_a_time() {
    let folder = Folder::new("busy");
    let file = folder.join("x.toml");
    fs::write(&file, "old").unwrap();
    let other = File::open(&folder.0).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(replace(&file, b"old", b"new"), Err(WriteError::Busy(_))));
    assert_eq!(fs::read(&file).unwrap(), b"old");
    // Not closed: a program that another test is just starting may have a copy.
    flock(&other, FlockOperation::Unlock).unwrap();
    replace(&file, b"old", b"new").unwrap();
    let lock = Lock::of(&folder.0).unwrap();
    let copy = lock.0.try_clone().unwrap();
    drop(lock);
    replace(&file, b"new", b"newer").unwrap();
    drop(copy);
}

#[test]
fn each_refusal_of_the_system_has_its_words() {
    let path = Path::new("/etc/x.toml");
    let error = |errno: Errno| of_system(path, errno.into());
    assert!(matches!(error(Errno::BUSY), WriteError::MountPoint(_)));
    assert!(error(Errno::XDEV).hint().contains("mount the folder"));
    assert_eq!(error(Errno::ROFS).to_string(), "/etc/x.toml is not writable by this user");
    assert!(matches!(error(Errno::ACCESS), WriteError::ReadOnly(_)));
    assert_eq!(error(Errno::NOSPC).reason(), Reason::Failed);
    let folder = Folder::new("missing");
    let missing = replace(&folder.join("x.toml"), b"", b"new").unwrap_err();
    assert!(matches!(missing, WriteError::Failed(..)), "{missing}");
    assert!(folder.names().is_empty(), "a file that was removed does not come back");
    // A file of the kernel's, which even root may not replace.
    let status = Path::new("/proc/self/status");
    assert!(replace(status, &fs::read(status).unwrap(), b"new").is_err());
}

#[test]
fn a_watcher_recognizes_temporary_files() {
    assert!(is_temporary(&temporary_name(Path::new("/etc/pointsman/pointsman.toml"))));
    assert!(!is_temporary(OsStr::new("pointsman.toml")));
    assert!(!is_temporary(OsStr::new("x.pointsman-new")));
}

/// Set in the process that finds the file mounted: the file.
const MOUNTED: &str = "POINTSMAN_TEST_WRITES_MOUNTED_FILE";

#[test]
fn a_file_that_is_mounted_alone_says_so() {
    if let Some(file) = env::var_os(MOUNTED) {
        let error = replace(Path::new(&file), b"old", b"new").unwrap_err();
        assert!(matches!(error, WriteError::MountPoint(_)), "{error}");
        return;
    }
    let folder = Folder::new("mount");
    let (real, mounted) = (folder.join("real.toml"), folder.join("mounted.toml"));
    fs::write(&real, "old").unwrap();
    fs::write(&mounted, "").unwrap();
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        command.args([&real, &mounted, &env::current_exe().unwrap()]).env(MOUNTED, &mounted);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        crate::sync::children::begin(|| command.spawn()).and_then(std::process::Child::wait_with_output)
    };
    if !in_namespace("mount --bind \"$1\" \"$2\"").is_ok_and(|output| output.status.success()) {
        if let Some(list) = env::var_os("POINTSMAN_SKIPPED") {
            let mut list = OpenOptions::new().append(true).create(true).open(list).unwrap();
            writeln!(list, "a mounted file: nothing may be mounted here").unwrap();
        }
        return;
    }
    let test = "reload::write::tests::a_file_that_is_mounted_alone_says_so";
    let output = in_namespace(&format!("mount --bind \"$1\" \"$2\" && exec \"$3\" --exact {test}")).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(fs::read(&real).unwrap(), b"old");
    assert_eq!(folder.names(), ["mounted.toml", "real.toml"]);
}

/// Two texts of different length, neither of which begins like the other.
fn texts() -> [Vec<u8>; 2] {
    [b"a = 1\n".repeat(40_000), b"# other\nb = 22222\n".repeat(30_000)]
}

/// Set in the process that writes until it is killed: the file.
const VICTIM: &str = "POINTSMAN_TEST_WRITES_UNTIL_KILLED";

#[test]
fn a_kill_never_leaves_half_a_file() {
    let [one, other] = texts();
    if let Some(file) = env::var_os(VICTIM) {
        loop {
            let is = fs::read(&file).unwrap();
            let next = if is == one { &other } else { &one };
            replace(Path::new(&file), &is, next).unwrap();
        }
    }
    let folder = Folder::new("kill");
    let file = folder.join("x.toml");
    fs::write(&file, &one).unwrap();
    let mut random = fastrand::Rng::new();
    for round in 0..50 {
        let stamp = || fs::metadata(&file).map(|it| (it.ino(), it.mtime(), it.mtime_nsec())).unwrap();
        let before = stamp();
        let mut child = crate::sync::children::begin(|| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "reload::write::tests::a_kill_never_leaves_half_a_file"])
                .env(VICTIM, &file)
                .stdout(Stdio::null())
                .spawn()
        })
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while stamp() == before {
            assert!(Instant::now() < deadline, "the child writes nothing");
            std::thread::yield_now();
        }
        // Not to wait for anything: the moment of the kill is what is drawn by lot.
        std::thread::sleep(Duration::from_micros(random.u64(0..8_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let is = fs::read(&file).unwrap();
        assert!(is == one || is == other, "round {round}: {} bytes", is.len());
    }
    let is = fs::read(&file).unwrap();
    replace(&file, &is, b"whole").unwrap();
    assert_eq!(folder.names(), ["x.toml"], "what a crash left is gone");
}
