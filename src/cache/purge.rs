//! What a purge, or a write, is about.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::key::Key;
use crate::fields::Fields;

/// Which stored responses are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All.
    All,
    /// Those of a URI, under whatever fields of the key.
    Uri(Key),
    /// Those whose URI begins with this text.
    Prefix(Vec<u8>),
    /// Those that carry this tag.
    Tag(Vec<u8>),
}

impl Rule {
    /// Whether a response is meant: its key, its fields, and the name of the field that has its tags.
    pub fn matches(&self, key: &Key, response: &Fields, tag_field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Uri(uri) => uri.uri() == key.uri(),
            Self::Prefix(prefix) => key.uri().starts_with(prefix),
            Self::Tag(tag) => tags(response, tag_field).any(|other| other == tag.as_slice()),
        }
    }

    /// Whether a response of this key may be meant, whatever its fields are.
    pub fn may_match(&self, key: &Key) -> bool {
        match self {
            Self::All | Self::Tag(_) => true,
            Self::Uri(uri) => uri.uri() == key.uri(),
            Self::Prefix(prefix) => key.uri().starts_with(prefix),
        }
    }

    /// The word for it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::All => Kind::All,
            Self::Uri(_) => Kind::Url,
            Self::Prefix(_) => Kind::Prefix,
            Self::Tag(_) => Kind::Tag,
        }
    }
}

/// The kinds of purges, as they are asked for and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of everything.
    All,
    /// Of one URL.
    Url,
    /// Of what begins with a text.
    Prefix,
    /// Of what carries a tag.
    Tag,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::All, Self::Url, Self::Prefix, Self::Tag];

    /// Its name in the admin API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Url => "url",
            Self::Prefix => "prefix",
            Self::Tag => "tag",
        }
    }
}

/// How often operators had a cache purged. What writes invalidate is not counted here.
#[derive(Debug, Default)]
pub struct Purges {
    by: [AtomicU64; Kind::ALL.len()],
    objects: AtomicU64,
}

impl Purges {
    /// Counts one, which was about so many stored responses.
    pub fn add(&self, kind: Kind, objects: u64) {
        if let Some(count) = self.by.get(kind as usize) {
            count.fetch_add(1, Relaxed);
        }
        self.objects.fetch_add(objects, Relaxed);
    }

    /// How many there were.
    pub fn get(&self, kind: Kind) -> u64 {
        self.by.get(kind as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// How many stored responses they were about.
    pub fn objects(&self) -> u64 {
        self.objects.load(Relaxed)
    }
}

/// The tags of a response: separated by white space, as `Surrogate-Key` has them, or by commas, as `Cache-Tag` does.
pub fn tags<'a>(response: &'a Fields, tag_field: &'a str) -> impl Iterator<Item = &'a [u8]> {
    response
        .all(tag_field)
        .flat_map(|value| value.split(|byte| *byte == b',' || byte.is_ascii_whitespace()))
        .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::KeySettings;

    #[test]
    fn a_rule_matches_uri_prefix_tag_or_everything() {
        let settings = KeySettings { headers: vec!["x".into()], ..KeySettings::default() };
        let mut request = Fields::default();
        request.push("x", b"1");
        let key = |target: &str| Key::of("http", "a.example", None, target, &request, &settings);
        let uri = |target: &str| {
            Key::of("http", "a.example", None, target, &Fields::default(), &KeySettings::default())
        };
        let mut response = Fields::default();
        response.push("Surrogate-Key", b"one  two");
        response.push("surrogate-key", b"three, four");
        let matches = |rule: &Rule, target: &str| rule.matches(&key(target), &response, "surrogate-key");
        assert!(matches(&Rule::All, "/a"));
        assert!(matches(&Rule::Uri(uri("/a")), "/a") && !matches(&Rule::Uri(uri("/a")), "/a/b"));
        let prefix = Rule::Prefix(b"http://a.example/a".to_vec());
        assert!(matches(&prefix, "/a/b") && matches(&prefix, "/ab") && !matches(&prefix, "/b"));
        for tag in ["one", "two", "three", "four"] {
            assert!(matches(&Rule::Tag(tag.into()), "/a"), "{tag}");
        }
        for tag in ["", "on", "one two", "One"] {
            assert!(!matches(&Rule::Tag(tag.into()), "/a"), "{tag}");
        }
    }

    #[test]
    fn a_key_rules_out_purges_before_any_response() {
        let key = |target: &str| {
            Key::of("http", "a.example", None, target, &Fields::default(), &KeySettings::default())
        };
        let rules = [
            (Rule::All, true),
            (Rule::Tag(b"any".to_vec()), true),
            (Rule::Uri(key("/a")), true),
            (Rule::Uri(key("/b")), false),
            (Rule::Prefix(b"http://a.example/a".to_vec()), true),
            (Rule::Prefix(b"http://a.example/b".to_vec()), false),
        ];
        for (rule, expected) in rules {
            assert_eq!(rule.may_match(&key("/a")), expected, "{rule:?}");
        }
    }

    #[test]
    fn purges_are_counted_by_kind() {
        let purges = Purges::default();
        purges.add(Kind::Url, 2);
        purges.add(Kind::Tag, 3);
        purges.add(Kind::Tag, 0);
        assert_eq!(Kind::ALL.map(|kind| purges.get(kind)), [0, 1, 0, 2]);
        assert_eq!(purges.objects(), 5);
    }
}
