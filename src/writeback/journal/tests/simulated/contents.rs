//! The contents of a file: as processes see them, and as they are on the medium.

use crate::rng::Rng;

/// What a loss of power makes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// It is there up to some byte.
    InOrder,
    /// Any pieces of it are there, and zeros between them.
    InPieces,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// As processes see it.
    pub(super) bytes: Vec<u8>,
    pub(super) medium: Vec<u8>,
    unsynced: Vec<Change>,
    /// From here on processes see what the medium will never have: a sync failed.
    pub(super) lost_from: Option<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Contents {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.unsynced.push(Change::Write(at, bytes.to_vec()));
    }

    pub(super) fn cut(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.unsynced.push(Change::Cut(length));
        self.lost_from = self.lost_from.filter(|from| *from < length);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.apply(&change);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(at, bytes) => {
                let end = (at + bytes.len()).max(self.medium.len());
                self.medium.resize(end, 0);
                self.medium[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Cut(length) => self.medium.truncate(*length),
        }
    }

    /// Some of what was not synced is on the medium, and nothing more of it will be.
    pub(super) fn tear(&mut self, chance: &mut Rng, tear: Tear) {
        let changes = std::mem::take(&mut self.unsynced);
        let whole = chance.below(changes.len() as u64 + 1) as usize;
        for (at, change) in changes.iter().enumerate() {
            match (tear, change) {
                (Tear::InOrder, change) if at < whole => self.apply(change),
                (Tear::InOrder, Change::Write(from, bytes)) if at == whole => {
                    let length = chance.below(bytes.len() as u64 + 1) as usize;
                    self.apply(&Change::Write(*from, bytes[..length].to_vec()));
                }
                (Tear::InOrder, _) => {}
                (Tear::InPieces, Change::Write(from, bytes)) => self.tear_write(*from, bytes, chance),
                (Tear::InPieces, Change::Cut(_)) => {
                    if chance.below(2) == 0 {
                        self.apply(change);
                    }
                }
            }
        }
    }

    fn tear_write(&mut self, from: usize, bytes: &[u8], chance: &mut Rng) {
        let piece = 1 << (3 + chance.below(7));
        let lost = [0, 1, 2, 4][chance.below(4) as usize];
        for (number, bytes) in bytes.chunks(piece).enumerate() {
            if chance.below(4) >= lost {
                self.apply(&Change::Write(from + number * piece, bytes.to_vec()));
            }
        }
    }

    /// A sync that does not succeed.
    pub(super) fn fail_sync(&mut self, chance: &mut Rng, tear: Tear) {
        if chance.below(3) == 0 {
            return;
        }
        let writes = self.unsynced.iter().filter_map(|change| match change {
            Change::Write(at, _) => Some(*at),
            Change::Cut(_) => None,
        });
        self.lost_from = writes.chain(self.lost_from).min();
        self.tear(chance, tear);
    }
}
