//! Which datagrams of clients begin with a PROXY header.

use crate::schema::choice;

choice! {
    /// Which datagrams begin with a PROXY header.
    pub enum DatagramHeaders {
        /// Those of a session until its first answer; later ones are all data.
        First = "first",
        /// Every datagram; one that names another client starts a new session.
        Every = "every",
    }
}
