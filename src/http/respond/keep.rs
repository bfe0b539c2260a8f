//! What comes out of an encoder for a stored response, kept beside it: who asks next gets it as it is.

use std::sync::Arc;

use crate::{
    cache::{store::Cache, stored_response::StoredResponse},
    filter::coding::Coding,
};

/// The body of a stored response in another encoding, as it comes.
#[derive(Debug)]
pub(in crate::http) struct Keep {
    coding: Coding,
    object: Arc<StoredResponse>,
    cache: Arc<Cache>,
    bytes: Vec<u8>,
    /// Whether it is no shorter than the body itself, and so not worth keeping.
    is_long: bool,
}

impl Keep {
    pub(super) fn new(coding: Coding, object: Arc<StoredResponse>, cache: Arc<Cache>) -> Self {
        Self { coding, object, cache, bytes: Vec::new(), is_long: false }
    }

    /// Takes what comes next.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.is_long |= (self.bytes.len() + bytes.len()) as u64 > self.object.body.length + 64;
        match self.is_long {
            true => self.bytes = Vec::new(),
            false => self.bytes.extend_from_slice(bytes),
        }
    }

    /// It is whole.
    pub(super) fn finish(self) {
        if let Some(memory) = self.cache.store.memory.as_ref().filter(|_| !self.is_long) {
            memory.keep_encoded(&self.object, self.coding, self.bytes.into());
        }
    }
}
