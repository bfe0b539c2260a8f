//! ZooKeeper as the store: a node that lasts as long as its session.
//!
//! Previous stop: [`campaign`](super::campaign), which decides what is asked. The number of a session stands for the lease.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::timeout};
use zookeeper_client::{Acls, Client, CreateMode, Error, Stat};

use super::campaign::{Answer, Request};
use crate::cluster::conf::ZooKeeperConf;

/// ZooKeeper, as one node asks it.
#[derive(Debug)]
pub struct ZooKeeper {
    conf: ZooKeeperConf,
    node: String,
    client: Option<Client>,
}

/// What is watched is looked at anew after this time: the connection may be dead without a word.
const WATCH: Duration = Duration::from_secs(5);
/// What part of a session's time is relied on. The leader, which ends sessions, hears of signs of life that other servers
/// got once in half a `tickTime`, which is at most a quarter of a session's time; and of one before the last, at worst,
/// which was a sixth of it earlier.
const RELIED_ON: u32 = 2;

impl ZooKeeper {
    /// A node's way to ZooKeeper; nothing is connected yet.
    pub fn new(conf: ZooKeeperConf, node: String) -> Self {
        Self { conf, node, client: None }
    }

    /// Asks; the caller bounds the time. What was sent may be done though nothing came back.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        match self.asked(request).await {
            Ok(answer) => answer,
            Err(Error::SessionExpired) => {
                self.client = None;
                match request {
                    Request::Release { .. } => Answer::Released,
                    Request::Renew { .. } | Request::Acquire { .. } => Answer::Gone,
                    Request::Look | Request::Watch | Request::Grant => {
                        Answer::Failed("the session ended".into())
                    }
                }
            }
            Err(error) => {
                // What cannot recover is not kept.
                if self.client.as_ref().is_some_and(|client| client.state().is_terminated()) {
                    self.client = None;
                }
                Answer::Failed(error.to_string())
            }
        }
    }

    async fn asked(&mut self, request: &Request) -> Result<Answer, Error> {
        match *request {
            Request::Look => self.look().await,
            Request::Watch => {
                let path = self.conf.path.clone();
                let (stat, watcher) = self.client().await?.check_and_watch_stat(&path).await?;
                if stat.is_some() {
                    // Over that time it is asked again, whatever became of it.
                    let _ = timeout(WATCH, watcher.changed()).await;
                }
                self.look().await
            }
            Request::Grant => {
                let client = self.client().await?;
                // The session lives: that went through ZooKeeper's leader.
                client.sync("/").await?;
                let ttl = client.session_timeout() / RELIED_ON;
                Ok(Answer::Granted { lease: client.session_id().0, ttl })
            }
            Request::Acquire { lease } => self.acquire(lease).await,
            Request::Renew { lease, fence } => self.renew(lease, fence).await,
            Request::Release { lease } => self.release(lease).await,
        }
    }

    /// Waits until something happens to the node; false where that cannot be said any more.
    pub fn news(&self) -> impl Future<Output = bool> + use<> {
        let (client, path) = (self.client.clone(), self.conf.path.clone());
        async move {
            let Some(client) = client else { return false };
            match client.check_and_watch_stat(&path).await {
                Ok((stat, watcher)) => {
                    if stat.is_some() {
                        watcher.changed().await;
                    }
                    true
                }
                Err(_) => false,
            }
        }
    }

    /// A connected client, with a session of its own.
    async fn client(&mut self) -> Result<&Client, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(self.client.insert(client))
    }

    async fn connect(&self) -> Result<Client, Error> {
        let mut connector =
            Client::connector().with_session_timeout(self.conf.session_timeout).with_fail_eagerly();
        if let Some(auth) = self.conf.auth_file.clone() {
            let failed = |error: std::io::Error| Error::UnexpectedError(format!("`auth_file`: {error}"));
            let text = spawn_blocking(move || auth.reveal()).await;
            let text = text.map_err(|error| Error::UnexpectedError(error.to_string()))?.map_err(failed)?;
            connector = connector.with_auth("digest", text.as_bytes());
        }
        connector.connect(&self.conf.connect).await
    }

    async fn look(&mut self) -> Result<Answer, Error> {
        let path = self.conf.path.clone();
        match self.client().await?.get_data(&path).await {
            Ok((data, stat)) => Ok(held(&data, &stat)),
            Err(Error::NoNode) => Ok(Answer::Free),
            Err(error) => Err(error),
        }
    }

    async fn acquire(&mut self, lease: i64) -> Result<Answer, Error> {
        let (path, node) = (self.conf.path.clone(), self.node.clone());
        let acls = if self.conf.auth_file.is_some() { Acls::creator_all() } else { Acls::anyone_all() };
        let client = self.client().await?;
        if client.session_id().0 != lease {
            return Ok(Answer::Gone);
        }
        if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            client.mkdir(parent, &CreateMode::Persistent.with_acls(acls)).await?;
        }
        let created = client.create(&path, node.as_bytes(), &CreateMode::Ephemeral.with_acls(acls)).await;
        match created {
            Ok((stat, _)) => Ok(Answer::Held { by: node, lease, fence: number(&stat) }),
            Err(Error::NodeExists) => self.look().await,
            Err(error) => Err(error),
        }
    }

    /// Proves through ZooKeeper's leader that the session lives, and that the node is still the one that it created.
    async fn renew(&mut self, lease: i64, fence: u64) -> Result<Answer, Error> {
        let path = self.conf.path.clone();
        let client = self.client().await?;
        client.sync(&path).await?;
        let stat = client.check_stat(&path).await?;
        let ttl = client.session_timeout() / RELIED_ON;
        let is_ours = client.session_id().0 == lease
            && stat.is_some_and(|stat| stat.ephemeral_owner == lease && number(&stat) == fence);
        Ok(if is_ours { Answer::Renewed { ttl } } else { Answer::Gone })
    }

    async fn release(&mut self, lease: i64) -> Result<Answer, Error> {
        let path = self.conf.path.clone();
        let client = self.client().await?;
        // What another session has is not ours to remove; an older one of ours ends by itself.
        if client.session_id().0 == lease
            && client.check_stat(&path).await?.is_some_and(|stat| stat.ephemeral_owner == lease)
        {
            // The session lives, so that nobody else can have it by then.
            match client.delete(&path, None).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Answer::Released)
    }
}

fn held(data: &[u8], stat: &Stat) -> Answer {
    Answer::Held {
        by: String::from_utf8_lossy(data).into_owned(),
        lease: stat.ephemeral_owner,
        fence: number(stat),
    }
}

/// The number of the write that created it.
fn number(stat: &Stat) -> u64 {
    stat.czxid.unsigned_abs()
}
