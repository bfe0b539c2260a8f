//! The answers of the admin endpoint: text, JSON, errors. All of them are made here.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

/// An answer of the admin endpoint.
pub type Reply = Response<Full<Bytes>>;

/// Plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    make(status, "text/plain; charset=utf-8", body.into())
}

/// JSON, indented: people read it too.
pub fn json(status: StatusCode, value: &Value) -> Reply {
    let mut body = format!("{value:#}");
    body.push('\n');
    make(status, "application/json", body.into())
}

/// An error: a word for programs, a sentence and a hint for people.
pub fn error(status: StatusCode, code: &str, message: &str, hint: &str) -> Reply {
    json(status, &json!({"error": {"code": code, "message": message, "hint": hint}}))
}

/// An answer of any media type.
pub fn make(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers: &mut HeaderMap = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Nothing that is shown here may load or run anything from elsewhere, or be framed.
    let policy = "default-src 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply
}
