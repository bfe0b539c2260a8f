//! How other proxies name what placeholders name: who moves here is told our name.

/// The first thing in a text that looks like another program's variable, and our name for it. In a `body` only what can
/// be nothing else.
pub(super) fn find(text: &str, is_body: bool) -> Option<(&str, Option<String>)> {
    let is_sure = |(_, ours): &(&str, Option<String>)| ours.is_some() || !is_body;
    braces(text).or_else(|| percent(text)).filter(is_sure).or_else(|| dollar(text, is_body))
}

/// Our name for another program's, without its signs: `remote_addr`, `http.request.host`.
pub(super) fn ours(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, ours)) = TABLE.iter().find(|(theirs, _)| *theirs == lower) {
        return Some((*ours).to_owned());
    }
    let prefixed = PREFIXES.iter().find_map(|(prefix, ours)| Some((lower.strip_prefix(prefix)?, ours)));
    prefixed.filter(|(rest, _)| !rest.is_empty()).map(|(rest, ours)| match *ours {
        // nginx and Apache write names of fields with underscores.
        "header" => format!("header.{}", rest.replace('_', "-")),
        ours => format!("{ours}.{rest}"),
    })
}

/// `{{ .Request.Host }}` of Go templates.
fn braces(text: &str) -> Option<(&str, Option<String>)> {
    let mut from = 0;
    while let Some(length) = text.get(from..)?.find("}}") {
        let end = from + length;
        if let Some(open) = text.get(from..end)?.rfind("{{") {
            let name = text.get(from + open + 2..end)?.trim();
            if name.starts_with('.') || name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Some((text.get(from + open..end + 2)?, ours(name.trim_start_matches('.'))));
            }
        }
        from = end + 2;
    }
    None
}

/// `%[src]` of HAProxy, `%{REMOTE_ADDR}e` of Apache.
fn percent(text: &str) -> Option<(&str, Option<String>)> {
    for (open, close) in [("%[", ']'), ("%{", '}')] {
        let Some(start) = text.find(open) else { continue };
        let inner = text.get(start + 2..)?;
        let end = inner.find(close)?;
        let name = inner.get(..end)?;
        let call = name.split_once('(').map(|(call, of)| (call, of.trim_end_matches(')')));
        let ours = match call {
            Some(("hdr" | "req.hdr" | "req.fhdr", field)) => {
                Some(format!("header.{}", field.to_ascii_lowercase()))
            }
            Some(("cook" | "req.cook", cookie)) => Some(format!("cookie.{cookie}")),
            Some(("url_param" | "urlp", parameter)) => Some(format!("query.{parameter}")),
            Some(_) => None,
            None => ours(name.split(',').next().unwrap_or_default()),
        };
        return Some((text.get(start..start + 2 + end + 1)?, ours));
    }
    None
}

/// `$remote_addr` of nginx, `${1}` of Traefik, `$1` of both.
fn dollar(text: &str, is_body: bool) -> Option<(&str, Option<String>)> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find('$') {
        let start = from + at;
        let rest = text.get(start + 1..)?;
        let (open, inner) = match rest.strip_prefix('{') {
            Some(inner) => (1, inner),
            None => (0, rest),
        };
        let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = inner.find(|c| !is_sign(c)).unwrap_or(inner.len());
        let name = inner.get(..length)?;
        let is_closed = open == 1 && inner.get(length..)?.starts_with('}');
        let ours = match name.parse::<u32>() {
            Ok(number) if !is_body && name.len() == 1 => Some(format!("path.{number}")),
            // `$path` in a script is its own.
            Ok(_) | Err(_) => ours(name).filter(|_| !is_body || name.contains('_')),
        };
        if ours.is_some() || (is_closed && !is_body) {
            let end = start + 1 + open + length + usize::from(is_closed);
            return Some((text.get(start..end)?, ours));
        }
        from = start + 1;
    }
    None
}

/// nginx, HAProxy, Apache, Traefik and Caddy, in lower case; each name stands where one of them has it.
const TABLE: &[(&str, &str)] = &[
    // nginx
    ("remote_addr", "client_ip"),
    ("realip_remote_addr", "client_ip"),
    ("proxy_add_x_forwarded_for", "header.x-forwarded-for"),
    ("remote_port", "client_port"),
    ("request_uri", "path_and_query"),
    ("uri", "path"),
    ("document_uri", "path"),
    ("args", "query"),
    ("query_string", "query"),
    ("is_args", "query"),
    ("http_host", "host"),
    ("host", "host"),
    ("scheme", "scheme"),
    ("request_method", "method"),
    ("server_port", "port"),
    ("request_id", "request_id"),
    ("time_iso8601", "time.iso"),
    ("msec", "time.unix"),
    ("upstream_addr", "backend"),
    ("ssl_protocol", "tls.version"),
    ("ssl_cipher", "tls.cipher"),
    ("ssl_server_name", "tls.sni"),
    ("ssl_client_s_dn", "tls.client.subject"),
    ("ssl_client_fingerprint", "tls.client.fingerprint"),
    ("ssl_client_cert", "tls.client.certificate"),
    ("ssl_client_escaped_cert", "tls.client.certificate"),
    ("ssl_client_raw_cert", "tls.client.certificate"),
    // HAProxy
    ("src", "client_ip"),
    ("src_port", "client_port"),
    ("path", "path"),
    ("query", "query"),
    ("method", "method"),
    ("url", "path_and_query"),
    ("pathq", "path_and_query"),
    ("req.hdr(host)", "host"),
    ("unique-id", "request_id"),
    ("ssl_fc_protocol", "tls.version"),
    ("ssl_fc_cipher", "tls.cipher"),
    ("ssl_fc_sni", "tls.sni"),
    ("ssl_c_s_dn", "tls.client.subject"),
    ("ssl_c_sha1", "tls.client.fingerprint"),
    ("ssl_c_der", "tls.client.certificate"),
    ("fe_name", "listener"),
    ("be_name", "route"),
    ("srv_name", "backend"),
    ("date", "time.unix"),
    // Apache
    ("request_scheme", "scheme"),
    ("server_name", "host"),
    ("the_request", "path_and_query"),
    ("unique_id", "request_id"),
    ("ssl_tls_sni", "tls.sni"),
    // Traefik and Go templates
    ("request.host", "host"),
    ("request.method", "method"),
    ("request.url.path", "path"),
    ("request.remoteaddr", "client_ip"),
    // Caddy
    ("remote", "client_ip"),
    ("remote_host", "client_ip"),
    ("http.request.remote.host", "client_ip"),
    ("http.request.remote", "client_ip"),
    ("http.request.remote.port", "client_port"),
    ("http.request.scheme", "scheme"),
    ("http.request.host", "host"),
    ("http.request.hostport", "host"),
    ("hostport", "host"),
    ("http.request.port", "port"),
    ("http.request.method", "method"),
    ("http.request.uri", "path_and_query"),
    ("http.request.uri.path", "path"),
    ("http.request.uri.query", "query"),
    ("http.request.uuid", "request_id"),
    ("http.request.tls.version", "tls.version"),
    ("http.request.tls.cipher_suite", "tls.cipher"),
    ("http.request.tls.server_name", "tls.sni"),
    ("http.request.tls.client.subject", "tls.client.subject"),
    ("http.request.tls.client.san", "tls.client.san"),
    ("http.request.tls.client.fingerprint", "tls.client.fingerprint"),
    ("tls_version", "tls.version"),
    ("tls_cipher", "tls.cipher"),
    ("time.now.unix", "time.unix"),
    ("time.now", "time.iso"),
];

/// The same, of names with a name in them.
const PREFIXES: &[(&str, &str)] = &[
    ("http.request.header.", "header"),
    ("http.request.uri.query.", "query"),
    ("http.request.cookie.", "cookie"),
    ("http.regexp.", "path"),
    ("http_", "header"),
    ("arg_", "query"),
    ("cookie_", "cookie"),
    ("re.", "path"),
];
