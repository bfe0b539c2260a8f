//! A name server on this machine, whose answers a test may change.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_resolver::{
    Hosts,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    proto::{
        op::{Message, MessageType, OpCode, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::A},
    },
};
use tokio::net::UdpSocket;

use super::super::names::Names;

type Records = HashMap<(String, RecordType), Vec<(u32, RData)>>;

/// What it knows, and how it answers.
#[derive(Default)]
pub(super) struct Zone {
    pub(super) records: Mutex<Records>,
    /// What gets SERVFAIL.
    failing: Mutex<HashSet<(String, RecordType)>>,
    /// What gets no answer.
    silent: Mutex<HashSet<(String, RecordType)>>,
    /// No address is told before each of these was asked for.
    pub(super) awaited: Mutex<HashSet<String>>,
    pub(super) asked: AtomicU32,
}

impl Zone {
    pub(super) fn set(&self, name: &str, kind: RecordType, records: impl IntoIterator<Item = (u32, RData)>) {
        let records = records.into_iter().collect();
        self.records.lock().unwrap().insert((name.to_owned(), kind), records);
    }

    pub(super) fn set_a(&self, name: &str, ttl: u32, ips: &[[u8; 4]]) {
        let records = ips.iter().map(|ip| (ttl, RData::A(A(Ipv4Addr::from(*ip)))));
        self.set(name, RecordType::A, records);
    }

    /// Makes these fail, and no others.
    pub(super) fn fail(&self, questions: &[(&str, RecordType)]) {
        let questions = questions.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
        *self.failing.lock().unwrap() = questions.collect();
    }

    /// Makes these get no answer, and no others.
    pub(super) fn silence<'q>(&self, questions: impl IntoIterator<Item = (&'q str, RecordType)>) {
        let questions = questions.into_iter().map(|(name, kind)| (name.to_owned(), kind));
        *self.silent.lock().unwrap() = questions.collect();
    }

    /// The answer, if there is to be one, and whether it can be told.
    fn answer(&self, question: &[u8]) -> Option<(Vec<u8>, bool)> {
        self.asked.fetch_add(1, Relaxed);
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        let records = self.records.lock().unwrap();
        let name = query.name().to_ascii();
        if !records.keys().any(|(known, _)| *known == name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        let mut awaited = self.awaited.lock().unwrap();
        awaited.remove(&name);
        let is_told = awaited.is_empty() || query.query_type() == RecordType::SRV;
        let asked = (name, query.query_type());
        if self.silent.lock().unwrap().contains(&asked) {
            return None;
        }
        let is_failing = self.failing.lock().unwrap().contains(&asked);
        if is_failing {
            answer.metadata.response_code = ResponseCode::ServFail;
        }
        for (ttl, data) in records.get(&asked).filter(|_| !is_failing).into_iter().flatten() {
            answer.add_answer(Record::from_rdata(query.name().clone(), *ttl, data.clone()));
        }
        answer.add_query(query);
        Some((answer.to_vec().unwrap(), is_told))
    }

    async fn serve(&self, socket: &UdpSocket) {
        let (mut buffer, mut waiting) = ([0; 2048], Vec::new());
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let Some((answer, is_told)) = self.answer(&buffer[..length]) else { continue };
            waiting.push((answer, from));
            if is_told {
                for (answer, from) in waiting.drain(..) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        }
    }
}

/// Runs `test` against a zone that is served meanwhile.
pub(super) async fn with_zone(test: impl AsyncFnOnce(&Zone, Arc<Names>)) {
    with_searched_zone(&[], Duration::from_millis(500), test).await;
}

/// The same where what is silent stays so for much longer than targets of a service are waited for.
pub(super) async fn with_patient_resolver(patience: Duration, test: impl AsyncFnOnce(&Zone, Arc<Names>)) {
    with_searched_zone(&[], Duration::from_secs(60), async |zone, names| {
        let names = Arc::into_inner(names).unwrap().with_patience(patience);
        test(zone, Arc::new(names)).await;
    })
    .await;
}

/// The same with a search list, and the time of one attempt.
pub(super) async fn with_searched_zone(
    search: &[&str],
    attempt: Duration,
    test: impl AsyncFnOnce(&Zone, Arc<Names>),
) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
    server.connections[0].port = socket.local_addr().unwrap().port();
    let mut config = ResolverConfig::from_name_servers(vec![server]);
    config.search = search.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
    let mut options = ResolverOpts::default();
    options.timeout = attempt;
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(&b"192.0.2.9 filed.test\n"[..]).unwrap();
    let names = Names::of(config, options, hosts);
    let zone = Zone::default();
    tokio::select! {
        () = test(&zone, Arc::new(names)) => {}
        () = zone.serve(&socket) => unreachable!(),
    }
}
