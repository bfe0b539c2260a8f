//! FRR's vrrpd as the other node, by IPv4 and IPv6.
//!
//! It wants a macvlan device below the interface for each family. Where the kernel has none, a veth does whose other end
//! has the number that the interface has, in a namespace of its own: it looks like a child of the interface. Such a device
//! cannot be taken down by FRR, so that the roles are looked at here, as FRR tells them, and not who answers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::lab::{Lab, V4, V6, run};
use crate::support::{eventually, proxy};

const DAEMONS: &str = "/usr/lib/frr";

/// zebra and vrrpd in a namespace; they are ended by their processes.
struct Frr {
    daemons: Vec<Child>,
    folder: PathBuf,
}

impl Frr {
    /// Starts one at node `b` with the priority 100.
    fn start(lab: &Lab) -> Self {
        let folder = proxy::folder();
        // FRR's daemons leave root behind.
        run(&format!("chmod 777 {}", folder.display()));
        let text = format!(
            "interface eth0\n vrrp 51 version 3\n vrrp 51 priority 100\n vrrp 51 advertisement-interval 100\n \
             vrrp 51 ip {V4}\n vrrp 51 ipv6 {V6}\nexit\n"
        );
        fs::write(folder.join("frr.conf"), text).unwrap();
        let mut frr = Self { daemons: Vec::new(), folder };
        for name in ["zebra", "vrrpd"] {
            let mut command = lab.command("b", &format!("{DAEMONS}/{name}"));
            for (flag, file) in [("-z", "zserv"), ("-i", name), ("-f", "frr.conf"), ("--vty_socket", "")] {
                command.arg(flag).arg(frr.folder.join(file));
            }
            let log = fs::File::create(frr.folder.join(format!("{name}.log"))).unwrap();
            command.args(["--log", "stdout", "--log-level", "info"]).stdin(Stdio::null());
            frr.daemons.push(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
            eventually(&format!("{name} begins"), || frr.folder.join(format!("{name}.vty")).exists());
        }
        frr
    }

    /// Waits until it has this role in both families.
    fn until(&self, role: &str) {
        eventually(&format!("FRR is {role}"), || {
            let mut vtysh = Command::new("vtysh");
            vtysh.arg("--vty_socket").arg(&self.folder).args(["-c", "show vrrp"]);
            let said = String::from_utf8_lossy(&vtysh.output().unwrap().stdout).into_owned();
            let roles = said.lines().filter(|line| line.trim_start().starts_with("Status (v"));
            roles.filter(|line| line.trim_end().ends_with(role)).count() == 2
        });
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).stderr(Stdio::null()).status();
            let _ = daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A device that FRR takes for a macvlan below `eth0` of node `b`, for a family.
fn child_of_eth0(lab: &Lab, family: u8, address: &str) {
    let (node, bridge) = (lab.name("b"), lab.name("br"));
    let between = lab.extra(&format!("m{family}"));
    let index = lab.ip("b", "-o link show dev eth0").split(':').next().unwrap().trim().to_owned();
    let (name, number) = (format!("vrrp{family}-51"), 20 + family);
    let hardware = format!("00:00:5e:00:0{}:33", if family == 4 { 1 } else { 2 });
    let peer = format!("type veth peer name far netns {between} index {index}");
    run(&format!("ip link add {name} index {number} netns {node} address {hardware} {peer}"));
    run(&format!("ip -n {between} link add br1 index 30 type bridge"));
    run(&format!("ip link add near index 31 netns {between} type veth peer name to-{family} netns {bridge}"));
    for link in ["far", "near"] {
        run(&format!("ip -n {between} link set {link} master br1 up"));
    }
    run(&format!("ip -n {between} link set br1 up"));
    run(&format!("ip -n {bridge} link set to-{family} master br0 up"));
    run(&format!("ip netns exec {node} sysctl -qw net.ipv6.conf.{name}.accept_dad=0"));
    lab.ip("b", &format!("addr add {address} dev {name}"));
    lab.ip("b", &format!("link set {name} up"));
}

#[test]
fn frr_takes_over_and_is_taken_over_from() {
    if !Path::new(DAEMONS).join("vrrpd").exists() {
        return crate::support::skipped("vrrpd of FRR");
    }
    let Some(lab) = Lab::new() else { return };
    child_of_eth0(&lab, 4, &format!("{V4}/24"));
    child_of_eth0(&lab, 6, &format!("{V6}/64"));
    let ours = "vrrp = { checksum = \"rfc5798\" }\n";
    let frr = Frr::start(&lab);
    frr.until("Master");
    let a = lab.start("a", 150, ours);
    a.until("primary", 1);
    frr.until("Backup");
    Command::new("kill").args(["-KILL", &a.proxy.pid().to_string()]).status().unwrap();
    frr.until("Master");
    let a = lab.start("a", 50, ours);
    drop(frr);
    a.until("primary", 1);
}
