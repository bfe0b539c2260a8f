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
    /// A store of responses, which routes name with `cache`.
    pub struct CacheConf {
        /// Its name: routes, metrics and the admin API use it.
        pub name: String;
        /// How much is kept in memory, over all workers.
        pub memory: Size = "256MiB", in "1MiB" to "16TiB";
        /// A second tier on disk; off when absent.
        pub disk: Option<DiskConf>;
        /// Which object leaves when room is needed.
        pub eviction: Eviction = "s3-fifo";
        /// Which objects may come in.
        pub admission: Admission = "always";
        /// The largest body that is stored.
        pub max_object: Size = "16MiB", in "1" to "1TiB";
        /// What a stored response is found by.
        pub key: KeyConf;
        /// Share of the time since `Last-Modified` that a response without a lifetime is fresh for (RFC 9111
        /// §4.2.2); 0 turns it off.
        pub heuristic: f64 = 0.1, in 0 to 1;
        /// How long a response of 2xx that says nothing is fresh; 0 = it is not stored. For others see `ttl`.
        pub default_ttl: Duration = "0s", in "0s" to "3650d";
        /// How long responses that say nothing are fresh, by status (`404`) or class (`5xx`); `0s` = they are not stored.
        pub ttl: TtlConf = {};
        /// Statuses (`200`, `"3xx"`) of which alone responses are stored; empty = those that the standard lets be stored.
        pub store: Vec<Statuses> = [];
        /// Fields of responses that are not looked at: `ttl` and `default_ttl` decide then.
        pub ignore: Vec<Ignored> = [];
        /// Groups of conditions of requests: where one holds, what is stored is not served, and the response takes its place.
        pub bypass: Vec<MatchConf> = [];
        /// Groups of conditions of requests: where one holds, the cache is neither asked nor given the response.
        pub no_store: Vec<MatchConf> = [];
        /// How long a stale response is served while a fresh one is fetched, where it does not say.
        pub stale_while_revalidate: Duration = "0s", in "0s" to "3650d";
        /// How long a stale response is served when the backend fails, where it does not say.
        pub stale_if_error: Duration = "0s", in "0s" to "3650d";
        /// Time after which a stored response leaves that nobody asked for, fresh or not, counted anew from a start for what
        /// is on disk; 0 = it stays for as long as there is room.
        pub inactive: Duration = "0s", in "0s" to "3650d";
        /// Responses kept for one key, by what `Vary` names.
        pub max_variants: u32 = 10, in 1 to 1000;
        /// Whether responses with `Set-Cookie` are stored, and the field with them.
        pub store_set_cookie: bool = false;
        /// What becomes of a request that changes something.
        pub write_policy: WritePolicy = "around";
        /// Where `write_policy = "back"` keeps writes; without it in `journal` below the path of `disk`.
        pub journal: Option<JournalConf>;
        /// Whose writes `write_policy = "back"` answers in the backend's place; it needs this.
        pub write_back: Option<WriteBackConf>;
        /// The response's header field that has tags, by which it is purged.
        pub purge_header: String = "surrogate-key";
        /// One fetch for equal requests that come at the same time.
        pub collapse: CollapseConf;
        /// Whether what is not stored here is asked of the node of the cluster that owns its key before it is asked of a
        /// backend; it needs `[cluster.peers]`.
        pub peers: bool = false;
    }
    check Self::check;
}

section! {
    /// One fetch for equal requests that come at the same time.
    pub struct CollapseConf {
        /// Whether they are joined.
        pub enabled: bool = true;
        /// How long a request waits for another's response; then it goes on alone.
        pub timeout: Duration = "10s", in "1ms" to "1h";
        /// Whether requests with `Authorization` or `Cookie` are joined too.
        pub credentials: bool = false;
    }
}

impl CacheConf {
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
                let hint = "freshness is counted in seconds (RFC 9111 §1.2.2)";
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

/// How long a request waits for another's response where nothing says so: the default of `timeout` above.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
