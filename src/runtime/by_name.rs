//! What is found by a name for as long as anybody holds it, whether a generation has it or not: one that leaves it out and
//! one that has it again then count the same places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// What is found by its name while somebody holds it.
#[derive(Debug)]
pub struct ByName<T>(Mutex<HashMap<Box<str>, Weak<T>>>);

impl<T> ByName<T> {
    /// The one of this name; a new one where nobody holds it any more.
    pub fn get(&self, name: &str, new: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get(name).and_then(Weak::upgrade) {
            return held;
        }
        let new = Arc::new(new());
        all.insert(name.into(), Arc::downgrade(&new));
        new
    }

    /// Forgets the names of those that nobody holds.
    pub fn forget_dropped(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, it| it.strong_count() > 0);
    }
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_while_it_is_held() {
        let names = ByName::<u32>::default();
        let (one, other) = (names.get("one", || 1), names.get("other", || 2));
        assert!(Arc::ptr_eq(&one, &names.get("one", || 3)));
        drop(one);
        names.forget_dropped();
        assert_eq!(names.0.lock().unwrap().len(), 1);
        assert_eq!(*names.get("one", || 4), 4, "it begins anew");
        assert!(Arc::ptr_eq(&other, &names.get("other", || 5)));
    }
}
