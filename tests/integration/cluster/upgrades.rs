//! Upgrades of nodes whose role, or file, has changed by the time that the next program takes over.

use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio, time::Duration};

use super::{
    lab::{Lab, Node, V4, V6, config},
    pair::pair,
};
use crate::support::{Proxy, eventually, proxy, write_script};

/// Begins an upgrade. What happens now happens before its end: the next program must live for two seconds.
fn begin_upgrade(node: &Node) {
    node.proxy.signal("USR2");
    node.proxy.until_logged("\"message\":\"upgrading\"", 1);
}

fn end_upgrade(node: &Node) {
    node.proxy.until_upgraded(1);
}

#[test]
fn upgrade_goes_on_as_the_primary_that_a_standby_became() {
    let Some(lab) = Lab::new() else { return };
    let mut tries = 0;
    let (_a, b, observer) = loop {
        let (a, b, observer) = pair(&lab, "");
        begin_upgrade(&b);
        a.proxy.signal("KILL");
        b.until("primary", 1);
        // Asked at once: what the observer waits for takes its time on a busy machine.
        if b.proxy.upgraded().is_empty() {
            break (a, b, observer);
        }
        // There the role itself may have taken more than the two seconds.
        tries += 1;
        assert!(tries < 3, "the upgrade is over too early");
    };
    observer.until_only(&lab.hardware("b"));
    observer.forget();
    end_upgrade(&b);
    b.until("primary", 2);
    assert_eq!(b.proxy.count_logged("taken over from the previous program"), 2);
    observer.until_only(&lab.hardware("b"));
    for address in [V4, V6] {
        let gap = observer.gap(address);
        assert!(gap < Duration::from_millis(100), "nobody answered for {address} for {gap:?}");
    }
    assert_eq!(b.count("standby"), 0);
}

#[test]
fn upgrade_of_a_primary_that_gave_way_adopts_nothing() {
    let Some(lab) = Lab::new() else { return };
    // Without addresses, by which it would be seen that the program before has given them up.
    let more = "vrrp = { interface = \"eth0\" }\non_change = { command = [\"/bin/true\"] }\n";
    let text = |node: &str, priority: u8| {
        let text = config(node, priority, more);
        let (text, _) = text.split_once("[[cluster.virtual_ip]]").unwrap();
        format!("[admin]\naddress = \"unix:admin.sock\"\n{}", text.replace(V4, "0.0.0.0"))
    };
    let mut tries = 0;
    let (a, b) = loop {
        let a = lab.start_with("a", &text("a", 150));
        a.proxy.until_logged("\"role\":\"primary\",\"fence\"", 1);
        let b = lab.start_with("b", &text("b", 100));
        begin_upgrade(&a);
        b.proxy.edit(&text("b", 200));
        a.proxy.until_logged("\"role\":\"standby\",\"fence\"", 1);
        if a.proxy.upgraded().is_empty() {
            break (a, b);
        }
        // On a busy machine that may have taken more than the two seconds.
        tries += 1;
        assert!(tries < 3, "the upgrade is over too early");
    };
    end_upgrade(&a);
    eventually("the next program hears who is primary", || {
        lab.admin(&a, "GET", "/api/v1/cluster")["groups"][0]["primary"] == "10.7.0.2"
    });
    assert_eq!(a.proxy.count_logged("taken over from the previous program"), 0);
    assert_eq!(a.proxy.count_logged("\"role\":\"primary\",\"fence\""), 1);
    assert_eq!(b.proxy.count_logged("\"role\":\"standby\",\"fence\""), 0);
}

/// Has the next program read another file.
fn install(program: &Path, text: &str) {
    let file = program.with_extension("toml");
    fs::write(&file, text).unwrap();
    fs::remove_file(program).unwrap();
    let real = env!("CARGO_BIN_EXE_pointsman");
    write_script(program, &format!("exec '{real}' run --config '{}'", file.display()));
}

#[test]
fn upgrade_removes_addresses_that_its_file_has_no_more() {
    let Some(lab) = Lab::new() else { return };
    let folder = proxy::folder();
    let program = folder.join("program");
    symlink(env!("CARGO_BIN_EXE_pointsman"), &program).unwrap();
    let mut command = lab.command("a", program.to_str().unwrap());
    command.args(["run", "--config"]).arg(folder.join("pointsman.toml")).stdin(Stdio::null());
    let text = config("a", 150, "");
    let a = Node { proxy: Proxy::start_by(command, folder, &text) };
    a.until("primary", 1);
    let has = |address: &str| lab.ip("a", "addr show dev eth0").contains(address);
    eventually("the addresses are there", || has(V4) && has(V6));
    let old = format!("address = \"{V6}/64\"");
    assert!(text.contains(&old));
    install(&program, &text.replace(&old, "address = \"10.7.0.101/24\""));
    let upgrade = |times: usize| {
        a.proxy.signal("USR2");
        a.proxy.until_upgraded(times);
    };
    upgrade(1);
    eventually("one is gone, and another there", || !has(V6) && has("10.7.0.101"));
    // What is in both files has stayed with its role.
    assert_eq!(a.proxy.count_logged("taken over from the previous program"), 1);
    assert!(has(V4));
    let (without, _) = text.split_once("[cluster]").unwrap();
    install(&program, &without.replace(V4, "10.7.0.1"));
    upgrade(2);
    eventually("none is there", || !has(V4) && !has("10.7.0.101"));
}
