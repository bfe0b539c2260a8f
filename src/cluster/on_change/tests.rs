use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::cluster::{role::Role, status::GroupStatus};

fn report(router: &str, role: Role) -> Report {
    let addresses = vec!["10.0.0.1".into(), "10.0.0.2".into()];
    let (node, router, reason) = ("n".into(), router.into(), "why {role}".into());
    Report { role, fence: 3, node, router, addresses, reason }
}

fn wait_for(path: &std::path::Path, lines: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found: Vec<String> = text.lines().map(str::to_owned).collect();
        if found.len() >= lines {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
        std::thread::yield_now();
    }
}

#[test]
fn group_whose_program_fails_holds_up_no_other() {
    let path = std::env::temp_dir().join(format!("pointsman-on-change-two-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let script =
        format!("[ $POINTSMAN_ROUTER != bad ] && echo $POINTSMAN_ROUTER {{role}} >> {}", path.display());
    let conf = OnChangeConf {
        command: vec!["/bin/sh".into(), "-c".into(), script],
        timeout: Duration::from_secs(10),
        retries: 1000,
    };
    let on_change = OnChange::start(conf, Arc::new(Status::default())).unwrap();
    on_change.tell(report("bad", Role::Primary));
    on_change.tell(report("good", Role::Primary));
    assert_eq!(wait_for(&path, 1), ["good primary"]);
    on_change.tell(report("good", Role::Standby));
    assert_eq!(wait_for(&path, 2)[1], "good standby");
    // The end waits for no pause.
    on_change.finish().unwrap().join().unwrap();
    let _ = std::fs::remove_file(&path);
}

#[test]
fn program_has_ended_though_what_it_started_goes_on() {
    let path = std::env::temp_dir().join(format!("pointsman-on-change-bg-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    // Longer than the lines are waited for: the second would be late where the first was not over.
    let conf = OnChangeConf {
        command: vec![
            "/bin/sh".into(),
            "-c".into(),
            format!("sleep 300 & echo \"{{role}} $!\" >> {}", path.display()),
        ],
        timeout: Duration::from_secs(60),
        retries: 3,
    };
    let status = Arc::new(Status::default());
    let mut group = GroupStatus::new("r".into(), Vec::new());
    group.on_change_problem = Some("it failed before".into());
    status.lock().groups.push(group);
    let on_change = OnChange::start(conf, status.clone()).unwrap();
    on_change.tell(report("r", Role::Primary));
    wait_for(&path, 1);
    on_change.tell(report("r", Role::Standby));
    wait_for(&path, 2);
    on_change.finish().unwrap().join().unwrap();
    let lines = wait_for(&path, 2);
    let told: Vec<(&str, &str)> = lines.iter().map(|line| line.split_once(' ').unwrap()).collect();
    for (_, pid) in &told {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
    assert_eq!(told.iter().map(|(role, _)| *role).collect::<Vec<_>>(), ["primary", "standby"]);
    assert_eq!(status.read().groups[0].on_change_problem, None);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn program_that_fails_is_run_again_and_the_newest_wins() {
    let path = std::env::temp_dir().join(format!("pointsman-on-change-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    // The first run fails; its line is there nevertheless.
    let script = format!(
        "echo \"{{role}} $POINTSMAN_FENCE\" >> {0}; [ $(wc -l < {0}) -gt 1 ] || {{ echo bad >&2; exit 3; }}",
        path.display()
    );
    let conf = OnChangeConf {
        command: vec!["/bin/sh".into(), "-c".into(), script],
        timeout: Duration::from_secs(10),
        retries: 5,
    };
    let status = Arc::new(Status::default());
    let on_change = OnChange::start(conf, status).unwrap();
    on_change.tell(report("r", Role::Primary));
    assert_eq!(wait_for(&path, 2)[..2], ["primary 3", "primary 3"]);
    on_change.tell(report("r", Role::Standby));
    assert_eq!(wait_for(&path, 3)[2], "standby 3");
    let _ = std::fs::remove_file(&path);
}

/// A program that writes down when it begins and ends, by a script that lasts until its group has no file any more.
fn slow(path: &Path, more: &str) -> OnChangeConf {
    let script = format!(
        "echo \"begin {{role}}\" >> {0}; while [ -e {0}.$POINTSMAN_ROUTER.{{role}} ]; do sleep 0.02; done; \
         echo \"end {{role}}\" >> {0} # {more}",
        path.display()
    );
    let command = vec!["/bin/sh".into(), "-c".into(), script];
    OnChangeConf { command, timeout: Duration::from_secs(60), retries: 5 }
}

/// Files for it, of a name that no other test has.
fn files(name: &str) -> (PathBuf, PathBuf) {
    let path = std::env::temp_dir().join(format!("pointsman-on-change-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let held = PathBuf::from(format!("{}.r.primary", path.display()));
    std::fs::write(&held, "").unwrap();
    (path, held)
}

#[test]
fn run_for_a_role_that_is_over_is_stopped() {
    let (path, held) = files("overtaken");
    // What does the work is a child of the shell, which says something if it goes on.
    let script = format!(
        "echo \"begin {{role}}\" >> {0}; sh -c 'while [ -e {0}.r.{{role}} ]; do sleep 0.02; done; echo end {{role}} >> {0}'",
        path.display()
    );
    let command = vec!["/bin/sh".into(), "-c".into(), script];
    let conf = OnChangeConf { command, timeout: Duration::from_secs(60), retries: 5 };
    let on_change = OnChange::start(conf, Arc::default()).unwrap();
    on_change.tell(report("r", Role::Primary));
    wait_for(&path, 1);
    on_change.tell(report("r", Role::Standby));
    assert_eq!(wait_for(&path, 3), ["begin primary", "begin standby", "end standby"]);
    // Nothing is left of the first that could come last.
    std::fs::remove_file(held).unwrap();
    on_change.finish().unwrap().join().unwrap();
    assert_eq!(wait_for(&path, 3).len(), 3);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn another_program_is_not_run_beside_the_one_before() {
    let (path, held) = files("configured");
    let mut on_change = OnChange::start(slow(&path, "one"), Arc::default()).unwrap();
    assert!(!on_change.configure(Some(&slow(&path, "one"))));
    on_change.tell(report("r", Role::Primary));
    wait_for(&path, 1);
    // Taken out, and brought back as another.
    assert!(on_change.configure(None));
    on_change.tell(report("r", Role::Standby));
    assert!(on_change.configure(Some(&slow(&path, "other"))));
    on_change.tell(report("r", Role::Primary));
    std::fs::remove_file(held).unwrap();
    let lines = wait_for(&path, 4);
    on_change.finish().unwrap().join().unwrap();
    assert_eq!(lines, ["begin primary", "end primary", "begin primary", "end primary"]);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn what_runs_is_over_before_the_next_program_runs() {
    let (path, held) = files("upgrade");
    let on_change = OnChange::start(slow(&path, ""), Arc::default()).unwrap();
    on_change.tell(report("r", Role::Primary));
    wait_for(&path, 1);
    on_change.tell(report("other", Role::Standby));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let untold = runtime.block_on(on_change.stop());
    assert_eq!(untold.into_iter().collect::<Vec<_>>(), ["other", "r"]);
    std::fs::remove_file(held).unwrap();
    // What was told is not among them.
    let on_change = OnChange::start(slow(&path, ""), Arc::default()).unwrap();
    on_change.tell(report("r", Role::Standby));
    assert_eq!(wait_for(&path, 3), ["begin primary", "begin standby", "end standby"]);
    let told = on_change.shared.clone();
    while !told.lock().untold.is_empty() {
        std::thread::yield_now();
    }
    assert!(runtime.block_on(on_change.stop()).is_empty());
    let _ = std::fs::remove_file(&path);
}
