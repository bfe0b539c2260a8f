//! Which datagrams of clients begin with a PROXY header.

use crate::schema::choice;

choice! {
    /// Which datagrams begin with a PROXY header.
    pub enum DatagramHeaders {
        /// Those of a session until its first answer; none other is taken for a header then.
        First = "first",
        /// Each of them; one that names another client begins a session.
        Every = "every",
    }
}
