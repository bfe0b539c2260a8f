//! A peer that takes over: which node has the virtual addresses.
//!
//! [`role`] is the one machine that decides it on this node; an engine ([`engine`]: [`vrrp`]) says how the election goes;
//! [`node`] is the thread that has both, and does what comes out: addresses ([`address`]), and who is told ([`on_change`]). [`guard`] is a process
//! that undoes it where the program cannot.

pub mod address;
pub mod alarm;
pub mod boot_time;
pub mod conf;
pub mod engine;
pub mod guard;
pub mod netlink;
pub mod node;
pub mod on_change;
pub mod order;
pub mod peers;
pub mod plan;
pub mod privilege;
pub mod realtime;
pub mod role;
pub mod status;
pub mod store;
pub mod vrrp;
pub mod wire;
