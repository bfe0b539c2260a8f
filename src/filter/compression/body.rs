//! A body that is compressed on its way.

use super::{
    conf::LevelsConf,
    counts,
    encoder::{Encoder, Expected},
};
use crate::{
    filter::{
        coding::Coding,
        stage::{SLICE, Stage},
    },
    net::Buffer,
};

/// A body that is compressed on its way.
#[derive(Debug)]
pub(super) struct Compressed {
    coding: Coding,
    encoder: Encoder,
    /// Whether something was taken that was not brought out.
    is_holding: bool,
    is_finished: bool,
    taken: u64,
    given: u64,
}

impl Compressed {
    /// A stage for one body; `None` where there is no memory for it.
    pub(super) fn new(coding: Coding, levels: &LevelsConf, expected: Expected) -> Option<Self> {
        let encoder = Encoder::new(coding, levels, expected)?;
        Some(Self { coding, encoder, is_holding: false, is_finished: false, taken: 0, given: 0 })
    }

    fn out(&mut self, bytes: Vec<u8>) -> Option<Buffer> {
        self.given += bytes.len() as u64;
        (!bytes.is_empty()).then(|| Buffer::of(bytes))
    }
}

impl Stage for Compressed {
    fn coding(&self) -> Option<Coding> {
        Some(self.coding)
    }

    fn take(&mut self, block: &mut Buffer) -> Result<Option<Buffer>, &'static str> {
        let length = block.len().min(SLICE);
        let mut out = Vec::new();
        self.encoder.write(block.get(..length).unwrap_or_default(), &mut out)?;
        block.advance(length);
        self.taken += length as u64;
        self.is_holding = true;
        Ok(self.out(out))
    }

    fn flush(&mut self) -> Result<Option<Buffer>, &'static str> {
        if !std::mem::take(&mut self.is_holding) {
            return Ok(None);
        }
        let mut out = Vec::new();
        self.encoder.flush(&mut out)?;
        Ok(self.out(out))
    }

    fn finish(&mut self) -> Result<Option<Buffer>, &'static str> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(None);
        }
        let mut out = Vec::new();
        self.encoder.finish(&mut out)?;
        Ok(self.out(out))
    }
}

impl Drop for Compressed {
    fn drop(&mut self) {
        counts::count(self.coding, self.taken, self.given);
    }
}
