//! Sessions of a relay that is read by hand, between sockets that are real.

use std::{cell::Cell, io, net::UdpSocket, os::fd::OwnedFd, rc::Rc, sync::atomic::AtomicI64};

use rustix::io::Errno;
use tokio::runtime::{Builder, LocalOptions};

use super::relay::{Listening, Relay};
use crate::{
    admin::tests::shared,
    runtime::Worker,
    telemetry::access_log::{AccessLog, Sink},
};

/// A listener, its relay, and two backends of it.
struct Stage {
    relay: Rc<Relay>,
    listening: Listening,
    _backends: [Option<UdpSocket>; 2],
}

const UDP: &str = "protocol = \"udp\"";

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
        let listening = relay.listen(slot, socket.into()).unwrap();
        Self { relay, listening, _backends: backends.map(Some) }
    }

    /// A datagram comes from a client.
    fn tell_as(&self, client: &UdpSocket, datagram: &[u8]) {
        client.send(datagram).unwrap();
        assert_eq!(self.relay.read(self.listening.socket()).unwrap(), 1);
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
