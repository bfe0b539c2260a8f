//! Asking the origin whether what is stored holds (RFC 9111 §4.3.1, §4.3.3), and answering clients who ask the same of
//! us (§4.3.2, RFC 9110 §13).

mod clients;
mod origin;

use super::{Stage, Step, case, get, ok, request, response};

const FRESH: &str = "Cache-Control: max-age=60";

fn stale(headers: &str) -> Step {
    get().origin(ok(format!("Cache-Control: max-age=0\n{headers}")))
}
