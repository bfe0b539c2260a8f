//! Who may ask: who brings the bearer token, or who can open the unix socket.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Digest, SHA256, digest},
};
use http::{HeaderValue, StatusCode, header, request::Parts};

use super::{
    own_token,
    reply::{Reply, error},
};
use crate::{
    config::{admin::AdminConf, listen::ListenAddress},
    schema::Secret,
};

/// What is answered at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every endpoint.
    Everything,
    /// Metrics and health: all who may ask for more ask elsewhere.
    Metrics,
}

/// Who may ask.
pub enum Access {
    /// Who brings the token; its digest is kept, so that a comparison discloses nothing, not even a length.
    Token(Tokens),
    /// Nobody: there should be a token, and none could be made.
    Nobody,
    /// Who can open the unix socket: its file has an owner and a mode, and no browser opens it.
    Anyone,
}

/// Digests of tokens.
pub struct Tokens {
    /// For everything.
    all: Digest,
    /// For metrics only, where there is one.
    metrics: Option<Digest>,
}

impl Access {
    /// Who may ask, as configured; `bound` is where it really listens. Fails when the token that is configured cannot be
    /// read.
    pub fn new(conf: &AdminConf, bound: &str) -> Result<Self, String> {
        if let Some(secret) = &conf.token_file {
            let token = secret.reveal().map_err(|error| format!("cannot read the admin token: {error}"))?;
            // The configuration was checked, but the file may have been emptied since.
            return match token.is_empty() {
                true => Err("the admin token is empty".into()),
                false => Self::by_token(&token, conf),
            };
        }
        Ok(match conf.address {
            ListenAddress::Tcp(_) | ListenAddress::Udp(_) => Self::by_own_token(conf, bound)?,
            ListenAddress::Unix(_) => Self::Anyone,
        })
    }

    /// Who may ask at the address that is for metrics alone: everyone where no token is named for it. Fails when that one
    /// cannot be read.
    pub fn of_metrics(conf: &AdminConf) -> Result<Self, String> {
        let Some(token) = token_of_metrics(conf)? else { return Ok(Self::Anyone) };
        match token.is_empty() {
            true => Err("the metrics token is empty".into()),
            false => Ok(Self::Token(Tokens { all: digest(&SHA256, token.as_bytes()), metrics: None })),
        }
    }

    fn by_own_token(conf: &AdminConf, bound: &str) -> Result<Self, String> {
        match own_token::token(bound) {
            Ok((token, path)) => {
                tracing::info!(token_file = %path.display(), "admin token");
                Self::by_token(&token, conf)
            }
            Err(error) => {
                tracing::error!(
                    "a token for the admin endpoint cannot be created, so only health is answered: {error}; \
                     set `token_file` in `[admin]`, or listen on a unix socket"
                );
                Ok(Self::Nobody)
            }
        }
    }

    fn by_token(token: &str, conf: &AdminConf) -> Result<Self, String> {
        let of_metrics = token_of_metrics(conf)?;
        let digest = |token: &str| digest(&SHA256, token.as_bytes());
        // An empty one would let in who sends none.
        let metrics = of_metrics.filter(|token| !token.is_empty()).map(|token| digest(&token));
        Ok(Self::Token(Tokens { all: digest(token), metrics }))
    }

    /// Lets the request in, or makes the refusal. `is_watched` says that it is for numbers, which are for more than what
    /// changes things.
    pub fn check(&self, head: &Parts, is_watched: bool) -> Result<(), Box<Reply>> {
        match self {
            Self::Anyone => Ok(()),
            Self::Token(tokens) if has_token(head, &tokens.all) => Ok(()),
            Self::Token(Tokens { metrics: Some(expected), .. })
                if is_watched && has_token(head, expected) =>
            {
                Ok(())
            }
            Self::Token(_) | Self::Nobody => {
                let hint = "send `Authorization: Bearer …` with the token of `token_file`, or of the file \
                    given in the log";
                let message = "the admin API needs its token";
                let mut reply = error(StatusCode::UNAUTHORIZED, "unauthorized", message, hint);
                let challenge = HeaderValue::from_static("Bearer realm=\"pointsman\"");
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                Err(Box::new(reply))
            }
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(secret)",
            Self::Nobody => "Nobody",
            Self::Anyone => "Anyone",
        })
    }
}

fn token_of_metrics(conf: &AdminConf) -> Result<Option<String>, String> {
    let secret = conf.metrics.as_ref().and_then(|metrics| metrics.token_file.as_ref());
    let token = secret.map(Secret::reveal).transpose();
    token.map_err(|error| format!("cannot read the metrics token: {error}"))
}

fn has_token(head: &Parts, expected: &Digest) -> bool {
    let Some(value) = head.headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, token)) = value.as_bytes().split_at_checked(7) else { return false };
    let given = digest(&SHA256, token.trim_ascii());
    scheme.eq_ignore_ascii_case(b"bearer ")
        && verify_slices_are_equal(given.as_ref(), expected.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, value: &str) -> Parts {
        http::Request::get("/metrics").header(name, value).body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_the_token_itself_lets_in() {
        let access =
            Access::Token(Tokens { all: digest(&SHA256, b"s3cret"), metrics: Some(digest(&SHA256, b"m")) });
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(access.check(&head("authorization", good), false).is_ok(), "{good}");
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
            let reply = access.check(&head("authorization", bad), true).unwrap_err();
            assert_eq!(reply.status(), 401, "{bad}");
            assert_eq!(reply.headers()["www-authenticate"], "Bearer realm=\"pointsman\"");
        }
        assert!(access.check(&head("x-other", "s3cret"), true).is_err());
        assert_eq!(format!("{access:?}"), "Token(secret)");
        let of_metrics = head("authorization", "Bearer m");
        assert!(access.check(&of_metrics, true).is_ok() && access.check(&of_metrics, false).is_err());
    }

    #[test]
    fn without_any_token_nobody_is_let_in() {
        for given in ["Bearer ", "Bearer x", ""] {
            assert_eq!(Access::Nobody.check(&head("authorization", given), true).unwrap_err().status(), 401);
        }
        assert!(Access::Anyone.check(&head("host", "any.test"), false).is_ok());
    }
}
