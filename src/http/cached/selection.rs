//! What of a response answers the client's conditions and ranges (RFC 9110 §13, §14): all of it, a part, or none.

use crate::{
    cache::{
        date::Date,
        range::Extent,
        validate::{is_not_modified, not_modified_fields},
    },
    exchange::Exchange,
    fields::Known,
    h1::Method,
    http::respond::Part,
};

/// Fields of a representation that say nothing of an error in its place, least of all how long it may be kept.
pub(in crate::http) const OF_CONTENT: [&[u8]; 14] = [
    b"age",
    b"cache-control",
    b"cdn-cache-control",
    b"content-digest",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-md5",
    b"content-type",
    b"digest",
    b"etag",
    b"expires",
    b"last-modified",
    b"repr-digest",
];

/// Digests of the bytes that go out (RFC 9530 §2, RFC 1864); those of the whole say nothing of a part.
const OF_BYTES: [&[u8]; 2] = [b"content-digest", b"content-md5"];

/// Answers the conditions and the range of the request: makes a 304, 206 or 416 of the head in `exchange.response`
/// where that is the answer, and gives which bytes of the body go out. `length` is that of the whole body, which came
/// at `received`, and `is_stored` or only shared.
pub(super) fn select(
    exchange: &mut Exchange,
    length: Option<u64>,
    (received, is_stored): (Date, bool),
) -> Part {
    let (request, response) = (&exchange.request, &mut exchange.response);
    let came = (received, is_stored);
    if is_not_modified(&request.method, &request.fields, response.status, &response.fields, came) {
        response.status = 304;
        response.fields = not_modified_fields(&response.fields);
        return Part::whole(Some(0));
    }
    let Some(length) = length else { return Part::whole(None) };
    if request.method == Method::Head && response.status != 204 {
        // A body that came in chunks has a length by now.
        response.fields.set_known(Known::ContentLength, length.to_string().as_bytes());
    }
    if response.status != 200 {
        return Part::whole(Some(length));
    }
    let extent = Extent::of(&request.method, &request.fields, &response.fields, length, received);
    if extent == Extent::Unsatisfiable {
        // What is said of the representation would let caches on the way keep this error for it.
        response.fields.retain(|field| !OF_CONTENT.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
    }
    if let Some(range) = extent.content_range(length) {
        response.fields.set_known(Known::ContentRange, range.as_bytes());
    }
    match extent {
        Extent::Whole => Part::whole(Some(length)),
        Extent::Part { first, last } => {
            response.status = 206;
            response
                .fields
                .retain(|field| !OF_BYTES.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
            Part { at: first, end: Some(last + 1) }
        }
        Extent::Unsatisfiable => {
            response.status = 416;
            Part::whole(Some(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else who checks them takes what he got for broken.
    #[test]
    fn digests_of_the_whole_are_not_those_of_less() {
        const ALL: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];
        type Case = (Option<(&'static str, &'static str)>, u16, &'static [&'static str]);
        let cases: [Case; 4] = [
            (None, 200, &ALL),
            (Some(("range", "bytes=1-2")), 206, &["digest", "repr-digest"]),
            (Some(("range", "bytes=9-")), 416, &[]),
            (Some(("if-none-match", "\"a\"")), 304, &["digest", "repr-digest"]),
        ];
        for (asks, status, left) in cases {
            let mut exchange = Exchange::default();
            exchange.response.status = 200;
            exchange.response.fields.push("etag", b"\"a\"");
            ALL.iter().for_each(|name| exchange.response.fields.push(name, b"sha-256=:AA==:"));
            if let Some((name, value)) = asks {
                exchange.request.fields.push(name, value.as_bytes());
            }
            select(&mut exchange, Some(5), (Date(0), true));
            assert_eq!(exchange.response.status, status, "{asks:?}");
            let fields = &exchange.response.fields;
            let has: Vec<_> = ALL.into_iter().filter(|name| fields.get(name).is_some()).collect();
            assert_eq!(has, left, "{asks:?}");
        }
    }
}
