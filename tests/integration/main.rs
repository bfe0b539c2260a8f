//! The whole program from outside: the real binary, real sockets, a file per capability.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test says what it holds by its name; support is for all files"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may stop as a test does"
)]

mod account_soak;
mod activation;
mod admin;
mod admin_access;
mod admin_api;
mod alt_svc;
mod api_description;
mod balancing;
mod cache_conditions;
mod cache_debts;
mod cache_disk;
mod cache_memory;
mod cache_replaced;
mod cache_replay;
mod cache_rules;
mod cache_writes;
mod caches;
mod certificates;
mod cli;
mod client_address;
mod cluster;
mod collapse;
mod compression;
mod connection_logins;
mod containers;
mod dashboard;
mod diagnoses;
mod dnsdist;
mod drain;
mod election;
mod event_streams;
mod examples;
mod exhausted;
mod files;
mod forwarding;
mod fuzz;
mod health;
mod hostile;
mod http2;
mod http2_backends;
mod include;
mod l4;
mod limits;
mod listeners;
mod logs;
mod many_streams;
mod memory_account;
mod mirror;
mod monitoring;
mod names;
mod operating;
mod own_responses;
mod parked;
mod paths;
mod peer_caches;
mod peer_damage;
mod peer_relay;
mod peers;
mod players;
mod proxy_protocol;
mod proxy_protocol_sent;
mod real_clients;
mod real_servers;
mod refused_uploads;
mod reload;
mod reload_keeps;
mod reload_soak;
mod retries;
mod rfc;
mod route_limits;
mod routing;
mod smuggling;
mod starting;
mod support;
mod templates;
mod tls;
mod tracing;
mod unix_sockets;
mod unread_output;
mod upgrade;
mod upgrades;
mod upstream_options;
mod upstream_tls;
mod via;
mod watching;
mod websockets;
