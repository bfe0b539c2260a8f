//! What binds a client to a backend: the key that hashing policies hash, and the sticky cookie.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Upstream,
    conf::{SameSite, SecureCookie},
};
use crate::{
    balance::{
        conf::{HashOn, PicksBy},
        sticky::{format_token, parse_token, sticky_token},
    },
    exchange::Exchange,
    fields::{Fields, Known, cookies},
    schema::form,
};

/// The key of what comes from a client, whatever it is; 0 for policies that do not hash.
pub fn key_of_client(upstream: &Upstream, client: IpAddr) -> u64 {
    match upstream.conf.balance.picks_by() {
        PicksBy::Address | PicksBy::HashOn => of_address(client),
        PicksBy::Chance | PicksBy::State => 0,
    }
}

fn of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => xxh3_64(&address.octets()),
        IpAddr::V6(address) => xxh3_64(&address.octets()),
    }
}

/// The key of this exchange; 0 for policies that do not hash.
pub fn key(upstream: &Upstream, exchange: &Exchange) -> u64 {
    let by_address = || of_address(exchange.facts.client_address());
    match upstream.conf.balance.picks_by() {
        PicksBy::Address => by_address(),
        PicksBy::HashOn => match &upstream.conf.hash_on {
            HashOn::ClientIp => by_address(),
            HashOn::Path => xxh3_64(exchange.path().as_bytes()),
            HashOn::Header(name) => xxh3_64(exchange.request.fields.get(name).unwrap_or_default()),
            HashOn::Cookie(name) => xxh3_64(cookie(&exchange.request.fields, name).unwrap_or_default()),
            HashOn::Query(name) => {
                let is_it = |found: &str| form::decoded(found).eq(name.bytes());
                let found = form::parameters(exchange.query()).find(|(found, _)| is_it(found));
                xxh3_64(&form::value(found.map_or("", |(_, value)| value)))
            }
        },
        PicksBy::Chance | PicksBy::State => 0,
    }
}

/// The backend that the client's sticky cookie names; an unknown value names none.
pub fn sticky(upstream: &Upstream, exchange: &Exchange) -> Option<usize> {
    let conf = upstream.conf.sticky.as_ref()?;
    let value = cookie(&exchange.request.fields, &conf.cookie)?;
    let token = parse_token(std::str::from_utf8(value).ok()?)?;
    upstream.backends.iter().position(|backend| sticky_token(&upstream.conf.name, &backend.name) == token)
}

/// The Set-Cookie that binds the client to a backend (RFC 6265 §4.1).
pub fn set_cookie(upstream: &Upstream, index: usize, is_tls: bool) -> Option<String> {
    let conf = upstream.conf.sticky.as_ref()?;
    let backend = upstream.backends.get(index)?;
    let mut cookie = format!(
        "{}={}; Path={}; HttpOnly; SameSite={}",
        conf.cookie,
        format_token(sticky_token(&upstream.conf.name, &backend.name)),
        conf.path,
        match conf.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        },
    );
    if let Some(domain) = &conf.domain {
        cookie.push_str(&format!("; Domain={domain}"));
    }
    if !conf.ttl.is_zero() {
        cookie.push_str(&format!("; Max-Age={}", conf.ttl.as_secs().max(1)));
    }
    let is_secure = match conf.secure {
        SecureCookie::Auto => is_tls,
        SecureCookie::Always => true,
        SecureCookie::Never => false,
    };
    if is_secure {
        cookie.push_str("; Secure");
    }
    Some(cookie)
}

/// The value of a cookie (RFC 6265 §5.4).
fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    cookies(fields.all_known(Known::Cookie), name).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, runtime::build};

    #[test]
    fn a_parameter_is_hashed_in_whatever_spelling_it_comes() {
        let text = "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"r\"\nupstream = \"u\"\n\
            [[upstream]]\nname = \"u\"\nbalance = \"maglev\"\nhash_on = \"query:user id\"\n\
            backend = [{ address = \"127.0.0.1:1\" }]\n";
        let snapshot = build::build_apart(config::parse(text, "test.toml".as_ref()).unwrap()).unwrap();
        let of = |target: &str| {
            let mut exchange = Exchange { path_length: 1, ..Exchange::default() };
            exchange.request.target.push_str(target);
            key(&snapshot.upstreams[0], &exchange)
        };
        assert_eq!(of("/?a&user+id=7%2B"), of("/?%75ser%20id=%37%2b&b"));
        assert_ne!(of("/?user+id=7"), of("/?user+id=8"));
        assert_eq!(of("/?userid=7"), of("/"));
    }
}
