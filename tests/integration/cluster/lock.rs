//! What nodes do while another program holds the kernel's lock for network configuration (RTNL), which is one for all
//! network namespaces: they go on advertising, and who gives the role up does so behind its addresses.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::lab::{Lab, Node, Observer, V4, V6, config, run};
use crate::support::{eventually, proxy};

/// Pairs of interfaces whose removal takes the kernel some 400 ms, under one lock; twice as many where that was not long
/// enough, for so many times.
const PAIRS: usize = 1500;
const TIMES: usize = 4;
/// Another node takes over 158 ms after the last advertisement.
const MORE: &str = "vrrp = { interval = \"50ms\" }\n";
const OVERLAP: Duration = Duration::from_millis(100);
/// Long enough for a primary that waits as long to be followed.
const LONG: Duration = Duration::from_millis(250);

/// A lab of its own, and one processor for who holds the lock: where the kernel is built without preemption, nobody else
/// runs on that meanwhile, however urgent.
struct Held {
    lab: Lab,
    all: CpuSet,
    one: CpuSet,
    others: CpuSet,
}

impl Held {
    /// This thread, and what it starts, leaves the one processor alone.
    fn new() -> Option<Self> {
        let lab = Lab::alone()?;
        lab.extra("hold");
        let all = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
        let (mut one, mut others) = (CpuSet::new(), all);
        one.set(first);
        others.unset(first);
        if others.count() == 0 {
            crate::support::skipped("who holds the kernel's lock needs a processor of its own, and it");
            return None;
        }
        sched_setaffinity(None, &others).unwrap();
        Some(Self { lab, all, one, others })
    }

    /// A pair of which `a` is primary.
    fn pair(&self) -> (Node, Node, Observer) {
        let a = self.lab.start("a", 150, MORE);
        a.until("primary", 1);
        let (b, observer) = (self.lab.start("b", 100, MORE), self.lab.observe());
        observer.until_only(&self.lab.hardware("a"));
        observer.forget();
        (a, b, observer)
    }

    /// Begins to hold the lock.
    fn hold(&self, pairs: usize) -> Child {
        let pair = |number| format!("link add v{number} group 7 type veth peer name w{number}\n");
        let (folder, name) = (proxy::folder(), self.lab.name("hold"));
        let file = folder.join("batch");
        std::fs::write(&file, (0..pairs).map(pair).collect::<String>()).unwrap();
        run(&format!("ip -n {name} -batch {}", file.display()));
        std::fs::remove_dir_all(folder).unwrap();
        sched_setaffinity(None, &self.one).unwrap();
        let child = Command::new("ip").args(["-n", &name, "link", "del", "group", "7"]).spawn().unwrap();
        sched_setaffinity(None, &self.others).unwrap();
        child
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}

#[test]
fn primary_advertises_while_the_kernels_lock_is_held() {
    let Some(held) = Held::new() else { return };
    let ((a, b, observer), lab) = (held.pair(), &held.lab);
    // What is to be added meanwhile waits for the lock; nothing else does.
    let more = "[[cluster.virtual_ip]]\naddress = \"10.7.0.101/24\"\ninterface = \"eth0\"\n";
    let is_long = |times| {
        a.proxy.edit(&config("a", 150, MORE));
        eventually("the address is not there", || {
            !lab.ip("a", "addr show dev eth0").contains("10.7.0.101/24")
        });
        let (mut holding, begun) = (held.hold(PAIRS << times), Instant::now());
        a.proxy.edit(&(config("a", 150, MORE) + more));
        assert!(holding.wait().unwrap().success());
        begun.elapsed() > LONG
    };
    assert!((0..TIMES).any(is_long), "the lock is not held for long enough");
    eventually("the address is there", || lab.ip("a", "addr show dev eth0").contains("10.7.0.101/24"));
    observer.until_only(&lab.hardware("a"));
    assert_eq!((a.count("standby"), b.count("primary")), (0, 0));
    assert!(observer.answers(V4).iter().all(|answer| answer.hardware == lab.hardware("a")));
}

#[test]
fn role_is_given_up_behind_addresses_that_the_kernel_holds() {
    let Some(held) = Held::new() else { return };
    let ((a, b, observer), lab) = (held.pair(), &held.lab);
    let text = config("a", 150, MORE);
    let (without, _) = text.split_once("[cluster]").unwrap();
    for times in 0..TIMES {
        observer.forget();
        let mut holding = held.hold(PAIRS << times);
        a.proxy.edit(&without.replace(V4, "10.7.0.1"));
        assert!(holding.wait().unwrap().success());
        b.until("primary", times + 1);
        observer.until_only(&lab.hardware("b"));
        for address in [V4, V6] {
            let overlap = observer.overlap(address, &lab.hardware("a"), &lab.hardware("b"));
            assert!(overlap < OVERLAP, "both had {address} for {overlap:?}");
        }
        if a.proxy.count_logged("the kernel was late to remove addresses") > 0 {
            return;
        }
        a.proxy.edit(&text);
        a.until("primary", times + 2);
        observer.until_only(&lab.hardware("a"));
    }
    panic!("the lock is not held for long enough");
}
