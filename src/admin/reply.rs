//! The answers of the admin endpoint: text, JSON, errors. All of them are made here.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{reload::Failed, runtime::overrides::Reason, schema::Problems};

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

/// 503: too much is asked at once.
pub fn busy() -> Reply {
    let (message, hint) = ("too many responses of this kind are being built", "try again in a moment");
    let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "busy", message, hint);
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// 500: a bug.
pub fn panicked() -> Reply {
    let (message, hint) = ("building the response panicked (a bug)", "see the log");
    error(StatusCode::INTERNAL_SERVER_ERROR, "panicked", message, hint)
}

/// 422 with everything that is wrong with a configuration.
pub fn problems(problems: &Problems) -> Reply {
    let count = problems.0.len();
    let plural = if count == 1 { "" } else { "s" };
    let message = format!("the configuration has {count} problem{plural}");
    let hint = "`problems` has each with its place; nothing was changed";
    let error = json!({"code": "bad_config", "message": message, "hint": hint});
    json(StatusCode::UNPROCESSABLE_ENTITY, &json!({"error": error, "problems": problems.to_json()}))
}

/// Why a reload or a change was not made.
pub fn failed(failed: &Failed) -> Reply {
    match failed {
        Failed::Problems(all) | Failed::Lacking(all) => problems(all),
        Failed::Refused(refusal) => {
            error(status_of(refusal.reason), refusal.code, &refusal.message, &refusal.hint)
        }
        Failed::Outdated => outdated("the file is no longer"),
    }
}

/// 412: something is not what the client says that it has read (RFC 9110 §13.1.1). `what` begins the sentence.
pub fn outdated(what: &str) -> Reply {
    let message = format!("{what} the one that `If-Match` names");
    let hint = "read it again with GET /api/v1/config, and send its ETag";
    error(StatusCode::PRECONDITION_FAILED, "changed_meanwhile", &message, hint)
}

/// The status with which a refusal of this kind is answered (RFC 9110 §15.5, §15.6).
fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::Conflict => StatusCode::CONFLICT,
        Reason::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_status_of_their_reason() {
        assert_eq!(failed(&Failed::Outdated).status(), 412);
        let reasons = [Reason::NotFound, Reason::Conflict, Reason::Invalid, Reason::Stopping, Reason::Failed];
        assert_eq!(reasons.map(|reason| status_of(reason).as_u16()), [404, 409, 422, 503, 500]);
    }
}
