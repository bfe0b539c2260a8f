//! A disk in memory that loses what was not synced, tears what was being written, and fails where it is to.
//!
//! It gives what [`crate::writeback::journal::files`] says that the journal may rely on, and takes everything else: an
//! operation at which the machine stops, or that fails, was done in part; what was written is on the medium when it
//! was synced, and else lost, torn or there, by chance.

mod contents;
mod file;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
};

pub(super) use self::contents::Tear;
use self::{contents::Contents, file::SimulatedFile};
use super::*;
use crate::{
    rng::Rng,
    writeback::journal::files::{AppendFile, Directory},
};

#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    chance: Rng,
    tear: Tear,
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    operations: u64,
    /// Nothing works from this operation on.
    stop_at: Option<u64>,
    is_stopped: bool,
    fail_at: Vec<u64>,
    /// No file of this name can be opened.
    is_closed: Option<&'static str>,
    faults: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64, tear: Tear) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: Rng::new(seed),
            tear,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            operations: 0,
            stop_at: None,
            is_stopped: false,
            fail_at: Vec::new(),
            is_closed: None,
            faults: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations there were.
    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Has the machine, or the process, stop at an operation.
    pub(super) fn stop_at(&self, operation: u64) {
        self.state().stop_at = Some(operation);
    }

    /// Has operations fail.
    pub(super) fn fail_at(&self, operations: Vec<u64>) {
        self.state().fail_at = operations;
    }

    /// Has the opening of a file fail, until the next start.
    pub(super) fn close(&self, name: &'static str) {
        self.state().is_closed = Some(name);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// How many operations failed.
    pub(super) fn faults(&self) -> u64 {
        self.state().faults
    }

    pub(super) fn tear(&self) -> Tear {
        self.state().tear
    }

    /// The power was off: only the medium is left.
    pub(super) fn lose_power(&self) {
        let mut state = self.state();
        let State { chance, tear, files, .. } = &mut *state;
        for file in files {
            file.tear(chance, *tear);
            file.bytes.clone_from(&file.medium);
            file.lost_from = None;
        }
        state.tear_names();
        state.unsynced_names.clear();
        state.names = state.durable_names.clone();
        state.restart();
    }

    /// The process was killed: the kernel still has everything. Where a sync has failed before, what the kernel has and
    /// the medium never gets goes too: such a machine is about to be switched off, and no journal could notice.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        let is_lossy = state.names.values().any(|file| state.files[*file].lost_from.is_some());
        state.restart();
        drop(state);
        if is_lossy {
            self.lose_power();
        }
    }

    /// Somebody takes a file away, for good.
    pub(super) fn take(&self, name: &str) -> Option<Vec<u8>> {
        let mut state = self.state();
        let is_other = |change: &NameChange| !matches!(change, NameChange::Add(own, _) if own == name);
        state.unsynced_names.retain(is_other);
        state.durable_names.remove(name);
        let file = state.names.remove(name)?;
        Some(state.files[file].bytes.clone())
    }

    /// Flips a bit, on the medium too.
    pub(super) fn damage(&self, name: &str, at: usize) {
        let mut state = self.state();
        let file = state.names[name];
        state.files[file].bytes[at] ^= 1;
        state.files[file].medium[at] ^= 1;
    }

    /// What a process would read.
    pub(super) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.files[*state.names.get(name)?].bytes.clone())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    fn restart(&mut self) {
        (self.is_stopped, self.stop_at, self.is_closed) = (false, None, None);
        self.fail_at.clear();
    }

    /// Counts an operation; whether it succeeds. What does not is done in part.
    fn begin(&mut self) -> io::Result<bool> {
        self.reading()?;
        self.operations += 1;
        self.is_stopped = self.stop_at == Some(self.operations);
        let fails = self.fail_at.contains(&self.operations);
        self.faults += u64::from(fails);
        Ok(!fails && !self.is_stopped)
    }

    fn reading(&self) -> io::Result<()> {
        if self.is_stopped { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn add(&mut self, name: &str) -> usize {
        self.files.push(Contents::default());
        let file = self.files.len() - 1;
        self.names.insert(name.to_owned(), file);
        self.unsynced_names.push(NameChange::Add(name.to_owned(), file));
        file
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Some of the changes of names are on the medium.
    fn tear_names(&mut self) {
        let kept = self.chance.below(self.unsynced_names.len() as u64 + 1) as usize;
        let in_order = self.tear == Tear::InOrder;
        for (at, change) in self.unsynced_names.clone().into_iter().enumerate() {
            let is_kept = if in_order { at < kept } else { self.chance.below(2) == 0 };
            if is_kept {
                apply_name(&mut self.durable_names, change);
            }
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Add(name, file) => drop(names.insert(name, file)),
        NameChange::Remove(name) => drop(names.remove(&name)),
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
    }
}

impl Directory for SimulatedDisk {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.reading()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.reading()?;
        Ok(state.files[state.file(name)?].bytes.clone())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut state = self.state();
        let succeeds = state.begin()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if succeeds || state.chance.below(2) == 0 {
            let file = state.add(name);
            if succeeds {
                return Ok(Box::new(SimulatedFile(self.clone(), file)));
            }
        }
        Err(fault())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut state = self.state();
        if !state.begin()? {
            return Err(fault());
        }
        if state.is_closed == Some(name) {
            state.faults += 1;
            return Err(fault());
        }
        let file = match state.names.get(name) {
            Some(file) => *file,
            None => state.add(name),
        };
        Ok(Box::new(SimulatedFile(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let succeeds = state.begin()?;
        state.file(from)?;
        if succeeds || state.chance.below(2) == 0 {
            let change = NameChange::Rename(from.to_owned(), to.to_owned());
            apply_name(&mut state.names, change.clone());
            state.unsynced_names.push(change);
        }
        if succeeds { Ok(()) } else { Err(fault()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let succeeds = state.begin()?;
        state.file(name)?;
        if succeeds || state.chance.below(2) == 0 {
            state.names.remove(name);
            state.unsynced_names.push(NameChange::Remove(name.to_owned()));
        }
        if succeeds { Ok(()) } else { Err(fault()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.begin()? {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
            return Ok(());
        }
        Err(fault())
    }

    /// Nobody moves it.
    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }
}

fn fault() -> io::Error {
    io::Error::other("a fault of the test")
}
