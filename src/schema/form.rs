//! Texts of forms and queries, `application/x-www-form-urlencoded`.

/// Bytes of a form-encoded text: `%XX` and `+` decoded, a `%` that begins no escape as it is.
pub fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            (byte, _) => Some(*byte),
        }
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
