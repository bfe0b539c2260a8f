//! Why a lookup gives nothing.

use std::{
    fmt,
    net::{Ipv4Addr, UdpSocket},
};

use hickory_resolver::{
    net::{DnsError, NetError},
    proto::op::ResponseCode,
};

use crate::net::dial;

/// Why a lookup gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The name's, or that of whom is asked for it; the reason is for people.
    OfName(String),
    /// There was nothing left here to ask with: it says nothing of the name.
    NoSocket,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OfName(why) => why,
            Self::NoSocket => "no ports, descriptors or memory left to query a name server",
        })
    }
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Self::OfName(why.to_owned())
    }
}

impl From<&NetError> for Fault {
    fn from(error: &NetError) -> Self {
        match error {
            NetError::Io(_) | NetError::Busy | NetError::NoConnections if has_no_socket() => Self::NoSocket,
            NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
                "there is no such name".into()
            }
            NetError::Dns(DnsError::NoRecordsFound(_)) => "the name has no address".into(),
            NetError::Timeout => "no name server answers".into(),
            NetError::NoConnections => "there is no name server to ask".into(),
            error => Self::OfName(error.to_string()),
        }
    }
}

/// What was not answered of a lookup while the rest was: it is as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// A family of a host, or a target; for people.
    pub(super) what: String,
    pub(super) why: Fault,
}

/// Whether it is an answer: there is no such name, or nothing of what is asked for at it.
pub(super) fn is_denial(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(_)))
}

/// Whether no socket can be had here at this moment. The resolver does not say so: it leaves out a name server to which it
/// gets no socket, and in the end has none to ask.
fn has_no_socket() -> bool {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_err_and(|error| dial::is_exhausted(&error))
}
