//! The disk tier as requests see it: which object of a key answers, what of it is purged, where the store on disk is
//! that the configuration asks for.
//!
//! A purge holds from the moment that it is asked for, though the files are looked through only after it: what is
//! found meanwhile is compared with it ([`DiskTier::purge`]). That goes for folders too that are not in force at the moment:
//! for one that another program has still, purges and writes wait until it is opened, and one that a reload took away is
//! emptied when it comes back, if there were any. Any other program that opens it finds a mark there, and empties it.

mod disk_object;
mod disk_write;
mod formers;
mod marks;
mod past;
mod purging;
#[cfg(test)]
mod tests;
mod written;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use formers::Formers;
use marks::Marks;
use past::{Past, Purge};
use purging::Search;
use written::Sweep;

pub use self::{disk_object::DiskObject, disk_write::DiskWrite, purging::Purging};

use super::{
    conf::CacheConf,
    date::Date,
    disk::{Disk, Ending, Id, Keyed, Options, Stats},
    disk_head::DiskHead,
    key::Key,
    purge::Rule,
    stored_head::StoredHead,
    stored_response::StoredResponse,
    vary::{self, Selector},
};
use crate::{
    fields::Fields,
    moment::Moment,
    owned_directory::{Held, OwnedDirectory},
    telemetry::clock,
};

/// The disk tier of one cache; empty while there is none.
#[derive(Debug)]
pub struct DiskTier {
    place: Arc<OwnedDirectory<Disk>>,
    /// What was purged and written to of late.
    past: Arc<Past>,
    formers: Formers,
    marks: Arc<Marks>,
    search: Arc<Search>,
    /// What is left to do in the folder that was let go of.
    ending: Mutex<Option<Ending>>,
}

/// The present in milliseconds: when a fetch begins, and when a purge is asked for.
pub fn now_millis() -> u64 {
    clock::unix_millis()
}

impl Held for Disk {
    type Conf = CacheConf;
    /// The tier whose folder it is.
    type Context = Weak<DiskTier>;

    const NAME: &'static str = "disk";

    fn asked(conf: &CacheConf) -> Option<(&Path, u64)> {
        conf.disk.as_ref().map(|disk| (&*disk.path, disk.size.0))
    }

    fn open(conf: &CacheConf, (path, size): (&Path, u64), tier: &Weak<DiskTier>) -> io::Result<Arc<Self>> {
        let mark = tier.upgrade().map(|tier| tier.marks.name().to_owned());
        Self::open(&Options { eviction: conf.eviction, mark, ..Options::new(path, size) })
    }

    fn take_on(&self, conf: &CacheConf, size: u64) {
        self.set_limit(size);
        self.set_eviction(conf.eviction);
    }

    fn wait_for(path: &Path, tier: &Weak<DiskTier>) {
        tier.upgrade().iter().for_each(|tier| tier.marks.watch(path));
    }

    fn begin(self: &Arc<Self>, path: &Path, tier: &Weak<DiskTier>) {
        if tier.upgrade().is_some_and(|tier| tier.formers.come_back(path)) {
            self.clear();
        }
    }

    fn begun(self: &Arc<Self>, path: &Path, tier: &Weak<DiskTier>) {
        let Some(tier) = tier.upgrade() else { return };
        // Of what came since [`Self::begin`], too.
        if tier.formers.remove(path) {
            self.clear();
        }
        tier.search.catch_up(self, path);
    }

    fn leave(path: &Path, tier: &Weak<DiskTier>) {
        let Some(tier) = tier.upgrade() else { return };
        tier.formers.add(path);
        tier.marks.watch(path);
        // At once, whatever comes: a program after this one, which may have no disk, or this folder later only, hears of none
        // of it, and this one may be killed.
        tier.marks.mark();
        // What is under way may go on in another folder.
        if tier.past.is_recent(now_millis()) {
            tier.formers.miss();
        }
    }
}

impl DiskTier {
    /// One without a store.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|tier| {
            let (place, past) = (Arc::new(OwnedDirectory::new(tier.clone())), Arc::<Past>::default());
            let marks = Arc::<Marks>::default();
            let search = Arc::new(Search::new(place.clone(), past.clone(), marks.clone()));
            Self { place, past, formers: Formers::default(), marks, search, ending: Mutex::default() }
        })
    }

    /// Where the store on disk is.
    pub fn place(&self) -> &Arc<OwnedDirectory<Disk>> {
        &self.place
    }

    fn disk(&self) -> Option<Arc<Disk>> {
        self.place.held()
    }

    /// Whether there is a disk tier.
    pub fn is_open(&self) -> bool {
        self.place.is_open()
    }

    /// No configuration has this tier any more: what is purged or written to from here on is not heard of, so that whoever has
    /// the folder next empties it.
    pub fn take_out(&self) {
        self.place.take_out();
        self.formers.miss();
        self.marks.mark();
    }

    /// Lets go of the folder, which another program is to have.
    pub fn close(&self) {
        if let Some(disk) = self.place.close() {
            *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk.ending());
        }
    }

    /// Lets go of it and waits, though not longer than `patience`, until what is on its way there has come to its end. Also
    /// where another program was to have it long ago: what a write took out since is not to be found there.
    pub fn finish(&self, patience: Duration) {
        self.close();
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        ending.into_iter().for_each(|ending| ending.finish(patience));
    }

    /// Whether something may be there under a key; asks no disk.
    pub fn may_have(&self, key: &Key) -> bool {
        self.disk().is_some_and(|disk| !disk.find(key.hash()).is_empty())
    }

    /// Whether something under a key came after this moment, or its head did; asks no disk.
    pub fn came_since(&self, key: &Key, moment: Moment) -> bool {
        self.disk().is_some_and(|disk| disk.came_since(key.hash(), moment))
    }

    /// Whether what is there in the place of a response of this Date, which was asked for at `since` (and at `begun` by the
    /// wall clock), is more recent: it came meanwhile, and memory may have no room for it any more. Opens what came
    /// meanwhile alone.
    pub async fn has_more_recent(
        &self,
        (key, variant): (&Key, &Key),
        date: Date,
        (since, begun): (Moment, u64),
    ) -> bool {
        let Some(disk) = self.disk() else { return false };
        // In this order: nothing of it came later.
        let (all, now) = (disk.find(key.hash()), Moment::now());
        for found in all.into_iter().filter(|found| found.came.is_after(since, now)) {
            let record = disk.head(found.id).await.and_then(|meta| DiskHead::decode(&meta));
            let record = record.filter(|record| record.key == *key && record.variant == *variant);
            let record = record.filter(|record| record.is_more_recent_than((date, begun), now_millis()));
            if record.and_then(|record| self.past.unpurged(record)).is_some() {
                return true;
            }
        }
        false
    }

    /// What answers a request, by its key and, where it varies, its fields. More than `most` variants are not kept.
    pub async fn find(&self, key: &Key, request: &Fields, most: usize) -> Option<DiskObject> {
        let disk = self.disk()?;
        let mut kept: Vec<DiskObject> = Vec::new();
        for found in disk.find(key.hash()) {
            let Some(meta) = disk.head(found.id).await else { continue };
            let record = DiskHead::decode(&meta);
            let record = record.filter(|record| record.key == *key).and_then(|it| self.past.unpurged(it));
            let Some(record) = record else {
                disk.remove(found.id);
                continue;
            };
            let mut object = DiskObject { record, length: found.length, disk: disk.clone(), id: found.id };
            let has_room = kept.len() < most;
            // The newest comes first: another of the same variant is one that it replaced, or that overtook it.
            match kept.iter_mut().find(|other| other.record.variant == object.record.variant) {
                Some(other) => {
                    if object.is_more_recent_than(other, now_millis()) {
                        std::mem::swap(other, &mut object);
                    }
                    object.remove();
                }
                None if has_room => kept.push(object),
                None => object.remove(),
            }
        }
        let mut selector = Selector::new(request);
        selector.learn(kept.iter().map(|object| object.record.entry.vary.clone()));
        let at = vary::choose(kept.iter().map(DiskObject::as_variant), &selector).ok()??;
        let kept = kept.into_iter().nth(at)?;
        disk.touch(kept.id);
        Some(kept)
    }

    /// Begins to keep a response whose fetch began at `begun`; none where there is no disk tier, or no room in what
    /// waits to be written.
    pub fn begin(
        &self,
        key: &Key,
        variant: &Key,
        entry: &StoredHead,
        (length, begun): (Option<u64>, u64),
    ) -> Option<DiskWrite> {
        let disk = self.disk()?;
        let record = DiskHead { key: key.clone(), variant: variant.clone(), entry: entry.clone(), begun };
        // Of one that varies it is not known which of those that are there it replaces; who looks sorts them out.
        let is_only = variant.text().is_empty();
        let replaces = if is_only { disk.find(key.hash()) } else { Vec::new() };
        let writing = disk.begin(key.hash(), record.encode(), length)?;
        Some(DiskWrite {
            writing: Some(writing),
            past: self.past.clone(),
            uri: key.uri_hash(),
            keyed: if key.has_fields() { Keyed::Fields } else { Keyed::Uri },
            begun,
            replaces: replaces.into_iter().map(|found| found.id).collect(),
        })
    }

    /// An object with a newer head, which was asked for at `begun`, and which is kept too.
    pub fn renewed(&self, object: DiskObject, entry: StoredHead, begun: u64) -> DiskObject {
        let mut renewed = object.with(entry);
        renewed.record.begun = begun;
        self.update(&renewed.disk, renewed.id, &renewed.record);
        renewed
    }

    /// Keeps a newer head, unless a purge came since it was asked for: the answer may be older than what the purge was
    /// for, and would undo it. Then what is there stays as the purge leaves it.
    fn update(&self, disk: &Disk, id: Id, record: &DiskHead) {
        let meta = record.encode();
        // Held until it is found in the place of the older: a purge that comes later looks at it.
        let purges = self.past.purges();
        if !purges.are_about(record) {
            disk.update(id, meta);
        }
    }

    /// Gives what is there in the place of a validated object its newer head, which was asked for at `begun`, or takes
    /// it out.
    pub async fn renew(&self, object: &StoredResponse, may_stay: bool, begun: u64) {
        let Some(disk) = self.disk() else { return };
        for found in disk.find(object.key.hash()) {
            let Some(record) = disk.head(found.id).await.and_then(|meta| DiskHead::decode(&meta)) else {
                // It may be the one, and be read again later.
                if !may_stay {
                    disk.remove(found.id);
                }
                continue;
            };
            if record.key != object.key || record.variant != object.variant {
                continue;
            }
            if !may_stay {
                disk.remove(found.id);
                continue;
            }
            // What took the place of the one that was validated, asked for later or with another body, has a head of its own.
            let is_later = record.begun > begun && record.begun <= now_millis();
            if !is_later && found.length == object.body.length {
                let record = DiskHead { entry: object.entry.clone(), begun, ..record };
                self.update(&disk, found.id, &record);
            }
        }
    }

    /// A URI was written to: nothing of it that is older is found from here on. Does not wait for the disk; where keys
    /// have more than the URI, the files are still to be looked through.
    pub fn forget(&self, uri: &Key, has_fields: bool, tags: &str) -> Option<Purging> {
        if !self.place.is_used() {
            return None;
        }
        let now = now_millis();
        // First: what comes to its place behind the removal is compared with it then.
        self.past.written.note(uri.hash(), now);
        self.formers.miss();
        if self.place.is_waiting() && !self.past.written.hold(uri.hash(), now) {
            return self.purge_for_writes(tags);
        }
        // Where there is none yet, who opens it finds what waits.
        let Some(disk) = self.place.held_still() else { return self.marking() };
        disk.remove_key(uri.hash());
        // Others may have, by their routes or by fields that this one lacks.
        if !has_fields && !disk.may_have_fields() {
            return self.marking();
        }
        match self.past.written.sweep(uri.hash(), now) {
            Sweep::UnderWay => self.marking(),
            Sweep::Needed => Some(Purging::of_writes(&self.search)),
            Sweep::TooMany => self.purge_for_writes(tags),
        }
    }

    fn purge_for_writes(&self, tags: &str) -> Option<Purging> {
        tracing::warn!("writes go to too many URIs to look for each on disk: the whole disk tier is cleared");
        self.purge(&Rule::All, false, tags)
    }

    /// What is left to be done where there are no files to look through: folders that are not in force miss it.
    fn marking(&self) -> Option<Purging> {
        self.marks.are_needed().then(|| Purging::of_marks(&self.search))
    }

    /// What is there of an object does not hold any more.
    pub fn remove(&self, object: &StoredResponse) {
        // Of those that vary it is not known which it is; purges and writes find them all.
        if let Some(disk) = self.disk().filter(|_| object.variant.text().is_empty()) {
            disk.remove_key(object.key.hash());
        }
    }

    /// Begins a purge: it holds from here on. `tags` names the field by which purges by tag go. What is returned does it,
    /// on a thread that may wait; where another program has the folder still, it is done once this one has it.
    pub fn purge(&self, rule: &Rule, is_soft: bool, tags: &str) -> Option<Purging> {
        if !self.place.is_used() {
            return None;
        }
        // Asked before the purge is noted, and where the store is after it: whoever opens it sees the purge then.
        let is_waiting = self.place.is_waiting();
        let mut purge = Arc::new(Purge::new(rule.clone(), is_soft, tags, now_millis()));
        match is_waiting {
            true => purge = self.past.purges().hold(purge),
            false => self.past.purges().add(purge.clone()),
        }
        self.formers.miss();
        if self.place.held_still().is_some() {
            return Some(Purging::of(&self.search, purge));
        }
        if !is_waiting {
            purge.end(now_millis());
        }
        self.marking()
    }

    /// Takes everything out; gives how much there was. Waits for the disk.
    pub fn clear(&self) -> u64 {
        self.formers.miss();
        self.marks.mark();
        let held = if self.place.is_waiting() { self.purge(&Rule::All, false, "") } else { None };
        let Some(disk) = self.place.held_still() else {
            // A reload may just have taken it away.
            self.formers.miss();
            self.marks.mark();
            return 0;
        };
        let count = disk.stats().objects;
        disk.clear();
        held.map(Purging::run);
        count
    }

    /// What the store on disk has done and holds.
    pub fn stats(&self) -> Option<Stats> {
        self.disk().map(|disk| disk.stats())
    }
}
