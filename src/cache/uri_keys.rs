//! The keys of each URI whose keys have more than the URI: what writes and purges of the URI go by. A client makes as many of
//! them as it likes, by the values of a field that is in the key, so that each comes and goes in constant time.

use std::collections::{HashMap, HashSet, hash_map::Entry};

/// Keys by URI, each as half of its hash.
#[derive(Debug, Default)]
pub(super) struct UriKeys(HashMap<u64, Keys>);

/// The keys of one URI.
#[derive(Debug)]
enum Keys {
    One(u64),
    Many(HashSet<u64>),
}

impl UriKeys {
    /// Adds a key, if it is not there yet.
    pub(super) fn add(&mut self, uri: u64, key: u64) {
        match self.0.entry(uri) {
            Entry::Vacant(entry) => {
                entry.insert(Keys::One(key));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Keys::Many(keys) => {
                    keys.insert(key);
                }
                Keys::One(one) if *one == key => {}
                Keys::One(one) => {
                    let keys = HashSet::from([*one, key]);
                    entry.insert(Keys::Many(keys));
                }
            },
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, uri: u64, key: u64) {
        let Entry::Occupied(mut entry) = self.0.entry(uri) else { return };
        let is_empty = match entry.get_mut() {
            Keys::One(one) => *one == key,
            Keys::Many(keys) => keys.remove(&key) && keys.is_empty(),
        };
        if is_empty {
            entry.remove();
        }
    }

    /// The keys of a URI.
    pub(super) fn of(&self, uri: u64) -> impl Iterator<Item = u64> {
        let (one, many) = match self.0.get(&uri) {
            Some(Keys::One(one)) => (Some(*one), None),
            Some(Keys::Many(keys)) => (None, Some(keys)),
            None => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_were_added_and_not_removed() {
        let mut keys = UriKeys::default();
        let of = |keys: &UriKeys, uri| {
            let mut of: Vec<u64> = keys.of(uri).collect();
            of.sort_unstable();
            of
        };
        for key in [1, 1, 2, 3, 2] {
            keys.add(7, key);
        }
        keys.add(8, 1);
        assert_eq!((of(&keys, 7), of(&keys, 8), of(&keys, 9)), (vec![1, 2, 3], vec![1], vec![]));
        keys.remove(7, 4);
        keys.remove(8, 2);
        keys.remove(9, 1);
        assert_eq!((of(&keys, 7), of(&keys, 8)), (vec![1, 2, 3], vec![1]));
        (1..4).for_each(|key| keys.remove(7, key));
        keys.remove(8, 1);
        assert!(keys.0.is_empty(), "nothing is left of a URI without keys");
    }
}
