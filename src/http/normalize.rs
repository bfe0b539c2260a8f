//! Making one thing of a request: which host, which path, how its body is framed. What could be
//! understood in two ways is refused.
//!
//! Previous stop: `http::handle`; next stop: `route::table`. RFC 9112 §3.2 (host and target),
//! RFC 3986 §6.2.2 (paths).

use super::{path, received};
use crate::{
    config::listen::{PathsConf, Underscores},
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    fields::Known,
    h1::{Framing, Method, Version},
};

/// Cleans what was received, makes one thing of host, authority and target of an exchange, and gives the framing of the
/// request body; for HTTP/2, where a stream frames its body itself, there is none. `of_client` is the field by which trusted
/// proxies name their clients, where the listener has one.
pub fn normalize(
    exchange: &mut Exchange,
    underscores: Underscores,
    of_client: Option<&str>,
    paths: &PathsConf,
) -> Result<Framing> {
    let framing = framing(exchange)?;
    received::clean(exchange, underscores, of_client)?;
    find_place(exchange, paths)?;
    Ok(framing)
}

/// The same of a request that a peer asks for: what its client may not say was taken out there, before the route added to it.
pub(super) fn normalize_for_peer(exchange: &mut Exchange, paths: &PathsConf) -> Result<Framing> {
    let framing = framing(exchange)?;
    received::clean_for_peer(exchange)?;
    find_place(exchange, paths)?;
    Ok(framing)
}

fn framing(exchange: &Exchange) -> Result<Framing> {
    match exchange.version.has_streams() {
        true => Ok(Framing::None),
        false => Framing::of_request(&exchange.request).map_err(malformed),
    }
}

/// Makes one thing of host, authority and target.
fn find_place(exchange: &mut Exchange, paths: &PathsConf) -> Result<()> {
    if !exchange.version.has_streams() {
        find_authority(exchange)?;
    }
    normalize_authority(exchange)?;
    path::normalize(exchange, paths)
}

fn malformed(what: &'static str) -> ProxyError {
    Kind::Malformed(what).into()
}

/// Authority and target of an HTTP/1.1 request, whichever form the target has (RFC 9112 §3.2).
fn find_authority(exchange: &mut Exchange) -> Result<()> {
    let Exchange { request, authority, .. } = exchange;
    let (host, other) = {
        let mut hosts = request.fields.all_known(Known::Host);
        (hosts.next(), hosts.next())
    };
    if other.is_some() {
        return Err(malformed("Host twice"));
    }
    let host = match host {
        Some(host) => std::str::from_utf8(host).map_err(|_| malformed("Host is invalid"))?,
        None if request.version == Version::Http11 => return Err(malformed("Host is missing")),
        None => "",
    };
    if request.method == Method::Connect {
        // authority-form: the target is the authority, and a Host that differs is a trick.
        authority.push_str(&request.target);
        let (name, _) = split_port(&request.target)?;
        let is_same = host.eq_ignore_ascii_case(&request.target) || host.eq_ignore_ascii_case(name);
        if !host.is_empty() && !is_same {
            return Err(malformed("Host differs from the target of CONNECT"));
        }
        return Ok(());
    }
    if request.target.starts_with('/') || request.target == "*" {
        if request.target == "*" && request.method != Method::Options {
            return Err(malformed("the target * is for OPTIONS only"));
        }
        if host.is_empty() && request.version == Version::Http11 {
            return Err(malformed("Host is empty"));
        }
        authority.push_str(host);
        return Ok(());
    }
    // absolute-form: its authority replaces Host (RFC 9112 §3.2.2).
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = request.target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| request.target.get(scheme.len()..)).flatten()
    });
    let rest = rest.ok_or_else(|| malformed("the request target is invalid"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, path) = rest.split_at(end);
    if name.is_empty() {
        return Err(malformed("the request target has no host"));
    }
    authority.push_str(name);
    let fields = &mut request.fields;
    if fields.known(Known::Host) != Some(name.as_bytes()) {
        // Who looks at the field sees the same host as who looks at the target.
        fields.set_known(Known::Host, name.as_bytes());
    }
    request.target = match path {
        // RFC 9112 §3.2.4: about the server as a whole.
        "" if request.method == Method::Options => "*".to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/{path}"),
    };
    Ok(())
}

/// Makes the authority the one that key, route and backend know: lower case, a port that is one, without leading zeros,
/// and none where it is the scheme's (RFC 9110 §4.2.3), no dot at the end of the name; and the host without the port.
pub(super) fn normalize_authority(exchange: &mut Exchange) -> Result<()> {
    let is_plain = |byte: u8| PLAIN_OF_HOST.get(usize::from(byte)).copied().unwrap_or_default();
    if exchange.authority.bytes().fold(true, |is, byte| is & is_plain(byte))
        && !exchange.authority.ends_with('.')
    {
        // As nearly all are: a name in lower case.
        exchange.host.push_str(&exchange.authority);
        return Ok(());
    }
    let (host, port) = split_port(&exchange.authority)?;
    // The root of DNS, which a name may end with, is no part of who is meant. CONNECT goes on with its target as it is.
    let host = if exchange.request.method == Method::Connect { host } else { host.trim_end_matches('.') };
    let is_of_host = |byte: u8| OF_HOST.get(usize::from(byte)).copied().unwrap_or_default();
    // RFC 9110 §4.2.1: a port alone names nobody.
    if host.is_empty() && !exchange.authority.is_empty() {
        return Err(malformed("Host is invalid"));
    }
    if !host.bytes().fold(true, |is, byte| is & is_of_host(byte)) {
        return Err(malformed("Host is invalid"));
    }
    exchange.host.push_str(host);
    exchange.host.make_ascii_lowercase();
    // CONNECT names a port always.
    let default = if exchange.scheme() == "https" { 443 } else { 80 };
    let port = port.filter(|port| *port != default || exchange.request.method == Method::Connect);
    exchange.authority.clear();
    exchange.authority.push_str(&exchange.host);
    if let Some(port) = port {
        exchange.authority.push(':');
        exchange.authority.push_str(&port.to_string());
    }
    Ok(())
}

/// Bytes of a host (RFC 3986 §3.2.2).
const OF_HOST: [bool; 256] =
    table(b"-._~[]:%!$&'()*+,;=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");

/// Those of them that stay as they are, and begin no port.
const PLAIN_OF_HOST: [bool; 256] = table(b"-._~%!$&'()*+,;=abcdefghijklmnopqrstuvwxyz0123456789");

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
const fn table(signs: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    table
}

/// Host and port of an authority (RFC 3986 §3.2); an empty port is none.
pub(super) fn split_port(authority: &str) -> Result<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or_else(|| malformed("Host is invalid"))? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    let no_port = || malformed("the port in Host is invalid");
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => return Ok((host, None)),
        None => return Err(no_port()),
        Some("") => return Ok((host, None)),
        Some(port) => port,
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|number| is_number && *number > 0);
    number.map(|number| (host, Some(number))).ok_or_else(no_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{HeadLimits, Scan};

    fn normalized(text: &str) -> Result<Exchange> {
        let mut exchange = Exchange::default();
        let (limits, mut scan) = (HeadLimits::default(), Scan::default());
        exchange.request.parse(text.as_bytes(), &limits, &mut scan).unwrap().unwrap();
        normalize(&mut exchange, Underscores::Drop, None, &PathsConf::default()).map(|_| exchange)
    }

    #[test]
    fn every_form_of_target_gives_host_and_path() {
        for (text, authority, host, target) in [
            ("GET /a?b HTTP/1.1\r\nHost: A.example:80\r\n\r\n", "a.example", "a.example", "/a?b"),
            ("GET http://B.example/a HTTP/1.1\r\nHost: other\r\n\r\n", "b.example", "b.example", "/a"),
            ("OPTIONS http://B.example HTTP/1.1\r\nHost: other\r\n\r\n", "b.example", "b.example", "*"),
            ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "a", "a", "/"),
            ("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", "a.example", "a.example", "/"),
            ("GET / HTTP/1.1\r\nHost: A.example.:81\r\n\r\n", "a.example:81", "a.example", "/"),
            ("GET http://b.example./a HTTP/1.1\r\nHost: c\r\n\r\n", "b.example", "b.example", "/a"),
            ("CONNECT a.:80 HTTP/1.1\r\nHost: a.\r\n\r\n", "a.:80", "a.", "a.:80"),
            ("GET / HTTP/1.1\r\nHost: a:00080\r\n\r\n", "a", "a", "/"),
            ("GET / HTTP/1.1\r\nHost: a:08080\r\n\r\n", "a:8080", "a", "/"),
            ("CONNECT a:80 HTTP/1.1\r\nHost: A\r\n\r\n", "a:80", "a", "a:80"),
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

    /// RFC 9112 §3.2.2. Else a condition, a key or a placeholder of the field would be about another host than the route.
    #[test]
    fn host_of_an_absolute_target_is_in_the_field_too() {
        for text in [
            "GET http://b.example:8080/a HTTP/1.1\r\nHost: other\r\nx-a: 1\r\n\r\n",
            "GET http://b.example:8080/a HTTP/1.1\r\nHost: b.example:8080\r\nx-a: 1\r\n\r\n",
            "GET http://b.example:8080/a HTTP/1.0\r\nx-a: 1\r\n\r\n",
            "OPTIONS http://b.example:8080 HTTP/1.1\r\nHost: other\r\nx-a: 1\r\n\r\n",
        ] {
            let Exchange { request, authority, .. } = normalized(text).unwrap();
            let hosts: Vec<_> = request.fields.all_known(Known::Host).collect();
            assert_eq!(hosts, [authority.as_bytes()], "{text}");
            assert_eq!((authority.as_str(), request.fields.get("x-a")), ("b.example:8080", Some(&b"1"[..])));
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
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: .\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: ..:80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1].\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: :8080\r\n\r\n",
            "GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]8\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:81\r\n\r\n",
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
    fn a_path_ends_where_its_query_begins() {
        let exchange = normalized("GET /x/%2e%2e/y?a=../b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((exchange.path(), exchange.query()), ("/y", "a=../b"));
    }
}
