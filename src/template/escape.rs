//! How a value is written so that it stays a value where it goes.

use super::filter::percent_encode;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Into a header field: control characters are left out (RFC 9110 §5.5), so that a value never begins another field.
    Field,
    /// Into a URL: what is not part of the request's own is percent-encoded, delimiters included, so that a value is within
    /// one segment or parameter.
    Url,
    /// Into a path: as in a URL, and of the request's own only what is its path.
    Path,
    /// Into a host: as it is, for who takes it to judge whether it is one.
    Host,
    /// Into HTML or XML: markup is escaped.
    Html,
    /// Into a string of JSON.
    Json,
    /// Into plain text, or where it is escaped by who takes it.
    Plain,
}

impl Context {
    /// What a body of this media type is.
    pub fn of_body(content_type: &str) -> Self {
        let media = content_type.to_ascii_lowercase();
        if media.contains("html") || media.contains("xml") || media.contains("svg") {
            Self::Html
        } else if media.contains("json") || media.contains("script") {
            Self::Json
        } else {
            Self::Plain
        }
    }

    /// Writes a value. `is_target` says that it is a part of the request's own target, which is a URL's part already.
    pub(super) fn write(self, value: &[u8], is_target: bool, out: &mut Vec<u8>) {
        match self {
            // As nearly all are, at once.
            Self::Field if !value.iter().fold(false, |has, byte| has | byte.is_ascii_control()) => {
                out.extend_from_slice(value);
            }
            Self::Field => out.extend(value.iter().filter(|byte| !byte.is_ascii_control())),
            Self::Url | Self::Path if is_target => out.extend_from_slice(value),
            Self::Url | Self::Path => percent_encode(value, is_plain, out),
            Self::Html => value.iter().for_each(|&byte| write_html(byte, out)),
            Self::Json => {
                let text = serde_json::Value::from(String::from_utf8_lossy(value)).to_string();
                // `</script>` must not end a script that this is in.
                let inner = text.get(1..text.len() - 1).unwrap_or_default().replace('<', "\\u003c");
                out.extend_from_slice(inner.as_bytes());
            }
            Self::Host | Self::Plain => out.extend_from_slice(value),
        }
    }
}

/// What may stand in any part of a URL without ending it (RFC 3986 §2.2, §3.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:!$'()*,;".contains(&byte)
}

fn write_html(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'&' => out.extend_from_slice(b"&amp;"),
        b'<' => out.extend_from_slice(b"&lt;"),
        b'>' => out.extend_from_slice(b"&gt;"),
        b'"' => out.extend_from_slice(b"&quot;"),
        b'\'' => out.extend_from_slice(b"&#39;"),
        byte => out.push(byte),
    }
}
