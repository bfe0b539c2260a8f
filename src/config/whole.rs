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
        /// Further files that belong to this one, relative to its folder: `["conf.d/*.toml"]`. The last part of a path may contain the wildcards `*` and `?`; matching files are taken in order of name, without hidden ones. Together they form one configuration: names are unique, each key of a table may be set once, and lists of tables are joined in this order. Paths in a file start from its own folder. Included files cannot include others; the limits are 256 files and 16 MiB. All of them are watched, including new and removed files.
        pub include: Include = [];
        /// The process: worker threads, the memory limit, and draining.
        pub runtime: RuntimeConf;
        /// The log and the access log.
        pub log: LogConf;
        /// The admin API, dashboard and metrics; off when absent.
        pub admin: Option<AdminConf>;
        /// Addresses that accept connections.
        pub listener: Vec<ListenerConf>;
        /// What to do with requests.
        pub route: Vec<RouteConf>;
        /// Settings that several routes share, by name.
        pub policy: Vec<PolicyConf>;
        /// Defaults for listeners, routes and upstreams.
        pub defaults: DefaultsConf;
        /// Named groups of conditions.
        pub matcher: Vec<MatcherConf>;
        /// Groups of backends.
        pub upstream: Vec<UpstreamConf>;
        /// Caches for responses.
        pub cache: Vec<CacheConf>;
        /// OpenTelemetry traces.
        pub trace: TraceConf;
        /// High availability with other nodes; off when absent.
        pub cluster: Option<ClusterConf>;
    }
}
