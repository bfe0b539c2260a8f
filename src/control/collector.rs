//! A connection to a collector of spans: OTLP over HTTP/1.1, one request at a time, kept between batches.
//!
//! Previous stop: `control::traces`, which decides what is sent and how often it is tried.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::task::{spawn_blocking, spawn_local};

use crate::{
    backend::Address,
    config::{collector::Endpoint, trace::TraceConf},
    net::{Stream, happy_eyeballs, hyper_io::HyperIo},
    runtime::Snapshot,
    schema::section,
    tls::{client, conf::UpstreamTlsConf},
    upstream::discover,
};

/// What a collector said of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it.
    Taken,
    /// It may take it later, in this time if it said so.
    Later(StatusCode, Option<Duration>),
    /// It never will.
    Refused(StatusCode),
}

/// A collector, as one generation of the configuration has it.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// The generation that the rest was made for; the next may come of another file of authorities.
    generation: u64,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
}

impl Collector {
    /// Posts spans; the error is the reason, for people. The caller bounds the time.
    pub(super) async fn post(&mut self, snapshot: &Snapshot, spans: &Bytes) -> Result<Answer, String> {
        if self.generation != snapshot.generation {
            *self = Self { generation: snapshot.generation, ..Self::default() };
        }
        let conf = &snapshot.config.trace;
        let endpoint = conf.otlp.0.as_ref().ok_or("there is no collector")?;
        // Taken, so that an exchange that is given up halfway takes its connection with it.
        if let Some(sender) = self.sender.take().filter(|sender| sender.is_ready())
            && let Ok(answer) = self.ask(sender, endpoint, conf, spans).await
        {
            return Ok(answer);
        }
        // Also after a kept connection failed: it was closed while it was not used, most likely.
        let stream = self.connect(endpoint, conf).await?;
        let (sender, connection) =
            http1::handshake(HyperIo(stream)).await.map_err(|error| error.to_string())?;
        // What ends the connection reaches the exchange through its own error.
        spawn_local(async { drop(connection.await) });
        self.ask(sender, endpoint, conf, spans).await
    }

    async fn ask(
        &mut self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        endpoint: &Endpoint,
        conf: &TraceConf,
        spans: &Bytes,
    ) -> Result<Answer, String> {
        let mut request = Request::post(&endpoint.path)
            .header(header::HOST, &endpoint.authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("pointsman/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(spans.clone()))
            .map_err(|error| format!("the request cannot be built: {error}"))?;
        for header in &conf.headers.0 {
            request.headers_mut().insert(&header.name, header.value.clone());
        }
        let response = sender.send_request(request).await.map_err(|error| reason(&error))?;
        let answer = answer(&response);
        if read_to_end(response.into_body()).await && sender.ready().await.is_ok() {
            self.sender = Some(sender);
        }
        Ok(answer)
    }

    async fn connect(&mut self, endpoint: &Endpoint, conf: &TraceConf) -> Result<Stream, String> {
        let address = Address::Host { host: endpoint.host.as_str().into(), port: endpoint.port };
        let addresses = discover::lookup(&address).await?;
        let tls = if endpoint.is_https { Some(self.tls(endpoint, conf).await?) } else { None };
        let ordered = happy_eyeballs::order(&addresses, 0, |_| false);
        happy_eyeballs::connect_with_tls(ordered, conf.timeout, tls).await.map_err(|error| reason(&error))
    }

    async fn tls(
        &mut self,
        endpoint: &Endpoint,
        conf: &TraceConf,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        if self.tls.is_none() {
            let conf = conf.tls.clone().or_else(section::absent::<UpstreamTlsConf>);
            let conf = conf.ok_or("TLS without options cannot be made")?;
            // The system's authorities are many files, and the loop must go on.
            let built = spawn_blocking(move || client::build(&conf)).await;
            self.tls = Some(built.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
        }
        let (config, name) = self.tls.as_ref().ok_or("TLS could not be made")?;
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?,
        };
        Ok((config.clone(), name))
    }
}

/// What a response means (OTLP 1.x, "OTLP/HTTP Response").
fn answer<B>(response: &Response<B>) -> Answer {
    match response.status() {
        status if status.is_success() => Answer::Taken,
        status @ (StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT) => Answer::Later(status, retry_after(response.headers())),
        status => Answer::Refused(status),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads what the collector says beside its status, so that the connection can be used again; false when
/// that is too much.
async fn read_to_end(mut body: Incoming) -> bool {
    let mut left = ANSWER_MOST;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return false;
        }
        left -= length;
    }
    true
}

/// Most bytes that are read of an answer.
const ANSWER_MOST: usize = 64 * 1024;

/// An error with what brought it about; the outer ones only name where it passed.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let of = |status: u16| answer(&Response::builder().status(status).body(()).unwrap());
        for status in [200, 202, 204] {
            assert_eq!(of(status), Answer::Taken);
        }
        for status in [429, 502, 503, 504] {
            assert!(matches!(of(status), Answer::Later(_, None)), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            assert!(matches!(of(status), Answer::Refused(_)), "{status}");
        }
        let busy = Response::builder().status(503).header("retry-after", "7").body(()).unwrap();
        assert_eq!(
            answer(&busy),
            Answer::Later(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(7)))
        );
    }
}
