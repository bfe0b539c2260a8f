//! A cache: what the configuration says of it ([`Cache`], of one generation), and what it holds, which outlives
//! reloads ([`Store`]).

mod cannot_open;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use cannot_open::cannot_open;

pub use self::cannot_open::CannotOpen;

use super::{
    conf::{Admission, CacheConf},
    date::Date,
    disk::Disk,
    disk_tier::{DiskTier, Purging},
    fill::{self, Bounds, Fills},
    hit_for_miss::HitForMiss,
    inactive::Inactive,
    key::{Key, KeySettings},
    memory::{Found, Memory, Rejected, Shape},
    peer_counts::PeerCounts,
    policy::Policy,
    purge::{Purges, Rule},
    stored_response::StoredResponse,
    through::overlap::Watches,
};
use crate::{
    fields::Fields,
    moment::Moment,
    owned_directory,
    route::condition::Groups,
    telemetry::cache_result::Counts,
    template::{Context, Template, Use},
    writeback::{
        counters::Counters,
        journal::Journal,
        journals::{Journals, WriteBack},
    },
};

/// What a cache holds, and counts. The registry keeps it over reloads, by the cache's name; under another one the folder of
/// its disk tells which it is.
#[derive(Debug)]
pub struct Store {
    /// Objects in memory; none where requests are collapsed without being stored.
    pub memory: Option<Memory>,
    /// The disk tier, where there is one.
    pub disk: Arc<DiskTier>,
    /// Writes that were accepted, and that the origin does not have yet.
    pub back: WriteBack,
    /// Objects that came from disk to memory.
    pub promoted: AtomicU64,
    /// Fetches under way.
    pub fills: Arc<Fills>,
    /// Exchanges under way that nobody joins.
    pub watches: Arc<Watches>,
    /// Keys whose responses turned out not to be shared: nobody waits for them for a while.
    pub hit_for_miss: HitForMiss,
    /// What became of requests that change something.
    pub writes: Counters,
    /// What each worker counts.
    pub counts: Box<[Counts]>,
    /// What operators had purged.
    pub purges: Purges,
    /// What became of questions to peers.
    pub peers: PeerCounts,
    /// What left since nobody asked for it.
    pub inactive: Inactive,
    shape: Mutex<Option<Shape>>,
}

impl Store {
    /// An empty one; without a shape, nothing is stored.
    pub fn new(shape: Option<Shape>, workers: usize, journals: Arc<Journals>) -> Self {
        Self {
            memory: shape.map(Memory::new),
            disk: DiskTier::new(),
            back: WriteBack::new(journals),
            promoted: AtomicU64::new(0),
            fills: Fills::new(bounds(shape)),
            watches: Arc::default(),
            writes: Counters::default(),
            hit_for_miss: HitForMiss::default(),
            purges: Purges::default(),
            peers: PeerCounts::default(),
            inactive: Inactive::default(),
            counts: (0..workers).map(|_| Counts::default()).collect(),
            shape: Mutex::new(shape),
        }
    }

    /// Opens the folders that a configuration asks for, without putting anything in force. Waits for the disk.
    pub fn prepare(&self, conf: &CacheConf) -> Result<Change, CannotOpen> {
        let disk = self.disk.place().prepare(conf).map_err(|error| cannot_open::<Disk>(conf, &error))?;
        let journal = self.back.place().prepare(&conf.journal);
        Ok(Change { disk, journal: journal.map_err(|error| cannot_open::<Journal>(conf, &error))? })
    }

    /// Opens them at a start. What another program has still, from which this one takes over, comes later.
    pub fn start(&self, conf: &CacheConf, takes_over: bool) -> Result<(), CannotOpen> {
        let failed = |error| cannot_open::<Disk>(conf, &error);
        self.disk.place().start(&conf.name, conf, takes_over).map_err(failed)?;
        let failed = |error| cannot_open::<Journal>(conf, &error);
        self.back.place().start(&conf.name, &conf.journal, takes_over).map_err(failed)
    }

    /// Lets go of its folders.
    pub fn close(&self) {
        self.disk.close();
        self.back.close();
    }

    /// No configuration has it any more, though exchanges still may: it takes its folders out of force. Of what is purged or
    /// written to from here on nothing is heard here, so that what it keeps is served to nobody should it come back. Waits
    /// for the disk.
    pub fn take_out(&self) {
        self.disk.take_out();
        self.back.place().take_out();
        self.fills.purge(&Rule::All);
        self.watches.note(&Rule::All);
        if let Some(memory) = &self.memory {
            memory.clear();
        }
    }

    /// Lets go of its folders and waits until what is on its way to them is there, so that what was removed is not there
    /// again at the next start, or in another program that has the folder next.
    pub fn finish(&self) {
        self.close();
        self.disk.finish(PATIENCE);
    }

    /// Takes another shape on, where it differs, and the folders that were prepared; what has no room any more
    /// leaves. To be called when the configuration that says so is in force.
    pub fn apply(&self, shape: Option<Shape>, change: Option<Change>) {
        if let Some(Change { disk, journal }) = change {
            self.disk.place().apply(disk);
            self.back.place().apply(journal);
        }
        let mut own = self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        if *own == shape {
            return;
        }
        *own = shape;
        if let (Some(memory), Some(shape)) = (&self.memory, shape) {
            memory.reshape(shape);
        }
        self.fills.set_bounds(bounds(shape));
    }
}

/// What a new configuration makes of a cache's folders: opened, and not in force yet.
#[derive(Debug)]
pub struct Change {
    disk: owned_directory::Change<Disk>,
    journal: owned_directory::Change<Journal>,
}

/// Bodies on their way are kept up to the largest that is stored, and all together take no more than a quarter beyond
/// what is stored.
fn bounds(shape: Option<Shape>) -> Bounds {
    match shape {
        Some(shape) => {
            let held = (shape.limit / 4).max(LEAST_HELD);
            Bounds { max_object: shape.max_object.min(shape.limit), held }
        }
        None => Bounds { max_object: LARGEST_SHARED, held: LEAST_HELD },
    }
}

/// How long the end of the program waits for a disk.
const PATIENCE: Duration = Duration::from_secs(5);
const LEAST_HELD: u64 = 64 << 20;
/// What is kept for slower readers of a response that is shared and not stored.
const LARGEST_SHARED: u64 = 16 << 20;

/// A cache of one generation of the configuration.
#[derive(Debug)]
pub struct Cache {
    /// Its configuration.
    pub conf: CacheConf,
    /// Whether it stores; else it only collapses requests.
    pub is_storing: bool,
    /// What its decisions need.
    pub policy: Policy,
    /// What its keys are made of.
    pub key: KeySettings,
    /// What its keys have besides, made for each request.
    pub key_template: Option<Template>,
    /// Requests that nothing stored is served to.
    pub bypass: Groups,
    /// Requests that it has nothing to do with.
    pub no_store: Groups,
    /// What it holds.
    pub store: Arc<Store>,
}

impl Cache {
    /// A cache by its configuration.
    pub fn new(conf: &CacheConf, store: Arc<Store>) -> Self {
        let (policy, key) = (conf.policy(), conf.key_settings());
        let key_template = Some(Template::of(&conf.key.template, Use::Key, Context::Plain));
        Self {
            is_storing: store.memory.is_some(),
            policy,
            key,
            key_template: key_template.filter(|_| !conf.key.template.is_empty()),
            bypass: Groups::of(&conf.bypass),
            no_store: Groups::of(&conf.no_store),
            store,
            conf: conf.clone(),
        }
    }

    /// The shape of the store that this configuration asks for.
    pub fn shape(conf: &CacheConf) -> Shape {
        Shape {
            limit: conf.memory.0,
            max_object: conf.max_object.0,
            eviction: conf.eviction,
            admission: conf.admission,
        }
    }

    /// What is stored for a request.
    pub fn find(&self, key: &Key, request: &Fields) -> Found {
        let Some(memory) = &self.store.memory else { return Found::Nothing };
        let found = memory.find(key, request);
        match self.conf.inactive.is_zero() {
            true => found,
            false => self.store.inactive.asked(found, self.conf.inactive, memory),
        }
    }

    /// Whether something may have to leave since nobody asks for it: also where a configuration before this one had it.
    pub fn watches_inactive(&self) -> bool {
        !self.conf.inactive.is_zero() || self.store.inactive.is_on()
    }

    /// Removes what nobody asked for, if it is time for that. Waits for locks, and is not for an event loop.
    pub fn remove_inactive(&self, now: Moment) {
        if let Some(memory) = &self.store.memory {
            let disk = self.store.disk.place().held();
            self.store.inactive.turn(self.conf.inactive, memory, disk.as_deref(), now);
        }
    }

    /// What is stored for a request, without a mark that it was asked for: for those who only look.
    pub fn peek(&self, key: &Key, request: &Fields) -> Found {
        self.store.memory.as_ref().map_or(Found::Nothing, |memory| memory.peek(key, request))
    }

    /// The longest body that may be stored.
    pub fn longest(&self) -> u64 {
        let most = self.store.fills.bounds().max_object;
        // What goes to disk need not fit into memory.
        if self.store.disk.is_open() { self.conf.max_object.0 } else { most }
    }

    /// Whether purges that came while a response was on its way leave it alone.
    pub fn survives(&self, key: &Key, response: &Fields, rules: &[Rule]) -> bool {
        !rules.iter().any(|rule| rule.matches(key, response, &self.conf.purge_header))
    }

    /// Whether an answer may be older than something that was purged since `then`.
    pub fn is_outdated(&self, key: &Key, response: &Fields, then: Moment) -> bool {
        !self.survives(key, response, &self.store.fills.purges_since_time(key, then))
    }

    /// Stores what a fill brought in memory. The error says why it is not to be stored anywhere.
    pub fn put(&self, object: Arc<StoredResponse>) -> Result<(), Rejected> {
        let Some(memory) = &self.store.memory else { return Ok(()) };
        let is_on_disk = self.is_admitted_by_disk(&object);
        match memory.put_known(object, self.conf.max_variants as usize, is_on_disk) {
            // The store counts what it refuses.
            Ok(()) | Err(Rejected::TooLarge) => Ok(()),
            Err(refused @ (Rejected::NotAdmitted | Rejected::Older)) => Err(refused),
        }
    }

    /// The same of an object whose body has no room in memory: what is there in its place would hide it.
    pub fn pass_by(&self, object: &StoredResponse) -> Result<(), Rejected> {
        let is_on_disk = self.is_admitted_by_disk(object);
        self.store.memory.as_ref().map_or(Ok(()), |memory| memory.pass_by(object, is_on_disk))
    }

    /// Whether something is on disk under a key, where that decides on what comes in: it was asked for before, and else each
    /// refresh of it would throw it out once it is forgotten who did. Of those that vary it is not known which are there.
    fn is_admitted_by_disk(&self, object: &StoredResponse) -> bool {
        self.conf.admission == Admission::SecondRequest
            && object.variant.text().is_empty()
            && self.store.disk.may_have(&object.key)
    }

    /// Takes what was found on disk into memory. False where it does not come in.
    pub fn promote(&self, object: Arc<StoredResponse>) -> bool {
        let most = self.conf.max_variants as usize;
        // One too large for memory may have come meanwhile, and would be hidden.
        let is_overtaken = self.store.disk.came_since(&object.key, object.begun());
        let memory = self.store.memory.as_ref().filter(|_| !is_overtaken);
        memory.is_some_and(|memory| memory.put_known(object, most, true).is_ok())
    }

    /// Stores the newer head of a response in the place of the older one, if that is still there. False where it is to be
    /// stored nowhere: one of the purges since it was asked for is about it, or something else has its place by now.
    pub fn replace(&self, before: &Arc<StoredResponse>, object: Arc<StoredResponse>, rules: &[Rule]) -> bool {
        if !self.survives(&object.key, &object.entry.head.fields, rules) {
            return false;
        }
        let Some(memory) = &self.store.memory else { return true };
        if memory.replace(before, object.clone(), self.conf.max_variants as usize) {
            return true;
        }
        // What came from disk has no place here yet.
        let is_taken = memory.variants(&object.key).iter().any(|other| other.variant == object.variant);
        let disk = &self.store.disk;
        // What came meanwhile, and left memory already, is in its place there.
        let is_overtaken = || disk.came_since(&object.key, object.begun());
        let is_from_disk = !is_taken && disk.may_have(&object.key) && !is_overtaken();
        is_from_disk && self.put(object) != Err(Rejected::Older)
    }

    /// Takes this very object out, from disk too.
    pub fn remove(&self, object: &Arc<StoredResponse>) {
        if let Some(memory) = &self.store.memory {
            memory.remove(object);
        }
        self.store.disk.remove(object);
    }

    /// Something was written to a URI: nothing that is stored of it is served any more. What is returned is still to
    /// be run on a thread that may wait.
    pub fn forget(&self, uri: &Key) -> Option<Purging> {
        let has_fields = !self.key.headers.is_empty() || uri.has_fields();
        let uri = uri.of_its_uri();
        let rule = Rule::Uri(uri.clone());
        self.note_purge(&rule);
        let purging = self.store.disk.forget(&uri, has_fields, &self.conf.purge_header);
        self.purge_memory(&rule, false, Date(0));
        purging
    }

    /// Purges what a rule is about: takes it out, or, when `soft`, makes it stale. Gives how many there were. Waits
    /// for the disk, and is not for a worker.
    pub fn purge(&self, rule: &Rule, soft: bool, now: Date) -> u64 {
        // Before what is stored is looked at, so that nothing slips in behind.
        self.note_purge(rule);
        let is_all = *rule == Rule::All && !soft;
        let on_disk = if is_all { self.store.disk.clear() } else { 0 };
        let purging = if is_all { None } else { self.store.disk.purge(rule, soft, &self.conf.purge_header) };
        let in_memory = self.purge_memory(rule, soft, now);
        // What is in memory is on disk too, but for what found no room there.
        in_memory.max(purging.map_or(on_disk, Purging::run))
    }

    /// Has what is on its way not stored where a rule is about it.
    fn note_purge(&self, rule: &Rule) {
        self.store.fills.purge(rule);
        self.store.watches.note(rule);
    }

    fn purge_memory(&self, rule: &Rule, soft: bool, now: Date) -> u64 {
        let Some(memory) = &self.store.memory else { return 0 };
        let mut count = 0;
        let mut let_go = |object: &Arc<StoredResponse>| {
            if soft {
                object.expire(now);
                count += 1;
            } else if memory.remove(object) {
                count += 1;
            }
        };
        match rule {
            Rule::All if !soft => return memory.clear(),
            Rule::Uri(uri) if !soft => return memory.remove_uri(uri),
            Rule::Uri(uri) => memory.of_uri(uri).iter().for_each(let_go),
            Rule::All | Rule::Prefix(_) | Rule::Tag(_) => memory.visit(|object| {
                if rule.matches(&object.key, &object.entry.head.fields, &self.conf.purge_header) {
                    let_go(object);
                }
            }),
        }
        count
    }

    /// What its fills have done and do.
    pub fn fill_stats(&self) -> fill::Stats {
        self.store.fills.stats()
    }
}
