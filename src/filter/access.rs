//! `allow` and `deny` of a route.

use std::net::IpAddr;

use ipnet::IpNet;

use super::hooks::{Hooks, Verdict};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::Exchange,
    template::Place,
};

/// Which clients a route is for.
#[derive(Debug)]
pub struct Access {
    route: Box<str>,
    allow: Box<[IpNet]>,
    deny: Box<[IpNet]>,
}

impl Access {
    /// The filter of these networks; `None` where everybody is let in.
    pub fn of(route: &str, allow: &[IpNet], deny: &[IpNet]) -> Option<Self> {
        let is_open = allow.is_empty() && deny.is_empty();
        (!is_open).then(|| Self { route: route.into(), allow: allow.into(), deny: deny.into() })
    }

    /// Whether a client is let in; `deny` goes before `allow`.
    fn admits(&self, address: IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

impl Hooks for Access {
    fn on_connect(&self, client: IpAddr) -> Result<()> {
        if self.admits(client) {
            return Ok(());
        }
        let why = format!("by `allow` and `deny` of route `{}`", self.route);
        Err(ProxyError::because(Kind::ClientDenied, why))
    }

    fn on_request(&self, exchange: &Exchange, _: Place<'_>) -> Result<Verdict> {
        self.on_connect(exchange.facts.client_address()).map(|()| Verdict::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_goes_before_allow() {
        let networks = |text: &str| vec![text.parse().unwrap()];
        let access = Access::of("a", &networks("10.0.0.0/8"), &networks("10.1.0.0/16")).unwrap();
        let admits = |address: &str| access.on_connect(address.parse().unwrap()).is_ok();
        assert!(admits("10.0.0.1") && !admits("10.1.0.1") && !admits("192.0.2.1") && !admits("2001:db8::1"));
        let access = Access::of("a", &[], &networks("10.1.0.0/16")).unwrap();
        assert!(access.admits("192.0.2.1".parse().unwrap()));
        assert!(Access::of("a", &[], &[]).is_none());
    }
}
