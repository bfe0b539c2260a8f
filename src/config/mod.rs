//! The configuration file: TOML text → checked plain values, or **all** problems with place and hint.
//!
//! Previous stop: [`crate::schema`], which reads located TOML; each room left of here owns its `Conf`.
//! Next stop: `runtime::snapshot`, which builds live objects from a [`Config`].
//! Nothing is opened or bound here; files that the configuration names are read to be checked.

pub mod admin;
mod blocks;
pub mod collector;
mod cross;
pub mod datagram_headers;
mod files;
pub mod http2;
pub mod include;
mod join;
mod kept_copy;
pub mod listen;
pub mod listen_address;
mod listen_datagrams;
pub mod listen_limits;
mod listen_socket;
mod listen_tls;
pub mod log;
mod notes;
pub mod origins;
pub mod peers;
mod place;
mod reading;
mod report;
pub mod runtime;
pub mod shared;
pub mod socket_access;
mod text;
pub mod trace;
mod via;
mod whole;

pub use self::{
    kept_copy::KeptCopy,
    notes::{lost_certificates, notes},
    place::{Step, problem_at},
    reading::{Beside, Fleet, Loaded, load, load_file, parse, parse_with},
    report::{CheckFormat, check_report, reference, schema},
    text::{read_text, read_text_or_pipe},
    whole::Config,
};
pub use crate::schema::Problems;

#[cfg(test)]
mod tests;
