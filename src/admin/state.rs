//! What the endpoints report, and change, and how much of it at a time.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{access::Access, totals::History};
use crate::{
    config::admin::AdminConf,
    listen::mailbox::Mailboxes,
    moment::Moment,
    reload::{Reloader, plan::Certificate},
    runtime::worker::Shared,
};

/// Answers at a time that only read.
const MOST_READING: usize = 2;
/// Answers at a time with metrics: who may ask for them only, and asks without end, takes no place of others.
const MOST_SCRAPING: usize = 1;
/// Configurations at a time that are looked at; a large one takes seconds and much memory.
const MOST_BUILDING: usize = 1;
/// Answers at a time that wait for others; the others take one after another.
const MOST_WAITING: usize = 32;
/// Large bodies at a time.
const MOST_LARGE: usize = 2;

/// What the endpoints report, and change.
#[derive(Debug)]
pub struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) access: ArcSwap<Access>,
    /// Who may ask where metrics alone are answered.
    pub(super) metrics_access: ArcSwap<Access>,
    /// The configuration that `access` was made for, and where it listens.
    made_for: ArcSwap<(Option<AdminConf>, String)>,
    pub(super) reloader: Reloader,
    pub(super) mailboxes: Mailboxes,
    pub(super) started: Moment,
    /// The traffic of the last minutes.
    pub(super) history: History,
    /// The certificates that are served, and when they were looked at.
    pub(super) certificates: Mutex<Option<(Looked, Arc<[Certificate]>)>>,
    pub(super) reading: Arc<Semaphore>,
    pub(super) scraping: Arc<Semaphore>,
    pub(super) building: Arc<Semaphore>,
    pub(super) large: Arc<Semaphore>,
    pub(super) waiting: Arc<Semaphore>,
}

/// When certificates were looked at: the generation, and hours since 1970.
pub(super) type Looked = (u64, u64);

impl Admin {
    /// The way to the workers.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// The state of the admin endpoint. To be made once the snapshot is there.
    pub fn new(shared: Arc<Shared>, access: Access, reloader: Reloader, mailboxes: Mailboxes) -> Self {
        Self {
            shared,
            access: ArcSwap::from_pointee(access),
            metrics_access: ArcSwap::from_pointee(Access::Nobody),
            made_for: ArcSwap::default(),
            reloader,
            mailboxes,
            started: Moment::now(),
            history: History::default(),
            certificates: Mutex::default(),
            reading: Arc::new(Semaphore::new(MOST_READING)),
            scraping: Arc::new(Semaphore::new(MOST_SCRAPING)),
            building: Arc::new(Semaphore::new(MOST_BUILDING)),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    /// Takes over who may ask from the first configuration; `bound` is where it listens. Fails when its token cannot be
    /// read.
    pub fn begin(&self, conf: &AdminConf, bound: &str) -> Result<(), String> {
        let (access, of_metrics) = (Access::new(conf, bound)?, Access::of_metrics(conf)?);
        self.access.store(Arc::new(access));
        self.metrics_access.store(Arc::new(of_metrics));
        self.made_for.store(Arc::new((Some(conf.clone()), bound.to_owned())));
        Ok(())
    }

    /// Takes over who may ask from another configuration; `bound` is where it listens from here on, when that changes. A
    /// token that cannot be read leaves the old one.
    pub fn set_access(&self, conf: Option<&AdminConf>, bound: Option<&str>) {
        let Some(conf) = conf else { return };
        let made_for = self.made_for.load();
        let is_same = bound.is_none() && made_for.0.as_ref() == Some(conf);
        // A file that is named may have another token in it; one that was made has not.
        if is_same && conf.token_file.is_none() && conf.metrics.is_none() {
            return;
        }
        if let Err(error) = self.begin(conf, bound.unwrap_or(&made_for.1)) {
            tracing::error!("{error}; the token that was read before stays valid");
        }
    }
}
