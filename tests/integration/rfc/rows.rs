//! Tables of cases of two requests: one that brings a response, and an equal one after it.

use super::{Stage, Step, case, get, ok, response};

/// What becomes of the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It is answered by what was stored.
    Hit,
    /// It asks whether what was stored holds. The row has a validator, `ETag: "a"`.
    Asks,
    /// Nothing was stored.
    Miss,
}

/// Clause, what it is about, the response's header lines, and what becomes of the next request.
pub type Row = (&'static str, &'static str, &'static str, Again);

/// Plays them, all with responses of 200.
pub fn rows(stage: &Stage, rows: &[Row]) {
    rows_of(stage, "200 OK", rows);
}

/// Plays them with responses of this status.
pub fn rows_of(stage: &Stage, status: &str, rows: &[Row]) {
    for (clause, what, headers, again) in rows {
        let first = get().origin(response(status, *headers));
        case(stage, clause, &format!("{what} ({headers:?})"), &[first, second(*again)]);
    }
}

/// The second request.
pub fn second(again: Again) -> Step {
    match again {
        Again::Hit => get().has("cache-status", "pointsman; hit; ttl=*"),
        Again::Asks => get()
            .asks("if-none-match", "\"a\"")
            .origin(response("304 Not Modified", "ETag: \"a\""))
            .has("cache-status", "pointsman; fwd=stale; fwd-status=304*"),
        Again::Miss => get()
            .asks_without("if-none-match")
            .origin(ok(""))
            .gets(200)
            .has("cache-status", "pointsman; fwd=uri-miss*"),
    }
}
