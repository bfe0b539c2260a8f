//! `Max-Forwards` of OPTIONS and TRACE (RFC 9110 §7.6.2): how many proxies may pass a request on.

use crate::{exchange::Exchange, h1::Method};

/// Takes one from what a request may still be forwarded. The status of the answer where it may not be: then the request
/// is for us, who have no options of our own and trace nothing.
pub(crate) fn count_down(exchange: &mut Exchange) -> Option<u16> {
    let status = match &exchange.request.method {
        Method::Options => 200,
        Method::Trace => 405,
        _ => return None,
    };
    let written = std::str::from_utf8(exchange.request.fields.get("max-forwards")?).ok()?;
    // What is no number is the backend's to judge.
    let left: u32 = written.parse().ok().filter(|_| written.bytes().all(|byte| byte.is_ascii_digit()))?;
    let Some(left) = left.checked_sub(1) else { return Some(status) };
    exchange.request.fields.set("max-forwards", left.to_string().as_bytes());
    None
}
