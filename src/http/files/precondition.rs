//! `If-Match` and `If-Unmodified-Since`, which who has the file itself must heed (RFC 9110 §13.2.1).

use crate::{
    cache::{date::Date, validate::EntityTag},
    fields::{Fields, Known, list},
};

/// Whether a request may go on, by the fields of what it would get.
pub(super) fn holds(request: &Fields, response: &Fields, now: Date) -> bool {
    let own = response.known(Known::Etag).and_then(EntityTag::parse);
    if request.known(Known::IfMatch).is_some() {
        // §13.2.2: beside it If-Unmodified-Since says nothing.
        return list(request.all_known(Known::IfMatch)).any(|one| {
            let tag = EntityTag::parse(one);
            one == b"*" || own.zip(tag).is_some_and(|(own, tag)| own.is_strongly(&tag))
        });
    }
    let mut since = request.all_known(Known::IfUnmodifiedSince);
    let (Some(since), None) = (since.next(), since.next()) else { return true };
    let modified = response.known(Known::LastModified).and_then(|value| Date::parse(value, now));
    // §13.1.4: ignored where either is no date.
    modified.zip(Date::parse(since, now)).is_none_or(|(modified, since)| modified <= since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_hold_for_the_same_file() {
        let fields = |lines: &[(&str, &str)]| {
            let mut fields = Fields::default();
            lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
            fields
        };
        let response = fields(&[("etag", "\"a\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        for (name, value, expected) in [
            ("if-match", "\"a\"", true),
            ("if-match", "\"b\", \"a\"", true),
            ("if-match", "*", true),
            ("if-match", "\"b\"", false),
            ("if-match", "W/\"a\"", false),
            ("if-match", "", false),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("if-unmodified-since", "yesterday", true),
            ("accept", "*/*", true),
        ] {
            let request = fields(&[(name, value)]);
            assert_eq!(holds(&request, &response, Date(800_000_000)), expected, "{name}: {value}");
        }
    }
}
