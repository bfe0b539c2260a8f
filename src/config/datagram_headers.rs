//! Which datagrams of clients begin with a PROXY header.

use crate::schema::choice;

choice! {
    /// Which datagrams begin with a PROXY header.
    pub enum DatagramHeaders {
        /// Those of a session until its first answer; after that, no other header is recognized.
        First = "first",
        /// Every datagram; one that names another client starts a new session.
        Every = "every",
    }
}
