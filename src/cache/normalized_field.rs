//! Fields of a request in one spelling, so that values that mean the same are the same (RFC 9111 §4.1: "normalizing
//! both values in a way that is known to have identical semantics").
//!
//! Next stops: `key`, for the fields that a route makes part of the key, and `vary`, for those that a response names.

use crate::fields::{Fields, Known, QuotedByte, QuotedString, has_sign, is_respelled, list};

/// The value of a request's field in one spelling; none when it is absent, which matches only absent (§4.1).
/// `name` is in lower case.
pub fn normalized(name: &str, request: &Fields) -> Option<Vec<u8>> {
    request.get(name)?;
    match name {
        "accept-encoding" => {
            Some(accept_encoding(request).unwrap_or_else(|| weighted(request.all(name), true)))
        }
        // Codings, languages and charsets are case-insensitive (RFC 9110 §8.4.1, §12.5.4, §8.3.2); of a media
        // type the parameters need not be.
        "accept-language" | "accept-charset" => Some(weighted(request.all(name), true)),
        "accept" => Some(weighted(request.all(name), false)),
        // Lines of Cookie are joined as HTTP/2 has it (RFC 9113 §8.2.3).
        "cookie" => Some(joined(request.all_known(Known::Cookie), b"; ")),
        // Of a field whose grammar is not known, only the lines are joined (RFC 9110 §5.3).
        _ => Some(joined(request.all(name), b", ")),
    }
}

/// The same with what the request has under other spellings of the name, which some backends take for it (`x_user` and
/// `x.user` for `x-user`): the answer may be by those, and is for none who sent others. They come where `underscores` lets
/// them pass, or where the name is such a spelling itself. Those of names that caches look at go no further
/// (`http::misleading`).
pub fn normalized_with_respelled(name: &str, request: &Fields) -> Option<Vec<u8>> {
    let value = normalized(name, request);
    let may_be_there = request.has(Known::Underscored) || has_sign(name.as_bytes());
    if !may_be_there || Known::of(name.as_bytes()).is_named() {
        return value;
    }
    let respelled = || request.iter().filter(move |field| is_respelled(field.name, name.as_bytes()));
    if respelled().next().is_none() {
        return value;
    }
    // No value has an end of a line: each text is read in one way only.
    let mut text = value.unwrap_or_else(|| b"\n".to_vec());
    for field in respelled() {
        text.push(b'\n');
        text.extend(field.name.iter().map(u8::to_ascii_lowercase));
        text.push(b':');
        text.extend_from_slice(field.value);
    }
    Some(text)
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>, with: &[u8]) -> Vec<u8> {
    values.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(with)
}

/// The codings of Accept-Encoding that an origin may be expected to choose among.
const CODINGS: [&str; 4] = ["br", "deflate", "gzip", "zstd"];

/// Accept-Encoding as one of sixteen values: those of br, deflate, gzip and zstd that are accepted. What goes
/// to the origin must be this value, so that the response was chosen by it and the requests do match; each
/// client accepts whatever may come, because nothing was added. None where `*` or a refusal of identity asks
/// for more than that.
pub fn accept_encoding(request: &Fields) -> Option<Vec<u8>> {
    let mut accepted = [false; CODINGS.len()];
    for member in list(request.all_known(Known::AcceptEncoding)) {
        let (coding, weight) = weight(member)?;
        let coding = coding.to_ascii_lowercase();
        let coding = coding.strip_prefix(b"x-").filter(|coding| *coding == b"gzip").unwrap_or(&coding);
        if coding == b"*" || (coding == b"identity" && weight == 0) {
            return None;
        }
        for (known, accepted) in CODINGS.iter().zip(&mut accepted) {
            if known.as_bytes() == coding {
                *accepted = weight > 0;
            }
        }
    }
    let names: Vec<_> =
        CODINGS.iter().zip(accepted).filter(|(_, accepted)| *accepted).map(|(name, _)| *name).collect();
    Some(if names.is_empty() { b"identity".to_vec() } else { names.join(", ").into_bytes() })
}

/// A list with weights, by descending weight; members of equal weight keep their order, which some origins take as a
/// preference. A list in which a weight is wrong keeps its order.
///
/// What comes out is itself a list of the same meaning, whatever went in, and its own spelling. So no two that mean
/// different things have one, and it may be sent in the list's place.
fn weighted<'a>(lines: impl Iterator<Item = &'a [u8]>, fold_case: bool) -> Vec<u8> {
    let whole = joined(lines, b", ");
    let spelled =
        members(&whole).map(|members| by_weight(&members).unwrap_or_else(|| members.join(&b","[..])));
    // Where a quoted string has no end, readers may see differently what is a member.
    let mut text = spelled.unwrap_or_else(|| whole.trim_ascii().to_vec());
    if fold_case {
        text.make_ascii_lowercase();
    }
    text
}

/// The members by descending weight; none when one has a wrong weight.
fn by_weight(members: &[&[u8]]) -> Option<Vec<u8>> {
    let mut weighed = members.iter().map(|member| weight(member)).collect::<Option<Vec<_>>>()?;
    weighed.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let mut text = Vec::new();
    for (at, (member, weight)) in weighed.into_iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(member);
        if weight < 1000 {
            let parameter = format!(";q=0.{weight:03}");
            text.extend_from_slice(parameter.trim_end_matches('0').trim_end_matches('.').as_bytes());
        }
    }
    Some(text)
}

/// As [`list`], but a comma in a quoted string ends no member: Accept may have parameters with such. None when such a
/// string has no end.
fn members(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut quoted = None;
    let members = value.split(|byte| {
        quoted = match &mut quoted {
            None => (*byte == b'"').then(QuotedString::default),
            Some(string) => string.step(*byte).filter(|it| *it != QuotedByte::End).and(quoted),
        };
        *byte == b',' && quoted.is_none()
    });
    let members = members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).collect();
    quoted.is_none().then_some(members)
}

/// A member without its weight, and the weight in thousandths (RFC 9110 §12.4.2); none when that is no
/// weight, or when something else in it could be taken for one.
fn weight(member: &[u8]) -> Option<(&[u8], u16)> {
    let Some(at) = memchr::memrchr(b';', member) else { return Some((member, 1000)) };
    let (name, last) = (member.get(..at)?.trim_ascii_end(), member.get(at + 1..)?.trim_ascii());
    // Without the weight behind it, it would be the weight.
    if name.is_empty() || name.split(|byte| *byte == b';').skip(1).any(is_weight) {
        return None;
    }
    if !is_weight(last) {
        return Some((member, 1000));
    }
    let value = last.strip_prefix(b"q=").or_else(|| last.strip_prefix(b"Q="))?;
    let (whole, fraction) = match value.split_first()? {
        (whole @ (b'0' | b'1'), []) => (whole, &[][..]),
        (whole @ (b'0' | b'1'), [b'.', fraction @ ..]) => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut weight = u16::from(whole - b'0');
    for at in 0..3 {
        weight = weight * 10 + fraction.get(at).map_or(0, |digit| u16::from(digit - b'0'));
    }
    (weight <= 1000).then_some((name, weight))
}

/// Whether a parameter has the name of a weight.
fn is_weight(parameter: &[u8]) -> bool {
    let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"q")
}
