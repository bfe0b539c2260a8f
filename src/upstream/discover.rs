//! Discovery.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::backend::{Address, Backend};

/// Seeds literals.
pub fn seed(backend: &Backend) {
    if let Address::Host { host, port } = &backend.address {
        if let Ok(ip) = host.parse::<IpAddr>() {
            backend.shared.resolved.store(Arc::new(vec![SocketAddr::new(ip, *port)]));
        }
    }
}
