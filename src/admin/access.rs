//! Who may ask: the bearer token, and without one the guards against web pages of others.

use std::{fmt, net::IpAddr};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Digest, SHA256, digest},
};
use http::{HeaderValue, StatusCode, header, request::Parts, uri::Authority};

use super::reply::{Reply, error};
use crate::config::{admin::AdminConf, listen::ListenAddress};

/// Who may ask.
pub enum Access {
    /// Who brings the token; its digest is kept, so that a comparison discloses nothing, not even a length.
    Token(Digest),
    /// Who can reach it and asks for it by address or as `localhost`, and not from a page of another
    /// origin. A page can make a name of its own lead to 127.0.0.1 (DNS rebinding) and then read answers;
    /// it cannot choose another `Host`. It can send a form to 127.0.0.1; it cannot leave `Origin` out.
    Local,
    /// Who can open the unix socket: its file has an owner and a mode, and no browser opens it.
    Anyone,
}

impl Access {
    /// Who may ask, as configured. Fails when the token cannot be read.
    pub fn new(conf: &AdminConf) -> Result<Self, String> {
        if let Some(secret) = &conf.token_file {
            let token = secret.reveal().map_err(|error| format!("cannot read the admin token: {error}"))?;
            // The configuration was checked, but the file may have been emptied since.
            return match token.is_empty() {
                true => Err("the admin token is empty".into()),
                false => Ok(Self::Token(digest(&SHA256, token.as_bytes()))),
            };
        }
        Ok(match conf.address {
            ListenAddress::Tcp(_) => Self::Local,
            ListenAddress::Unix(_) => Self::Anyone,
        })
    }

    /// Lets the request in, or makes the refusal.
    pub fn check(&self, head: &Parts) -> Result<(), Box<Reply>> {
        match self {
            Self::Anyone => Ok(()),
            Self::Token(expected) if has_token(head, expected) => Ok(()),
            Self::Token(_) => {
                let hint = "send `Authorization: Bearer …` with a token of `token_file`";
                let message = "the admin API needs its token";
                let mut reply = error(StatusCode::UNAUTHORIZED, "unauthorized", message, hint);
                let challenge = HeaderValue::from_static("Bearer realm=\"pointsman\"");
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                Err(Box::new(reply))
            }
            Self::Local if is_for_us(head) && !is_from_elsewhere(head) => Ok(()),
            Self::Local if is_for_us(head) => {
                let message = "without a token, nothing is done for pages of other origins";
                let hint = "leave `Origin` out, or set `token_file`";
                Err(Box::new(error(StatusCode::FORBIDDEN, "foreign_origin", message, hint)))
            }
            Self::Local => {
                let message = "without a token, only requests for an IP address or localhost are answered";
                let hint = "ask for http://127.0.0.1, or set `token_file`";
                Err(Box::new(error(StatusCode::MISDIRECTED_REQUEST, "misdirected", message, hint)))
            }
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(secret)",
            Self::Local => "Local",
            Self::Anyone => "Anyone",
        })
    }
}

fn has_token(head: &Parts, expected: &Digest) -> bool {
    let Some(value) = head.headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, token)) = value.as_bytes().split_at_checked(7) else { return false };
    let given = digest(&SHA256, token.trim_ascii());
    scheme.eq_ignore_ascii_case(b"bearer ")
        && verify_slices_are_equal(given.as_ref(), expected.as_ref()).is_ok()
}

/// Whether the request was made for an IP address or for `localhost`. HTTP/1.0 may name no host; a browser
/// does not speak it.
fn is_for_us(head: &Parts) -> bool {
    let host = head.headers.get(header::HOST);
    let authority = match (head.uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, None) => return true,
        (None, Some(host)) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => authority,
            Err(_) => return false,
        },
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether a page sent it that did not come from here.
fn is_from_elsewhere(head: &Parts) -> bool {
    let Some(origin) = head.headers.get(header::ORIGIN) else { return false };
    let own = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    own.is_none() || origin.as_bytes().strip_prefix(b"http://") != own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, value: &str) -> Parts {
        http::Request::get("/metrics").header(name, value).body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_the_token_itself_lets_in() {
        let access = Access::Token(digest(&SHA256, b"s3cret"));
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(access.check(&head("authorization", good)).is_ok(), "{good}");
        }
        let bad = [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer S3cret",
            "Bearer ",
            "Bearer",
            "s3cret",
            "Basic s3cret",
        ];
        for bad in bad {
            let reply = access.check(&head("authorization", bad)).unwrap_err();
            assert_eq!(reply.status(), 401, "{bad}");
            assert_eq!(reply.headers()["www-authenticate"], "Bearer realm=\"pointsman\"");
        }
        assert!(access.check(&head("x-other", "s3cret")).is_err());
        assert_eq!(format!("{access:?}"), "Token(secret)");
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        for good in ["127.0.0.1:9900", "localhost", "LocalHost:9900", "[::1]:9900", "[::1]", "10.0.0.1"] {
            assert!(Access::Local.check(&head("host", good)).is_ok(), "{good}");
        }
        for bad in ["evil.test", "evil.test:9900", "127.0.0.1.evil.test", "localhost.evil.test", "a b", ""] {
            assert_eq!(Access::Local.check(&head("host", bad)).unwrap_err().status(), 421, "{bad}");
        }
        assert!(Access::Anyone.check(&head("host", "evil.test")).is_ok());
        let absolute = http::Request::get("http://evil.test/").header("host", "localhost").body(()).unwrap();
        assert!(Access::Local.check(&absolute.into_parts().0).is_err());
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let ask = |origin: &str| {
            let mut head = head("host", "127.0.0.1:9900");
            head.headers.insert("origin", origin.parse().unwrap());
            Access::Local.check(&head).map_err(|reply| reply.status().as_u16())
        };
        assert_eq!(ask("http://127.0.0.1:9900"), Ok(()));
        for bad in ["http://evil.test", "null", "http://127.0.0.1:3000", "https://127.0.0.1:9900", ""] {
            assert_eq!(ask(bad), Err(403), "{bad}");
        }
    }
}
