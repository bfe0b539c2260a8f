//! The names of fields that Pointsman itself looks at, as tags of one byte.

macro_rules! known {
    ($($variant:ident = $text:literal,)*) => {
        /// The names that Pointsman itself looks at; every other name is `Other`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Known {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// What only peers of this node may set, over a listener of their own: `Pointsman-Peer`.
            OfPeer,
            /// Another name that only proxies may set: `X-Forwarded-*`, `X-Original-*`, `X-Rewrite-*`, and `X-Real-IP`,
            /// `Client-Cert`, `X-Pointsman-Mirror` and more.
            OfProxy,
            /// Another name with an underscore, which CGI, WSGI and PHP take for a hyphen, or with another sign that some of
            /// them do (`.` and more).
            Underscored,
            /// Such a spelling of a name that frames or routes a message, or that only proxies may set.
            Disguised,
            /// Any other name.
            Other,
        }

        impl Known {
            /// The name in lower case; empty for those that are none in particular.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::OfPeer
                    | Self::OfProxy
                    | Self::Underscored
                    | Self::Disguised
                    | Self::Other => "",
                }
            }

            /// Whether it is one name in particular.
            #[inline]
            pub const fn is_named(self) -> bool {
                (self as u8) < Self::OfPeer as u8
            }

            /// Each name that is one in particular, in alphabetical order.
            pub(crate) const ALL: &'static [(Self, &'static [u8])] = &[$((Self::$variant, $text.as_bytes()),)*];
        }
    };
}

known! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptRanges = "accept-ranges",
    Age = "age",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Etag = "etag",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    Http2Settings = "http2-settings",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    Pragma = "pragma",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    Referer = "referer",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketVersion = "sec-websocket-version",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
}

impl Known {
    /// The tag of a name, compared without regard to case.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self::Other;
        };
        let range = INDEX.get(usize::from(first.to_ascii_lowercase() & 31)).copied().unwrap_or((0, 0));
        Self::ALL
            .get(usize::from(range.0)..usize::from(range.1))
            .unwrap_or_default()
            .iter()
            .find(|(_, text)| is_spelled(name, text))
            .map_or_else(|| Self::of_other(name), |(known, _)| *known)
    }

    /// The tag of a name that is none of those that Pointsman looks at by themselves.
    #[inline(never)]
    fn of_other(name: &[u8]) -> Self {
        if has_sign(name) {
            return Self::of_underscored(name);
        }
        let begins =
            |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
        let is_one_of = |all: &[&[u8]]| all.iter().any(|text| is_spelled(name, text));
        let is_of_proxy = match name {
            [b'x' | b'X', b'-', ..] => {
                OF_PROXY_FROM.iter().chain(&OF_CLIENT_FROM_X).any(|prefix| begins(prefix))
                    || is_one_of(&OF_PROXY_X)
            }
            // As those begin; few others do that are not known.
            [b'c' | b'C' | b'f' | b'F' | b't' | b'T', ..] => is_one_of(&OF_PROXY_PLAIN),
            [b'r' | b'R', b'e' | b'E', b'm' | b'M', ..] | [b's' | b'S', b's' | b'S', ..] => {
                OF_CLIENT_FROM_PLAIN.iter().any(|prefix| begins(prefix))
            }
            _ => return if is_spelled(name, OF_PEER) { Self::OfPeer } else { Self::Other },
        };
        if is_of_proxy { Self::OfProxy } else { Self::Other }
    }

    #[cold]
    fn of_underscored(name: &[u8]) -> Self {
        match Self::of_respelled(name) {
            Self::OfPeer
            | Self::OfProxy
            | Self::Forwarded
            | Self::XForwardedFor
            | Self::XForwardedHost
            | Self::XForwardedProto
            | Self::XRequestId
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Host
            | Self::Connection
            | Self::Upgrade
            | Self::Te => Self::Disguised,
            _ if MISLEADING.iter().any(|misleading| is_respelled(name, misleading.as_bytes())) => {
                Self::Disguised
            }
            _ => Self::Underscored,
        }
    }

    /// The tag that a name has for whoever takes each of its signs for a hyphen.
    pub fn of_respelled(name: &[u8]) -> Self {
        let hyphens: Vec<u8> = name.iter().map(|byte| if is_sign(*byte) { b'-' } else { *byte }).collect();
        Self::of(&hyphens)
    }
}

/// Whether a token has a byte of which few names have any: no letter, no digit, no hyphen. CGI takes each for an underscore,
/// as it does a hyphen (`docs/decisions/046-signs-in-names.md`). Eight bytes at once: it is asked of most names that are not
/// known.
pub fn has_sign(name: &[u8]) -> bool {
    let Some(last) = name.last_chunk::<8>() else { return name.iter().copied().any(is_sign) };
    name.as_chunks::<8>().0.iter().chain([last]).fold(0, |found, word| found | signs_of(*word)) != 0
}

/// The highest bit of each byte that is a sign. With the bit of the case set, and below 0x80, signs are what is above `z`, the
/// backtick below `a`, and all below `0` but the hyphen.
#[inline]
fn signs_of(word: [u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = EACH * 0x80;
    let all = u64::from_ne_bytes(word);
    let low = (all | (EACH * 0x20)) & !HIGH;
    // No sum of two bytes below 0x80 reaches the next byte.
    let is_from = |least: u8| low + EACH * u64::from(0x80 - least);
    let differs_from = |byte: u8| (low ^ (EACH * u64::from(byte))) + EACH * 0x7f;
    let sign = is_from(b'z' + 1) | !differs_from(b'`') | (!is_from(b'0') & differs_from(b'-'));
    (sign | all) & HIGH
}

/// Whether a byte is no letter, no digit and no hyphen.
const fn is_sign(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a name is another spelling of this one: the same for whoever takes signs for hyphens, and not the same in HTTP.
pub fn is_respelled(name: &[u8], of: &[u8]) -> bool {
    let is_same = |(one, other): (&u8, &u8)| {
        one.eq_ignore_ascii_case(other)
            || (matches!(one, b'-') || is_sign(*one)) && (matches!(other, b'-') || is_sign(*other))
    };
    name.len() == of.len() && name.iter().zip(of).all(is_same) && !name.eq_ignore_ascii_case(of)
}

/// Whether a token is this text of lower-case letters and hyphens, without regard to case. Eight bytes at once: the bit
/// that tells upper from lower case is set in all that such a text has, and of what else has it not, no token has any.
#[inline]
pub fn is_spelled(name: &[u8], text: &[u8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    if name.len() != text.len() {
        return false;
    }
    let (name, text) = (name.as_chunks::<8>(), text.as_chunks::<8>());
    let same =
        |(one, other): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*one) | CASE == u64::from_ne_bytes(*other);
    name.0.iter().zip(text.0).all(same) && name.1.iter().zip(text.1).all(|(one, other)| one | 0x20 == *other)
}

/// How names begin that only proxies may set. What they say of a request is believed by applications, and comes from
/// whoever is not trusted no further (`http::received`).
const OF_PROXY_FROM: [&[u8]; 3] = [b"x-forwarded-", b"x-original-", b"x-rewrite-"];

/// How the names begin by which nginx, HAProxy, Apache, AWS, Azure and oauth2-proxy say who a client is: what certificate it
/// has shown, or who has logged in. Only proxies may set them.
const OF_CLIENT_FROM_X: [&[u8]; 7] = [
    b"x-amzn-mtls-clientcert",
    b"x-arr-clientcert",
    b"x-auth-request-",
    b"x-client-cert",
    b"x-remote-user",
    b"x-ssl-cert",
    b"x-ssl-client-",
];

/// The same without `X-`.
const OF_CLIENT_FROM_PLAIN: [&[u8]; 2] = [b"remote-user", b"ssl-client-"];

/// Whole names that only proxies may set: of whom a request comes from, over what, and what tells a copy of one
/// (`http::mirror`).
const OF_PROXY_X: [&[u8]; 6] = [
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-forwarded",
    b"x-pointsman-mirror",
    b"x-real-ip",
    b"x-scheme",
];

/// The same without `X-`. Which certificate a client has shown, only who has seen it may say (RFC 9440 §2.4).
const OF_PROXY_PLAIN: [&[u8]; 5] =
    [b"client-cert", b"client-cert-chain", b"client-ip", b"front-end-https", b"true-client-ip"];

/// What proxies say of the client's address, which is another one for each.
const ADDRESSES: [&[u8]; 6] = [
    b"client-ip",
    b"true-client-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-original-forwarded-for",
    b"x-real-ip",
];

/// Whether proxies say the client's address by a field of this name, one of those that only they may set.
pub fn is_of_address(name: &[u8]) -> bool {
    ADDRESSES.iter().any(|address| name.eq_ignore_ascii_case(address))
}

/// What proxies say of a request in fields that only they may set, and not of who its client is: for which URL it was, over
/// what, and from where. So does what begins as [`OF_ORIGINAL`].
const OF_REQUEST: [&[u8]; 17] = [
    b"front-end-https",
    b"x-forwarded",
    b"x-forwarded-by",
    b"x-forwarded-client-ip",
    b"x-forwarded-client-port",
    b"x-forwarded-https",
    b"x-forwarded-method",
    b"x-forwarded-path",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-forwarded-uri",
    b"x-pointsman-mirror",
    b"x-scheme",
];

/// How names begin by which proxies say what they were asked for.
const OF_ORIGINAL: [&[u8]; 2] = [b"x-original-", b"x-rewrite-"];

/// Whether proxies vouch for a client by a field of this name: for a certificate that it has shown, or a login. Of what only
/// they may set that is all whose names say nothing else.
pub fn vouches_for_client(name: &[u8]) -> bool {
    let begins = |prefix: &&[u8]| name.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
    if Known::of(name) != Known::OfProxy {
        return false;
    }
    let is_of_request = OF_REQUEST.iter().any(|text| name.eq_ignore_ascii_case(text));
    !is_of_request && !OF_ORIGINAL.iter().any(begins) && !is_of_address(name)
}

/// Whether a field of this name has a digest of a body or of what it is a part of (RFC 9530, RFC 3230, RFC 1864).
pub fn is_digest(name: &[u8]) -> bool {
    const DIGESTS: [&[u8]; 4] = [b"content-digest", b"content-md5", b"digest", b"repr-digest"];
    DIGESTS.iter().any(|digest| name.eq_ignore_ascii_case(digest))
}

/// Fields by which some backends are led to another URI, or method, than a request names (`http::misleading`).
pub const MISLEADING: [&str; 10] = [
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The field by which a node says that it is one, when it asks a peer for something.
const OF_PEER: &[u8] = b"pointsman-peer";

/// Where in `Known::ALL`, which is in alphabetical order, the names with each first letter stand.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
#[expect(clippy::cast_possible_truncation, reason = "there are fewer names than 255, or this does not build")]
const INDEX: [(u8, u8); 32] = {
    assert!(Known::ALL.len() < 255, "an index is a byte");
    let mut index = [(0, 0); 32];
    let mut at = 0;
    while at < Known::ALL.len() {
        let letter = (Known::ALL[at].1[0] & 31) as usize;
        if index[letter].1 == 0 {
            index[letter].0 = at as u8;
        }
        index[letter].1 = at as u8 + 1;
        at += 1;
    }
    index
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_of_proxies_is_known_in_any_case() {
        let whole = OF_PROXY_X.iter().chain(&OF_PROXY_PLAIN).map(|text| (*text, Known::Other));
        let beginnings = OF_CLIENT_FROM_X.iter().chain(&OF_CLIENT_FROM_PLAIN);
        for (text, of_longer) in whole.chain(beginnings.clone().map(|text| (*text, Known::OfProxy))) {
            let (upper, longer) = (text.to_ascii_uppercase(), [text, &b"x"[..]].concat());
            let cut = &text[..text.len() - 1];
            let tags = [text, &upper[..], &longer[..], cut].map(Known::of);
            let name = String::from_utf8_lossy(text);
            assert_eq!(tags, [Known::OfProxy, Known::OfProxy, of_longer, Known::Other], "{name}");
            for sign in ["_", "."] {
                assert_eq!(Known::of(name.replace('-', sign).as_bytes()), Known::Disguised, "{name}");
            }
        }
        assert!(beginnings.clone().all(|text| vouches_for_client(text)));
    }

    #[test]
    fn what_proxies_say_of_requests_vouches_for_nobody() {
        for name in OF_REQUEST {
            assert_eq!(Known::of(name), Known::OfProxy, "{}", String::from_utf8_lossy(name));
        }
        let of_others = [
            "X-Forwarded-Prefix",
            "X-Forwarded-Client-IP",
            "X-Forwarded-Client-Port",
            "x-original-uri",
            "X-Real-IP",
            "X-Scheme",
            "x-ssl",
            "x-a",
        ];
        for name in of_others {
            assert!(!vouches_for_client(name.as_bytes()), "{name}");
        }
        let of_client = [
            "Client-Cert",
            "X-Forwarded-Client-Cert",
            "X-Forwarded-User",
            "X-SSL-Client-S-DN",
            "ssl-client-verify",
            "Remote-User",
            "X-Auth-Request-Email",
        ];
        for name in of_client {
            assert!(vouches_for_client(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_are_known_in_any_case_and_no_others() {
        for unnamed in [Known::OfPeer, Known::OfProxy, Known::Underscored, Known::Disguised, Known::Other] {
            assert!(!unnamed.is_named() && unnamed.name().is_empty());
        }
        for (known, name) in Known::ALL {
            assert!(known.is_named());
            let upper = name.to_ascii_uppercase();
            assert_eq!((Known::of(name), Known::of(&upper)), (*known, *known));
            for at in 0..name.len() {
                for byte in b"!#$%&'*+-.^_`|~019azAZ" {
                    let mut other = name.to_vec();
                    if other[at].eq_ignore_ascii_case(byte) {
                        continue;
                    }
                    other[at] = *byte;
                    assert_ne!(Known::of(&other), *known, "{}", String::from_utf8_lossy(&other));
                }
            }
        }
    }
}
