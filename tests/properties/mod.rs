//! What holds for every reader of bytes that are not to be trusted, whatever the bytes: it never panics (assertions and
//! checks of overflow are on), it ends, it says the same of the same, and what is written of what it read it reads alike.
//!
//! Bytes are put together by chance, from a seed, of what each reader takes and of what is in nobody's grammar. Heads,
//! chunks and PROXY headers in pieces are in `tests/codec.rs`; what each reader costs is in `tests/linear`.
//!
//! This folder is a module of the program's unit tests (`src/lib.rs` declares it), since what it looks at is not for
//! other crates.

mod disk;
mod fields;
mod places;

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::fields::Fields;

/// Seeds of each property, unless `POINTSMAN_SEEDS` says another number.
const SEEDS: u64 = 1000;
/// How long the seeds of one property may take before one of them counts as never ending; far longer than they do.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands between things, or ends them, in one grammar or another, and what is in none.
const EVERYWHERE: &[&str] = &[
    "",
    " ",
    "\t",
    ",",
    ";",
    "=",
    "\"",
    "\\",
    "\\\"",
    "/",
    "//",
    ":",
    "-",
    "*",
    "%",
    "%2",
    "%2f",
    "%5C",
    "%00",
    ".",
    "..",
    "?",
    "#",
    "[",
    "]",
    "(",
    ")",
    "0",
    "1",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "99999999999",
    "a",
    "A",
    "é",
    "\u{0}",
    "\u{7f}",
    "\r",
    "\n",
    "\r\n",
    "🚉",
];

/// Checks a property for many seeds, or with `POINTSMAN_SEED` for that one: `check` is given chance and bytes of `pieces`,
/// and says what it read.
fn hold(name: &str, pieces: &'static [&'static str], check: fn(&mut Rng, &[u8]) -> String) {
    let variable = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match variable("POINTSMAN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("POINTSMAN_SEEDS").unwrap_or(SEEDS),
    };
    static NONE: u64 = u64::MAX;
    let at: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(NONE)));
    let (done, is_done) = mpsc::channel();
    // In a thread of its own: what never ends is named, too.
    thread::spawn(move || {
        let failed = seeds.into_iter().find(|&seed| {
            at.store(seed, Relaxed);
            let bytes = bytes(&mut Rng::with_seed(seed), pieces);
            let once = || catch_unwind(AssertUnwindSafe(|| check(&mut Rng::with_seed(!seed), &bytes))).ok();
            let said = once();
            said.is_none() || said != once()
        });
        // Who waited for it may have given up.
        let _ = done.send(failed);
    });
    let failed = is_done.recv_timeout(PATIENCE).unwrap_or_else(|_| Some(at.load(Relaxed)));
    let Some(seed) = failed else { return };
    let bytes = bytes(&mut Rng::with_seed(seed), pieces);
    panic!(
        "seed {seed}, {:?}\nAgain: POINTSMAN_SEED={seed} cargo test --lib properties::{name}",
        String::from_utf8_lossy(&bytes)
    );
}

/// Bytes of these pieces mostly, and damaged now and then.
fn bytes(rng: &mut Rng, pieces: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(0..12) {
        let piece = if rng.u8(..) < 180 { rng.choice(pieces) } else { rng.choice(EVERYWHERE) };
        let times = if rng.u8(..) < 4 { rng.usize(2..200) } else { 1 };
        (0..times).for_each(|_| bytes.extend_from_slice(piece.unwrap().as_bytes()));
    }
    if rng.u8(..) < 60 {
        damage(rng, &mut bytes);
    }
    bytes
}

/// Cuts bytes off, or puts others in.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            _ if at == bytes.len() => {}
            2 => drop(bytes.remove(at)),
            _ => bytes[at] = rng.u8(..),
        }
    }
}

/// One or two fields with what a parser of heads lets through of these bytes.
fn field(rng: &mut Rng, name: &str, bytes: &[u8]) -> Fields {
    let value: Vec<u8> = bytes.iter().copied().filter(|byte| !b"\0\r\n".contains(byte)).collect();
    let value = value.trim_ascii();
    let mut fields = Fields::default();
    match rng.u8(0..4) {
        0 => {
            let (first, second) = value.split_at(rng.usize(0..=value.len()));
            fields.push(name, first);
            fields.push(name, second);
        }
        _ => fields.push(name, value),
    }
    fields
}

#[test]
fn a_property_that_fails_names_its_seed() {
    let wrong = catch_unwind(|| {
        hold("x", &["a"], |_, bytes| {
            assert!(!bytes.contains(&b'a'), "planted");
            String::new()
        })
    });
    let message = wrong.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("POINTSMAN_SEED=") && message.contains("properties::x"), "{message}");
}
