//! HTTP/2 clients, over TCP with prior knowledge or over TLS.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};

use super::{PATIENCE, Proxy, tls::Manner};

/// A connection; the task serves it, and gives how it ended.
pub struct Http2 {
    pub send: SendRequest<Bytes>,
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// Runs a test's client, within the time that anything may take.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    run_within(PATIENCE, test)
}

/// The same with a time of its own.
pub fn run_within<T>(time: Duration, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(time, test).await.expect("it takes too long") })
}

impl Http2 {
    /// Over TCP, without asking.
    pub async fn connect(proxy: &Proxy) -> Self {
        Self::over(TcpStream::connect(proxy.address("web")).await.unwrap(), &Builder::new()).await
    }

    /// Over TLS with the demonstration certificate.
    pub async fn connect_tls(proxy: &Proxy) -> Self {
        let config = Manner { alpn: &["h2"], ..Manner::default() }.config(proxy.folder());
        let stream = TcpStream::connect(proxy.address("web")).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, &Builder::new()).await
    }

    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &Builder,
    ) -> Self {
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// A request without a body, and its response as far as its head.
    pub async fn ask(&self, request: Request<()>) -> Result<Response<RecvStream>, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        send.send_request(request, true)?.0.await
    }

    /// The status and the body of a GET.
    pub async fn get(&self, target: &str) -> Result<(u16, Vec<u8>), h2::Error> {
        let response = self.ask(request("GET", target)).await?;
        Ok((response.status().as_u16(), whole(response.into_body()).await?))
    }
}

/// A request for `localhost`.
pub fn request(method: &str, target: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://localhost{target}")).body(()).unwrap()
}

/// A body to its clean end.
pub async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
