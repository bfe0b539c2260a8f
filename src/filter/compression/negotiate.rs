//! Which encoding a client gets.

use std::cell::RefCell;

use crate::{
    fields::{Fields, Known, list},
    filter::coding::Coding,
};

/// The encoding that a client would have most, of those that are offered in this order; `None` where that is none of
/// them. Without Accept-Encoding that is none: who does not say what it can read may not be able to
/// (RFC 9110 §12.5.3 leaves it open).
pub(super) fn choose(offered: &[Coding], request: &Fields) -> Option<Coding> {
    let mut weights = [None; Coding::ALL.len()];
    let (mut any, mut identity) = (None, None);
    for member in list(request.all_known(Known::AcceptEncoding)) {
        let (name, weight) = read(member);
        let weight = Some(weight);
        match name {
            b"*" => any = any.max(weight),
            name if name.eq_ignore_ascii_case(b"identity") => identity = identity.max(weight),
            name => {
                let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
                let is_it = |(_, text, _): &&(Coding, &str, &str)| name.eq_ignore_ascii_case(text.as_bytes());
                let found = Coding::ALL.iter().find(is_it).and_then(|it| weights.get_mut(it.0 as usize));
                if let Some(slot) = found {
                    *slot = (*slot).max(weight);
                }
            }
        }
    }
    // What is not named is acceptable without change, at the weight of `*` where there is one, and last else.
    let identity = identity.or(any).unwrap_or(0);
    let weight_of = |coding: Coding| weights.get(coding as usize).copied().flatten().or(any).unwrap_or(0);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = weight_of(*coding);
        if weight > 0 && best.is_none_or(|(_, before)| weight > before) {
            best = Some((*coding, weight));
        }
    }
    best.filter(|(_, weight)| *weight >= identity).map(|(coding, _)| coding)
}

/// The same as [`choose`], which `id` tells `offered` apart by. Clients of a kind say the same: what the last one of this
/// worker got is remembered by the field's bytes.
pub(super) fn remembered(id: u64, offered: &[Coding], request: &Fields) -> Option<Coding> {
    let mut said = request.all_known(Known::AcceptEncoding);
    let first = said.next()?;
    if said.next().is_some() || first.len() > MOST_REMEMBERED {
        return choose(offered, request);
    }
    LAST.with_borrow_mut(|last| {
        if last.id != id || *last.said != *first {
            last.chosen = choose(offered, request);
            last.id = id;
            last.said.clear();
            last.said.extend_from_slice(first);
        }
        last.chosen
    })
}

/// What a client that said this is given.
#[derive(Default)]
struct Remembered {
    id: u64,
    said: Vec<u8>,
    chosen: Option<Coding>,
}

/// Bytes of a field beyond which it is not remembered.
const MOST_REMEMBERED: usize = 256;

thread_local! {
    static LAST: RefCell<Remembered> = RefCell::default();
}

/// Those of the encodings that a client would have, the one that it would have most first.
pub fn ranked(offered: &[Coding], request: &Fields) -> Vec<Coding> {
    let (mut left, mut ranked) = (offered.to_vec(), Vec::new());
    while let Some(best) = choose(&left, request) {
        left.retain(|coding| *coding != best);
        ranked.push(best);
    }
    ranked
}

/// A member of Accept-Encoding: its name, and its weight in thousandths (RFC 9110 §12.4.2). One that makes no sense counts
/// as 0: the client cannot be believed to want it.
fn read(member: &[u8]) -> (&[u8], u16) {
    let Some(end) = memchr::memchr(b';', member) else { return (member, 1000) };
    let (name, parameters) = member.split_at_checked(end).unwrap_or((member, &[]));
    let name = name.trim_ascii();
    let mut parts = parameters.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let weight = parts.find_map(|parameter| {
        let (key, value) = parameter.split_at_checked(2)?;
        key.eq_ignore_ascii_case(b"q=").then(|| thousandths(value).unwrap_or(0))
    });
    (name, weight.unwrap_or(1000))
}

/// `0` or `1` with at most three digits behind a point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_first()?;
    let digits = match rest.split_first() {
        None => &[][..],
        Some((b'.', digits)) => digits,
        Some(_) => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index: usize| digits.get(index).map_or(0, |digit| u16::from(digit - b'0'));
    let part = digit(0) * 100 + digit(1) * 10 + digit(2);
    match whole {
        b'0' => Some(part),
        b'1' if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    fn chosen(offered: &[Coding], accepted: Option<&str>) -> Option<&'static str> {
        let mut fields = Fields::default();
        if let Some(accepted) = accepted {
            fields.push("accept-encoding", accepted.as_bytes());
        }
        choose(offered, &fields).map(Coding::name)
    }

    #[test]
    fn weights_come_first_and_the_own_order_second() {
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("gzip;q=1.0, zstd;q=0.9", Some("gzip")),
            ("gzip;q=0.5, br;q=0.501", Some("br")),
            ("gzip ; Q=0.5 , br; q=0.4", Some("gzip")),
            ("*", Some("zstd")),
            ("zstd;q=0, *", Some("br")),
            ("*;q=0, gzip", Some("gzip")),
            ("gzip;q=0", None),
            ("gzip;q=0, identity;q=0", None),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("deflate, compress", None),
            ("gzip;q=2", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            ("gzipped", None),
            ("", None),
            (", ,gzip,", Some("gzip")),
        ] {
            assert_eq!(chosen(&ALL, Some(accepted)), expected, "{accepted}");
        }
    }

    #[test]
    fn what_is_remembered_is_what_would_be_chosen() {
        let mut fields = Fields::default();
        for (id, offered, said) in [
            (1, &ALL[..], "gzip, br"),
            (1, &ALL[..], "gzip, br"),
            (2, &ALL[2..], "gzip, br"),
            (2, &ALL[2..], "br"),
            (1, &ALL[..], "br"),
            (1, &ALL[..], &"x".repeat(300)),
            (1, &ALL[..], ""),
        ] {
            fields.set("accept-encoding", said.as_bytes());
            assert_eq!(remembered(id, offered, &fields), choose(offered, &fields), "{said}");
        }
        fields.push("accept-encoding", b"gzip");
        assert_eq!(remembered(1, &ALL, &fields), Some(Coding::Gzip));
        assert_eq!(remembered(1, &ALL, &Fields::default()), None);
    }

    #[test]
    fn encodings_are_ranked_as_the_client_likes_them() {
        let mut fields = Fields::default();
        fields.push("accept-encoding", b"gzip, br;q=0.9, zstd;q=0");
        assert_eq!(ranked(&ALL, &fields), [Coding::Gzip, Coding::Br]);
        assert_eq!(ranked(&ALL, &Fields::default()), []);
    }

    #[test]
    fn who_says_nothing_gets_it_as_it_is() {
        assert_eq!(chosen(&ALL, None), None);
        assert_eq!(chosen(&[], Some("gzip")), None);
        assert_eq!(chosen(&[Coding::Gzip, Coding::Zstd], Some("zstd, gzip")), Some("gzip"));
        assert_eq!(chosen(&[Coding::Br], Some("zstd, gzip")), None);
    }
}
