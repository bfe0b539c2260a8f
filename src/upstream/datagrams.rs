//! A socket for a session of datagrams.

use std::{os::fd::OwnedFd, sync::atomic::Ordering::Relaxed};

use super::worker_upstream::Permit;
use crate::{
    error::{Kind, Result},
    net::dial::{self, Failures},
};

impl Permit {
    /// A socket for datagrams to the backend and from it alone. Nothing is sent. Fails with [`Kind::NoSocket`],
    /// [`Kind::Unresolved`], [`Kind::Connect`] where there is no way to it, or [`Kind::NoBackend`] before its name was looked
    /// up for the first time: a datagram does not wait, and that says nothing of the backend.
    pub fn connect_datagrams(&self) -> Result<OwnedFd> {
        let backend = self.backend().ok_or(Kind::NoBackend)?;
        self.worker_upstream().worker.pool_dialled.add(1);
        let addresses = backend.shared.resolved.load();
        if addresses.is_empty() {
            if backend.is_look_up_awaited() {
                return Err(Kind::NoBackend.into());
            }
            let is_ours = backend.shared.has_no_socket.load(Relaxed);
            return Err(if is_ours { Kind::NoSocket } else { Kind::Unresolved }.into());
        }
        let start = if addresses.len() > 1 { fastrand::usize(..addresses.len()) } else { 0 };
        let mut failures = Failures::default();
        for address in addresses.iter().cycle().skip(start).take(addresses.len()) {
            match dial::datagrams(*address) {
                Ok(socket) => return Ok(socket),
                // What is missing here is missing for the others too.
                Err(error) => {
                    if failures.add(error) {
                        break;
                    }
                }
            }
        }
        Err(failures.end())
    }
}
