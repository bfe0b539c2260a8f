//! What a listener says of the files of its unix sockets.

use super::{
    listen::{ListenAddress, ListenerConf},
    socket_access::SocketAccess,
};
use crate::schema::Table;

impl ListenerConf {
    /// What the files of its unix sockets are to have.
    pub fn access(&self) -> SocketAccess {
        SocketAccess {
            mode: self.mode.map(|mode| mode.0),
            owner: self.owner.map(|user| user.0),
            group: self.group.map(|group| group.0),
        }
    }

    /// Reports what is said of a socket's file where there is none.
    pub(super) fn check_access(&self, table: &mut Table<'_, '_, '_>) {
        if self.address.iter().any(|address| matches!(address, ListenAddress::Unix(_))) {
            return;
        }
        let written = ["mode", "owner", "group"].map(|key| table.entry(key));
        for entry in written.into_iter().flatten() {
            let message = format!("`{}` is for unix sockets only, and this listener has none", entry.key);
            let hint = "set `address = \"unix:/run/x.sock\"`, or leave it out";
            table.reader.problem_with(entry.place, message, hint);
        }
    }
}
