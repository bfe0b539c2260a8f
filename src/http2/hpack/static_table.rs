//! The static table (RFC 7541, Appendix A).

use crate::fields::{Known, is_spelled};

/// Names and values by index, from 1.
pub(super) const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The index of a field's name, as its tag has it.
pub(super) fn index_of_known(known: Known) -> Option<usize> {
    BY_TAG.get(known as usize).map(|index| usize::from(*index)).filter(|index| *index > 0)
}

/// The first index of each tag's name; 0 for those that are not in the table.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
#[expect(clippy::cast_possible_truncation, reason = "the table has 61 entries")]
const BY_TAG: [u8; 64] = {
    let mut by_tag = [0; 64];
    let mut at = 0;
    while at < Known::ALL.len() {
        let (known, name) = Known::ALL[at];
        let mut index = STATIC.len();
        while index > 0 {
            if is_same(STATIC[index - 1].0, name) {
                by_tag[known as usize] = index as u8;
            }
            index -= 1;
        }
        at += 1;
    }
    by_tag
};

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The index of a response field's name; names that no response has are not looked for, but for those whose values are
/// secret.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let candidates: &[usize] = match name.len() {
        3 => &[60, 21],
        4 => &[33, 34, 59, 45],
        5 => &[22],
        6 => &[54, 32],
        7 => &[36],
        8 => &[46],
        10 => &[55],
        11 => &[53],
        12 => &[31],
        13 => &[24, 44, 18, 30, 23],
        14 => &[28],
        16 => &[26, 27, 29, 61],
        18 => &[48],
        19 => &[25, 49],
        25 => &[56],
        27 => &[20],
        _ => return None,
    };
    let is_it =
        |index: &&usize| STATIC.get(**index - 1).is_some_and(|(candidate, _)| is_spelled(name, candidate));
    candidates.iter().find(is_it).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case() {
        for name in ["Content-Type", "date", "Strict-Transport-Security", "content-location", "link"] {
            let index = index_of(name.as_bytes()).unwrap();
            assert_eq!(STATIC[index - 1].0, name.to_ascii_lowercase().as_bytes());
        }
        for (known, name) in Known::ALL {
            let index = STATIC.iter().position(|(it, _)| it == name).map(|at| at + 1);
            assert_eq!(index_of_known(*known), index, "{known:?}");
        }
        assert_eq!(index_of_known(Known::Other), None);
        assert_eq!(index_of(b"x-nothing"), None);
        assert_eq!(index_of(b"daty"), None);
    }
}
