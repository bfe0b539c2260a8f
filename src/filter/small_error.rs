//! The small body of an error: JSON for a program that asks for it, else text. It is that of errors of Pointsman's own
//! (`http::respond`), and stands for a backend's where `error_pages` have no page that the client reads.

use crate::{
    exchange::Exchange,
    fields::{Fields, Known, list},
};

/// The media type and the body. `code` is for programs, `message` for people.
pub fn of(exchange: &Exchange, status: u16, code: &str, message: &str) -> (&'static [u8], Vec<u8>) {
    let id = &exchange.facts.id;
    if wants_json(&exchange.request.fields) {
        let error = serde_json::json!({
            "status": status, "code": code, "message": message, "request_id": id,
        });
        let body = serde_json::json!({ "error": error }).to_string() + "\n";
        return (&b"application/json"[..], body.into_bytes());
    }
    let body = format!("{status}: {message}\nrequest {id}\n");
    (&b"text/plain; charset=utf-8"[..], body.into_bytes())
}

/// Says that the body goes by Accept, where that is not said: a cache would give it to who reads another
/// (RFC 9110 §12.5.5).
pub fn vary(fields: &mut Fields) {
    let is_there =
        list(fields.all_known(Known::Vary)).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept"));
    if !is_there {
        fields.push_known(Known::Vary, b"accept");
    }
}

/// Whether the client would rather have JSON than text (RFC 9110 §12.5.1, without weights: whichever
/// is named first).
fn wants_json(fields: &Fields) -> bool {
    for member in list(fields.all_known(Known::Accept)) {
        let media = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/json") {
            return true;
        }
        if media.starts_with(b"text/") {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_json_and_others_text() {
        for (accept, is_json) in [
            ("application/json", true),
            ("image/png, Application/JSON;q=0.5, text/plain", true),
            ("text/plain, application/json", false),
            ("image/png", false),
            ("", false),
        ] {
            let mut exchange = Exchange::default();
            exchange.facts.id = "7f".into();
            exchange.request.fields.push("accept", accept.as_bytes());
            let (media, body) = of(&exchange, 404, "no_route", "it is \"nowhere\"");
            let body = String::from_utf8(body).unwrap();
            assert_eq!(media == b"application/json", is_json, "{accept}");
            if is_json {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body["error"]["status"], 404);
                assert_eq!(body["error"]["code"], "no_route");
                assert_eq!(body["error"]["request_id"], "7f");
            } else {
                assert_eq!(body, "404: it is \"nowhere\"\nrequest 7f\n");
            }
        }
    }

    #[test]
    fn what_goes_by_accept_says_so_once() {
        for (had, expected) in
            [("", "accept"), ("origin", "origin; accept"), ("origin, Accept", "origin, Accept"), ("*", "*")]
        {
            let mut fields = Fields::default();
            if !had.is_empty() {
                fields.push("vary", had.as_bytes());
            }
            vary(&mut fields);
            let found: Vec<&[u8]> = fields.all("vary").collect();
            assert_eq!(found.join(&b"; "[..]), expected.as_bytes(), "{had}");
        }
    }
}
