//! One server of an upstream: the noun that balance, health, upstream and admin share.
//!
//! A [`Backend`] belongs to one snapshot and is immutable; what outlives a reload is its [`Shared`]
//! part, which the registry keeps by upstream and address.

mod address;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

pub use self::address::Address;
use crate::{moment::Moment, net::happy_eyeballs, telemetry::recent_latency::RecentLatency};

/// How long an address that was behind others of its name is tried after them.
const BEHIND: Duration = Duration::from_secs(30);

/// A limit that is none.
const UNLIMITED: u32 = u32::MAX;

/// How soon it is seen that the first look-up of a name has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much later an answer is than the one noted before, to be noted too: whoever picks reads the same cache line.
pub const ANSWER_STEP: Duration = Duration::from_millis(1);

/// How much finer than a configured weight an effective weight is, so that slow start can ramp weight 1.
pub const WEIGHT_UNIT: u32 = 100;

/// One server as a snapshot configures it.
#[derive(Debug)]
pub struct Backend {
    /// Its name in configuration, metrics and log; the address when none was given.
    pub name: Box<str>,
    /// Where it is reached.
    pub address: Address,
    /// Share of traffic, as the file or an administrator has it; 0 gets nothing new.
    pub weight: u32,
    /// Most exchanges in flight over all workers; 0 is unlimited.
    pub max_connections: u32,
    /// Used only when no other backend is available.
    pub backup: bool,
    /// Time over which a newly available backend ramps up from a tenth of its weight; zero is off.
    pub slow_start: Duration,
    /// What outlives this snapshot.
    pub shared: Arc<Shared>,
}

impl Backend {
    /// Its name as it is configured: without the address, where it is one of those of a host name.
    pub fn configured_name(&self) -> &str {
        let name = match self.address {
            Address::OfName { .. } => self.name.rsplit_once('@').map(|(name, _)| name),
            Address::Host { .. } | Address::Unix(_) | Address::Srv(_) => None,
        };
        name.unwrap_or(&self.name)
    }

    /// Whether health, ejection and administration let it take new exchanges at `now`.
    /// Says nothing of [`Backend::is_full`] or weight.
    #[inline]
    pub fn is_healthy(&self, now: Moment) -> bool {
        self.is_probed_up() && self.is_enabled() && self.shared.ejected_until.load(Relaxed) <= now.0
    }

    /// Whether administration lets it take new exchanges.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.shared.admin.load(Relaxed) == Admin::Enabled as u8
    }

    /// Whether active checks, if there are any, let it take traffic.
    #[inline]
    pub fn is_probed_up(&self) -> bool {
        self.shared.probed.load(Relaxed) != Probed::Down as u8
    }

    /// Whether it may be picked at `now`: healthy, with a weight, and below `max_connections`.
    pub fn is_available(&self, now: Moment) -> bool {
        self.is_healthy(now) && !self.is_full() && self.weight_at(now) > 0
    }

    /// Whether `max_connections` exchanges are in flight.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.max_connections > 0 && !self.takes(self.in_flight())
    }

    /// Whether one more may be in flight beside so many. Of two generations the later says how many: who waits in the
    /// earlier one would see no free place among those of the later, where that lets more in.
    #[inline]
    pub fn takes(&self, in_flight: u32) -> bool {
        let limit = || match self.shared.limit.load(Relaxed) {
            0 => self.max_connections,
            limit => limit,
        };
        self.max_connections == 0 || in_flight < limit()
    }

    /// Whether somebody may wait for a place that is given back, in whichever generation.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.max_connections > 0 || !matches!(self.shared.limit.load(Relaxed), 0 | UNLIMITED)
    }

    /// Has its `max_connections` hold for the generations before too.
    pub fn set_limit(&self) {
        let limit = if self.max_connections == 0 { UNLIMITED } else { self.max_connections };
        self.shared.limit.store(limit, Relaxed);
    }

    /// Whether its name was not looked up yet, well or not, since the start.
    pub fn is_look_up_awaited(&self) -> bool {
        match self.address {
            Address::Unix(_) => false,
            Address::Host { .. } | Address::OfName { .. } | Address::Srv(_) => {
                // In this order: whoever looks up stores the addresses first.
                !self.shared.is_looked_up.load(Relaxed) && self.shared.resolved.load().is_empty()
            }
        }
    }

    /// The socket addresses behind its name. Right after the start it may still be looked up for the first time; that is
    /// waited for, and the caller bounds the time.
    pub async fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        while self.is_look_up_awaited() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.shared.resolved.load_full()
    }

    /// Exchanges in flight, counted from the pick, over all workers.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.shared.in_flight.0.load(Relaxed)
    }

    /// Weight × [`WEIGHT_UNIT`] once it has ramped up. Tables that are built ahead of the picks (ring,
    /// maglev) are built from it.
    #[inline]
    pub fn full_weight(&self) -> u32 {
        self.weight.saturating_mul(WEIGHT_UNIT)
    }

    /// Weight × [`WEIGHT_UNIT`] at `now`, with slow start applied
    /// (`w' = w × max(10 %, t/window)`).
    #[inline]
    pub fn weight_at(&self, now: Moment) -> u32 {
        let full = self.full_weight();
        match self.slow_start.is_zero() {
            true => full,
            false => self.ramped(full, now),
        }
    }

    #[cold]
    fn ramped(&self, full: u32, now: Moment) -> u32 {
        let since = self.shared.up_since.load(Relaxed);
        let up = now.since(Moment(since));
        // 0 = since ever: a fleet that starts with the program has nothing to ramp up against.
        if since == 0 || up >= self.slow_start {
            return full;
        }
        let ramp = (up.as_secs_f64() / self.slow_start.as_secs_f64()).max(0.1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share below 1 of a u32"
        )]
        let part = (f64::from(full) * ramp) as u32;
        part.max(u32::from(full > 0))
    }
}

/// What of a backend outlives a reload. Kept by the registry under upstream and address.
#[derive(Debug)]
pub struct Shared {
    /// The only count that every worker writes; on a cache line of its own.
    pub in_flight: InFlight,
    /// Verdict of active checks ([`Probed`]); written by `health`.
    pub probed: AtomicU8,
    /// Whether a generation, or a program, before this one had it: what is known of its health goes before
    /// `initial` then.
    pub is_known: AtomicBool,
    /// What an administrator said ([`Admin`]); written by `admin`.
    pub admin: AtomicU8,
    /// `max_connections` of the generation in force, the greatest number where there is no limit; 0 before the first. Written
    /// at each publish.
    pub limit: AtomicU32,
    /// Passive ejection lasts until this [`Moment`]; 0 when not ejected. Written by `health`.
    pub ejected_until: AtomicU64,
    /// When it last became available, for slow start; 0 = since ever. An ejected backend has the end of
    /// its ejection here, so that nothing need happen at that moment.
    pub up_since: AtomicU64,
    /// Failures of real traffic in a row, over all workers; written by `health`, and by a success only
    /// when it is not 0.
    pub failures_in_a_row: AtomicU32,
    /// When such a row last ended. Written by `health`.
    pub row_ended_at: AtomicU64,
    /// When the first response behind that end came with all of its body; earlier than that end where none has.
    pub came_whole_at: AtomicU64,
    /// When it last gave a session of datagrams its first answer, over all workers and to within [`ANSWER_STEP`]; 0 =
    /// never. Written by `l4`.
    pub answered_at: AtomicU64,
    /// Hash of the client whose datagrams it left without an answer last, since then; 0 = none. Written by `l4`.
    pub silent_to: AtomicU64,
    /// What `health` remembers of ejections; locked only when one begins or ends.
    pub ejections: Mutex<Ejections>,
    /// What was counted of its health.
    pub health_counts: HealthCounts,
    /// How long it took to answer lately, over all workers.
    pub latency: RecentLatency,
    /// Why it is in its state, for people; written at each change, read by admin and log.
    pub why: Mutex<Arc<str>>,
    /// Socket addresses behind a host name, kept fresh by discovery; empty until first resolved.
    pub resolved: ArcSwap<Vec<SocketAddr>>,
    /// Addresses of the name that failed or were slower than others, and until when they are tried last.
    pub behind: ArcSwap<Vec<(SocketAddr, Moment)>>,
    /// Whether a look-up of the name has ended, well or not. Until then requests wait for it.
    pub is_looked_up: AtomicBool,
    /// Whether the last look-up of the name could not be made, since nothing was left here for a socket: that there is
    /// no address is no fault of the backend then.
    pub has_no_socket: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            in_flight: InFlight::default(),
            probed: AtomicU8::new(Probed::Up as u8),
            is_known: AtomicBool::new(false),
            admin: AtomicU8::new(Admin::Enabled as u8),
            limit: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            up_since: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            row_ended_at: AtomicU64::new(0),
            came_whole_at: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            silent_to: AtomicU64::new(0),
            ejections: Mutex::default(),
            health_counts: HealthCounts::default(),
            latency: RecentLatency::default(),
            why: Mutex::new("not checked yet".into()),
            resolved: ArcSwap::default(),
            behind: ArcSwap::default(),
            is_looked_up: AtomicBool::new(false),
            has_no_socket: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// The addresses behind its name in the order in which they are to be tried; `chance` spreads connections over them.
    pub fn in_order(&self, addresses: &[SocketAddr], chance: usize, now: Moment) -> Vec<SocketAddr> {
        let behind = self.behind.load();
        let is_behind = |address: &SocketAddr| behind.iter().any(|(it, until)| it == address && *until > now);
        happy_eyeballs::order(addresses, chance, is_behind)
    }

    /// Has addresses that were behind others tried after those for a while.
    pub fn put_behind(&self, addresses: &[SocketAddr], now: Moment) {
        if addresses.is_empty() {
            return;
        }
        self.behind.rcu(|before| {
            let others = before.iter().filter(|(it, until)| *until > now && !addresses.contains(it));
            let new = addresses.iter().map(|address| (*address, now.plus(BEHIND)));
            others.copied().chain(new).collect::<Vec<_>>()
        });
    }

    /// Notes that a session of datagrams had its first answer.
    pub fn note_answer(&self, now: Moment) {
        // Of two workers at once the earlier may be left; they are no further apart than a step.
        if Moment(self.answered_at.load(Relaxed)).plus(ANSWER_STEP) <= now {
            self.answered_at.store(now.0, Relaxed);
            self.silent_to.store(0, Relaxed);
        }
    }

    /// Notes that a client, whose hash this is, had no answer. Gives whether the one that had none before it, since the
    /// last first answer, is another.
    pub fn note_silence(&self, client: u64) -> bool {
        let before = self.silent_to.swap(client, Relaxed);
        before != 0 && before != client
    }

    /// Whether any session of datagrams had its first answer at that moment or later.
    pub fn has_answered_since(&self, moment: Moment) -> bool {
        // What came less than a step after the one that is noted is not.
        Moment(self.answered_at.load(Relaxed)).plus(ANSWER_STEP) > moment
    }

    /// Takes over what checks say of another backend: the same server, or one of its name, under another address.
    pub fn inherit(&self, other: &Self, now: Moment) {
        self.probed.store(other.probed.load(Relaxed), Relaxed);
        // The end of an ejection may lie ahead.
        self.up_since.store(other.up_since.load(Relaxed).min(now.0), Relaxed);
        self.set_why(other.why());
    }

    /// Takes over its failures and ejections too: what one backend had cannot be said of each of several.
    pub fn inherit_failures(&self, other: &Self) {
        self.ejected_until.store(other.ejected_until.load(Relaxed), Relaxed);
        self.up_since.store(other.up_since.load(Relaxed), Relaxed);
        self.failures_in_a_row.store(other.failures_in_a_row.load(Relaxed), Relaxed);
        self.row_ended_at.store(other.row_ended_at.load(Relaxed), Relaxed);
        self.came_whole_at.store(other.came_whole_at.load(Relaxed), Relaxed);
        let ejections = *other.ejections.lock().unwrap_or_else(PoisonError::into_inner);
        *self.ejections.lock().unwrap_or_else(PoisonError::into_inner) = ejections;
    }

    /// Says why the backend is in its state.
    pub fn set_why(&self, why: Arc<str>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why the backend is in its state.
    pub fn why(&self) -> Arc<str> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&why)
    }
}

/// What was counted of a backend's health, for metrics.
#[derive(Debug, Default)]
pub struct HealthCounts {
    /// Checks that it passed.
    pub passed: AtomicU64,
    /// Checks that it failed.
    pub failed: AtomicU64,
    /// Times that it was ejected.
    pub ejected: AtomicU64,
    /// When the last check had a verdict, in milliseconds of the wall clock; 0 before the first.
    pub checked_at: AtomicU64,
}

/// The ejections that a backend went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ejections {
    /// How many there were, less one for each base time without another.
    pub count: u32,
    /// The end of the last one.
    pub over_at: Moment,
    /// How long the last one was meant to be.
    pub length: Duration,
    /// Whether the last one's end has yet to be logged.
    pub is_open: bool,
}

/// A counter alone on its cache line, since every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InFlight(pub AtomicU32);

/// Verdict of the active checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Probed {
    /// Passed, or not checked.
    Up,
    /// Failed `fall` checks in a row, or `initial = "down"` and not yet passed.
    Down,
}

/// What an administrator said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Admin {
    /// Nothing; it takes part.
    Enabled,
    /// Takes nothing new; what is under way ends by itself.
    Draining,
    /// Takes nothing.
    Disabled,
}
