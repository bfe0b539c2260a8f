//! What a worker counts of datagrams.

use super::counter::Counter;

/// Why a datagram was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// `allow` and `deny` do not let its client in.
    Denied,
    /// Its client has as many sessions as `max_connections_per_address` lets it have.
    ClientLimit,
    /// It came from port 0, which no answer can go to.
    NoReturn,
    /// No route takes it.
    NoRoute,
    /// The upstream has `udp.max_sessions` sessions, of which none is silent.
    MaxSessions,
    /// No backend is available.
    NoBackend,
    /// There is no descriptor or local port left for another session.
    NoSocket,
    /// `runtime.memory` is at its bound.
    MemoryFull,
    /// It is larger than the way to whom it is for lets through.
    TooLarge,
    /// What was sent before has not left this machine.
    SendBuffer,
    /// It could not be sent for another reason.
    Unsent,
    /// It is no QUIC, its Initial packet does not open, what that says is no ClientHello, or every server drops it.
    QuicMalformed,
    /// Its ClientHello did not come whole within four datagrams and a second.
    QuicIncomplete,
    /// It is of a connection of QUIC that is not known here.
    QuicUnknown,
    /// It is of a version of QUIC that cannot be read, and no route takes what has no name, or it is too small to begin
    /// with.
    QuicVersion,
    /// It has no PROXY header, which its network is to send (`proxy_protocol_from`).
    ProxyHeader,
    /// As many handshakes of QUIC wait for the rest of their ClientHello as may, and its own was the oldest; or memory is at
    /// its bound.
    QuicWaiting,
}

impl Dropped {
    /// Each of them, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Denied,
        Self::ClientLimit,
        Self::NoReturn,
        Self::NoRoute,
        Self::MaxSessions,
        Self::NoBackend,
        Self::NoSocket,
        Self::MemoryFull,
        Self::TooLarge,
        Self::SendBuffer,
        Self::Unsent,
        Self::QuicMalformed,
        Self::QuicIncomplete,
        Self::QuicUnknown,
        Self::QuicVersion,
        Self::ProxyHeader,
        Self::QuicWaiting,
    ];

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::ClientLimit => "client_limit",
            Self::NoReturn => "no_return",
            Self::NoRoute => "no_route",
            Self::MaxSessions => "max_sessions",
            Self::NoBackend => "no_backend",
            Self::NoSocket => "no_socket",
            Self::MemoryFull => "memory_full",
            Self::TooLarge => "too_large",
            Self::SendBuffer => "send_buffer",
            Self::Unsent => "unsent",
            Self::QuicMalformed => "quic_malformed",
            Self::QuicIncomplete => "quic_incomplete",
            Self::QuicUnknown => "quic_unknown",
            Self::QuicVersion => "quic_version",
            Self::ProxyHeader => "proxy_header",
            Self::QuicWaiting => "quic_waiting",
        }
    }
}

/// Datagrams that a worker has seen.
#[derive(Debug, Default)]
pub struct DatagramSeries {
    /// From clients.
    pub received: Counter,
    /// To clients.
    pub sent: Counter,
    dropped: [Counter; Dropped::ALL.len()],
}

impl DatagramSeries {
    /// Counts datagrams that are not passed on; only by the worker that owns the series.
    pub fn drop(&self, why: Dropped, count: u64) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.add(count);
        }
    }

    /// How many were not passed on for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).map_or(0, Counter::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_the_order_of_their_numbers() {
        let series = DatagramSeries::default();
        for (number, why) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number);
            series.drop(why, number as u64);
            assert_eq!(series.dropped(why), number as u64);
        }
    }
}
