//! Docker's CLI through Pointsman to a daemon of Docker: terminals, logs that are followed, copies of files.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Proxy,
    proxy::{config_of, folder},
    skipped,
};

/// A daemon with one container, `box`, that counts. Mounts, processes and network are its own, and end with it; it ends
/// with the thread that started it, however that ends.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

/// What the kernel is to forget with the daemon: it writes there, wherever its own folders are.
const PRIVATE: &str =
    "set -e; for at in /run /etc/docker; do mkdir -p $at; mount -t tmpfs none $at; done; exec dockerd \"$@\"";

impl Daemon {
    /// `None`, and a line that says so, where there can be none.
    fn start() -> Option<Self> {
        for program in ["dockerd", "docker", "busybox", "python3"] {
            if Command::new(program).arg("--help").output().is_err() {
                skipped(program);
                return None;
            }
        }
        // Nothing of what another one needs is in the container.
        let of_libraries = Command::new("sh").args(["-c", "ldd $(command -v busybox)"]).output().unwrap();
        if of_libraries.status.success() {
            skipped("a static busybox");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skipped("dockerd, for who is not root,");
            return None;
        }
        let folder = folder();
        let at = |name: &str| folder.join(name).display().to_string();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc", "sh", "-c", PRIVATE, "dockerd"]);
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["-H", &format!("unix://{}", at("socket")), "--storage-driver", "vfs"]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        let group = format!("/{}", folder.file_name().unwrap().to_str().unwrap());
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &group]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = Self { child: command.spawn().unwrap(), folder };
        // Until it answers, ends, or has had more time than a busy machine needs.
        let (mut is_there, end) = (false, Instant::now() + 3 * PATIENCE);
        while !is_there && daemon.child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            is_there = daemon.docker(&["version"]).output().unwrap().status.success();
        }
        // Nothing of ours is asked yet: a kernel or a container that has no place for it.
        if !is_there || !daemon.run() {
            let log = fs::read_to_string(daemon.folder.join("log")).unwrap();
            skipped(&format!("a daemon of Docker ({})", log.lines().last().unwrap_or("no reason given")));
            return None;
        }
        Some(daemon)
    }

    /// Makes an image of busybox alone, and runs it; whether it runs.
    fn run(&self) -> bool {
        let root = self.folder.join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir(root.join("tmp")).unwrap();
        let which = succeeds(Command::new("sh").args(["-c", "command -v busybox"]));
        fs::copy(which.trim(), root.join("bin/busybox")).unwrap();
        for name in ["sh", "stty", "sleep", "cat", "tr"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let archive = self.folder.join("root.tar");
        succeeds(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."));
        succeeds(self.docker(&["import"]).arg(&archive).arg("small"));
        let count = "i=0; while :; do echo line $i; i=$((i + 1)); sleep 0.2; done";
        let started = self
            .docker(&["run", "-d", "--network", "none", "--name", "box", "small", "sh", "-c", count])
            .output()
            .unwrap();
        if !started.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&started.stderr));
        }
        started.status.success()
    }

    /// The CLI, straight to it.
    fn docker(&self, arguments: &[&str]) -> Command {
        cli(&format!("unix://{}", self.folder.join("socket").display()), &self.folder, arguments)
    }

    fn proxy(&self) -> Proxy {
        let backend = format!("unix:{}", self.folder.join("socket").display());
        let text = config_of(&[backend], "", "");
        Proxy::start(&text.replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"tcp\"]\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the daemon's log:\n{}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
        }
        // With it goes what the kernel keeps of it where all can see it: its control groups.
        let _ = self.docker(&["rm", "-f", "box"]).output();
        // It is the first process of a namespace: all others end with it, and `unshare` then.
        let id = self.child.id();
        for first in fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
            .unwrap_or_default()
            .split_whitespace()
        {
            let _ = Command::new("kill").args(["-KILL", first]).status();
        }
        let _ = self.child.wait();
        for kind in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(kind.path().join(self.folder.file_name().unwrap()));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The CLI for at most a minute.
fn cli(host: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    // In the foreground, so that it has the terminal.
    command.args(["--foreground", "60", "docker"]).args(arguments);
    command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", folder).env_remove("DOCKER_CONTEXT");
    command
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn docker_gives_a_terminal_logs_and_files_of_a_container() {
    let Some(daemon) = Daemon::start() else { return };
    let proxy = daemon.proxy();
    let host = format!("tcp://{}", proxy.address("web"));
    let docker = |arguments: &[&str]| cli(&host, &daemon.folder, arguments);
    type_into_a_shell(&host, &daemon.folder);

    let mut piped = docker(&["exec", "-i", "box", "tr", "a-z", "A-Z"]);
    let output = piped.stdin(fs::File::open(daemon.folder.join("root.tar")).unwrap()).output().unwrap();
    let sent = fs::read(daemon.folder.join("root.tar")).unwrap();
    assert!(output.status.success() && output.stdout == sent.to_ascii_uppercase(), "input and its end");

    let mut follower = docker(&["logs", "-f", "--tail", "0", "box"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: Option<String>| line.unwrap().strip_prefix("line ").unwrap().parse::<u32>().unwrap();
    let first = number(lines.next());
    assert_eq!((number(lines.next()), number(lines.next())), (first + 1, first + 2), "as they come");

    let (large, back) = (daemon.folder.join("large"), daemon.folder.join("back"));
    let bytes: Vec<u8> =
        (0..10_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&large, &bytes).unwrap();
    succeeds(&mut docker(&["cp", large.to_str().unwrap(), "box:/tmp/large"]));
    succeeds(&mut docker(&["cp", "box:/tmp/large", back.to_str().unwrap()]));
    assert!(fs::read(&back).unwrap() == bytes, "10 MiB there and back");

    // Those who follow see the end of what they follow.
    succeeds(&mut docker(&["rm", "-f", "box"]));
    lines.for_each(drop);
    assert!(follower.wait().unwrap().success());
    // 404 is how the daemon says that there is no such file yet.
    let failed = |line: &&Value| line["status"].as_u64().unwrap() >= 400 && line["status"] != 404;
    assert_eq!(proxy.access_log().iter().find(failed), None);
}

/// A shell on a terminal, which gets larger.
fn type_into_a_shell(host: &str, folder: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/keyboard.py");
    let steps = json!([
        {"until": "# "},
        {"type": "echo $((6 * 7))\r"},
        {"until": "42"},
        {"until": "# "},
        // What is typed is seen too, but not in one piece. The CLI looks at the size first, and then for changes.
        {"type": "until [ \"$(stty size 2>&1)\" = \"24 80\" ]; do sleep 0.1; done; echo si\"\"zed\r"},
        {"until": "sized"},
        {"until": "# "},
        {"resize": [132, 50]},
        {"type": "until [ \"$(stty size)\" = \"50 132\" ]; do sleep 0.1; done; echo re\"\"sized\r"},
        {"until": "resized", "telling": true},
        {"type": "sh -c 'echo go\"\"ing; sleep 1000'\r"},
        {"until": "going"},
        {"type": "\u{3}"},
        {"until": "# "},
        {"type": "exit 5\r"},
    ]);
    let shell = cli(host, folder, &["exec", "-it", "box", "sh"]);
    let mut typing = Command::new("python3");
    typing.arg(script).arg(steps.to_string()).arg(shell.get_program()).args(shell.get_args());
    typing.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let seen: Value = serde_json::from_str(&succeeds(&mut typing)).unwrap();
    assert_eq!(seen["status"], 5, "the shell's own: {}", seen["seen"]);
}
