//! Connection (RFC 9110 §7.6.1).

use super::{Fields, Known, list};

/// The names that Connection lists, whose fields end at this hop (RFC 9110 §7.6.1). None where it says only what names
/// no field, as nearly always.
#[derive(Debug)]
pub struct ConnectionOptions(Vec<Box<[u8]>>);

impl ConnectionOptions {
    /// More than anyone has a use for; each field is compared with each.
    const MOST: usize = 64;

    /// The options of a message. The error says that there are too many.
    pub fn of(fields: &Fields) -> Result<Self, &'static str> {
        let names_nothing = |value: &[u8]| {
            [&b"close"[..], b"keep-alive", b"upgrade"].iter().any(|it| value.eq_ignore_ascii_case(it))
        };
        if fields.all_known(Known::Connection).all(names_nothing) {
            return Ok(Self(Vec::new()));
        }
        let options = list(fields.all_known(Known::Connection)).filter(|option| !names_nothing(option));
        let options: Vec<_> = options.take(Self::MOST + 1).map(Box::from).collect();
        if options.len() > Self::MOST { Err("Connection names too many fields") } else { Ok(Self(options)) }
    }

    /// Whether no field is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this field is named.
    pub fn name(&self, name: &[u8]) -> bool {
        self.0.iter().any(|option| option.eq_ignore_ascii_case(name))
    }
}
