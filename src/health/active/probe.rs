//! How one backend is checked.

use std::sync::Arc;

use rustls::{ClientConfig, pki_types::ServerName};

use crate::{backend::Backend, h1::HeadLimits, health::conf::HealthCheckConf, tls::conf::Starttls};

/// How one backend is checked, as a generation configures it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What is sent and what passes.
    pub conf: HealthCheckConf,
    /// Whom it is sent to.
    pub backend: Arc<Backend>,
    /// The backend's place in its upstream.
    pub index: usize,
    /// TLS to the backend, with the name to ask for, and what is said before it.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>, Starttls)>,
    /// Which version of HTTP a check speaks.
    pub version: CheckVersion,
    /// What a connection begins with, before TLS: a PROXY header that says that it is nobody's.
    pub first: Vec<u8>,
    /// The bounds of a response's head, as for requests.
    pub limits: HeadLimits,
}

impl Probe {
    /// Whether a check asks as that of another generation does, and takes the same for an answer.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let is_tls_alike = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some((config, name, how)), Some((others, other_name, other_how))) => {
                Arc::ptr_eq(config, others) && (name, how) == (other_name, other_how)
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        // What decides on when, and on what becomes of the answer, holds from then on.
        let is_alike = |conf: &HealthCheckConf| HealthCheckConf {
            interval: self.conf.interval,
            rise: self.conf.rise,
            fall: self.conf.fall,
            initial: self.conf.initial,
            ..conf.clone()
        };
        is_tls_alike
            && is_alike(&other.conf) == self.conf
            && self.backend.address == other.backend.address
            && (self.version, &self.first, self.limits) == (other.version, &other.first, other.limits)
    }
}

/// Which version of HTTP a check speaks, as requests do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, by ALPN where there is TLS.
    Http2,
    /// What the backend takes by ALPN.
    Agreed,
}
