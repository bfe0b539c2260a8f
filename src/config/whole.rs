//! The whole file, of the parts that each room has of it.

use super::{admin::AdminConf, listen::ListenerConf, log::LogConf, runtime::RuntimeConf, trace::TraceConf};
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
