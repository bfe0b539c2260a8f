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
