//! Programs that measure and copy, through Pointsman to their servers.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use super::{
    databases::{Daemon, as_user, postgres, programs},
    passing,
};
use crate::support::{InTime, Proxy, eventually, free, proxy::folder, skipped, tls};

fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skipped(program);
    }
    is_there
}

fn through(address: SocketAddr) -> (Proxy, String) {
    let proxy = Proxy::start(&passing(&[address], "", "", ""));
    let port = proxy.address("web").port().to_string();
    (proxy, port)
}

fn said(output: &Output) -> String {
    let all = [&*output.stdout, &output.stderr].concat();
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn pgbench_has_no_failed_transaction() {
    let folder = tls::folder();
    let Some(server) = postgres(&folder) else { return };
    let Some(pgbench) = programs().map(|bin| bin.join("pgbench")).filter(|it| it.exists()) else {
        return skipped("pgbench");
    };
    let (_proxy, port) = through(server.address);
    let run = |arguments: &[&str]| {
        let mut command = as_user(&pgbench);
        command.args(["-h", "127.0.0.1", "-U", "me", "-p", &port]).args(arguments).arg("postgres");
        said(&command.in_time().unwrap())
    };
    run(&["-i", "-q"]);
    let text = run(&["-c", "8", "-t", "100"]);
    assert!(text.contains("number of transactions actually processed: 800/800"), "{text}");
    // With a connection for each.
    let text = run(&["-c", "4", "-t", "25", "-C", "-S"]);
    assert!(text.contains("number of transactions actually processed: 100/100"), "{text}");
}

#[test]
fn iperf3_carries_much_in_both_directions() {
    if !has("iperf3") {
        return;
    }
    let address = free();
    let mut command = Command::new("iperf3");
    command.args(["-s", "-B", "127.0.0.1", "-p", &address.port().to_string()]);
    let _server = Daemon::start(command, address);
    let (_proxy, port) = through(address);
    for direction in [&[][..], &["-R"]] {
        let mut command = Command::new("iperf3");
        command.args(["-c", "127.0.0.1", "-p", &port, "-n", "256M", "-P", "2", "-J"]).args(direction);
        // After each test the server closes its socket, and listens anew.
        let mut report = serde_json::Value::Null;
        eventually("the server takes the next test", || {
            let output = command.in_time().unwrap();
            report = serde_json::from_slice(&output.stdout).unwrap_or_default();
            // Its status says nothing of errors, which are in the report.
            let is_done = report["error"].is_null() && report["end"]["sum_received"].is_object();
            // One that has begun must come to its end.
            let has_begun = report["start"]["connected"].as_array().is_some_and(|it| !it.is_empty());
            assert!(is_done || !has_begun, "{report}");
            is_done
        });
        let received = report["end"]["sum_received"]["bytes"].as_u64();
        // What is on its way when the client has sent enough is not counted: what four sockets hold, whatever is sent in all.
        assert!(received >= Some(128 << 20), "{received:?} of {direction:?}");
    }
}

/// `POINTSMAN_COPY` mebibytes, or 64.
#[test]
fn a_copy_over_ssh_comes_whole() {
    let sshd = Path::new("/usr/sbin/sshd");
    if !rustix::process::geteuid().is_root() || !sshd.exists() {
        return skipped("sshd, as root");
    }
    let folder = folder();
    let mebibytes = std::env::var("POINTSMAN_COPY").unwrap_or_else(|_| "64".to_owned());
    let at = |name: &str| folder.join(name).display().to_string();
    for key in ["host", "user"] {
        let mut command = Command::new("ssh-keygen");
        said(&command.args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).output().unwrap());
    }
    // Where it was never started, the folder is not there that it locks itself into.
    fs::create_dir_all("/run/sshd").unwrap();
    let address = free();
    let text = format!(
        "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        at("host"),
        at("user.pub")
    );
    fs::write(at("sshd_config"), text).unwrap();
    let mut command = Command::new(sshd);
    command.args(["-D", "-f", &at("sshd_config")]);
    let _server = Daemon::start(command, address);
    let (proxy, port) = through(address);
    let file = format!("of={}", at("sent"));
    let count = format!("count={mebibytes}");
    said(&Command::new("dd").args(["if=/dev/urandom", &file, "bs=1M", &count]).output().unwrap());
    let mut command = Command::new("scp");
    command.args(["-q", "-P", &port, "-i", &at("user"), "-o", "StrictHostKeyChecking=no"]);
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    said(&command.args([&at("sent"), &format!("root@127.0.0.1:{}", at("came"))]).in_time().unwrap());
    said(&Command::new("cmp").args([at("sent"), at("came")]).output().unwrap());
    let line = super::logged(&proxy, 1).remove(0);
    assert_eq!(line["carried_by"], "splice", "{line}");
}
