//! A server that the program itself asks over HTTP/1.1, one request at a time over a connection that is kept: a store, a
//! peer. Nothing that a client's request waits for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header, uri::Authority};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::task::{spawn_blocking, spawn_local};

use super::{happy_eyeballs, hyper_io::HyperIo};
use crate::{
    schema::section,
    tls::{client, conf::UpstreamTlsConf},
};

/// What the addresses of a server share until one of them has answered; who asks has a limit of its own.
const WITHIN: Duration = Duration::from_secs(2);

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
            None => connect(server, tls).await?,
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
}

/// Posts a body over a connection of its own, and gives the answer as it comes.
pub async fn stream(
    server: &Server,
    tls: Option<&UpstreamTlsConf>,
    path: &str,
    fields: HeaderMap,
    body: Bytes,
) -> Result<(Response<Incoming>, impl Sized + use<>), String> {
    let mut sender = connect(server, tls).await?;
    let response = send(&mut sender, server, path, fields, body).await?;
    Ok((response, sender))
}

async fn connect(server: &Server, tls: Option<&UpstreamTlsConf>) -> Result<Sender, String> {
    let addresses = tokio::net::lookup_host((&*server.host, server.port)).await;
    let addresses: Vec<_> = addresses.map_err(|error| format!("`{}`: {error}", server.host))?.collect();
    let tls = if server.is_https { Some(client_tls(server, tls).await?) } else { None };
    let ordered = happy_eyeballs::order(&addresses, 0, |_| false);
    let stream = happy_eyeballs::connect_with_tls(ordered, WITHIN, tls).await;
    let stream = stream.map_err(|error| format!("`{}:{}`: {error}", server.host, server.port))?;
    let (sender, connection) = http1::handshake(HyperIo(stream)).await.map_err(|error| error.to_string())?;
    // What ends the connection reaches the exchange through its own error.
    spawn_local(async { drop(connection.await) });
    Ok(sender)
}

/// TLS for one connection: certificates are renewed in the same files, and nobody makes another client for that. A session
/// that is resumed would show the old one, too.
async fn client_tls(
    server: &Server,
    conf: Option<&UpstreamTlsConf>,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let conf = conf.cloned().or_else(section::absent::<UpstreamTlsConf>);
    let conf = conf.ok_or("TLS without options cannot be made")?;
    // The system's authorities are many files, and the loop must go on.
    let built = spawn_blocking(move || client::build(&conf)).await;
    let (config, name) = built.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let name = match name {
        Some(name) => name,
        None => ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?,
    };
    Ok((config, name))
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, rc::Rc};

    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        runtime::LocalRuntime,
    };

    use super::*;
    use crate::{
        moment::Moment,
        tls::{
            conf::{CertificateConf, ClientAuthConf, ClientAuthMode},
            crypto::CryptoConf,
            demo::demo_certificates,
            server::{Offer, ServerTls},
            tickets::Tickets,
        },
    };

    type Shown = Rc<RefCell<Vec<CertificateDer<'static>>>>;

    /// A server that asks clients for a certificate, notes it, and answers every request; it closes a connection after one
    /// of them where it is told to.
    async fn server(tls: Arc<rustls::ServerConfig>, closes: bool, shown: Shown) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        spawn_local(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                shown.borrow_mut().push(certificate.into_owned());
                while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                    let last = if closes { "connection: close\r\n" } else { "" };
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{last}\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if closes {
                        break;
                    }
                }
                let _ = stream.shutdown().await;
            }
        });
        Server::of_authority(true, &authority, 443).unwrap()
    }

    #[test]
    fn renewed_certificate_is_shown_on_the_next_connection() {
        for closes in [false, true] {
            let dir = std::env::temp_dir().join(format!("pointsman-client-{}-{closes}", std::process::id()));
            let (authority, own) = (dir.join("server"), dir.join("own"));
            demo_certificates(&authority).unwrap();
            demo_certificates(&own).unwrap();
            let pair = |dir: &std::path::Path, name: &str| CertificateConf {
                chain: dir.join(format!("{name}.pem")),
                key: dir.join(format!("{name}.key")),
            };
            // Both certificates of the client are of authorities that the server trusts.
            let renewed = dir.join("renewed");
            demo_certificates(&renewed).unwrap();
            let authorities = [&own, &renewed].map(|dir| fs::read_to_string(dir.join("ca.pem")).unwrap());
            fs::write(dir.join("clients.pem"), authorities.concat()).unwrap();
            let auth = ClientAuthConf { mode: ClientAuthMode::Require, ca: Some(dir.join("clients.pem")) };
            let (crypto, tickets) = (CryptoConf::default(), Tickets::new(Moment(1)).unwrap());
            let offer = Offer { crypto: &crypto, alpn: &[] };
            let tls = ServerTls::build("t", &[pair(&authority, "demo")], &auth, offer, &tickets).unwrap();
            let conf = UpstreamTlsConf {
                server_name: None,
                ca: Some(authority.join("ca.pem")),
                certificate: Some(pair(&own, "client")),
                verify: true,
                crypto: CryptoConf::default(),
            };
            let of = |dir: &std::path::Path| CertificateDer::from_pem_file(dir.join("client.pem")).unwrap();
            let (first, second) = (of(&own), of(&renewed));
            let shown = Shown::default();
            LocalRuntime::new().unwrap().block_on(async {
                let server = server(tls.config.clone(), closes, shown.clone()).await;
                let mut client = HttpClient::default();
                let mut post = async || {
                    let answer = client.post(&server, Some(&conf), "/", HeaderMap::new(), Bytes::new(), 10);
                    let answered = answer.await.unwrap().0;
                    // Only what is closed, or said to be forgotten, is made anew.
                    if !closes && shown.borrow().len() == 1 {
                        client.disconnect();
                    }
                    answered
                };
                assert_eq!(post().await, 200);
                for name in ["client.pem", "client.key"] {
                    fs::copy(renewed.join(name), own.join(name)).unwrap();
                }
                assert_eq!(post().await, 200);
                assert_eq!(post().await, 200);
            });
            assert_eq!(shown.borrow()[..2], [first, second]);
            assert_eq!(shown.borrow().len(), if closes { 3 } else { 2 });
            fs::remove_dir_all(dir).unwrap();
        }
    }
}
