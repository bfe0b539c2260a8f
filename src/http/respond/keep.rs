//! What comes out of an encoder for a stored response, kept beside it: who asks next gets it as it is.
//!
//! A client decides how fast it comes, and may stop in the middle: one at a time collects it for each object and encoding,
//! who reads slowly leaves it to the next one, what it has counts in the account, and where memory is full it gives up.

use std::sync::Arc;

use crate::{
    account::{self, Held, Owner},
    cache::{store::Cache, stored_response::StoredResponse},
    filter::coding::Coding,
    moment::Moment,
};

/// The body of a stored response in another encoding, as it comes.
#[derive(Debug)]
pub(in crate::http) struct Keep {
    coding: Coding,
    /// When it began to be collected, by which the one who collects it is known.
    begun: Moment,
    object: Arc<StoredResponse>,
    cache: Arc<Cache>,
    bytes: Vec<u8>,
    held: Held,
}

impl Keep {
    /// Begins to collect it; `None` where another does, where it is there meanwhile, or where memory is full.
    pub(super) fn begin(
        coding: Coding,
        object: &Arc<StoredResponse>,
        cache: &Arc<Cache>,
        now: Moment,
    ) -> Option<Self> {
        let may_begin = !account::is_full() && object.body.encodings.begin_collecting(coding, now);
        may_begin.then(|| Self {
            coding,
            begun: now,
            object: object.clone(),
            cache: cache.clone(),
            bytes: Vec::new(),
            held: Held::new(Owner::Fills, 0),
        })
    }

    /// Takes what comes next; false where it is not worth keeping, being no shorter than the body itself, where another
    /// collects it now, or where memory is full.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        let length = (self.bytes.len() + bytes.len()) as u64;
        let is_long = length > self.object.body.length + 64;
        let is_own = self.object.body.encodings.go_on_collecting(self.coding, self.begun, length);
        if is_long || !is_own || account::is_full() {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        self.held.grow(self.bytes.capacity().saturating_sub(self.held.bytes()));
        true
    }

    /// It is whole.
    pub(super) fn finish(mut self) {
        if let Some(memory) = &self.cache.store.memory {
            // No more than what it counts for beside the object.
            let bytes = std::mem::take(&mut self.bytes).into_boxed_slice();
            memory.keep_encoded(&self.object, self.coding, bytes.into());
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.object.body.encodings.end_collecting(self.coding, self.begun);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        cache::{
            conf::CacheConf,
            date::Date,
            freshness::Times,
            key::{Key, KeySettings},
            policy::Policy,
            store::Store,
            stored_head::StoredHead,
            stored_response::Body,
        },
        fields::Fields,
        filter::Kept,
        h1::{RequestHead, ResponseHead},
        schema::Size,
    };

    /// A cache, and what it has stored.
    fn stored(length: usize) -> (Arc<Cache>, Arc<StoredResponse>) {
        let conf =
            CacheConf { memory: Size(1 << 20), max_object: Size(1 << 16), ..CacheConf::collapsing("c") };
        let store = Arc::new(Store::new(Some(Cache::shape(&conf)), 1, Arc::default()));
        let cache = Arc::new(Cache::new(&conf, store));
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.fields.push("cache-control", b"max-age=86400");
        let times = Times { requested: Date(1_795_000_000), received: Date(1_795_000_000) };
        let entry = StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times).unwrap();
        let key = Key::of("http", "a", None, "/a", &Fields::default(), &KeySettings::default());
        let body = Body::of([Bytes::from(vec![b'a'; length])]);
        let object = Arc::new(StoredResponse::new(key, &Fields::default(), entry, body).unwrap());
        assert!(cache.put(object.clone()).is_ok());
        (cache, object)
    }

    /// Else each of those who read slowly would hold all of it.
    #[test]
    fn one_at_a_time_collects_and_what_it_has_counts() {
        let (cache, object) = stored(10_000);
        let now = Moment::now();
        let begin = |coding| Keep::begin(coding, &object, &cache, now);
        let mut first = begin(Coding::Br).unwrap();
        assert!(begin(Coding::Br).is_none(), "another does");
        assert!(begin(Coding::Gzip).is_some(), "of each encoding for itself");
        assert!(first.add(&[1; 3000]) && first.add(&[2; 3000]));
        assert!((6000..20_000).contains(&first.held.bytes()), "{:?}", first.held);
        drop(first);
        assert_eq!(object.find(Coding::Br), None, "it was not whole");
        let mut second = begin(Coding::Br).unwrap();
        assert!(second.add(b"short"));
        second.finish();
        assert_eq!(object.find(Coding::Br).as_deref(), Some(&b"short"[..]));
        assert!(begin(Coding::Br).is_none(), "it is there");
    }

    /// Else everyone else's would be compressed anew as long as the slow one reads.
    #[test]
    fn one_who_reads_slowly_leaves_it_to_the_next() {
        let (cache, object) = stored(10_000);
        let begun = Moment::now();
        let mut slow = Keep::begin(Coding::Br, &object, &cache, begun).unwrap();
        assert!(slow.add(b"so"));
        let later = begun.plus(std::time::Duration::from_secs(2));
        let mut next = Keep::begin(Coding::Br, &object, &cache, later).unwrap();
        assert!(!slow.add(b" slow"), "what it has is given back");
        drop(slow);
        assert!(Keep::begin(Coding::Br, &object, &cache, later).is_none(), "the next one does");
        assert!(next.add(b"short"));
        next.finish();
        assert_eq!(object.find(Coding::Br).as_deref(), Some(&b"short"[..]));
    }

    /// Else what is large and asked for often would be kept for nobody.
    #[test]
    fn one_who_reads_well_has_the_time_that_it_takes() {
        let (cache, object) = stored(60_000);
        let begun = Moment::now();
        let at = |seconds| begun.plus(std::time::Duration::from_secs(seconds));
        let mut first = Keep::begin(Coding::Br, &object, &cache, begun).unwrap();
        assert!(first.add(&[1; 40_000]));
        assert!(Keep::begin(Coding::Br, &object, &cache, at(1)).is_none());
        assert!(first.add(&[1; 10_000]), "it goes on");
        assert!(Keep::begin(Coding::Br, &object, &cache, at(3)).is_some(), "it has become slow");
    }

    #[test]
    fn what_is_no_shorter_is_not_kept() {
        let (cache, object) = stored(1000);
        let mut keep = Keep::begin(Coding::Zstd, &object, &cache, Moment::now()).unwrap();
        assert!(keep.add(&[1; 1000]) && !keep.add(&[1; 65]));
    }
}
