//! Sessions of a relay that is read by hand, between sockets that are real.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    rc::Rc,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
};
use tokio::runtime::{Builder, LocalOptions};

use super::{
    super::quic::handshake::tests::{Look, whole_hello},
    relay::{Listening, Relay},
};
use crate::{
    admin::tests::shared,
    backend::ANSWER_STEP,
    moment::Moment,
    net::proxy_protocol::{
        self, Addresses,
        write::{Additions, v2_datagram},
    },
    runtime::{
        Worker,
        flows::{ConnectionId, Flow},
    },
    telemetry::{
        access_log::{AccessLog, Sink},
        datagrams::Dropped,
    },
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
const FROM: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]";

impl Stage {
    fn new(listener: &str) -> Self {
        Self::with(listener, "")
    }

    /// One whose upstream has this option.
    fn with(listener: &str, option: &str) -> Self {
        let backends = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, two] = backends.each_ref().map(|it| it.local_addr().unwrap());
        let shared = shared(&format!(
            "[[listener]]\nname = \"web\"\n{listener}\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nname = \"all\"\nlisteners = [\"web\"]\nupstream = \"app\"\n\
             [[upstream]]\nname = \"app\"\n{option}\n\
             outlier = {{ consecutive_failures = 1 }}\nudp = {{ idle = \"60s\" }}\n\
             backend = [{{ address = \"{one}\" }}, {{ address = \"{two}\" }}]\n"
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

    /// Whose sessions there are.
    fn clients(&self) -> Vec<String> {
        let table = self.relay.table.borrow();
        table.iter().map(|(.., session)| session.peer_address().to_string()).collect()
    }

    /// Another client than those before, at the same address.
    fn another_client(&self) -> UdpSocket {
        self.client_at("127.0.0.1")
    }

    /// Another client at this address.
    fn client_at(&self, address: &str) -> UdpSocket {
        let client = UdpSocket::bind((address, 0)).unwrap();
        client.connect(self.listening.socket().local.unwrap()).unwrap();
        client
    }

    /// A client sends this. Gives which backend it came to, and from where.
    fn ask_as(&self, client: &UdpSocket, datagram: &[u8]) -> Option<(usize, SocketAddr)> {
        self.tell_as(client, datagram);
        self.hear().map(|(index, _, from)| (index, from))
    }

    /// What came to a backend: to which, and from where.
    fn hear(&self) -> Option<(usize, Vec<u8>, SocketAddr)> {
        self.backends.iter().enumerate().find_map(|(index, backend)| {
            let backend = backend.as_ref()?;
            backend.set_nonblocking(true).unwrap();
            let mut bytes = [0; 2000];
            let (length, from) = backend.recv_from(&mut bytes).ok()?;
            Some((index, bytes[..length].to_vec(), from))
        })
    }

    /// A backend answers.
    fn reply(&self, index: usize, to: SocketAddr) {
        self.backends[index].as_ref().unwrap().send_to(b"answer", to).unwrap();
        let ids: Vec<_> = self.relay.table.borrow().iter().map(|(id, ..)| id).collect();
        for id in ids {
            self.relay.pass_down(id);
        }
    }

    /// The kernel has what came back by ICMP for what was sent to a backend, for whoever uses its socket next.
    fn await_refusal(&self) {
        let table = self.relay.table.borrow();
        let (.., session) = table.iter().next().unwrap();
        let socket = &session.backend.as_ref().unwrap().socket;
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut polled = [PollFd::new(socket, PollFlags::empty())];
        assert_eq!(retry_on_intr(|| poll(&mut polled, Some(&patience))), Ok(1));
    }

    /// Another client sends this.
    fn ask(&self, datagram: &[u8]) -> Option<(usize, SocketAddr)> {
        self.ask_as(&self.another_client(), datagram)
    }

    /// Another client sends this, and is answered.
    fn serve(&self, datagram: &[u8]) -> usize {
        let (index, from) = self.ask(datagram).unwrap();
        self.reply(index, from);
        index
    }

    /// Both backends answer somebody, which is before what is next.
    fn serve_by_both(&self) {
        assert_ne!(self.serve(b"question"), self.serve(b"question"));
        thread::sleep(2 * ANSWER_STEP);
    }

    /// Whatever may take its time was too late.
    fn wait_in_vain(&self) {
        // What was before is before what is next, also for whoever counts in steps.
        thread::sleep(2 * ANSWER_STEP);
        self.relay.do_what_is_due(Moment::now().plus(Duration::from_secs(31)));
    }

    /// Backends that were ejected.
    fn ejected(&self) -> Vec<usize> {
        let snapshot = self.relay.worker.shared.snapshot.load();
        let backends = snapshot.upstreams[0].backends.iter().enumerate();
        backends.filter(|(_, it)| it.shared.ejected_until.load(Relaxed) > 0).map(|(index, _)| index).collect()
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
            stage.tell_as(&stage.another_client(), b"question");
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

/// Each batch goes on where the one before ended, which must pass none over.
#[test]
fn batches_have_every_session_once() {
    run(|| {
        let stage = Stage::new(UDP);
        for _ in 0..5 {
            stage.tell_as(&stage.another_client(), b"question");
        }
        let ids: Vec<_> = stage.relay.table.borrow().iter().map(|(id, ..)| id).collect();
        let batch = || stage.relay.hand(2).sessions.len();
        assert_eq!((batch(), stage.relay.last_handed.get()), (2, ids[1]));
        assert_eq!([batch(), batch(), batch()], [2, 1, 0]);
        // As one that had no backend when its turn was.
        stage.relay.table.borrow_mut().get_mut(ids[0]).unwrap().is_handed = false;
        assert_eq!([batch(), batch()], [1, 0]);
        stage.relay.handed_over(false);
        assert_eq!([batch(), batch(), batch(), batch()], [2, 2, 1, 0], "from the first on again");
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

/// The program before has none of its end.
#[test]
fn session_that_is_not_taken_over_is_logged_and_counted() {
    run(|| {
        for (listener, key) in [(UDP, "route"), (UDP, "listener"), (QUIC, "upstream"), (QUIC, "backend")] {
            let stage = Stage::new(listener);
            let first = if listener == QUIC { initial() } else { b"question".to_vec() };
            stage.tell(&first);
            let worker = stage.relay.worker.clone();
            let mut handed = stage.relay.hand(10).sessions;
            stage.relay.handed_over(true);
            assert_eq!(worker.series.bytes_in.get(), 0);
            handed[0].facts[key] = "gone".into();
            assert_eq!(stage.relay.take_over(std::iter::once(&stage.listening), handed), 0);
            assert_eq!(stage.sessions(), 0);
            let mut errors = BTreeMap::new();
            worker.series.errors.add_to(&mut errors);
            assert_eq!(worker.series.bytes_in.get(), first.len() as u64, "{key}");
            assert_eq!(errors, BTreeMap::from([("draining", 1)]), "{key}");
        }
    });
}

#[test]
fn silence_to_strangers_counts_only_where_nobody_is_answered() {
    run(|| {
        let stage = Stage::new(UDP);
        stage.serve_by_both();
        // Rubbish, which no server answers, and questions, which they do.
        let strangers = [(); 2].map(|()| stage.ask(b"\0").unwrap().0);
        assert_ne!(strangers[0], strangers[1]);
        thread::sleep(2 * ANSWER_STEP);
        assert_ne!(stage.serve(b"question"), stage.serve(b"question"));
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [0; 0]);
        // From here on one of them answers nobody.
        let dead = stage.ask(b"question").unwrap().0;
        thread::sleep(2 * ANSWER_STEP);
        assert_ne!(stage.serve(b"question"), dead);
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [dead]);
    });
}

/// Nobody else asks meanwhile.
#[test]
fn silence_to_one_stranger_alone_ejects_nothing() {
    run(|| {
        let stage = Stage::new(UDP);
        stage.serve_by_both();
        let stranger = || stage.client_at("127.0.0.2");
        let asked = [(); 4].map(|()| stage.ask_as(&stranger(), b"\0").unwrap().0);
        assert!(asked.contains(&0) && asked.contains(&1));
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [0; 0]);
        // Silence to another one as well looks like the end of the backend.
        let dead = stage.ask_as(&stage.client_at("127.0.0.3"), b"question").unwrap().0;
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [dead]);
    });
}

#[test]
fn silence_to_one_client_counts_if_it_was_answered_before() {
    run(|| {
        let stage = Stage::new(UDP);
        stage.serve_by_both();
        let dead = stage.ask(b"question").unwrap().0;
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [dead]);
    });
}

#[test]
fn client_of_a_silent_backend_moves_where_others_are_answered() {
    run(|| {
        let stage = Stage::new(UDP);
        stage.serve_by_both();
        let silent = stage.ask_as(&stage.client, b"question").unwrap().0;
        thread::sleep(2 * ANSWER_STEP);
        assert_ne!(stage.serve(b"question"), stage.serve(b"question"));
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [0; 0]);
        assert_ne!(stage.ask_as(&stage.client, b"question").unwrap().0, silent);
    });
}

/// The budget is for what fails: many who send and are never answered would leave nothing of it to those who need it.
#[test]
fn silence_that_counts_against_nobody_is_no_retry() {
    run(|| {
        let mut stage = Stage::with(UDP, "retry = { budget_percent = 0, budget_min_per_second = 1 }");
        stage.serve_by_both();
        let silent: Vec<_> = (0..30).map(|_| stage.another_client()).collect();
        assert!(silent.iter().all(|client| stage.ask_as(client, b"\0").is_some()));
        thread::sleep(2 * ANSWER_STEP);
        assert_ne!(stage.serve(b"question"), stage.serve(b"question"));
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [0; 0]);
        assert!(silent.iter().all(|client| stage.ask_as(client, b"\0").is_some()));
        let worker = stage.relay.worker.clone();
        assert_eq!(worker.series.retries.get(), 0);
        // Who is refused goes to another by a retry.
        let (refusing, _) = stage.ask_as(&stage.client, b"question").unwrap();
        stage.backends[refusing] = None;
        stage.tell(b"question");
        assert!(stage.ask_as(&stage.client, b"question").is_some());
        assert_eq!(worker.series.retries.get(), 1);
    });
}

#[test]
fn datagrams_that_every_server_drops_begin_nothing() {
    run(|| {
        let stage = Stage::new(QUIC);
        let drops = |why| stage.relay.worker.series.datagrams.dropped(why);
        let lacking = Look { lacks_fixed_bit: true, ..Look::default() };
        for look in [lacking, Look { source: &[7; 21], ..Look::default() }] {
            assert_eq!(stage.ask(&whole_hello(&look, b"made up!")), None, "{look:?}");
        }
        assert_eq!((stage.sessions(), drops(Dropped::QuicMalformed)), (0, 2));
        // RFC 9000 §5.2.2: nobody answers one of an unknown version that is so small.
        let mut unknown = [&[0xc0][..], &0x0a1a_2a3a_u32.to_be_bytes(), b"\x08made up!\x00"].concat();
        unknown.resize(1199, 7);
        assert_eq!(stage.ask(&unknown), None);
        assert_eq!((stage.sessions(), drops(Dropped::QuicVersion)), (0, 1));
        unknown.push(7);
        assert!(stage.ask(&unknown).is_some());
        assert_eq!(stage.sessions(), 1);
    });
}

#[test]
fn silence_to_what_a_server_may_drop_counts_against_nobody() {
    run(|| {
        let stage = Stage::new(QUIC);
        for id in [b"honest 1", b"honest 2"] {
            stage.serve(&whole_hello(&Look::default(), id));
        }
        thread::sleep(2 * ANSWER_STEP);
        let without_bit = Look { lacks_fixed_bit: true, token: b"of before", ..Look::default() };
        let early = [&[0xd0, 0, 0, 0, 1, 8][..], b"stranger", &[0, 3], b"abc"].concat();
        let behind_early = [early, whole_hello(&Look::default(), b"stranger")].concat();
        let ids = [&[21][..], &[1; 21], &[0]].concat();
        let unknown = [&[0xc0][..], &0x0a1a_2a3a_u32.to_be_bytes(), &ids, &[7; 1200]].concat();
        for datagram in [whole_hello(&without_bit, b"whoever!"), behind_early, unknown] {
            assert!(stage.ask(&datagram).is_some(), "it is passed on");
        }
        stage.wait_in_vain();
        assert_eq!(stage.ejected(), [0; 0]);
        stage.ask(&whole_hello(&Look::default(), b"honest 3")).unwrap();
        stage.wait_in_vain();
        assert_eq!(stage.ejected().len(), 1, "of what it has to answer, silence counts");
    });
}

/// A backend that has forgotten the session would believe the client's own header.
#[test]
fn header_is_said_again_before_what_looks_like_one() {
    run(|| {
        let stage = Stage::with(UDP, "proxy_protocol_udp = \"first\"");
        let say = |datagram: &[u8]| {
            stage.tell(datagram);
            stage.hear().unwrap()
        };
        let (index, heard, from) = say(b"question");
        let header = heard.strip_suffix(b"question").unwrap();
        assert!(proxy_protocol::is_v2(header));
        assert_eq!(say(b"question").1, heard, "it may have been lost");
        stage.reply(index, from);
        assert_eq!(say(b"question").1, b"question");
        let alike = [&b"\r\n\r\n\0\r\nQUIT\n"[..], b"and whatever follows"].concat();
        assert_eq!(say(&alike).1, [header, &alike].concat());
        assert_eq!(say(b"question").1, b"question");
    });
}

#[test]
fn header_is_said_from_a_refusal_until_the_answer() {
    run(|| {
        let stage = Stage::with(UDP, "proxy_protocol_udp = \"first\"");
        let say = |datagram: &[u8]| {
            stage.tell(datagram);
            stage.hear().unwrap()
        };
        let (index, heard, from) = say(b"question");
        stage.reply(index, from);
        assert_eq!(say(b"question").1, b"question");
        // Its socket is for somebody else: to us nobody is there, and no other test can take the port meanwhile.
        let backend = stage.backends[index].as_ref().unwrap();
        backend.connect("127.0.0.1:9").unwrap();
        stage.tell(b"question");
        stage.await_refusal();
        backend.connect(from).unwrap();
        // Begun anew: the first of these meets the refusal, and goes out all the same.
        for _ in 0..2 {
            assert_eq!(say(b"question"), (index, heard.clone(), from));
        }
        stage.reply(index, from);
        assert_eq!(say(b"question").1, b"question");
    });
}

/// A client's datagram as a proxy in front sends it.
fn behind_header_of(client: &str, datagram: &[u8]) -> Vec<u8> {
    let (source, destination) = (client.parse().unwrap(), "198.51.100.2:53".parse().unwrap());
    let header = v2_datagram(Some(Addresses { source, destination }), &Additions::default());
    [&header[..], datagram].concat()
}

/// A proxy in front that was answered before a restart here says the header once in five seconds.
#[test]
fn what_lacks_a_header_is_of_the_session_with_one() {
    run(|| {
        let stage = Stage::new(&format!("{UDP}\n{FROM}"));
        let dropped = || stage.relay.worker.series.datagrams.dropped(Dropped::ProxyHeader);
        stage.tell(b"of nobody");
        assert_eq!((stage.hear(), stage.sessions(), dropped()), (None, 0, 1));
        stage.tell(&behind_header_of("192.0.2.1:5", b"one"));
        let (index, heard, from) = stage.hear().unwrap();
        assert_eq!(heard, b"one");
        stage.tell(b"two");
        assert_eq!(stage.hear(), Some((index, b"two".to_vec(), from)));
        assert_eq!(stage.clients(), ["192.0.2.1:5"]);
        // What begins like a header and is none has nobody's word.
        stage.tell(b"\r\n\r\n\0\r\nQUIT\nand whatever follows");
        assert_eq!((stage.hear(), dropped()), (None, 2));
        // Another client, whose session in front has the port now.
        stage.tell(&behind_header_of("192.0.2.2:5", b"three"));
        assert_eq!(stage.hear().unwrap().1, b"three");
        stage.tell(b"four");
        assert_eq!(stage.hear().unwrap().1, b"four");
        assert_eq!(stage.clients(), ["192.0.2.2:5"]);
        stage.tell_as(&stage.another_client(), b"of nobody");
        assert_eq!((stage.hear(), stage.clients().len(), dropped()), (None, 1, 3));
    });
}

/// A proxy in front that knows nothing of QUIC has one session for all of them.
#[test]
fn connections_of_one_port_are_of_the_named_client() {
    run(|| {
        let stage = Stage::new(&format!("{QUIC}\n{FROM}"));
        let hello = |id: &[u8]| whole_hello(&Look::default(), id);
        stage.tell(&behind_header_of("192.0.2.1:5", &hello(b"honest 1")));
        let (index, _, from) = stage.hear().unwrap();
        stage.reply(index, from);
        let unknown = [&[0xc0][..], &0x0a1a_2a3a_u32.to_be_bytes(), b"\x08made up!\x00", &[7; 1200]].concat();
        for beside in [hello(b"honest 2"), unknown] {
            stage.tell(&beside);
            assert!(stage.hear().is_some());
        }
        assert_eq!(stage.clients(), ["192.0.2.1:5"; 3]);
    });
}
