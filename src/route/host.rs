//! What a host must be like.

use regex::Regex;

/// How a rule matches a host, or a name that is asked for in a TLS handshake.
#[derive(Clone, Debug)]
pub enum HostPattern {
    /// Every host: `*`.
    Any,
    /// This host, in lower case and without a dot at its end.
    Exact(Box<str>),
    /// One or more labels before this: written `*.example.com`, kept as `example.com`.
    Below(Box<str>),
    /// One or more labels behind this: written `example.*`, kept as `example`.
    Open(Box<str>),
    /// A regular expression finds something in it, whatever the case: written behind a `~`.
    Regex(Regex),
}

impl HostPattern {
    /// A pattern as it is written.
    ///
    /// # Errors
    ///
    /// What is wrong with a regular expression.
    pub fn of(text: &str) -> Result<Self, regex::Error> {
        if let Some(pattern) = text.strip_prefix('~') {
            // RFC 9110 §4.2.3: hosts are the same in either case, and requests have them in the lower one.
            return Ok(Self::Regex(Regex::new(&format!("(?i){pattern}"))?));
        }
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        Ok(match (text.strip_prefix("*."), text.strip_suffix(".*")) {
            _ if text == "*" => Self::Any,
            (Some(parent), _) => Self::Below(parent.into()),
            (None, Some(name)) => Self::Open(name.into()),
            (None, None) => Self::Exact(text.into()),
        })
    }

    /// Those of a list.
    ///
    /// # Errors
    ///
    /// What is wrong with a regular expression.
    pub fn all(texts: &[String]) -> Result<Box<[Self]>, regex::Error> {
        texts.iter().map(|text| Self::of(text)).collect()
    }

    /// Whether a host in lower case matches, with or without a dot at its end.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_name = host.len() <= LONGEST_HOST;
        match self {
            Self::Any => true,
            Self::Exact(name) => host == &**name,
            Self::Below(parent) => {
                is_name && host.strip_suffix(&**parent).is_some_and(|labels| labels.ends_with('.'))
            }
            Self::Open(name) => {
                is_name && host.strip_prefix(&**name).is_some_and(|labels| labels.starts_with('.'))
            }
            Self::Regex(regex) => is_name && regex.is_match(host),
        }
    }
}

/// Longer than any name can be (RFC 1035 §2.3.4).
pub(super) const LONGEST_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_as_they_are_written() {
        for (pattern, met, unmet) in [
            ("*", &["", "a", "a.b"][..], &[][..]),
            ("A.example.com", &["a.example.com", "a.example.com."], &["", "b.a.example.com", "a.example.co"]),
            ("*.example.com", &["a.example.com", "b.a.example.com"], &["example.com", "aexample.com"]),
            ("example.*", &["example.com", "example.co.uk."], &["example", "a.example.com", "examplex.com"]),
            (
                "~^API[0-9]+\\.example\\.com$",
                &["api1.example.com", "api42.example.com."],
                &["api.example.com", "xapi1.example.com", "api1xexample.com", "api1.example.com.evil"],
            ),
            ("~shop", &["shop.test", "my-shop.test"], &["sho.p", ""]),
            ("~^\\W*x", &["x", "-x"], &["ax"]),
        ] {
            let of = HostPattern::of(pattern).unwrap();
            assert!(met.iter().all(|host| of.matches(host)), "{pattern} {met:?}");
            assert!(!unmet.iter().any(|host| of.matches(host)), "{pattern} {unmet:?}");
        }
        assert!(HostPattern::of("~(").is_err());
        assert!(!HostPattern::of("~a").unwrap().matches(&"a".repeat(254)), "no host is that long");
    }
}
