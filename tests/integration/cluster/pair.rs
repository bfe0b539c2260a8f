//! Two of ours.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use super::lab::{Lab, Node, Observer, V4, V6, config};
use crate::support::eventually;

/// The longest that nobody may answer where nothing moves.
const ADVERTISEMENT: Duration = Duration::from_millis(100);
/// The longest that two may answer where addresses move: each is added and removed under the kernel's lock for the
/// network's configuration, which other tests' labs hold for most of a second now and then.
const BOTH: Duration = Duration::from_secs(1);
/// The longest that nobody may answer there.
const SOON: Duration = Duration::from_secs(2);

/// A pair of which `a` is primary.
pub(super) fn pair(lab: &Lab, more: &str) -> (Node, Node, Observer) {
    let a = lab.start("a", 150, more);
    a.until("primary", 1);
    let (b, observer) = (lab.start("b", 100, more), lab.observe());
    observer.until_only(&lab.hardware("a"));
    assert_eq!((lab.http().as_str(), b.count("primary")), ("a", 0));
    observer.forget();
    (a, b, observer)
}

/// `old` has lost the addresses to `new`, and never did both answer for long.
fn has_moved(lab: &Lab, observer: &Observer, old: &str, new: &str) {
    let [old_hardware, new_hardware] = [old, new].map(|node| lab.hardware(node));
    observer.until_only(&new_hardware);
    for address in [V4, V6] {
        let overlap = observer.overlap(address, &old_hardware, &new_hardware);
        assert!(overlap < BOTH, "both had {address} for {overlap:?}");
    }
    assert_eq!(lab.http(), new);
    assert!(!lab.ip(old, "addr show dev eth0").contains(V4));
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

#[test]
fn killed_primary_is_followed_before_its_time_is_over() {
    assert!((0..5).any(|_| is_followed_before_its_time_is_over()), "the guard has never said anything");
}

/// False where the time was over first: the guard takes the addresses away before it says so, and waits for the kernel's
/// lock, which other tests' labs hold for longer than that now and then.
fn is_followed_before_its_time_is_over() -> bool {
    let Some(lab) = Lab::new() else { return true };
    let (a, b, observer) = pair(&lab, "");
    signal("KILL", a.proxy.pid());
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    if b.proxy.count_logged("gave up") == 0 {
        return false;
    }
    let gap = observer.gap(V4);
    assert!(gap < SOON, "nobody answered for {gap:?}");
    true
}

#[test]
fn primary_that_hangs_finds_out_that_it_lost() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "preempt = false\n");
    signal("STOP", a.proxy.pid());
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    observer.forget();
    signal("CONT", a.proxy.pid());
    a.until("standby", 1);
    observer.until_only(&lab.hardware("b"));
    assert_eq!(observer.overlap(V4, &lab.hardware("b"), &lab.hardware("a")), Duration::ZERO);
    assert!(observer.answers(V4).iter().all(|it| it.hardware == lab.hardware("b")));
    assert_eq!((a.count("primary"), b.count("standby")), (2, 0));
}

#[test]
fn guard_removes_again_what_came_behind_its_removal() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "preempt = false\n");
    let guard = children(a.proxy.pid()).into_iter().next().unwrap();
    signal("STOP", a.proxy.pid());
    b.until("primary", 1);
    observer.until_only(&lab.hardware("b"));
    // As if the kernel had been adding it for the program when the guard removed it.
    let is_there = || lab.ip("a", "addr show dev eth0").contains(V4);
    lab.ip("a", &format!("addr add {V4}/24 dev eth0"));
    assert!(is_there());
    signal("KILL", a.proxy.pid());
    eventually("the guard has removed it", || !is_there());
    observer.forget();
    has_moved(&lab, &observer, "a", "b");
    eventually("the guard ends with its program", || !PathBuf::from(format!("/proc/{guard}")).exists());
}

#[test]
fn primary_without_a_guard_is_followed_after_its_time() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    let guard = children(a.proxy.pid()).into_iter().next().unwrap();
    signal("KILL", guard);
    signal("KILL", a.proxy.pid());
    b.until("primary", 1);
    assert!(b.proxy.count_logged("is no longer heard") > 0);
    // The kernel of a machine whose program is gone goes on answering, until that address is taken away.
    lab.ip("a", &format!("addr del {V4}/24 dev eth0"));
    lab.ip("a", &format!("addr del {V6}/64 dev eth0"));
    observer.forget();
    has_moved(&lab, &observer, "a", "b");
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let tasks = std::fs::read_dir(folder).unwrap().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    texts.flat_map(|text| text.split_whitespace().map(|it| it.parse().unwrap()).collect::<Vec<_>>()).collect()
}

#[test]
fn guard_that_is_killed_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    let (a, _b, observer) = pair(&lab, "");
    let guard = children(a.proxy.pid()).into_iter().next().unwrap();
    signal("KILL", guard);
    eventually("there is another guard", || children(a.proxy.pid()).iter().any(|pid| *pid != guard));
    observer.forget();
    observer.until_only(&lab.hardware("a"));
    assert_eq!(a.count("standby"), 0);
}

#[test]
fn stop_releases_the_addresses_before_it_drains() {
    let Some(lab) = Lab::new() else { return };
    let (mut a, b, observer) = pair(&lab, "");
    a.proxy.signal("TERM");
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    assert!(a.proxy.wait().success());
    let log = a.proxy.log();
    let line = |part: &str| log.iter().position(|line| line.contains(part)).unwrap();
    assert!(line("the program is stopping") < line("\"draining\""));
    let gap = observer.gap(V4);
    assert!(gap < SOON, "nobody answered for {gap:?}");
}

#[test]
fn cut_cable_moves_the_addresses_and_back() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    lab.cable("a", false);
    b.until("primary", 1);
    a.until("standby", 1);
    has_moved(&lab, &observer, "a", "b");
    observer.forget();
    lab.cable("a", true);
    a.until("primary", 2);
    has_moved(&lab, &observer, "b", "a");
}

#[test]
fn reload_keeps_the_role_and_moves_what_changed() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    let more = "[[cluster.virtual_ip]]\naddress = \"10.7.0.101/24\"\ninterface = \"eth0\"\n";
    a.proxy.edit(&(config("a", 160, "") + more));
    a.proxy.until_logged("configuration in force", 1);
    eventually("the new address is there", || lab.ip("a", "addr show dev eth0").contains("10.7.0.101/24"));
    a.proxy.edit(&config("a", 160, ""));
    eventually("it is gone again", || !lab.ip("a", "addr show dev eth0").contains("10.7.0.101/24"));
    observer.until_only(&lab.hardware("a"));
    let gap = observer.gap(V4);
    assert!(gap < ADVERTISEMENT, "nobody answered for {gap:?}");
    // A lower priority than the other's: the role moves, without a restart.
    observer.forget();
    a.proxy.edit(&config("a", 50, ""));
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    assert_eq!((a.count("primary"), a.count("standby")), (2, 2));
}

#[test]
fn reload_without_a_cluster_releases_and_with_one_begins() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    let text = config("a", 150, "");
    let (without, _) = text.split_once("[cluster]").unwrap();
    a.proxy.edit(&without.replace(V4, "10.7.0.1"));
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    observer.forget();
    a.proxy.edit(&text);
    a.until("primary", 2);
    has_moved(&lab, &observer, "b", "a");
}

#[test]
fn upgrade_of_the_primary_moves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let (mut a, b, observer) = pair(&lab, "");
    a.proxy.signal("USR2");
    a.proxy.until_upgraded(1);
    a.until("primary", 2);
    assert!(a.proxy.count_logged("taken over from the previous program") > 0);
    assert!(a.proxy.wait().success());
    observer.until_only(&lab.hardware("a"));
    for address in [V4, V6] {
        let gap = observer.gap(address);
        assert!(gap < ADVERTISEMENT, "nobody answered for {address} for {gap:?}");
    }
    assert_eq!((b.count("primary"), lab.http().as_str()), (0, "a"));
    // The new one is primary in every way: killed, it is followed at once.
    observer.forget();
    signal("KILL", u32::try_from(a.proxy.upgraded()[0]).unwrap());
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
}

#[test]
fn address_that_was_removed_by_hand_is_put_back() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    for (address, length) in [(V4, 24), (V6, 64)] {
        lab.ip("a", &format!("addr del {address}/{length} dev eth0"));
        eventually("it is there again", || lab.ip("a", "addr show dev eth0").contains(address));
    }
    observer.until_only(&lab.hardware("a"));
    a.proxy.until_logged("restored what something else removed", 2);
    assert_eq!((a.count("standby"), b.count("primary")), (0, 0));
}

#[test]
fn address_left_behind_is_removed_by_a_standby() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.start("a", 150, "");
    a.until("primary", 1);
    lab.ip("b", &format!("addr add {V4}/24 dev eth0"));
    let (b, observer) = (lab.start("b", 100, ""), lab.observe());
    observer.until_only(&lab.hardware("a"));
    assert!(!lab.ip("b", "addr show dev eth0").contains(V4));
    assert_eq!(b.count("primary"), 0);
}

#[test]
fn program_is_run_on_each_change() {
    let Some(lab) = Lab::new() else { return };
    let folder = crate::support::proxy::folder();
    let file = folder.join("roles");
    let script = format!("echo $POINTSMAN_ROLE {{router}} >> {}", file.display());
    let more = format!("on_change = {{ command = [\"/bin/sh\", \"-c\", \"{script}\"] }}\n");
    let a = lab.start("a", 150, &more);
    a.until("primary", 1);
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let are_told = |role: &str| {
        eventually(role, || {
            ["ipv4", "ipv6"].iter().all(|it| lines().contains(&format!("{role} eth0/51/{it}")))
        });
    };
    are_told("primary");
    a.proxy.signal("TERM");
    are_told("standby");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn node_whose_backends_are_down_leaves_the_role() {
    let Some(lab) = Lab::new() else { return };
    let (a, b, observer) = pair(&lab, "");
    // Nobody listens there, and the checks of this upstream find out.
    let down = "[[upstream]]\nname = \"u\"\nhealth_check = { kind = \"tcp\", interval = \"100ms\" }\n\
                [[upstream.backend]]\naddress = \"127.0.0.1:9\"\n\
                [[route]]\nname = \"u\"\nhosts = [\"u\"]\nupstream = \"u\"\n";
    a.proxy.edit(&(down.to_owned() + &config("a", 150, "")));
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    a.proxy.until_logged("every backend of every upstream is down", 1);
    observer.forget();
    a.proxy.edit(&config("a", 150, ""));
    a.until("primary", 2);
    has_moved(&lab, &observer, "b", "a");
}

/// Asks for one response after another, each over a connection of its own, until it is told to end; then says how many
/// came, how many did not, and the longest time in milliseconds between two that did.
const LOAD: &str = r#"
import select, socket, sys, time
good, bad, gap, last = 0, 0, 0.0, None
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection(("10.7.0.100", 80), 0.2) as wire:
            wire.settimeout(1)
            wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b" 200 " in wire.recv(4096)
        now = time.monotonic()
        good, gap, last = good + 1, max(gap, now - (last or now)), now
    except (OSError, AssertionError):
        bad += 1
print(good, bad, int(gap * 1000))
"#;

#[test]
fn stepping_down_under_load_costs_a_moment() {
    let Some(lab) = Lab::new() else { return };
    let socket = crate::support::proxy::folder().join("admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let a = lab.start_with("a", &(admin + &config("a", 150, "")));
    a.until("primary", 1);
    let (b, observer) = (lab.start("b", 100, ""), lab.observe());
    observer.until_only(&lab.hardware("a"));
    observer.forget();
    let mut load = lab.command("o", "python3");
    let mut load = load.args(["-c", LOAD]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(load.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "ready");
    let ask = |what: &str| {
        let mut curl = Command::new("curl");
        let url = format!("http://localhost/api/v1/cluster/{what}");
        curl.args(["-sSf", "-X", "POST", "--unix-socket"]).arg(&socket).arg(url);
        assert!(curl.output().unwrap().status.success());
    };
    ask("step-down");
    b.until("primary", 1);
    has_moved(&lab, &observer, "a", "b");
    observer.forget();
    ask("resume");
    a.until("primary", 2);
    has_moved(&lab, &observer, "b", "a");
    load.stdin.take().unwrap().write_all(b".").unwrap();
    let said = output.next().unwrap().unwrap();
    load.wait().unwrap();
    eprintln!("good, bad, longest gap in ms: {said}");
    let numbers: Vec<u32> = said.split(' ').map(|it| it.parse().unwrap()).collect();
    // On a machine that runs other tests, whose networks hold the kernel's lock when they go.
    assert!(numbers[0] > 20 && numbers[1] < 60, "{said}");
    assert!(numbers[2] < 5000, "{said}");
}

#[test]
fn nodes_by_unicast_believe_nobody_else() {
    let Some(lab) = Lab::new() else { return };
    let peers = |own: u8| {
        format!(
            "vrrp = {{ unicast_peers = [\"10.7.0.{}\", \"{}\"] }}\n",
            3 - own,
            link_local(&lab, if own == 1 { "b" } else { "a" })
        )
    };
    let a = lab.start("a", 150, &peers(1));
    a.until("primary", 1);
    let (b, observer) = (lab.start("b", 100, &peers(2)), lab.observe());
    observer.until_only(&lab.hardware("a"));
    // A stranger with the greatest priority.
    let stranger = config("o", 250, "vrrp = { unicast_peers = [\"10.7.0.1\", \"fe80::1\"] }\n");
    let stranger = lab.start_with(
        "o",
        &stranger
            .replace("[[cluster.virtual_ip]]\naddress = \"2001:db8::100/64\"\ninterface = \"eth0\"\n", ""),
    );
    stranger.proxy.until_logged("\"role\":\"primary\"", 1);
    a.proxy.until_logged("an advertisement was refused", 1);
    signal("KILL", stranger.proxy.pid());
    assert_eq!((a.count("standby"), b.count("primary")), (0, 0));
    signal("KILL", a.proxy.pid());
    b.until("primary", 1);
}

fn link_local(lab: &Lab, node: &str) -> String {
    let text = lab.ip(node, "-6 -o addr show dev eth0 scope link");
    text.split_once("inet6 ").unwrap().1.split('/').next().unwrap().to_owned()
}
