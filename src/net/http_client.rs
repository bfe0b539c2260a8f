//! A server that the program itself asks over HTTP/1.1, one request at a time over a connection that is kept: a store, a
//! peer. Nothing that a client's request waits for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header, uri::Authority};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::task::{spawn_blocking, spawn_local};

use super::{
    Stream,
    dial::{self, Target},
    hyper_io::HyperIo,
};
use crate::{
    schema::section,
    tls::{client, conf::UpstreamTlsConf},
};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whether it speaks TLS.
    pub is_https: bool,
    /// The host, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port, for `Host`.
    pub authority: String,
}

impl Server {
    /// The server of an authority, `host` or `host:port`; none where it is no such.
    pub fn of_authority(is_https: bool, text: &str, default_port: u16) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        if authority.host().is_empty() || text.contains('@') {
            return None;
        }
        let port = match text.strip_prefix(authority.host())? {
            "" => default_port,
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Some(Self { is_https, host, port, authority: text.to_owned() })
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// The way to it. To be used on a thread with a local runtime; the caller bounds the time.
#[derive(Debug, Default)]
pub struct HttpClient {
    sender: Option<Sender>,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
}

impl HttpClient {
    /// Forgets the connection.
    pub fn disconnect(&mut self) {
        self.sender = None;
    }

    /// Posts a body, and gives the answer's status and body, which may have so many bytes. The error is for people.
    pub async fn post(
        &mut self,
        server: &Server,
        tls: Option<&UpstreamTlsConf>,
        path: &str,
        fields: HeaderMap,
        body: Bytes,
        most: usize,
    ) -> Result<(u16, Bytes), String> {
        // Taken, so that a request that is given up takes its connection with it.
        let mut sender = match self.sender.take().filter(Sender::is_ready) {
            Some(sender) => sender,
            None => self.connect(server, tls).await?,
        };
        let response = send(&mut sender, server, path, fields, body).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), most).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        Ok((status, body))
    }

    /// Posts a body over a connection of its own, and gives the answer as it comes.
    pub async fn stream(
        &mut self,
        server: &Server,
        tls: Option<&UpstreamTlsConf>,
        path: &str,
        fields: HeaderMap,
        body: Bytes,
    ) -> Result<(Response<Incoming>, impl Sized + use<>), String> {
        let mut sender = self.connect(server, tls).await?;
        let response = send(&mut sender, server, path, fields, body).await?;
        Ok((response, sender))
    }

    async fn connect(&mut self, server: &Server, tls: Option<&UpstreamTlsConf>) -> Result<Sender, String> {
        let mut failure = format!("`{}` has no address", server.host);
        let addresses = tokio::net::lookup_host((&*server.host, server.port)).await;
        for address in addresses.map_err(|error| format!("`{}`: {error}", server.host))? {
            let stream = match dial::plain(&Target::Tcp(address), &[]).await {
                Err(error) => Err(format!("{address}: {error}")),
                Ok(plain) if !server.is_https => Ok(Stream::Plain(plain)),
                Ok(plain) => {
                    let (config, name) = self.tls(server, tls).await?;
                    dial::tls(plain, config, name).await.map_err(|error| format!("{address}: {error}"))
                }
            };
            match stream {
                Ok(stream) => {
                    let handshake = http1::handshake(HyperIo(stream)).await;
                    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
                    // What ends the connection reaches the exchange through its own error.
                    spawn_local(async { drop(connection.await) });
                    return Ok(sender);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn tls(
        &mut self,
        server: &Server,
        conf: Option<&UpstreamTlsConf>,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        if self.tls.is_none() {
            let conf = conf.cloned().or_else(section::absent::<UpstreamTlsConf>);
            let conf = conf.ok_or("TLS without options cannot be made")?;
            // The system's authorities are many files, and the loop must go on.
            let built = spawn_blocking(move || client::build(&conf)).await;
            self.tls = Some(built.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
        }
        let (config, name) = self.tls.as_ref().ok_or("TLS could not be made")?;
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?,
        };
        Ok((config.clone(), name))
    }
}

async fn send(
    sender: &mut Sender,
    server: &Server,
    path: &str,
    fields: HeaderMap,
    body: Bytes,
) -> Result<Response<Incoming>, String> {
    let mut request = Request::post(path)
        .header(header::HOST, &server.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("pointsman/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))
        .map_err(|error| format!("the request cannot be built: {error}"))?;
    request.headers_mut().extend(fields);
    sender.send_request(request).await.map_err(|error| error.to_string())
}
