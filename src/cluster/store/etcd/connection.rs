//! Connections to etcd's servers: HTTP/1.1 by turns, kept between requests.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::gateway::{self, Refusal};
use crate::{
    cluster::conf::EtcdConf,
    net::http_client::{self, HttpClient, Server},
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
            Self::Refused(Refusal::NoLease) => f.write_str("the store does not know the lease"),
            Self::Refused(Refusal::Token) => f.write_str("the store refuses `user` and `password_file`"),
        }
    }
}

fn broken(error: impl fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}

/// The way to etcd's servers.
#[derive(Debug)]
pub(super) struct Connection {
    conf: EtcdConf,
    /// Which of the servers is asked.
    endpoint: usize,
    client: HttpClient,
    token: Option<String>,
}

impl Connection {
    /// Nothing is connected yet.
    pub(super) fn new(conf: EtcdConf) -> Self {
        Self { conf, endpoint: 0, client: HttpClient::default(), token: None }
    }

    /// Another way to the same server.
    pub(super) fn beside(&self) -> Self {
        let (conf, token) = (self.conf.clone(), self.token.clone());
        Self { conf, endpoint: self.endpoint, client: HttpClient::default(), token }
    }

    /// Which of the servers is asked.
    pub(super) fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// Asks this one of the servers.
    pub(super) fn set_endpoint(&mut self, endpoint: usize) {
        self.endpoint = endpoint;
    }

    /// Goes on with the next server: this one did not do.
    pub(super) fn next_endpoint(&mut self) {
        self.endpoint = self.endpoint.wrapping_add(1);
        self.client.disconnect();
    }

    /// The answer to a request.
    pub(super) async fn call(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call_for(path, body, MOST).await
    }

    /// The same, where the answer may have so many bytes.
    pub(super) async fn call_for(&mut self, path: &str, body: &Value, most: usize) -> Result<Value, Failure> {
        match self.call_once(path, body, most).await {
            // It may be older than it lives.
            Err(Failure::Refused(Refusal::Token)) if self.token.take().is_some() => {
                self.call_once(path, body, most).await
            }
            result => result,
        }
    }

    async fn call_once(&mut self, path: &str, body: &Value, most: usize) -> Result<Value, Failure> {
        self.log_in().await?;
        let (status, answer) = self.post(path, body, most).await?;
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
            let (status, answer) = self.post("/v3/auth/authenticate", &body, MOST).await?;
            match gateway::text(&answer, "token") {
                "" => return Err(Failure::Refused(gateway::refusal(status, &answer))),
                token => self.token = Some(token.to_owned()),
            }
        }
        Ok(())
    }

    async fn post(&mut self, path: &str, body: &Value, most: usize) -> Result<(u16, Value), Failure> {
        let (server, fields) = (self.server()?, self.fields()?);
        let body = Bytes::from(body.to_string());
        let answer = self.client.post(&server, self.conf.tls.as_ref(), path, fields, body, most).await;
        let (status, bytes) = answer.map_err(broken)?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    fn fields(&self) -> Result<HeaderMap, Failure> {
        let mut fields = HeaderMap::new();
        if let Some(token) = &self.token {
            fields.insert(header::AUTHORIZATION, HeaderValue::from_str(token).map_err(broken)?);
        }
        Ok(fields)
    }

    /// Waits until something happened to what is watched.
    pub(super) async fn changed(&mut self, path: &str, body: &Value) -> Result<(), Failure> {
        self.log_in().await?;
        let (server, fields) = (self.server()?, self.fields()?);
        let body = Bytes::from(body.to_string());
        let answer = http_client::stream(&server, self.conf.tls.as_ref(), path, fields, body).await;
        // Held to the end, with its connection.
        let (response, _connection) = answer.map_err(broken)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Failure::Refused(gateway::refusal(status, &Value::Null)));
        }
        let mut body = response.into_body();
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

    fn server(&self) -> Result<Server, Failure> {
        let endpoints = &self.conf.endpoints;
        let index = self.endpoint.checked_rem(endpoints.len()).unwrap_or(0);
        endpoints.get(index).map(|url| url.0.clone()).ok_or_else(|| broken("there is no server"))
    }
}
