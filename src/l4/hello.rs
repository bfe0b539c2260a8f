//! The first message of a TLS client, without keys: which server it asks for, and which protocols it offers
//! (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1). Pure: bytes in, a verdict out.
//!
//! A ClientHello may come in any number of segments and of records (RFC 8446 §5.1); one with a post-quantum key share
//! takes two segments as a rule. Extensions that are not known, GREASE (RFC 8701) and Encrypted ClientHello among them,
//! are passed over; of the latter the outer name is the one that counts.

/// Most bytes of a ClientHello.
pub const MOST_HELLO: usize = 16 * 1024;
/// Most bytes of the records that it comes in: cut into the smallest records, each byte costs six.
pub const MOST_RECORDS: usize = 64 * 1024;

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server that is asked for, in lower case, without a dot at its end.
    pub server_name: Option<Box<str>>,
    /// The protocols that are offered, in the client's order.
    pub alpn: Vec<Box<[u8]>>,
}

impl ClientHello {
    /// The protocols that are offered, for people: printable, and no more than fits a line, since it is kept for as long as
    /// the connection, and is whatever a stranger sent. Routes go by [`Self::alpn`].
    pub fn alpn_text(&self) -> Option<Box<str>> {
        let signs = self.alpn.iter().enumerate().flat_map(|(index, protocol)| {
            let comma = (index > 0).then_some(b',');
            comma.into_iter().chain(protocol.escape_ascii())
        });
        let mut text = String::new();
        for sign in signs {
            if text.len() == MOST_TEXT {
                text.push('…');
                break;
            }
            text.push(char::from(sign));
        }
        (!self.alpn.is_empty()).then(|| text.into())
    }
}

/// Most bytes of the protocols that are offered, for people: sixteen of the usual length.
const MOST_TEXT: usize = 256;

/// Why bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// It is no TLS.
    NotTls,
    /// It breaks the grammar; the text says how.
    Broken(&'static str),
    /// Larger than [`MOST_HELLO`], or its records than [`MOST_RECORDS`].
    TooLarge,
}

impl HelloError {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotTls => "the first bytes are not TLS",
            Self::Broken(what) => what,
            Self::TooLarge => "the ClientHello is too large",
        }
    }
}

/// Joins what comes in records to one message.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The message as far as it came.
    message: Vec<u8>,
    /// How much of the input was used.
    used: usize,
    /// How much of the record that is being read is to come.
    left: usize,
}

impl HelloReader {
    /// Bytes of the message so far.
    pub fn held(&self) -> usize {
        self.message.len()
    }

    /// Looks at all bytes that came so far; those of earlier calls are at their beginning, and are not looked at again.
    /// `None` when the message is not whole yet.
    ///
    /// # Errors
    ///
    /// They are no ClientHello, and whatever comes will not make them one.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        loop {
            let rest = input.get(self.used..).unwrap_or_default();
            if self.left > 0 {
                let some = rest.get(..self.left).unwrap_or(rest);
                self.message.extend_from_slice(some);
                self.used += some.len();
                self.left -= some.len();
                if let Some(length) = length_of(&self.message)?
                    && let Some(message) = self.message.get(4..4 + length)
                {
                    return parse(message).map(Some);
                }
                if self.left > 0 {
                    break;
                }
                continue;
            }
            self.left = match rest {
                [] => break,
                [22, 3, 0..=4, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                // As far as it has come, it may be one.
                [22] | [22, 3] | [22, 3, 0..=4] | [22, 3, 0..=4, _] => break,
                _ if self.used == 0 => return Err(HelloError::NotTls),
                _ => return Err(HelloError::Broken("another record interrupts the ClientHello")),
            };
            // RFC 8446 §5.1: a record of a handshake is not empty, and has 2¹⁴ bytes at most.
            if self.left == 0 || self.left > 1 << 14 {
                return Err(HelloError::Broken("a record has an invalid length"));
            }
            self.used += 5;
        }
        if input.len() >= MOST_RECORDS { Err(HelloError::TooLarge) } else { Ok(None) }
    }
}

/// Reads a message that comes without records, as QUIC carries it (RFC 9001 §4.1.3). `None` when it is not whole yet; what
/// follows it is not looked at.
///
/// # Errors
///
/// It is no ClientHello, and whatever comes will not make it one.
pub fn read_message(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    let Some(length) = length_of(bytes)? else { return Ok(None) };
    bytes.get(4..4 + length).map(parse).transpose()
}

/// The length of the message that begins so, once that is there.
fn length_of(message: &[u8]) -> Result<Option<usize>, HelloError> {
    match message {
        [1, high, middle, low, ..] => {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > MOST_HELLO { Err(HelloError::TooLarge) } else { Ok(Some(length)) }
        }
        [] | [1, ..] => Ok(None),
        _ => Err(HelloError::Broken("the first message is not a ClientHello")),
    }
}

/// What is left of a message.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<usize, HelloError> {
        Ok(self.take(1)?.iter().fold(0, |_, byte| usize::from(*byte)))
    }

    fn number(&mut self) -> Result<usize, HelloError> {
        Ok(self.take(2)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

const SHORT: HelloError = HelloError::Broken("the ClientHello is shorter than its length field");

fn parse(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut rest = Cursor(message);
    // Version and random.
    rest.take(34)?;
    let session = rest.byte()?;
    rest.take(session)?;
    let suites = rest.number()?;
    rest.take(suites)?;
    let compressions = rest.byte()?;
    rest.take(compressions)?;
    let mut hello = ClientHello::default();
    if rest.0.is_empty() {
        // Before TLS 1.3 there need not be extensions.
        return Ok(hello);
    }
    let length = rest.number()?;
    let mut extensions = Cursor(rest.take(length)?);
    if !rest.0.is_empty() {
        return Err(HelloError::Broken("the ClientHello is longer than its length field"));
    }
    let (mut has_name, mut has_alpn) = (false, false);
    while !extensions.0.is_empty() {
        let (kind, length) = (extensions.number()?, extensions.number()?);
        let value = Cursor(extensions.take(length)?);
        let is_again = match kind {
            SERVER_NAME => {
                hello.server_name = server_name(value)?;
                std::mem::replace(&mut has_name, true)
            }
            ALPN => {
                hello.alpn = protocols(value)?;
                std::mem::replace(&mut has_alpn, true)
            }
            _ => false,
        };
        if is_again {
            // RFC 8446 §4.2. Which of the two the backend takes, nobody knows.
            return Err(HelloError::Broken("an extension appears twice"));
        }
    }
    Ok(hello)
}

const SERVER_NAME: usize = 0;
const ALPN: usize = 16;

/// The host of a list of names (RFC 6066 §3); one at most.
fn server_name(mut value: Cursor<'_>) -> Result<Option<Box<str>>, HelloError> {
    let length = value.number()?;
    let mut names = Cursor(value.take(length)?);
    let mut found = None;
    while !names.0.is_empty() {
        let (kind, length) = (names.byte()?, names.number()?);
        let name = names.take(length)?;
        if kind != 0 {
            continue;
        }
        let is_name = (1..=255).contains(&name.len())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        let name = std::str::from_utf8(name).ok().filter(|_| is_name);
        let name = name.ok_or(HelloError::Broken("the server name is invalid"))?;
        if found.replace(name).is_some() {
            return Err(HelloError::Broken("there are two server names"));
        }
    }
    let name = found.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
    Ok(name.filter(|name| !name.is_empty()).map(String::into_boxed_str))
}

/// Most protocols that are kept; a client offers two or three.
const MOST_PROTOCOLS: usize = 16;

fn protocols(mut value: Cursor<'_>) -> Result<Vec<Box<[u8]>>, HelloError> {
    let length = value.number()?;
    let mut list = Cursor(value.take(length)?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let length = list.byte()?;
        let protocol = list.take(length)?;
        if protocols.len() < MOST_PROTOCOLS {
            protocols.push(protocol.into());
        }
    }
    Ok(protocols)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
