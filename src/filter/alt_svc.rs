//! `alt_svc` of a listener (RFC 7838): where else the same is served, such as over HTTP/3.

use serde_json::json;

use super::hooks::{Body, Hooks, ResponseFacts};
use crate::{
    exchange::Exchange,
    fields::{is_token_byte, read_quoted},
    schema::{Node, Reader, Value},
};

/// A value of Alt-Svc that every response of a listener has, in place of what a backend sent: what a backend says of
/// itself is not true of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltSvc(String);

impl AltSvc {
    /// Takes `clear`, or a list of alternatives (RFC 7838 §3). The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text != "clear" {
            let mut rest = text.as_bytes();
            while !rest.is_empty() || text.is_empty() {
                rest = read_alternative(rest)?;
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The value as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Hooks for AltSvc {
    fn acts_on_requests(&self) -> bool {
        false
    }

    fn on_response(&self, exchange: &mut Exchange, _: &ResponseFacts<'_>) -> Body {
        let response = &mut exchange.response;
        // A 101 is of the connection, which is another protocol's from there.
        if response.status >= 200 {
            response.fields.set("alt-svc", self.0.as_bytes());
        }
        Body::Kept
    }
}

impl Value for AltSvc {
    fn kind() -> String {
        "a value of Alt-Svc".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["h3=\":443\"; ma=86400", "clear"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, &Self::kind())?;
        match Self::parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                let message = format!("`{text}` is not a valid Alt-Svc value: {why}");
                let hint = "write an alternative in single quotes, 'h3=\":443\"; ma=86400', or \"clear\"";
                reader.problem_with(node.place, message, hint);
                None
            }
        }
    }
}

/// Reads an alternative with its parameters, and the comma behind it where another follows:
/// `protocol-id "=" quoted-string *( OWS ";" OWS parameter )`.
fn read_alternative(text: &[u8]) -> Result<&[u8], &'static str> {
    let (protocol, rest) = read_token(text);
    if !is_protocol(protocol) {
        return Err("an alternative must begin with a protocol, such as `h3`");
    }
    let authority = rest.strip_prefix(b"=\"").and_then(read_quoted);
    let (authority, mut rest) =
        authority.ok_or("a protocol must be followed by `=` and an address in quotes")?;
    if !is_authority(&authority) {
        return Err("an address must be a host and a port, or `:` and a port");
    }
    loop {
        let next = trim_start(rest);
        match next.split_first() {
            Some((b';', parameter)) => rest = read_parameter(trim_start(parameter))?,
            Some((b',', next)) => {
                let next = trim_start(next);
                return if next.is_empty() {
                    Err("an alternative is missing after a comma")
                } else {
                    Ok(next)
                };
            }
            Some(_) => {
                return Err("an alternative must be followed by `;` and a parameter, or `,` and \
                another alternative");
            }
            None if rest.is_empty() => return Ok(rest),
            None => return Err("it ends with a space"),
        }
    }
}

/// `token "=" ( token / quoted-string )`; what is known of parameters holds (§3.1).
fn read_parameter(text: &[u8]) -> Result<&[u8], &'static str> {
    let (name, rest) = read_token(text);
    let value = rest.strip_prefix(b"=").filter(|_| !name.is_empty());
    let value = value.ok_or("a parameter must be a name, `=` and a value")?;
    let (value, rest) = match value.strip_prefix(b"\"") {
        Some(quoted) => read_quoted(quoted).ok_or("a quoted value is not closed")?,
        None => match read_token(value) {
            (b"", _) => return Err("a parameter must be a name, `=` and a value"),
            (token, rest) => (token.into(), rest),
        },
    };
    match name {
        b"ma" if value.is_empty() || !value.iter().all(u8::is_ascii_digit) => {
            Err("`ma` must be a number of seconds")
        }
        b"persist" if *value != *b"1" => Err("`persist` must be 1, or left out"),
        _ => Ok(rest),
    }
}

/// The name of a protocol in ALPN: bytes that a token does not have, and `%`, as `%` and two upper-case digits, and no
/// others so (§3).
fn is_protocol(name: &[u8]) -> bool {
    let escaped = |part: &[u8]| {
        let digits = part.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| !digits.contains(|c: char| c.is_ascii_lowercase() || c == '+'));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| byte == b'%' || !is_token_byte(byte))
    };
    !name.is_empty() && name.split(|byte| *byte == b'%').skip(1).all(escaped)
}

/// `[ uri-host ] ":" port`.
fn is_authority(text: &[u8]) -> bool {
    let Some((host, port)) = std::str::from_utf8(text).ok().and_then(|text| text.rsplit_once(':')) else {
        return false;
    };
    let is_port =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = || {
        let is_literal = host.starts_with('[') && host.ends_with(']');
        !host.contains('@')
            && (is_literal || !host.contains(':'))
            && host.parse::<http::uri::Authority>().is_ok()
    };
    is_port && (host.is_empty() || is_host())
}

fn read_token(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(text.len()))
}

/// Behind optional white space.
fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_grammar_are_taken() {
        for text in [
            "clear",
            r#"h3=":443""#,
            r#"h3=":443"; ma=86400"#,
            r#"h3=":443";ma=86400 ;persist=1,h2="alt.example.com:8443"; v="46,43""#,
            r#"h2="[2001:db8::1]:443""#,
            r#"w%3Dx%3Ay%25z="new.example.org:80""#,
            r#"h3=":\443"; x="""#,
        ] {
            assert_eq!(AltSvc::parse(text).map(|value| value.0), Ok(text.to_owned()));
        }
    }

    #[test]
    fn values_beside_the_grammar_are_refused() {
        for text in [
            "",
            "Clear",
            "clear, h3=\":443\"",
            "h3",
            "h3=:443",
            "h3=\":443",
            "h3=\"443\"",
            "h3=\":0\"",
            "h3=\":65536\"",
            "h3=\":+443\"",
            "h3=\"a b:443\"",
            "h3=\"u@a:443\"",
            "h3=\"a:b:443\"",
            "=\":443\"",
            "h 3=\":443\"",
            "h%33=\":443\"",
            "h%3d=\":443\"",
            "h%=\":443\"",
            "h3 =\":443\"",
            "h3=\":443\",",
            "h3=\":443\", ,h2=\":1\"",
            "h3=\":443\";",
            "h3=\":443\"; ma",
            "h3=\":443\"; ma=",
            "h3=\":443\"; ma=1s",
            "h3=\":443\"; persist=0",
            "h3=\":443\"; x=",
            "h3=\":443\"; x=\"a",
            "h3=\":443\" x",
            "h3=\":443\" ",
            " h3=\":443\"",
            "h3=\":443\"\r\nx: y",
        ] {
            assert!(AltSvc::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_takes_the_place_of_what_came() {
        let filter = AltSvc::parse("clear").unwrap();
        for (status, expected) in [(200, &b"clear"[..]), (304, b"clear"), (502, b"clear"), (101, b"old")] {
            let mut exchange = Exchange::default();
            let response = &mut exchange.response;
            response.status = status;
            response.fields.push("Alt-Svc", b"old");
            response.fields.push("alt-svc", b"older");
            let _ = filter.on_response(&mut exchange, &ResponseFacts::default());
            let response = &exchange.response;
            assert_eq!(response.fields.get("alt-svc"), Some(expected), "{status}");
            assert_eq!(response.fields.all("alt-svc").count(), if status == 101 { 2 } else { 1 });
        }
    }
}
