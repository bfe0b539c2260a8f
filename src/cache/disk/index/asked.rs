//! When objects were asked for last, in turns of a slow clock: four bytes for each, and none while nobody wants to know.

/// When each object was asked for last.
#[derive(Debug, Default)]
pub(super) struct Asked {
    is_on: bool,
    turn: u32,
    by_slot: Vec<u32>,
}

/// An object that was not asked for in this many whole turns is idle: eight are the time that is configured, and one
/// more may pass before a hit in memory is noted here.
const IDLE: u32 = 9;

impl Asked {
    /// Begins or ends to note. What is there when it begins counts as asked for then.
    pub(super) fn set(&mut self, is_on: bool, slots: usize) {
        if is_on != self.is_on {
            let by_slot = if is_on { vec![self.turn; slots] } else { Vec::new() };
            *self = Self { is_on, turn: self.turn, by_slot };
        }
    }

    /// The object at a slot was asked for, or came.
    pub(super) fn note(&mut self, slot: u32) {
        if !self.is_on {
            return;
        }
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, self.turn);
        }
        if let Some(turn) = self.by_slot.get_mut(slot) {
            *turn = self.turn;
        }
    }

    /// Whether the object at a slot has not been asked for in a long time.
    pub(super) fn is_idle(&self, slot: u32) -> bool {
        let turn = self.by_slot.get(slot as usize).filter(|_| self.is_on);
        turn.is_some_and(|turn| self.turn.wrapping_sub(*turn) > IDLE)
    }

    /// The next turn.
    pub(super) fn advance(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// The bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.by_slot.capacity() * size_of::<u32>()
    }
}
