//! The journal beside a model of it, on a disk that fails and a machine that stops at any operation.
//!
//! A case is a number: everything in it follows from that. It goes through several lives of a journal. In each,
//! requests append and deliveries end, one way or another; then the journal is stopped, or the process is killed, or
//! the power goes, between two steps or in the middle of an operation on the disk. What the next life finds is compared
//! with what the lives before it were answered:
//!
//! - what was acknowledged and not done with is there;
//! - what was done with comes back only after a crash, and only if no sync has succeeded since; and whatever comes back
//!   of a URI, all that came after it comes back too, so that the newest is the last again;
//! - what was refused with an error, and is not there at the next start, never is;
//! - what the origin refused is in its file, or is there to be refused again.
//!
//! `POINTSMAN_CASES` is how many cases are run, `POINTSMAN_CASE` is one that is to be run alone.

mod case;
mod model;

use std::time::Instant;

use self::case::Case;

/// Cases that failed once: each shows a fault that was there, or one that was put there to see whether it is found.
/// They are run first.
const REGRESSIONS: &[u64] = &[
    45,   // A sync lets go of what was not written yet; a refused write is nowhere; a stop does not try twice.
    49,   // What a start has read is not durable.
    451,  // An old write comes back without the newer one.
    469,  // A line of the file of refused writes that a failed sync lost.
    985,  // Records of an abandoned segment count.
    1013, // A copy that failed half-way comes back.
    1063, // A segment that could not be removed outlives younger ones.
];
/// So many are run where nothing else is said.
const CASES: u64 = 4000;
/// Of so many, the first life also ends at each of its operations, and has each of them fail.
const STEP_BY_STEP: u64 = 40;
/// The steps of such a life.
const STEPS: u64 = 25;

#[test]
fn what_was_said_holds_whatever_the_disk_does() {
    if let Some(number) = variable("POINTSMAN_CASE") {
        run(number);
        return;
    }
    REGRESSIONS.iter().for_each(|number| _ = run(*number));
    let cases = variable("POINTSMAN_CASES").unwrap_or(CASES);
    let began = Instant::now();
    let copied: u64 = (0..cases).map(run).sum();
    assert!(copied > cases / 10, "only {copied} writes were copied to a newer segment");
    println!("{cases} cases in {:?}, {copied} writes copied", began.elapsed());
}

#[test]
fn promises_hold_over_power_loss_and_failing_disks() {
    let began = Instant::now();
    let mut count = 0;
    for number in 0..STEP_BY_STEP {
        let mut undisturbed = Case::new(number);
        undisturbed.live(STEPS);
        for operation in 1..=undisturbed.disk.operations() {
            for stops in [true, false] {
                let what = if stops { "stopped" } else { "failed" };
                let _tells = Failing(format!("case {number}, {what} at operation {operation}"));
                let mut case = Case::new(number);
                if stops {
                    case.disk.stop_at(operation)
                } else {
                    case.disk.fail_at(vec![operation])
                }
                case.live(STEPS);
                case.end();
                count += 1;
            }
        }
    }
    println!("{count} cases in {:?}", began.elapsed());
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(number: u64) -> u64 {
    let _tells =
        Failing(format!("case {number}: add it to REGRESSIONS, and see it with POINTSMAN_CASE={number}"));
    let mut case = Case::new(number);
    for _ in 0..=case.chance.below(5) {
        case.prepare_faults();
        let steps = case.chance.below(60);
        case.live(steps);
    }
    case.end();
    case.copied
}

/// Tells which case it was.
struct Failing(String);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {}", self.0);
        }
    }
}
