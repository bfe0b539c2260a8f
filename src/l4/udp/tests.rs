//! Sessions of a relay that is read by hand, between sockets that are real.

use std::{cell::Cell, io, net::UdpSocket, os::fd::OwnedFd, rc::Rc, sync::atomic::AtomicI64};

use rustix::io::Errno;
use tokio::runtime::{Builder, LocalOptions};

use super::relay::{Listening, Relay};
use crate::{
    admin::tests::shared,
    runtime::{
        Worker,
        flows::{ConnectionId, Flow},
    },
    telemetry::access_log::{AccessLog, Sink},
};

/// A listener, its relay, and two backends of it.
struct Stage {
    relay: Rc<Relay>,
    listening: Listening,
    backends: [Option<UdpSocket>; 2],
    client: UdpSocket,
}

const UDP: &str = "protocol = \"udp\"";
const QUIC: &str = "protocol = \"tls\"\nquic = true";

impl Stage {
    fn new(listener: &str) -> Self {
        let backends = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, two] = backends.each_ref().map(|it| it.local_addr().unwrap());
        let shared = shared(&format!(
            "[[listener]]\nname = \"web\"\n{listener}\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nname = \"all\"\nlisteners = [\"web\"]\nupstream = \"app\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{{ address = \"{one}\" }}, {{ address = \"{two}\" }}]\n"
        ));
        let slot = shared.snapshot.load().listeners[0].slot;
        let log = AccessLog::start(Sink::Off).unwrap();
        let worker = Worker::new(0, shared, log.for_worker());
        let relay = Relay::start(worker, [AtomicI64::new(0)].into()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let listening = relay.listen(slot, socket.into()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        Self { relay, listening, backends: backends.map(Some), client }
    }

    /// A datagram comes from a client.
    fn tell_as(&self, client: &UdpSocket, datagram: &[u8]) {
        client.send(datagram).unwrap();
        assert_eq!(self.relay.read(self.listening.socket()).unwrap(), 1);
    }

    fn tell(&self, datagram: &[u8]) {
        self.tell_as(&self.client, datagram);
    }

    fn sessions(&self) -> usize {
        self.relay.table.borrow().len()
    }
}

/// Runs a test beside which nothing is done: it waits for nothing.
fn run(test: impl FnOnce()) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { test() });
}

#[test]
fn sessions_for_which_no_descriptor_is_left_are_kept() {
    run(|| {
        let stage = Stage::new(UDP);
        for _ in 0..3 {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(stage.listening.socket().local.unwrap()).unwrap();
            stage.tell_as(&client, b"question");
        }
        let calls = Cell::new(0);
        let second_fails = |socket: &OwnedFd| {
            calls.set(calls.get() + 1);
            if calls.get() == 2 { Err(Errno::MFILE.into()) } else { socket.try_clone() }
        };
        let counts = |clone: &dyn Fn(&OwnedFd) -> io::Result<OwnedFd>| {
            let some = stage.relay.hand_by(10, clone);
            (some.sessions.len(), some.left)
        };
        assert_eq!(counts(&second_fails), (1, 2));
        assert_eq!(counts(&|_| Err(Errno::MFILE.into())), (0, 2));
        stage.relay.handed_over(false);
        assert_eq!(counts(&second_fails), (3, 0), "there are some again");
        assert_eq!(counts(&second_fails), (0, 0));
        stage.relay.handed_over(false);
        calls.set(0);
        assert_eq!(counts(&second_fails), (1, 2));
        stage.relay.handed_over(true);
        assert_eq!(stage.sessions(), 2, "they end here, when the listener is closed");
    });
}

/// The client's first packet of RFC 9001 §A.2.
fn initial() -> Vec<u8> {
    let hex = include_str!("../quic/vectors/rfc9001-a2.hex");
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_connection_beside_another_keeps_its_session_at_another_backend() {
    run(|| {
        let mut stage = Stage::new(QUIC);
        let first = initial();
        stage.tell(&first);
        let (flow, backend) = {
            let table = stage.relay.table.borrow();
            let (.., session) = table.iter().next().unwrap();
            (Flow::clone(session.quic.as_ref().unwrap().place().flow()), session.last)
        };
        // Another connection, which the client had from another port before.
        let other = stage.relay.worker.shared.flows.enter(flow);
        other.add(ConnectionId::new(b"of another").unwrap());
        stage.tell(b"\x40of another");
        assert_eq!(stage.sessions(), 2);
        stage.backends[backend] = None;
        // The first leads to the refusal, the second is passed on to the other backend.
        for _ in 0..4 {
            stage.tell(&first);
        }
        let table = stage.relay.table.borrow();
        assert!(table.iter().any(|(.., session)| session.attempts == 2));
        assert_eq!(table.len(), 2);
    });
}

#[test]
fn session_of_an_unknown_version_is_found_after_an_upgrade() {
    run(|| {
        let stage = Stage::new(QUIC);
        let ids = b"\x0ewhoever it is \x06client";
        let unknown = [&[0xc0][..], &0x0a1a_2a3a_u32.to_be_bytes(), ids, &[7; 1200]].concat();
        stage.tell(&unknown);
        let handed = stage.relay.hand(10).sessions;
        stage.relay.handed_over(true);
        assert_eq!((handed.len(), stage.sessions()), (1, 0));
        assert_eq!(stage.relay.take_over(std::iter::once(&stage.listening), handed), 1);
        stage.tell(&unknown);
        assert_eq!(stage.sessions(), 1);
    });
}
