//! Journals that no configuration asks for, and that another program has still: what waits in them is delivered from here
//! once it lets go of them.
//!
//! Previous stop: a reload while the program before has a folder, or what that program hands over. Next stop:
//! [`Journals`], which has them as any other.

use std::{
    io,
    path::Path,
    sync::{Arc, MutexGuard, PoisonError, Weak},
};

use super::{Journals, WriteBack};
use crate::{
    owned_directory::Attempts,
    writeback::{
        former::{Awaited, Former},
        handed::{HandedJournal, Pending},
        journal::Journal,
    },
};

impl Journals {
    /// Opens the journal in a folder that no configuration asks for any more, among the former ones of its cache, so that
    /// what waits in it is delivered. False while somebody else has it who may put it in force, or let go of it.
    pub(super) fn adopt(&self, path: &Path, limit: u64, former: &Weak<Former>) -> io::Result<bool> {
        let journal = self.open_or(path, limit, |journal| {
            // The cache may be gone.
            former.upgrade().iter().for_each(|former| former.add(journal.clone()));
            let mut adopted = self.adopted();
            // Of the two that clear it, that one comes later.
            if !self.is_closed() {
                adopted.push(journal.clone());
            }
            true
        })?;
        self.changed.notify_one();
        Ok(self.known().iter().any(|one| one.is_in_force && one.journal.ptr_eq(&Arc::downgrade(&journal))))
    }

    /// Does so once the other program that has the folder lets go of it.
    pub(super) fn adopt_later(self: &Arc<Self>, path: &Path, limit: u64, former: &Arc<Former>) {
        let mut awaited = Some(Awaited::of(former));
        let (journals, former, folder) = (self.clone(), Arc::downgrade(former), path.to_owned());
        self.pending().push(Pending { path: folder.clone(), limit, former: former.clone() });
        let adopt = move || {
            let mut attempts = Attempts::default();
            while !journals.is_closed() {
                match journals.adopt(&folder, limit, &former) {
                    Ok(true) => {
                        journals.pending().retain(|one| one.path != folder);
                        return;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        if attempts.failed(&error) {
                            tracing::error!(
                                "what waits in the journal in {} cannot be delivered yet: {error}",
                                folder.display()
                            );
                        }
                        // Nobody knows when it will be had: writes go on without it.
                        if error.kind() != io::ErrorKind::WouldBlock {
                            awaited = None;
                        }
                    }
                }
                attempts.pause();
            }
            drop(awaited);
        };
        if let Err(error) = std::thread::Builder::new().name("cache-journal".to_owned()).spawn(adopt) {
            tracing::error!("what waits in the journal in {} is not delivered: {error}", path.display());
        }
    }

    /// The same of one whose cache is gone.
    pub fn adopt_orphan_later(self: &Arc<Self>, path: &Path, limit: u64) {
        self.adopt_later(path, limit, &self.orphans);
    }

    /// Those that the next program may have to deliver from: all that are open, and those that are to be adopted. `caches`
    /// are those that there are, by their names.
    pub fn to_hand_over(&self, caches: &[(&Arc<str>, &WriteBack)]) -> Vec<HandedJournal> {
        let known = self.known();
        let open: Vec<_> =
            known.iter().filter(|one| one.is_in_force).filter_map(|one| one.journal.upgrade()).collect();
        drop(known);
        let cache_of = |is_it: &dyn Fn(&WriteBack) -> bool| {
            caches.iter().find(|(_, back)| is_it(back)).map(|(name, _)| Arc::clone(name))
        };
        let of_open = |journal: &Arc<Journal>| HandedJournal {
            path: journal.path().to_owned(),
            size: journal.limit(),
            cache: cache_of(&|back| back.has(journal)),
        };
        let of_pending = |one: &Pending| HandedJournal {
            path: one.path.clone(),
            size: one.limit,
            cache: cache_of(&|back| back.adopts(&one.former)),
        };
        let mut all: Vec<_> = open.iter().map(of_open).collect();
        all.extend(self.pending().iter().map(of_pending));
        all
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteBack {
    /// Has a journal delivered from that is in this folder, and that this cache had in another program, once that lets go of
    /// it.
    pub fn adopt_later(&self, path: &Path, limit: u64) {
        let context = &self.place.context;
        context.journals.adopt_later(path, limit, &context.former);
    }

    /// Whether this is its journal, or was before.
    fn has(&self, journal: &Arc<Journal>) -> bool {
        self.place.is_held(journal) || self.place.context.former.has(journal)
    }

    /// Whether what is adopted among these is its own.
    fn adopts(&self, former: &Weak<Former>) -> bool {
        former.ptr_eq(&Arc::downgrade(&self.place.context.former))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        schema::{Size, StorePath},
        writeback::{
            conf::JournalConf,
            journal::{
                Options,
                tests::{Scratch, drain, wait, write},
            },
            journals::tests::until,
        },
    };

    const LIMIT: u64 = 1 << 20;

    fn apply(back: &WriteBack, scratch: &Scratch) {
        let path = StorePath(scratch.options(LIMIT, LIMIT).path);
        back.place.apply(back.place.prepare(&Some(JournalConf { path, size: Size(LIMIT) })).unwrap());
    }

    /// The configuration that the next program reads has the second only.
    #[test]
    fn a_journal_that_a_reload_replaced_is_handed_over() {
        let (first, second, journals) = (Scratch::new(), Scratch::new(), Arc::<Journals>::default());
        let back = WriteBack::new(journals.clone());
        apply(&back, &first);
        wait(back.journal().unwrap().append(write("/a", b"new"))).unwrap();
        apply(&back, &second);
        let paths = [&first, &second].map(|scratch| scratch.options(LIMIT, LIMIT).path);
        let name: Arc<str> = "pages".into();
        for (caches, cache) in [(&[(&name, &back)][..], Some(name.clone())), (&[][..], None)] {
            let expected =
                paths.clone().map(|path| HandedJournal { path, size: LIMIT, cache: cache.clone() });
            assert_eq!(journals.to_hand_over(caches), expected);
        }
        // It is empty, and need not be known.
        assert_eq!(drain(&journals.in_force()[0]).len(), 1);
        assert!(back.latest(b"/a").is_none());
        assert_eq!(journals.to_hand_over(&[]).len(), 1);
    }

    #[test]
    fn a_journal_of_no_cache_keeps_writes_waiting() {
        let (scratch, journals) = (Scratch::new(), Arc::<Journals>::default());
        let path = scratch.options(LIMIT, LIMIT).path;
        let before = Journal::open(&Options::new(&path, LIMIT)).unwrap();
        wait(before.append(write("/a", b"new"))).unwrap();
        let other = WriteBack::new(journals.clone());
        journals.adopt_orphan_later(&path, LIMIT);
        assert!(!other.is_ready(false) && journals.is_owing());
        let handed = HandedJournal { path: path.clone(), size: LIMIT, cache: None };
        assert_eq!(
            journals.to_hand_over(&[]),
            std::slice::from_ref(&handed),
            "this program may be followed by another"
        );
        drop(before);
        until("it is had", || other.is_ready(false));
        assert!(other.latest(b"/a").is_some() && journals.is_owing());
        assert_eq!(journals.to_hand_over(&[]), [handed]);
        journals.close();
        assert_eq!(journals.left.take(), [(path, Some(1))]);
        journals.finish();
    }

    #[test]
    fn what_is_in_force_again_is_not_left_behind() {
        let (scratch, journals) = (Scratch::new(), Arc::<Journals>::default());
        let [back, other] = [(), ()].map(|()| WriteBack::new(journals.clone()));
        apply(&back, &scratch);
        wait(back.journal().unwrap().append(write("/a", b"new"))).unwrap();
        back.place.take_out();
        // Another cache has the folder from here on.
        apply(&other, &scratch);
        journals.note_left();
        assert!(journals.left.take().is_empty());
        journals.close();
        journals.finish();
    }
}
