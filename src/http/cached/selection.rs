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
pub(in crate::http) const OF_CONTENT: [&[u8]; 10] = [
    b"age",
    b"cache-control",
    b"cdn-cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-type",
    b"etag",
    b"expires",
    b"last-modified",
];

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
            Part { at: first, end: Some(last + 1) }
        }
        Extent::Unsatisfiable => {
            response.status = 416;
            Part::whole(Some(0))
        }
    }
}
