//! What a purge, or a write, is about.

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
    fn a_rule_is_about_a_uri_a_prefix_a_tag_or_everything_and_nothing_else() {
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
}
