//! keepalived as the other node: the address goes over from us to it and back, in either family, by multicast and unicast.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::lab::{Lab, Node, V4, V6};
use crate::support::{eventually, proxy};

/// A keepalived in a namespace; it is ended by its process, and it ends its own children.
struct Keepalived {
    child: Child,
    folder: PathBuf,
}

impl Keepalived {
    /// Starts one at node `b` with this priority, and more of each instance.
    fn start(lab: &Lab, priority: u8, more: [&str; 2]) -> Self {
        let folder = proxy::folder();
        let instance = |name: &str, address: &str, more: &str| {
            format!(
                "vrrp_instance {name} {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n \
                 priority {priority}\n advert_int 0.1\n {more}\n virtual_ipaddress {{\n {address} dev eth0\n }}\n}}\n"
            )
        };
        let [four, six] = more;
        let text = "global_defs {\n vrrp_version 3\n}\n".to_owned()
            + &instance("four", &format!("{V4}/24"), four)
            + &instance("six", &format!("{V6}/64"), six);
        fs::write(folder.join("conf"), text).unwrap();
        let mut command = lab.command("b", "keepalived");
        command.args(["-n", "-P", "-l", "-D"]);
        for (flag, file) in [("-f", "conf"), ("-p", "pid"), ("-r", "vrrp.pid")] {
            command.arg(flag).arg(folder.join(file));
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits until both instances were in this state so many times.
    fn until(&self, state: &str, times: usize) {
        let log = || self.log().matches(&format!("Entering {state} STATE")).count();
        eventually(&format!("keepalived: {state}\n{}", self.log()), || log() >= times * 2);
    }

    fn stop(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_there() -> bool {
    Command::new("keepalived").arg("--version").output().is_ok() || {
        crate::support::skipped("keepalived");
        false
    }
}

/// From us to it and back, and the other way round.
fn goes_over_and_back(lab: &Lab, checksum: &str, ours: &str, theirs: [&str; 2]) {
    let more = format!("vrrp = {{ checksum = \"{checksum}\"{ours} }}\n");
    let [a_hardware, b_hardware] = ["a", "b"].map(|node| lab.hardware(node));
    let a: Node = lab.start("a", 150, &more);
    a.until("primary", 1);
    let (keepalived, observer) = (Keepalived::start(lab, 100, theirs), lab.observe());
    // On a busy machine it may have been primary for a moment: that ours has the addresses is what counts, here and below.
    observer.until_only(&a_hardware);
    Command::new("kill").args(["-KILL", &a.proxy.pid().to_string()]).status().unwrap();
    keepalived.until("MASTER", 1);
    observer.until_only(&b_hardware);
    // It is back, and has the greater priority.
    let a = lab.start("a", 150, &more);
    a.until("primary", 1);
    keepalived.until("BACKUP", 2);
    observer.until_only(&a_hardware);
    keepalived.stop();
    // Now it has the greater priority, and leaves.
    let keepalived = Keepalived::start(lab, 200, theirs);
    keepalived.until("MASTER", 1);
    a.until("standby", 1);
    observer.until_only(&b_hardware);
    keepalived.stop();
    a.until("primary", 2);
    observer.until_only(&a_hardware);
}

#[test]
fn keepalived_takes_over_and_is_taken_over_from() {
    let (true, Some(lab)) = (is_there(), Lab::new()) else { return };
    goes_over_and_back(&lab, "rfc5798", "", ["", ""]);
}

#[test]
fn keepalived_by_unicast_does_so_too() {
    let (true, Some(lab)) = (is_there(), Lab::new()) else { return };
    let six = ["a", "b"].map(|node| {
        let text = lab.ip(node, "-6 -o addr show dev eth0 scope link");
        text.split_once("inet6 ").unwrap().1.split('/').next().unwrap().to_owned()
    });
    let ours = format!(", unicast_peers = [\"10.7.0.2\", \"{}\"]", six[1]);
    let theirs = ["10.7.0.1", &six[0]].map(|peer| format!("unicast_ttl 255\n unicast_peer {{\n {peer}\n }}"));
    goes_over_and_back(&lab, "rfc5798", &ours, [&theirs[0], &theirs[1]]);
}

#[test]
fn other_checksum_of_keepalived_is_named_in_the_log() {
    let (true, Some(lab)) = (is_there(), Lab::new()) else { return };
    // Slow, so that it is heard however late it is: it believes nothing of ours, and would not give way.
    let slow = "advert_int 2";
    let keepalived = Keepalived::start(&lab, 200, [slow, slow]);
    keepalived.until("MASTER", 1);
    let a = lab.start("a", 150, "vrrp = { interval = \"2s\", checksum = \"rfc9568\" }\n");
    a.proxy.until_logged("a peer computes checksums differently", 1);
    let observer = lab.observe();
    observer.until_only(&lab.hardware("b"));
    assert_eq!(a.count("primary"), 0, "either checksum is believed");
}
