//! Caches as configured.

mod choices;
mod key;
mod rules;
mod store;

use std::time::Duration;

pub use choices::{Admission, Eviction};
pub use key::KeyConf;
pub use rules::{Ignored, TtlConf};
pub use store::DiskConf;

use super::{
    key::{KeySettings, QueryKey},
    policy::Policy,
};
pub use crate::writeback::conf::WritePolicy;
use crate::{
    route::conf::MatchConf,
    schema::{Size, Table, name, section, status::Statuses},
    writeback::conf::{JournalConf, WriteBackConf},
};

section! {
    /// A cache for responses; routes use it with `cache`.
    pub struct CacheConf {
        /// Its name, used in routes, metrics and the admin API.
        pub name: String;
        /// How much to keep in memory, over all workers.
        pub memory: Size = "256MiB", in "1MiB" to "16TiB";
        /// A second tier on disk; off when absent.
        pub disk: Option<DiskConf>;
        /// Which object to evict when space is needed.
        pub eviction: Eviction = "s3-fifo";
        /// Which objects to store.
        pub admission: Admission = "always";
        /// The largest body to store.
        pub max_object: Size = "16MiB", in "1" to "1TiB";
        /// What the cache key consists of.
        pub key: KeyConf;
        /// Heuristic freshness (RFC 9111 §4.2.2): a response without an explicit lifetime stays fresh for this fraction of the time since its `Last-Modified`; 0 = off.
        pub heuristic: f64 = 0.1, in 0 to 1;
        /// Lifetime of 2xx responses that do not state one; 0 = do not store them. For other statuses see `ttl`.
        pub default_ttl: Duration = "0s", in "0s" to "3650d";
        /// Lifetime of responses that do not state one, by status (`404`) or class (`5xx`); `0s` = do not store them. Those for one bad request (400, 401, 415 and the like) are in no class.
        pub ttl: TtlConf = {};
        /// Store only responses with these statuses (`200`, `"3xx"`); empty = all that RFC 9111 allows.
        pub store: Vec<Statuses> = [];
        /// Response fields to ignore, so that `ttl` and `default_ttl` decide instead.
        pub ignore: Vec<Ignored> = [];
        /// Groups of request conditions: if one matches, the request is not answered from the cache, but its response is stored.
        pub bypass: Vec<MatchConf> = [];
        /// Groups of request conditions: if one matches, the cache is not used at all, neither to answer nor to store.
        pub no_store: Vec<MatchConf> = [];
        /// How long to serve a stale response while a fresh one is fetched, for responses that do not say themselves.
        pub stale_while_revalidate: Duration = "0s", in "0s" to "3650d";
        /// How long to serve a stale response when the backend fails, for responses that do not say themselves.
        pub stale_if_error: Duration = "0s", in "0s" to "3650d";
        /// Remove a stored response, fresh or not, after this long without a request for it; a restart begins the count anew for objects on disk. 0 = keep it as long as there is space.
        pub inactive: Duration = "0s", in "0s" to "3650d";
        /// Most variants (`Vary`) to keep for one key.
        pub max_variants: u32 = 10, in 1 to 1000;
        /// Store responses that have `Set-Cookie`, including that field.
        pub store_set_cookie: bool = false;
        /// What to do with requests that change something, such as `PUT`.
        pub write_policy: WritePolicy = "around";
        /// Where `write_policy = "back"` keeps writes; by default in `journal` below the path of `disk`.
        pub journal: Option<JournalConf>;
        /// Which writes `write_policy = "back"` accepts; required with it.
        pub write_back: Option<WriteBackConf>;
        /// The response header field that holds the tags for purging.
        pub purge_header: String = "surrogate-key";
        /// Request collapsing: one fetch for identical requests that arrive at the same time.
        pub collapse: CollapseConf;
        /// On a miss, ask the cluster node that owns the key before asking a backend; needs `[cluster.peers]`.
        pub peers: bool = false;
    }
    check Self::check;
}

section! {
    /// Request collapsing: one fetch for identical requests that arrive at the same time.
    pub struct CollapseConf {
        /// Collapse identical requests.
        pub enabled: bool = true;
        /// How long a request waits for another's response before it goes to the backend itself.
        pub timeout: Duration = "10s", in "1ms" to "1h";
        /// Collapse requests with `Authorization` or `Cookie` too.
        pub credentials: bool = false;
    }
}

impl CacheConf {
    /// Whether what it has on disk is in the same folder as what another has.
    pub fn has_folder_of(&self, other: &Self) -> bool {
        self.disk.as_ref().zip(other.disk.as_ref()).is_some_and(|(own, other)| own.path == other.path)
    }

    /// The configuration of a route that collapses requests without storing: all as it is by default.
    pub fn collapsing(route: &str) -> Self {
        Self {
            name: route.to_owned(),
            memory: Size(0),
            disk: None,
            eviction: Eviction::default(),
            admission: Admission::default(),
            max_object: Size(0),
            key: KeyConf {
                query: QueryKey::All,
                sorted: false,
                headers: Vec::new(),
                template: String::new(),
            },
            heuristic: 0.0,
            default_ttl: Duration::ZERO,
            ttl: TtlConf::default(),
            store: Vec::new(),
            ignore: Vec::new(),
            bypass: Vec::new(),
            no_store: Vec::new(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            inactive: Duration::ZERO,
            max_variants: 1,
            store_set_cookie: false,
            write_policy: WritePolicy::Around,
            journal: None,
            write_back: None,
            purge_header: String::new(),
            collapse: CollapseConf { enabled: true, timeout: PATIENCE, credentials: false },
            peers: false,
        }
    }

    /// What its decisions need.
    pub fn policy(&self) -> Policy {
        Policy {
            heuristic: self.heuristic,
            default_ttl: self.default_ttl.as_secs(),
            stale_while_revalidate: self.stale_while_revalidate.as_secs(),
            stale_if_error: self.stale_if_error.as_secs(),
            store_set_cookie: self.store_set_cookie,
            ttl: self.ttl.0.iter().map(|(statuses, ttl)| (*statuses, ttl.as_secs())).collect(),
            statuses: self.store.clone(),
            ignores_control: self.ignore.contains(&Ignored::CacheControl),
            ignores_expires: self.ignore.contains(&Ignored::Expires),
        }
    }

    /// What its keys are made of.
    pub fn key_settings(&self) -> KeySettings {
        self.key.settings()
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        name::check(table);
        if let Some(entry) = table.entry("name").filter(|_| self.name.starts_with(OF_ROUTE)) {
            let message = format!("the name of a cache cannot begin with `{OF_ROUTE}`");
            let hint = "metrics call routes that collapse requests without a cache so; use another name";
            table.reader.problem_with(entry.node.place, message, hint);
        }
        if let Some(entry) = table.entry("purge_header") {
            key::check_field(&entry.node, table.reader);
        }
        self.purge_header.make_ascii_lowercase();
        for (key, duration) in [
            ("default_ttl", self.default_ttl),
            ("stale_while_revalidate", self.stale_while_revalidate),
            ("stale_if_error", self.stale_if_error),
        ] {
            if duration.subsec_nanos() != 0 {
                let message = format!("`{key}` must be whole seconds");
                let hint = "write at least \"1s\", or \"0s\" for none: freshness is counted in seconds (RFC 9111 §1.2.2)";
                table.reader.problem_with(table.place_of(key), message, hint);
            }
        }
        self.check_disk(table);
        self.check_journal(table);
        self.check_write_back(table);
    }

    fn check_write_back(&self, table: &mut Table<'_, '_, '_>) {
        let written = |key| table.entry(key).map(|entry| &entry.node);
        if written("write_policy").is_some_and(|node| node.text() != Some(self.write_policy.name())) {
            return;
        }
        match (self.write_policy, table.entry("write_back")) {
            (WritePolicy::Back, None) => {
                let message = "`write_policy = \"back\"` answers writes before a backend has checked them: \
                    say from which clients";
                let hint = "add `write_back = { networks = [\"10.0.0.0/8\"] }` with the networks of clients that may write";
                table.reader.missing(table.place_of("write_policy"), message, hint);
            }
            (WritePolicy::Around | WritePolicy::Through, Some(entry)) => {
                let message = format!(
                    "`write_back` has no effect with `write_policy = \"{}\"`",
                    self.write_policy.name()
                );
                let hint = "set `write_policy = \"back\"`, or leave it out";
                table.reader.problem_with(entry.place, message, hint);
            }
            (WritePolicy::Back, Some(_)) | (WritePolicy::Around | WritePolicy::Through, None) => {}
        }
    }

    fn check_disk(&self, table: &mut Table<'_, '_, '_>) {
        if self.disk.as_ref().is_some_and(|disk| disk.size < self.max_object) {
            let disk = table.entry("disk");
            let size = disk.and_then(|entry| entry.node.get("size")).map(|node| node.place);
            let message = format!("the disk of `{}` is smaller than `max_object`", self.name);
            let hint = "raise `size`, or lower `max_object`";
            table.reader.problem_with(size.unwrap_or(table.place), message, hint);
        }
    }

    /// Reports a journal that is needed or does nothing, and puts it beside the disk where it has no place.
    fn check_journal(&mut self, table: &mut Table<'_, '_, '_>) {
        // A policy or disk that is broken has been left out; its own problem says enough.
        let written = |key| table.entry(key).map(|entry| &entry.node);
        if written("write_policy").is_some_and(|node| node.text() != Some(self.write_policy.name())) {
            return;
        }
        let (journal, disk) = (written("journal"), written("disk"));
        match self.write_policy {
            WritePolicy::Around | WritePolicy::Through => {
                if let Some(entry) = table.entry("journal") {
                    let policy = self.write_policy.name();
                    let message = format!("`journal` has no effect with `write_policy = \"{policy}\"`");
                    let hint = "set `write_policy = \"back\"`, or leave it out";
                    table.reader.problem_with(entry.place, message, hint);
                }
            }
            WritePolicy::Back if journal.is_none() && disk.is_none() => {
                let message = "`write_policy = \"back\"` needs a `journal` to keep the writes";
                let hint = "add `journal = { path = \"…\" }`, or `disk`, which then holds it";
                table.reader.missing(table.place_of("write_policy"), message, hint);
            }
            WritePolicy::Back if journal.is_none() => {
                self.journal = self.disk.as_ref().map(|disk| JournalConf::below(&disk.path));
            }
            WritePolicy::Back => {}
        }
    }
}

/// What the name of a route begins with where caches are counted, if it collapses requests without one.
pub const OF_ROUTE: &str = "route:";

/// How long a request waits for another's response where nothing says so: the default of `timeout` above.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
