//! etcd as the store, by its JSON gateway.
//!
//! Previous stop: [`campaign`](super::campaign), which decides what is asked.

mod connection;
mod gateway;

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::{
    connection::{Connection, Failure},
    gateway::Refusal,
};
use super::campaign::{Answer, Request};
use crate::cluster::conf::EtcdConf;

/// etcd, as one node asks it.
#[derive(Debug)]
pub struct Etcd {
    conf: EtcdConf,
    node: String,
    connection: Connection,
    /// The number of the last write that is known to have been seen: what is watched begins after it.
    revision: u64,
    /// When what is watched was asked for last.
    watched: Option<Instant>,
}

/// How often a lease is kept alive anew where the server's leader changed meanwhile, before that is a failure.
const ROUNDS: usize = 3;
/// What is watched is looked at anew after this time: the connection may be dead without a word.
const WATCH: Duration = Duration::from_secs(5);
/// What is watched is asked for once in so long at most: a server may end each at once (it has compacted, a proxy is before it).
const BETWEEN: Duration = Duration::from_millis(250);
/// How long one server may take for an answer whose time no caller bounds: one that is silent is left for the next.
const PATIENCE: Duration = Duration::from_secs(2);

impl Etcd {
    /// A node's way to etcd; nothing is connected yet.
    pub fn new(conf: EtcdConf, node: String) -> Self {
        Self { connection: Connection::new(conf.clone()), conf, node, revision: 0, watched: None }
    }

    /// Asks; the caller bounds the time. What was sent may be done though nothing came back.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        match self.asked(request).await {
            Ok(answer) => answer,
            Err(Failure::Refused(Refusal::NoLease)) => match request {
                Request::Release { .. } => Answer::Released,
                _ => Answer::Gone,
            },
            Err(failure) => {
                self.connection.next_endpoint();
                Answer::Failed(failure.to_string())
            }
        }
    }

    /// Which of the servers is asked.
    pub fn endpoint(&self) -> usize {
        self.connection.endpoint()
    }

    /// Begins with this one of the servers.
    pub fn begin_at(&mut self, endpoint: u64) {
        self.connection.set_endpoint(usize::try_from(endpoint).unwrap_or(0));
    }

    /// Waits until something is written at the key after it was confirmed last, or it is removed; false where that cannot be
    /// said any more.
    pub fn news(&self) -> impl Future<Output = bool> + use<> {
        let mut connection = self.connection.beside();
        let body = gateway::watch_all(&self.conf.key, self.revision);
        async move {
            sleep(BETWEEN).await;
            connection.changed("/v3/watch", &body).await.is_ok()
        }
    }

    /// What was asked last was given up before it was answered: the next server is asked from here on.
    pub fn give_up(&mut self) {
        self.connection.next_endpoint();
    }

    async fn asked(&mut self, request: &Request) -> Result<Answer, Failure> {
        let odd = || Failure::Broken(gateway::ODD.into());
        match *request {
            Request::Look => self.look().await,
            Request::Watch => {
                self.space_out().await;
                let body = gateway::watch(&self.conf.key, self.revision);
                let watched = self.connection.changed("/v3/watch", &body);
                if let Ok(ended) = timeout(WATCH, watched).await {
                    ended?;
                }
                // The server may have been silent for all of that time.
                timeout(PATIENCE, self.look()).await.unwrap_or_else(|_| Err(late()))
            }
            Request::Grant => {
                let body = gateway::grant(self.conf.lease);
                let answer = self.connection.call("/v3/lease/grant", &body).await?;
                gateway::granted(&answer).ok_or_else(odd)
            }
            Request::Acquire { lease } => {
                let body = gateway::acquire(&self.conf.key, &self.node, lease);
                let answer = self.connection.call("/v3/kv/txn", &body).await?;
                self.revision = gateway::header(&answer).revision;
                gateway::acquired(&answer, &self.node, lease).ok_or_else(odd)
            }
            Request::Renew { lease, fence } => self.renew(lease, fence).await,
            Request::Release { lease } => {
                // The keys of a lease go with it.
                self.connection.call("/v3/lease/revoke", &gateway::lease(lease)).await?;
                Ok(Answer::Released)
            }
        }
    }

    /// What is at the key, of at most so many bytes, and the number of the write that it came with. The error is for people.
    pub async fn value(&mut self, most: usize) -> Result<Option<(Vec<u8>, u64)>, String> {
        let body = gateway::look(&self.conf.key);
        let asked = self.connection.call_for("/v3/kv/range", &body, most.saturating_mul(2));
        let answer = timeout(PATIENCE, asked).await;
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => {
                let found = gateway::value(&answer).ok_or_else(|| gateway::ODD.to_owned())?;
                // Not the number of the key's own write alone: what is older than the store's last compaction cannot be watched.
                let written = found.as_ref().map_or(0, |(_, revision)| *revision);
                self.revision = gateway::header(&answer).revision.max(written);
                Ok(found)
            }
            Err(failure) => {
                self.connection.next_endpoint();
                Err(failure.to_string())
            }
        }
    }

    /// Waits until something was written at the key after its value was read last. The error is for people.
    pub async fn written(&mut self) -> Result<(), String> {
        self.space_out().await;
        let body = gateway::watch_all(&self.conf.key, self.revision);
        self.connection.changed("/v3/watch", &body).await.map_err(|failure| {
            self.connection.next_endpoint();
            failure.to_string()
        })
    }

    /// Waits where what is watched was asked for a moment ago.
    async fn space_out(&mut self) {
        if let Some(last) = self.watched {
            sleep_until(last + BETWEEN).await;
        }
        self.watched = Some(Instant::now());
    }

    async fn look(&mut self) -> Result<Answer, Failure> {
        let answer = self.connection.call("/v3/kv/range", &gateway::look(&self.conf.key)).await?;
        self.revision = gateway::header(&answer).revision;
        gateway::found(&answer).ok_or_else(|| Failure::Broken(gateway::ODD.into()))
    }

    /// Keeps the lease alive, and proves that it was.
    ///
    /// A leader that was deposed, and does not know it yet, goes on saying that leases live (etcd#15247), while its follower
    /// lets them end. So the server is asked next for what only a leader with a majority can answer, whether the key is
    /// still ours, and both answers must be of one term: then that leader was the only one all the time in between.
    async fn renew(&mut self, lease: i64, fence: u64) -> Result<Answer, Failure> {
        for _ in 0..ROUNDS {
            let answer = self.connection.call("/v3/lease/keepalive", &gateway::lease(lease)).await?;
            let (kept, ttl) = gateway::kept(&answer).ok_or_else(|| Failure::Broken(gateway::ODD.into()))?;
            let Some(ttl) = ttl else { return Ok(Answer::Gone) };
            let key = &self.conf.key;
            let confirmed = self.connection.call("/v3/kv/txn", &gateway::confirm(key, fence, lease)).await?;
            let by = gateway::header(&confirmed);
            self.revision = by.revision;
            if !gateway::is_succeeded(&confirmed) {
                if !gateway::is_overwritten(&confirmed, fence) {
                    return Ok(Answer::Gone);
                }
                // Without the lease it would outlive this node, and nobody could follow.
                tracing::warn!(%key, "something else wrote to the key of the election; this node takes it back");
                let back = gateway::take_back(key, &self.node, fence, lease);
                self.connection.call("/v3/kv/txn", &back).await?;
                continue;
            }
            if (by.member, by.term) == (kept.member, kept.term) && by.term > 0 {
                return Ok(Answer::Renewed { ttl });
            }
        }
        Err(Failure::Broken("the store's leader keeps changing".into()))
    }
}

fn late() -> Failure {
    Failure::Broken(format!("no answer within {PATIENCE:?}"))
}

#[cfg(test)]
pub(in crate::cluster::store) mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        runtime::{Builder, LocalOptions},
        task::spawn_local,
    };

    use super::*;
    use crate::net::http_client::Server;

    /// Runs a test whose clock stands still as long as anything else is to be done.
    pub(in crate::cluster::store) fn run(test: impl AsyncFnOnce()) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default());
        let _none = crate::sync::children::none();
        runtime.unwrap().block_on(test());
    }

    /// A server that answers the first so many requests as one with an empty store, and is silent from then on.
    pub(in crate::cluster::store) async fn server(mut answers: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        spawn_local(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 4096];
                while answers > 0 && stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {
                    answers -= 1;
                    let body = r#"{"header":{"revision":"1"}}"#;
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(head.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
        });
        Server::of_authority(false, &authority, 2379).unwrap()
    }

    pub(in crate::cluster::store) fn conf(servers: Vec<Server>) -> EtcdConf {
        EtcdConf::to_read(servers, "/key".into(), String::new(), None)
    }

    #[test]
    fn watch_of_a_silent_server_fails() {
        run(async || {
            let mut etcd = Etcd::new(conf(vec![server(1).await, server(1).await]), "a".into());
            assert_eq!(etcd.ask(&Request::Look).await, Answer::Free);
            let watched = timeout(Duration::from_secs(60), etcd.ask(&Request::Watch)).await;
            assert!(matches!(watched, Ok(Answer::Failed(_))), "{watched:?}");
            assert_eq!(etcd.ask(&Request::Look).await, Answer::Free);
        });
    }

    #[test]
    fn text_is_read_where_one_server_is_silent() {
        run(async || {
            let mut etcd = Etcd::new(conf(vec![server(0).await, server(9).await]), "a".into());
            let read = timeout(Duration::from_secs(60), etcd.value(1000)).await;
            assert!(read.is_ok_and(|read| read.is_err()));
            sleep(Duration::ZERO).await;
            assert_eq!(etcd.value(1000).await, Ok(None));
            assert_eq!(etcd.revision, 1, "the store's own, and not the key's, which may be compacted");
        });
    }

    /// A server that ends at once what is watched, as one that has compacted does.
    async fn ending() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                spawn_local(async move {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                        let head = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n";
                        let answer = format!("{head}{{\"header\":{{\"revision\":\"1\"}}}}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Server::of_authority(false, &authority, 2379).unwrap()
    }

    #[test]
    fn watch_that_ends_at_once_is_no_loop_without_pause() {
        run(async || {
            let mut etcd = Etcd::new(conf(vec![ending().await]), "a".into());
            let begun = Instant::now();
            // What comes of each does not matter: one that fails may do so at once, too.
            for _ in 0..4 {
                drop(etcd.written().await);
                drop(etcd.ask(&Request::Watch).await);
            }
            assert!(begun.elapsed() >= 7 * BETWEEN, "{:?}", begun.elapsed());
        });
    }
}
