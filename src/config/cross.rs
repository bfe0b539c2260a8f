//! What no table alone can say.

use super::{Config, listen::Protocol};
use crate::settings::{Node, Reader};

/// Checks `config` as a whole, and fills in defaults that depend on other tables.
pub(super) fn check(config: &mut Config, _root: &Node, _reader: &mut Reader<'_>) {
    default_listeners(config);
}

/// A route without `listeners` holds for every http and https listener.
fn default_listeners(config: &mut Config) {
    let speaks_http = |protocol| match protocol {
        Protocol::Http | Protocol::Https => true,
    };
    let listeners = config.listener.iter();
    let names: Vec<String> = listeners
        .filter(|listener| speaks_http(listener.protocol))
        .map(|listener| listener.name.clone())
        .collect();
    for route in &mut config.route {
        if route.listeners.is_empty() {
            route.listeners.clone_from(&names);
        }
    }
}
