//! Checks over HTTP/2: of a path, and of the health service of gRPC (`grpc.health.v1`).

use crate::{
    fields::Fields,
    h1::HeadLimits,
    health::conf::HealthCheckConf,
    http2::RequestStart,
    http2_transport::{Answer, Question, ask},
    net::Stream,
};

const AGENT: &str = "pointsman-health-check";

/// `GET` of a path; the status decides. The error says why it does not pass.
pub(super) async fn check_path(
    conf: &HealthCheckConf,
    host: &str,
    stream: Stream,
    limits: HeadLimits,
) -> Result<(), String> {
    let start = start("GET", host, &conf.path, &stream);
    let fields = fields(conf, &[]);
    let answer =
        put(stream, &Question { start, fields: &fields, body: b"", wants_body: false, limits }).await?;
    if conf.expect_status.iter().any(|range| range.contains(answer.status)) {
        return Ok(());
    }
    Err(format!("status {}", answer.status))
}

/// `Check` of the health service. The error says why it does not pass.
pub(super) async fn check_grpc(
    conf: &HealthCheckConf,
    host: &str,
    stream: Stream,
    limits: HeadLimits,
) -> Result<(), String> {
    let start = start("POST", host, "/grpc.health.v1.Health/Check", &stream);
    let fields = fields(conf, &[("content-type", b"application/grpc"), ("te", b"trailers")]);
    let body = message_of(&conf.service);
    let answer =
        put(stream, &Question { start, fields: &fields, body: &body, wants_body: true, limits }).await?;
    if answer.status != 200 {
        return Err(format!("status {}, which is not a gRPC response", answer.status));
    }
    let trailers = answer.trailers.as_deref().unwrap_or(&answer.fields);
    match grpc_status(trailers).or_else(|| grpc_status(&answer.fields)) {
        Some(0) => verdict(&answer.body),
        // NOT_FOUND is what the service says of a name that it does not know.
        Some(5) => Err(format!("the health service does not know {:?}", conf.service)),
        Some(12) => Err("the backend has no health service (UNIMPLEMENTED)".into()),
        Some(code) => Err(format!("grpc-status {code}")),
        None => Err("the response has no grpc-status".into()),
    }
}

fn start<'a>(method: &'a str, host: &'a str, path: &'a str, stream: &Stream) -> RequestStart<'a> {
    let is_tls = !matches!(stream, Stream::Plain(_));
    RequestStart { method, is_tls, authority: host, path, protocol: None, is_end: method == "GET" }
}

async fn put(stream: Stream, question: &Question<'_>) -> Result<Answer, String> {
    if question.start.is_tls && stream.alpn() != Some(b"h2") {
        return Err("the backend does not speak HTTP/2: it did not select \"h2\" by ALPN".into());
    }
    ask(stream, question).await
}

/// The fields of a check: its own, and those that are configured.
fn fields<'a>(conf: &'a HealthCheckConf, own: &[(&'a str, &'a [u8])]) -> Vec<(&'a str, &'a [u8])> {
    let has_agent = conf.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    let agent = (!has_agent).then_some(("user-agent", AGENT.as_bytes()));
    let configured = conf.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    own.iter().copied().chain(agent).chain(configured).collect()
}

/// `HealthCheckRequest { service }` as protobuf, behind its length.
fn message_of(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, of type 2: bytes with their length, in groups of seven bits.
        message.push(0x0a);
        let mut left = service.len();
        loop {
            let group = u8::try_from(left & 0x7f).unwrap_or_default();
            left >>= 7;
            message.push(if left > 0 { group | 0x80 } else { group });
            if left == 0 {
                break;
            }
        }
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// What `HealthCheckResponse { status }` says; its default is left out on the wire.
fn verdict(body: &[u8]) -> Result<(), String> {
    match body {
        [0, 0, 0, 0, 2, 0x08, 1] => Ok(()),
        [0, 0, 0, 0, 2, 0x08, 2] => Err("NOT_SERVING".into()),
        [0, 0, 0, 0, 2, 0x08, 3] => Err("SERVICE_UNKNOWN".into()),
        [0, 0, 0, 0, 0] => Err("the status is UNKNOWN".into()),
        _ => Err("the response is not one of the health service".into()),
    }
}

fn grpc_status(fields: &Fields) -> Option<u32> {
    let value = fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"grpc-status"))?.value;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_about_by_its_name() {
        assert_eq!(message_of(""), [0, 0, 0, 0, 0]);
        assert_eq!(message_of("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message_of(&"x".repeat(300));
        assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 1, 47, 0x0a, 0xac, 0x02][..], 308));
    }

    #[test]
    fn only_serving_passes() {
        assert_eq!(verdict(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        for body in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 2, 8, 3], &[0, 0, 0, 0, 0], b"", b"SERVING"] {
            assert!(verdict(body).is_err(), "{body:?}");
        }
    }
}
