//! A process that is killed while it appends: what it acknowledged is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::*;

const FOLDER: &str = "POINTSMAN_TEST_JOURNAL";
const ROUNDS: u32 = 25;
const URIS: u64 = 7;
/// More than are delivered meanwhile, however long a disk takes for each.
const LEAST: u64 = 20;

/// The body follows from the number, so that a whole one can be recognized.
fn body(number: u64) -> Vec<u8> {
    let length = number.wrapping_mul(2_654_435_761) % 5_000;
    (0..length).map(|at| (number.wrapping_add(at) % 251) as u8).collect()
}

/// The child: appends and delivers, and says so in time, until it is killed. Without the variable (when all tests
/// run) it checks what it says against itself, for a moment, and for so many writes that some are left.
#[test]
fn appends_until_it_is_killed() {
    let scratch = Scratch::new();
    let given = std::env::var_os(FOLDER).map(PathBuf::from);
    let until = Instant::now() + Duration::from_millis(if given.is_some() { 30_000 } else { 100 });
    let path = given.as_ref().unwrap_or(&scratch.0);
    let journal = Journal::open(&Options { segment: 64 << 10, ..Options::new(path, PLENTY) }).unwrap();
    let mut out = std::io::stdout().lock();
    let mut say = |what: &str, id: Id, key: &str| {
        if given.is_some() {
            // In one write, so that a line is whole or not there.
            out.write_all(format!("\n{what} {} {key}\n", id.0).as_bytes()).unwrap();
            out.flush().unwrap();
        }
    };
    let mut number = 0_u64;
    while Instant::now() < until || number < LEAST {
        let group: Vec<_> = (0..1 + number % 9)
            .map(|_| {
                number += 1;
                let uri = format!("/{}", number % URIS);
                let key = format!("{number}");
                journal.append(Write { idempotency: key, ..write(&uri, &body(number)) })
            })
            .collect();
        let first = number - group.len() as u64 + 1;
        for (number, one) in (first..).zip(group) {
            say("acknowledged", wait(one).unwrap(), &number.to_string());
        }
        for _ in 0..number % 5 {
            let Some(delivery) = take(&journal) else { break };
            // Said before it is done: it may be there after the crash, or not.
            say("delivering", delivery.id(), &delivery.write().idempotency);
            if number.is_multiple_of(3) { delivery.failed(Moment(0)) } else { delivery.delivered() }
        }
    }
    drop(journal);
    let (left, damaged) = contents(path);
    assert_eq!(damaged, 0);
    assert!(!left.is_empty());
}

/// Ends the child in any case.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn acknowledged_writes_survive_a_kill_whole_and_in_order() {
    let (mut acknowledged_in_all, mut seed) = (0, 1);
    for round in 0..ROUNDS {
        let scratch = Scratch::new();
        let mut child = crate::sync::children::begin(|| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--nocapture",
                    "writeback::journal::tests::kill::appends_until_it_is_killed",
                ])
                .env(FOLDER, &scratch.0)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
        })
        .map(Killed)
        .unwrap();
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (mut acknowledged, mut delivering) = (BTreeMap::new(), BTreeSet::new());
        let mut hear = |line: &str| {
            let mut words = line.split(' ');
            let (what, id, key) = (words.next(), words.next(), words.next());
            let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
            match (what, number(id), number(key)) {
                (Some("acknowledged"), Some(id), Some(key)) => drop(acknowledged.insert(id, key)),
                (Some("delivering"), Some(id), Some(_)) => drop(delivering.insert(id)),
                _ => {}
            }
        };
        // At a random line or so: the first few rounds right at the beginning.
        seed = crate::rng::scramble(seed);
        let at = if round < 5 { u64::from(round) } else { seed % 400 };
        for line in lines.by_ref().take(at as usize) {
            hear(&line.unwrap());
        }
        std::thread::sleep(Duration::from_micros(seed >> 32 & 0x1fff));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        lines.for_each(|line| hear(&line.unwrap()));
        acknowledged_in_all += acknowledged.len();
        look(&scratch, &acknowledged, &delivering);
    }
    assert!(acknowledged_in_all > 100, "only {acknowledged_in_all} writes in {ROUNDS} rounds");
}

fn look(scratch: &Scratch, acknowledged: &BTreeMap<u64, u64>, delivering: &BTreeSet<u64>) {
    let journal = open(scratch);
    assert_eq!(journal.stats().damaged, 0, "a crash is no damage");
    let mut last = BTreeMap::new();
    let mut found = BTreeSet::new();
    while let Some(delivery) = take(&journal) {
        let (id, write) = (delivery.id().0, delivery.write());
        let number: u64 = write.idempotency.parse().unwrap();
        assert_eq!(*write.uri, *format!("/{}", number % URIS).as_bytes());
        assert_eq!(write.body, body(number), "write {id} is not whole");
        assert!(acknowledged.get(&id).is_none_or(|said| *said == number), "write {id} is another one");
        assert!(last.insert(write.uri.clone(), number).is_none_or(|last| last < number), "out of order");
        found.insert(id);
        delivery.delivered();
    }
    let lost: Vec<_> =
        acknowledged.keys().filter(|id| !found.contains(id) && !delivering.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged, not delivered, and lost: {lost:?}");
}
