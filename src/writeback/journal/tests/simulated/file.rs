//! A file that is open.

use std::io;

use super::{SimulatedDisk, State, fault};
use crate::writeback::journal::files::AppendFile;

#[derive(Debug)]
pub(super) struct SimulatedFile(pub(super) SimulatedDisk, pub(super) usize);

impl AppendFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.0.state();
        state.reading()?;
        Ok(state.files[self.1].bytes.len() as u64)
    }

    fn last(&self) -> io::Result<Option<u8>> {
        let state = self.0.state();
        state.reading()?;
        Ok(state.files[self.1].bytes.last().copied())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        if state.begin()? {
            state.files[self.1].write(bytes);
            return Ok(());
        }
        let part = state.chance.below(bytes.len() as u64 + 1) as usize;
        state.files[self.1].write(&bytes[..part]);
        Err(fault())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        let succeeds = state.begin()?;
        let State { chance, tear, files, is_stopped, .. } = &mut *state;
        let file = &mut files[self.1];
        match (succeeds, *is_stopped) {
            (true, _) => {
                file.sync();
                return Ok(());
            }
            (false, true) if chance.below(4) == 0 => file.sync(),
            (false, true) => {}
            (false, false) => file.fail_sync(chance, *tear),
        }
        Err(fault())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let succeeds = state.begin()?;
        let is_begun = succeeds || state.chance.below(2) == 0;
        let file = &mut state.files[self.1];
        if is_begun {
            file.cut(length as usize);
        }
        if succeeds {
            file.sync();
            return Ok(());
        }
        Err(fault())
    }
}
