//! The whole file, of the parts that each room has of it.

use super::{
    admin::AdminConf,
    include::Include,
    listen::ListenerConf,
    log::LogConf,
    runtime::RuntimeConf,
    shared::{DefaultsConf, PolicyConf},
    trace::TraceConf,
};
use crate::{
    cache::conf::CacheConf,
    cluster::conf::ClusterConf,
    route::conf::{MatcherConf, RouteConf},
    schema::section,
    upstream::conf::UpstreamConf,
};

section! {
    /// The whole file.
    pub struct Config {
        /// Files that belong to this one, from its folder: `["conf.d/*.toml"]`. The last part of a path may have the wildcards `*` and `?`; its files are taken by name, without hidden ones. What they say is of one file with this: names are unique over all, a key of a table is said once, lists of tables are joined in this order. Paths in them start from their own folder. They include no others, and are 256 files and 16 MiB at most. All are watched, also for what comes and goes.
        pub include: Include = [];
        /// The process.
        pub runtime: RuntimeConf;
        /// The log and the access log.
        pub log: LogConf;
        /// The admin endpoint; off when absent.
        pub admin: Option<AdminConf>;
        /// Where connections are accepted.
        pub listener: Vec<ListenerConf>;
        /// What becomes of requests.
        pub route: Vec<RouteConf>;
        /// What routes share that name it.
        pub policy: Vec<PolicyConf>;
        /// What listeners, routes and upstreams share.
        pub defaults: DefaultsConf;
        /// Conditions with names.
        pub matcher: Vec<MatcherConf>;
        /// Groups of backends.
        pub upstream: Vec<UpstreamConf>;
        /// Stores of responses.
        pub cache: Vec<CacheConf>;
        /// Traces.
        pub trace: TraceConf;
        /// A peer that takes over; off when absent.
        pub cluster: Option<ClusterConf>;
    }
}
