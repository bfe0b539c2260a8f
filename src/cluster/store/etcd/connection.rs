//! Connections to etcd's servers: HTTP/1.1 by turns, kept between requests.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::task::{spawn_blocking, spawn_local};

use super::gateway::{self, Refusal};
use crate::{
    cluster::conf::{EtcdConf, StoreUrl},
    net::{
        Stream,
        dial::{self, Target},
        hyper_io::HyperIo,
    },
    schema::section,
    tls::{client, conf::UpstreamTlsConf},
};

/// Bytes of an answer that are read.
const MOST: usize = 256 * 1024;

/// Why nothing came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection, or it broke, or the answer is no answer.
    Broken(String),
    /// The server says so.
    Refused(Refusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Refused(Refusal::Other(why)) => f.write_str(why),
            Self::Refused(Refusal::NoLease) => f.write_str("the store knows no such lease"),
            Self::Refused(Refusal::Token) => f.write_str("the store refuses `user` and `password_file`"),
        }
    }
}

fn broken(error: impl fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// The way to etcd's servers.
#[derive(Debug)]
pub(super) struct Connection {
    conf: EtcdConf,
    /// Which of the servers is asked.
    endpoint: usize,
    sender: Option<Sender>,
    token: Option<String>,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
}

impl Connection {
    /// Nothing is connected yet.
    pub(super) fn new(conf: EtcdConf) -> Self {
        Self { conf, endpoint: 0, sender: None, token: None, tls: None }
    }

    /// Goes on with the next server: this one did not do.
    pub(super) fn next_endpoint(&mut self) {
        self.endpoint = self.endpoint.wrapping_add(1);
        self.sender = None;
    }

    /// The answer to a request.
    pub(super) async fn call(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        match self.call_once(path, body).await {
            // It may be older than it lives.
            Err(Failure::Refused(Refusal::Token)) if self.token.take().is_some() => {
                self.call_once(path, body).await
            }
            result => result,
        }
    }

    async fn call_once(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.log_in().await?;
        let (status, answer) = self.post(path, body).await?;
        match status {
            200 => Ok(answer),
            status => Err(Failure::Refused(gateway::refusal(status, &answer))),
        }
    }

    async fn log_in(&mut self) -> Result<(), Failure> {
        if let Some(password) = self.conf.password_file.clone().filter(|_| self.token.is_none()) {
            let password =
                spawn_blocking(move || password.reveal()).await.map_err(broken)?.map_err(broken)?;
            let body = json!({"name": self.conf.user, "password": password});
            let (status, answer) = self.post("/v3/auth/authenticate", &body).await?;
            match gateway::text(&answer, "token") {
                "" => return Err(Failure::Refused(gateway::refusal(status, &answer))),
                token => self.token = Some(token.to_owned()),
            }
        }
        Ok(())
    }

    async fn post(&mut self, path: &str, body: &Value) -> Result<(u16, Value), Failure> {
        // Taken, so that a request that is given up takes its connection with it.
        let mut sender = match self.sender.take().filter(Sender::is_ready) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = self.request(path, body)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), MOST).collect().await.map_err(broken)?.to_bytes();
        if sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    fn request(&self, path: &str, body: &Value) -> Result<Request<Full<Bytes>>, Failure> {
        let authority = &self.url()?.authority;
        let mut request = Request::post(path)
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("pointsman/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        request.body(Full::new(body.to_string().into())).map_err(broken)
    }

    /// Waits until something happened to what is watched.
    pub(super) async fn changed(&mut self, path: &str, body: &Value) -> Result<(), Failure> {
        self.log_in().await?;
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(path, body)?).await.map_err(broken)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Failure::Refused(gateway::refusal(status, &Value::Null)));
        }
        let mut body: Incoming = response.into_body();
        // The first answer says that it is watched; the next is news, whatever it says.
        let mut lines = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(broken)?.into_data().unwrap_or_default();
            lines += data.iter().filter(|byte| **byte == b'\n').count();
            if lines > 1 {
                break;
            }
        }
        Ok(())
    }

    fn url(&self) -> Result<&StoreUrl, Failure> {
        let endpoints = &self.conf.endpoints;
        let index = self.endpoint.checked_rem(endpoints.len()).unwrap_or(0);
        endpoints.get(index).ok_or_else(|| broken("there is no server"))
    }

    async fn connect(&mut self) -> Result<Sender, Failure> {
        let url = self.url()?.clone();
        let mut failure = broken("the name has no address");
        let addresses = tokio::net::lookup_host((&*url.host, url.port)).await;
        for address in addresses.map_err(|error| broken(format!("`{}`: {error}", url.host)))? {
            let stream = match dial::plain(&Target::Tcp(address), &[]).await {
                Err(error) => Err(broken(format!("{address}: {error}"))),
                Ok(plain) if !url.is_https => Ok(Stream::Plain(plain)),
                Ok(plain) => {
                    let (config, name) = self.tls(&url).await?;
                    dial::tls(plain, config, name)
                        .await
                        .map_err(|error| broken(format!("{address}: {error}")))
                }
            };
            match stream {
                Ok(stream) => {
                    let (sender, connection) = http1::handshake(HyperIo(stream)).await.map_err(broken)?;
                    // What ends the connection reaches the exchange through its own error.
                    spawn_local(async { drop(connection.await) });
                    return Ok(sender);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn tls(&mut self, url: &StoreUrl) -> Result<(Arc<ClientConfig>, ServerName<'static>), Failure> {
        if self.tls.is_none() {
            let conf = self.conf.tls.clone().or_else(section::absent::<UpstreamTlsConf>);
            let conf = conf.ok_or_else(|| broken("TLS without options cannot be made"))?;
            let built = spawn_blocking(move || client::build(&conf)).await.map_err(broken)?;
            self.tls = Some(built.map_err(broken)?);
        }
        let (config, name) = self.tls.as_ref().ok_or_else(|| broken("TLS could not be made"))?;
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(url.host.clone()).map_err(broken)?,
        };
        Ok((config.clone(), name))
    }
}
