//! PROXY headers that come in before datagrams.

use super::{
    super::session::Table,
    announced::read,
    batch::Received,
    relay::Relay,
    session::{Client, EndedBy, Session},
};
use crate::{config::datagram_headers::DatagramHeaders, net::proxy_protocol, telemetry::datagrams::Dropped};

impl Relay {
    /// Takes the header off a datagram of a network that sends them. Where it names another client than the session that
    /// there is, that one ends.
    ///
    /// Once a session was answered, `first` takes off no other header than the one that it began with: what looks like
    /// one may be its client's own by then, and would name whom it likes. Before that, what comes without one is the
    /// session's, too: the proxy in front may know of answers that were given before a restart here, and says the header
    /// now and then only. A session of another client that begins there at the same port has its own header with each
    /// datagram until it is answered.
    pub(super) fn take_header<'a>(
        &self,
        table: &mut Table<Client, Session>,
        client: &Client,
        one: Received<'a>,
        headers: DatagramHeaders,
    ) -> Result<Received<'a>, Dropped> {
        let session = table.find(client).and_then(|id| Some((id, table.get(id)?.1)));
        let announced = session.and_then(|(_, session)| session.announced.as_deref());
        let is_answered = session.is_some_and(|(_, session)| session.down.datagrams > 0);
        let came = announced.map_or(&[][..], |announced| announced.came());
        let is_of_session = is_answered || (!came.is_empty() && !proxy_protocol::is_v2(one.bytes));
        if headers == DatagramHeaders::First && is_of_session {
            let rest = one.bytes.strip_prefix(came).unwrap_or(one.bytes);
            return Ok(Received { bytes: rest, each: rest.len(), ..one });
        }
        let header = read(one.bytes).ok_or(Dropped::ProxyHeader)?;
        let (header_bytes, rest) = one.bytes.split_at_checked(header.length).ok_or(Dropped::ProxyHeader)?;
        let before = announced.map(|announced| announced.named());
        if let Some((id, _)) = session
            && before != Some(header.addresses.map(|named| named.source))
        {
            self.end_one(table, id, EndedBy::NewClient);
        }
        Ok(Received { bytes: rest, each: rest.len(), header: Some(header_bytes), ..one })
    }
}
