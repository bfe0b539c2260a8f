//! Two nodes that take each other's place, in network namespaces; who has the addresses is seen by a third machine.

mod frr;
mod handover;
mod lab;
mod lock;
mod on_change;
mod others;
mod pair;
mod standby;
mod upgrades;
mod warmth;
