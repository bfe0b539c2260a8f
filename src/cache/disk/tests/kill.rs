//! kill −9 at any moment: what is there afterwards is whole, and of the bytes that were written.

use std::process::{Command, Stdio};

use super::*;

/// Set in the process that writes until it is killed: the folder.
const VICTIM: &str = "POINTSMAN_TEST_DISK_WRITES_UNTIL_KILLED";

const KEYS: u64 = 40;
const LIMIT: u64 = 300 << 10;

/// Writes, updates and removes for ever.
fn write_until_killed(folder: &Path) {
    let disk = open(folder, LIMIT);
    let mut chance = Rng::new(u64::from(std::process::id()));
    loop {
        let key = u128::from(chance.below(KEYS));
        let found: Vec<_> = disk.find(key).iter().map(|found| found.id).collect();
        match (chance.below(8), found.first()) {
            (0, Some(id)) => disk.remove(*id),
            (1 | 2, Some(id)) => {
                let Some(meta) = wait(disk.head(*id)) else { continue };
                let (seed, length, _) = read_meta(&meta);
                let note = "n".repeat(chance.below(300) as usize);
                disk.update(*id, super::meta(seed, length, &note));
            }
            (3, _) if chance.below(40) == 0 => disk.clear(),
            _ => {
                let length = chance.below(20_000);
                write(&disk, key, chance.next_number(), length, &found);
            }
        }
    }
}

#[test]
fn a_kill_leaves_only_whole_objects() {
    if let Some(folder) = env::var_os(VICTIM) {
        write_until_killed(Path::new(&folder));
    }
    let folder = Temporary::new();
    let mut random = fastrand::Rng::new();
    let mut whole = 0;
    for round in 0..20 {
        let before = objects(folder.path());
        let mut child = crate::sync::children::begin(|| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "cache::disk::tests::kill::a_kill_leaves_only_whole_objects"])
                .env(VICTIM, folder.path())
                .stdout(Stdio::null())
                .spawn()
        })
        .unwrap();
        until("the child writes", || objects(folder.path()) != before);
        // Not to wait for anything: the moment of the kill is what is drawn by lot.
        std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        let disk = open(folder.path(), LIMIT);
        for key in 0..u128::from(KEYS) {
            for found in disk.find(key) {
                assert!(
                    check(&disk, found.id).is_some(),
                    "round {round}: an object under {key} is not whole"
                );
                whole += 1;
            }
        }
        let stats = disk.stats();
        assert_eq!((stats.damaged, stats.io_errors), (0, 0), "round {round}");
        assert!(fs::read_dir(folder.path().join("new")).unwrap().next().is_none(), "a half file is left");
        assert!(cost(folder.path()) <= LIMIT + (8 << 10), "{} bytes", cost(folder.path()));
        disk.close();
    }
    assert!(whole > 20, "only {whole} objects in all rounds");
}
