//! Making one thing of a request: which host, which path, how its body is framed. What could be
//! understood in two ways is refused.
//!
//! Previous stop: `http::handle`; next stop: `route::table`. RFC 9112 §3.2 (host and target),
//! RFC 3986 §6.2.2 (paths).

use crate::{
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    fields::Known,
    h1::{Framing, Method, Version},
};

/// Settles host, authority and target of an exchange, and gives the framing of the request body; for
/// HTTP/2, where a stream frames its body itself, `None`.
pub fn normalize(exchange: &mut Exchange) -> Result<Framing> {
    let framing = match exchange.version.has_streams() {
        true => Framing::None,
        false => Framing::of_request(&exchange.request).map_err(malformed)?,
    };
    if !exchange.version.has_streams() {
        settle_authority(exchange)?;
    }
    settle_host(exchange)?;
    settle_path(exchange)?;
    Ok(framing)
}

/// Settles host and path of an exchange whose authority and target were settled before, and kept.
pub fn settle_kept(exchange: &mut Exchange) -> Result<()> {
    settle_host(exchange)?;
    settle_path(exchange)
}

fn malformed(what: &'static str) -> ProxyError {
    Kind::Malformed(what).into()
}

/// Host and target of an HTTP/1.1 request, whichever form the target has (RFC 9112 §3.2).
fn settle_authority(exchange: &mut Exchange) -> Result<()> {
    let Exchange { request, authority, .. } = exchange;
    let mut hosts = request.fields.all_known(Known::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("Host twice"));
    }
    let host = match host {
        Some(host) => std::str::from_utf8(host).map_err(|_| malformed("Host is not a host"))?,
        None if request.version == Version::Http11 => return Err(malformed("Host is missing")),
        None => "",
    };
    if request.method == Method::Connect {
        // authority-form: the target is the authority, and a Host that differs is a trick.
        authority.push_str(&request.target);
        if !host.is_empty() && !host.eq_ignore_ascii_case(&request.target) {
            return Err(malformed("Host differs from the target of CONNECT"));
        }
        return Ok(());
    }
    if request.target.starts_with('/') || request.target == "*" {
        if request.target == "*" && request.method != Method::Options {
            return Err(malformed("the target * is for OPTIONS only"));
        }
        authority.push_str(host);
        return Ok(());
    }
    // absolute-form: its authority replaces Host (RFC 9112 §3.2.2).
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = request.target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| request.target.get(scheme.len()..)).flatten()
    });
    let rest = rest.ok_or_else(|| malformed("the request target is not one"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, path) = rest.split_at(end);
    if name.is_empty() {
        return Err(malformed("the request target has no host"));
    }
    authority.push_str(name);
    request.target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(())
}

/// The host in lower case without port, and only bytes that a host may have.
fn settle_host(exchange: &mut Exchange) -> Result<()> {
    let authority = exchange.authority.as_str();
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or_else(|| malformed("Host is not a host"))?;
            let port = rest.get(end + 1..).unwrap_or_default();
            if !port.is_empty() && !is_port(port.strip_prefix(':')) {
                return Err(malformed("the port of Host is not one"));
            }
            authority.get(..end + 2).unwrap_or_default()
        }
        None => match authority.split_once(':') {
            Some((host, port)) if is_port(Some(port)) => host,
            Some(_) => return Err(malformed("the port of Host is not one")),
            None => authority,
        },
    };
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:%!$&'()*+,;=".contains(&byte);
    if !host.bytes().all(is_of_host) {
        return Err(malformed("Host is not a host"));
    }
    exchange.host.push_str(host);
    exchange.host.make_ascii_lowercase();
    Ok(())
}

fn is_port(port: Option<&str>) -> bool {
    port.is_some_and(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The path in its one spelling: dot segments removed, unreserved characters unescaped
/// (RFC 3986 §6.2.2.2 and §6.2.2.3), so that no spelling of a path escapes the route that guards it.
fn settle_path(exchange: &mut Exchange) -> Result<()> {
    let target = &mut exchange.request.target;
    exchange.path_length = memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len());
    if exchange.request.method == Method::Connect {
        exchange.path_length = target.len();
        return Ok(());
    }
    let path = target.get(..exchange.path_length).unwrap_or_default();
    let is_plain = memchr::memchr2(b'%', b'\\', path.as_bytes()).is_none() && !path.contains("/.");
    if is_plain {
        return Ok(());
    }
    let normal = normal_path(path).map_err(malformed)?;
    let query = target.get(exchange.path_length..).unwrap_or_default();
    exchange.path_length = normal.len();
    *target = normal + query;
    Ok(())
}

/// A path in its one spelling.
fn normal_path(path: &str) -> Result<String, &'static str> {
    let decoded = unescape(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." && segments.pop().is_none() {
                    return Err("the path leads above the root");
                }
                if is_last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// Unescapes unreserved characters, and writes every other escape in upper case.
fn unescape(path: &str) -> Result<String, &'static str> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            // Some backends take a backslash for a slash; a browser never sends one.
            if byte == b'\\' {
                return Err("a backslash in the path");
            }
            decoded.push(char::from(byte));
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err("a percent sign without two hexadecimal digits");
        };
        match (high * 16 + low) as u8 {
            0 => return Err("a NUL in the path"),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(char::from(byte)),
            byte => decoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{HeadLimits, Scan};

    fn normalized(text: &str) -> Result<Exchange> {
        let mut exchange = Exchange::default();
        let (limits, mut scan) = (HeadLimits::default(), Scan::default());
        exchange.request.parse(text.as_bytes(), &limits, &mut scan).unwrap().unwrap();
        normalize(&mut exchange).map(|_| exchange)
    }

    #[test]
    fn every_form_of_target_gives_host_and_path() {
        for (text, authority, host, target) in [
            ("GET /a?b HTTP/1.1\r\nHost: A.example:80\r\n\r\n", "A.example:80", "a.example", "/a?b"),
            ("GET http://B.example/a HTTP/1.1\r\nHost: other\r\n\r\n", "B.example", "b.example", "/a"),
            ("GET HTTP://b?q HTTP/1.1\r\nHost: b\r\n\r\n", "b", "b", "/?q"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a", "a", "*"),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "a:443", "a", "a:443"),
            ("GET / HTTP/1.0\r\n\r\n", "", "", "/"),
            ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "[::1]:8080", "[::1]", "/"),
        ] {
            let exchange = normalized(text).unwrap();
            let found =
                (exchange.authority.as_str(), exchange.host.as_str(), exchange.request.target.as_str());
            assert_eq!(found, (authority, host, target));
        }
    }

    #[test]
    fn what_names_two_hosts_or_none_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:80:90\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
        ] {
            assert!(normalized(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (path, normal) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%7Euser/%41", "/~user/A"),
            ("/a%2fb%20c", "/a%2Fb%20c"),
            ("//a//.//b", "//a///b"),
            ("/...", "/..."),
            ("/.hidden", "/.hidden"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(normal));
        }
        for bad in ["/..", "/a/../..", "/%", "/%4", "/%zz", "/%00", "/a\\b", "/%2e%2e/a"] {
            assert!(normal_path(bad).is_err(), "{bad}");
        }
        let exchange = normalized("GET /x/%2e%2e/y?a=../b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((exchange.path(), exchange.query()), ("/y", "a=../b"));
    }
}
