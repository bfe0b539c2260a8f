//! What messages mean, read as strictly as RFC 9112 allows: what a careful reader sees, and where it stops.

/// A message as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Method, or status.
    pub what: String,
    /// Values of X-Id.
    pub ids: Vec<String>,
    pub body: Vec<u8>,
    /// All of it came.
    pub is_whole: bool,
    pub fields: Vec<(String, String)>,
}

/// Why reading stopped.
pub type Stop = &'static str;

/// How the body of a response ends that says nothing, and whether a response has one.
#[derive(Clone, Copy)]
pub enum Side {
    Request,
    /// To a request of this method.
    Response {
        is_head: bool,
    },
}

/// Takes one message off the beginning of `bytes`: the message and what is behind it, nothing where no more comes, or why
/// it is none.
pub fn take(bytes: &[u8], side: Side) -> Result<Option<(Message, &[u8])>, Stop> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Err("the head has no end") };
    let (head, mut rest) = (&bytes[..end + 2], &bytes[end + 4..]);
    let mut lines = Vec::new();
    let mut from = head;
    while let Some(at) = find(from, b"\r\n") {
        lines.push(&from[..at]);
        from = &from[at + 2..];
    }
    if lines.iter().any(|line| line.iter().any(|byte| b"\r\n\0".contains(byte))) {
        return Err("CR, LF or NUL within a line");
    }
    let (what, is_11) = match side {
        Side::Request => request_line(lines[0])?,
        Side::Response { .. } => status_line(lines[0])?,
    };
    let mut message = Message { what, ..Message::default() };
    for line in &lines[1..] {
        let at = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
        let name = std::str::from_utf8(&line[..at]).map_err(|_| "a name is not ASCII")?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err("a name is no token");
        }
        let value = String::from_utf8_lossy(&line[at + 1..]).trim_matches([' ', '\t']).to_owned();
        if line[at + 1..].iter().any(|byte| (*byte < 32 && *byte != b'\t') || *byte == 127) {
            return Err("a control character in a value");
        }
        message.fields.push((name.to_ascii_lowercase(), value));
    }
    // What Connection names is for this hop (RFC 9110 §7.6.1).
    let options = message.all("connection").join(",").to_ascii_lowercase();
    if !options.split(',').any(|option| option.trim() == "x-id") {
        message.ids = message.all("x-id");
    }
    let (lengths, codings) = (message.all("content-length"), message.all("transfer-encoding"));
    let has_none = match side {
        Side::Request => false,
        Side::Response { is_head } => {
            is_head || message.what.starts_with('1') || ["204", "304"].contains(&&*message.what)
        }
    };
    if has_none {
        message.is_whole = true;
        return Ok(Some((message, rest)));
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => match side {
            Side::Request => message.is_whole = true,
            Side::Response { .. } => {
                // It ends with the connection.
                message.body = rest.to_vec();
                rest = &[];
                message.is_whole = true;
            }
        },
        ([length], []) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("Content-Length is no number");
            }
            let length: usize = length.parse().map_err(|_| "Content-Length is too large")?;
            message.is_whole = rest.len() >= length;
            let (body, behind) = rest.split_at(length.min(rest.len()));
            message.body = body.to_vec();
            rest = behind;
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && is_11 => {
            rest = chunks(rest, &mut message)?;
        }
        _ => return Err("the length is ambiguous"),
    }
    Ok(Some((message, rest)))
}

impl Message {
    pub fn all(&self, name: &str) -> Vec<String> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }
}

/// Every message up to the first that is none.
pub fn all(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        // RFC 9112 §2.2: empty lines before a request line are left out.
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        match take(bytes, Side::Request) {
            Ok(Some((message, rest))) => {
                messages.push(message);
                bytes = rest;
            }
            Ok(None) | Err(_) => return messages,
        }
    }
}

fn request_line(line: &[u8]) -> Result<(String, bool), Stop> {
    let text = std::str::from_utf8(line).map_err(|_| "the request line is not ASCII")?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err("the request line has not three parts") };
    if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() {
        return Err("the method or the target is none");
    }
    Ok((method.to_owned(), minor(version)?))
}

fn status_line(line: &[u8]) -> Result<(String, bool), Stop> {
    let text = String::from_utf8_lossy(line).into_owned();
    let (version, rest) = text.split_once(' ').ok_or("the status line has no status")?;
    let status = rest.split(' ').next().unwrap_or_default();
    if status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the status is no number");
    }
    Ok((status.to_owned(), minor(version)?))
}

/// Whether it is HTTP/1.1 or a later minor version.
fn minor(version: &str) -> Result<bool, Stop> {
    match version.strip_prefix("HTTP/1.") {
        Some("0") => Ok(false),
        Some(minor) if minor.len() == 1 && minor.bytes().all(|byte| byte.is_ascii_digit()) => Ok(true),
        _ => Err("the version is not HTTP/1"),
    }
}

/// A chunked body; extensions are allowed where they are of the grammar, which is looked at no further than that no
/// reader can take them for something else.
fn chunks<'a>(mut rest: &'a [u8], message: &mut Message) -> Result<&'a [u8], Stop> {
    loop {
        let Some(end) = find(rest, b"\r\n") else {
            return if rest.iter().any(|byte| b"\n\0".contains(byte)) {
                Err("a line break in a chunk size")
            } else {
                Ok(&[])
            };
        };
        let line = &rest[..end];
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        if digits == 0 || digits > 16 || line.iter().any(|byte| b"\r\n\0".contains(byte)) {
            return Err("a chunk size is none");
        }
        // Blanks behind a size are harmless: some old servers write them.
        let behind = line[digits..].trim_ascii_start();
        if !behind.is_empty() && !behind.starts_with(b";") {
            return Err("garbage behind a chunk size");
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).unwrap(), 16);
        let size = size.map_err(|_| "a chunk is too large")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return trailers(rest, message);
        }
        if rest.len() < size.saturating_add(2) {
            message.body.extend(&rest[..size.min(rest.len())]);
            return Ok(&[]);
        }
        message.body.extend(&rest[..size]);
        rest = rest[size..].strip_prefix(b"\r\n").ok_or("a chunk has another length")?;
    }
}

fn trailers<'a>(mut rest: &'a [u8], message: &mut Message) -> Result<&'a [u8], Stop> {
    loop {
        let Some(end) = find(rest, b"\r\n") else { return Ok(&[]) };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        if line.is_empty() {
            message.is_whole = true;
            return Ok(rest);
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.is_empty() || name.len() == line.len() || !name.iter().all(|byte| is_token(*byte)) {
            return Err("a trailer is none");
        }
        if line.iter().any(|byte| (*byte < 32 && *byte != b'\t') || *byte == 127) {
            return Err("a control character in a trailer");
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}
