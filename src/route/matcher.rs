//! The conditions of one rule, and whether a request meets them.

use std::{collections::BTreeSet, fmt};

use regex::Regex;

use super::{
    condition::{Condition, Looked},
    host::HostPattern,
};
use crate::{
    exchange::Exchange,
    fields::Fields,
    schema::form::{decoded, readings},
};

/// What a rule matches on. Empty lists match everything.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The route's number: its place in the file. [`super::table::Table::find`] answers with it.
    pub index: usize,
    /// Any of these.
    pub hosts: Vec<HostPattern>,
    /// Any of these.
    pub paths: Vec<PathPattern>,
    /// Any of these, as written (methods are case-sensitive, RFC 9110 §9.1).
    pub methods: Vec<String>,
    /// All of these: some field of the name has exactly the value.
    pub headers: Vec<(String, String)>,
    /// All of these: some parameter of the name has, decoded, exactly the value.
    pub query: Vec<(String, String)>,
    /// All of these, beside.
    pub more: Vec<Condition>,
}

/// How a rule matches a path.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// This path and no other.
    Exact(String),
    /// This path and everything below it in whole segments: `/v1` (for `/v1/*`) takes `/v1`, `/v1/`
    /// and `/v1/users`, not `/v1x`. Empty takes every path.
    Prefix(String),
    /// A regular expression, anchored only where it says so.
    Regex(Regex),
}

impl PathPattern {
    /// Whether `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !path.is_empty())),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Lower case, without a port.
    pub host: &'a str,
    /// Normalized, without the query.
    pub path: &'a str,
    /// As received.
    pub method: &'a str,
    /// Without the `?`; empty when there is none.
    pub query: &'a str,
    /// All fields of the head.
    pub headers: &'a Fields,
    /// The request, for what is rarely asked; without it nothing is known of the client.
    pub exchange: Option<&'a Exchange>,
}

impl<'a> Facts<'a> {
    fn looked(&self) -> Looked<'a> {
        let Self { host, method, query, headers, exchange, path: _ } = *self;
        Looked { host, method, query, headers, exchange }
    }
}

/// The first condition of a rule that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The method is none of the rule's.
    Method,
    /// No field of this name has the value.
    Header(String),
    /// No parameter of this name has the value.
    Query(String),
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("the method does not match"),
            Self::Header(name) => write!(f, "the header {name} does not match"),
            Self::Query(name) => write!(f, "the query parameter {name} does not match"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The conditions that remain once host and path matched.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    methods: Box<[String]>,
    headers: Box<[(String, String)]>,
    query: Box<[(String, String)]>,
    more: Box<[Condition]>,
}

impl Conditions {
    pub(super) fn new(rule: &Rule) -> Self {
        Self {
            methods: rule.methods.as_slice().into(),
            headers: rule.headers.as_slice().into(),
            query: rule.query.as_slice().into(),
            more: rule.more.as_slice().into(),
        }
    }

    /// Sorts the more specific rule first; the caller breaks ties by file order.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        use std::cmp::Reverse;
        let more = |is: fn(&Condition) -> bool| self.more.iter().filter(|it| is(it)).count();
        let headers = self.headers.len() + more(|it| matches!(it, Condition::Header(..)));
        let query = self.query.len() + more(|it| matches!(it, Condition::Parameter(..)));
        let others = more(|it| !matches!(it, Condition::Header(..) | Condition::Parameter(..)));
        (self.methods.is_empty(), Reverse(headers), Reverse(query), Reverse(others))
    }

    /// Whether the request meets all conditions.
    #[inline]
    pub(super) fn accept(&self, facts: &Facts<'_>) -> bool {
        self.has_method(facts.method)
            && self.headers.iter().all(|it| has_header(it, facts.headers))
            && self.query.iter().all(|it| has_parameter(it, facts.query))
            && (self.more.is_empty() || self.more.iter().all(|it| it.holds(facts.looked())))
    }

    /// Why the request does not meet them.
    pub(super) fn refusal(&self, facts: &Facts<'_>) -> Option<Refusal> {
        if !self.has_method(facts.method) {
            return Some(Refusal::Method);
        }
        let header = self.headers.iter().find(|it| !has_header(it, facts.headers));
        if let Some((name, _)) = header {
            return Some(Refusal::Header(name.clone()));
        }
        let parameter = self.query.iter().find(|it| !has_parameter(it, facts.query));
        if let Some((name, _)) = parameter {
            return Some(Refusal::Query(name.clone()));
        }
        let other = self.more.iter().find(|it| !it.holds(facts.looked()));
        other.map(|it| Refusal::Other(it.what()))
    }

    /// The names of header fields that some of these look at, each once.
    pub(super) fn headers_of<'a>(all: impl Iterator<Item = &'a Self>) -> Box<[Box<str>]> {
        let mut names = BTreeSet::new();
        for conditions in all {
            names.extend(conditions.headers.iter().map(|(name, _)| name.as_str()));
            conditions.more.iter().for_each(|it| it.add_headers(&mut names));
        }
        names.into_iter().map(Box::from).collect()
    }

    /// Whether they look at what no field and no URI says of a client's connection.
    pub(super) fn are_of_connection(&self) -> bool {
        self.more.iter().any(Condition::is_of_connection)
    }

    /// Whether they look at nothing beside the URL and the method.
    pub(super) fn are_of_url(&self) -> bool {
        self.headers.is_empty() && self.more.iter().all(Condition::is_of_url)
    }

    #[inline]
    fn has_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|it| it == method)
    }
}

fn has_header((name, value): &(String, String), headers: &Fields) -> bool {
    headers.all(name).any(|it| it == value.as_bytes())
}

fn has_parameter((name, value): &(String, String), query: &str) -> bool {
    // `a=1&&b=2` holds no parameter of the empty name.
    readings(query)
        .any(|(found, found_value)| decoded(found).eq(name.bytes()) && decoded(found_value).eq(value.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_whole_segments() {
        let prefix = PathPattern::Prefix("/v1".into());
        for path in ["/v1", "/v1/", "/v1/users", "/v1//"] {
            assert!(prefix.matches(path), "{path}");
        }
        for path in ["/v1x", "/v", "/", "", "*", "/V1", "/x/v1"] {
            assert!(!prefix.matches(path), "{path}");
        }
        let root = PathPattern::Prefix(String::new());
        assert!(root.matches("/") && root.matches("/a/b"));
        // OPTIONS * and CONNECT have no path to be below anything.
        assert!(!root.matches("*") && !root.matches(""));
    }

    #[test]
    fn parameters_are_compared_decoded() {
        let has = |name: &str, value: &str, query| has_parameter(&(name.into(), value.into()), query);
        assert!(has("beta", "1", "alpha=2&beta=1"));
        assert!(has("beta", "1", "beta=2&beta=1"));
        assert!(has("b c", "ä%", "b+c=%C3%a4%"));
        assert!(has("b", "%4", "b=%4"));
        assert!(has("b", "%zz", "b=%zz"));
        assert!(has("flag", "", "flag") && has("flag", "", "x&flag="));
        assert!(has("a", "b=c", "a=b=c"));
        // By whichever reading: who is refused for it would else write it the other way.
        assert!(has("action", "delete", "action=view;action=delete") && has("a", "b;c", "a=b;c"));
        assert!(!has("b", "1", "a=%3Bb=1"));
        assert!(!has("beta", "1", "beta=11") && !has("beta", "1", "xbeta=1"));
        assert!(!has("beta", "1", "") && !has("", "", "") && !has("flag", "", "flag=1"));
    }

    #[test]
    fn some_field_of_the_name_must_have_exactly_the_value() {
        let mut headers = Fields::default();
        let has = |headers: &Fields, value: &str| has_header(&("x-canary".to_owned(), value.into()), headers);
        assert!(!has(&headers, "yes") && !has(&headers, ""));
        headers.push("X-Canary", "no".as_bytes());
        headers.push("x-canary", "yes".as_bytes());
        assert!(has(&headers, "yes") && has(&headers, "no"));
        assert!(!has(&headers, "Yes") && !has(&headers, ""));
        headers.push("x-canary", "".as_bytes());
        assert!(has(&headers, ""));
    }
}
