//! Memory that datagrams are read into: one for all sockets of a worker.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};

/// Bytes for what one read gives: the largest datagram, or as many equal ones as the kernel joins (UDP_GRO).
const ROOM: usize = 64 * 1024;

/// Memory for as many of them as one system call gives. What is never filled takes no pages.
#[derive(Debug)]
pub(super) struct Batch {
    memory: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    pub(super) fn new() -> Self {
        let memory = vec![0; ROOM * BATCH_SIZE].into_boxed_slice();
        Self { memory, metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// Reads what is there, at most `most` pieces, and gives how many there were.
    pub(super) fn receive(
        &mut self,
        state: &UdpSocketState,
        socket: &impl AsFd,
        most: usize,
    ) -> io::Result<usize> {
        let mut rooms = self.memory.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        let most = most.min(BATCH_SIZE);
        state.recv(UdpSockRef::from(socket), slices.get_mut(..most).unwrap_or_default(), &mut self.metas)
    }

    /// What the last read gave.
    pub(super) fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        self.memory.chunks_exact(ROOM).zip(&self.metas).take(count).map(|(memory, meta)| Received {
            bytes: memory.get(..meta.len).unwrap_or_default(),
            each: meta.stride,
            from: meta.addr,
            header: None,
            to: meta.dst_ip,
            ecn: meta.ecn,
        })
    }
}

/// Datagrams from one address, all of the same length but for the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes of each of them.
    pub(super) each: usize,
    pub(super) from: SocketAddr,
    /// The PROXY header that was before it.
    pub(super) header: Option<&'a [u8]>,
    /// The address that they were sent to.
    pub(super) to: Option<IpAddr>,
    /// What routers said of congestion (RFC 3168); it goes on with them.
    pub(super) ecn: Option<EcnCodepoint>,
}

impl<'a> Received<'a> {
    /// How many datagrams there are; one may be empty.
    pub(super) fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.each.max(1)).max(1)
    }

    /// Each of them.
    pub(super) fn datagrams(self) -> impl Iterator<Item = &'a [u8]> {
        let empty = self.bytes.is_empty().then_some(self.bytes);
        empty.into_iter().chain(self.bytes.chunks(self.each.max(1)))
    }
}
