//! Routes by the name that a TLS client asks for, and the protocols that it offers.

use std::collections::HashMap;

/// What a route of a `tls` listener takes.
#[derive(Clone, Debug)]
pub struct NameRule {
    /// Index of the route.
    pub index: usize,
    /// Names, in lower case: exact, or `*.example.com` for one or more labels; none = any, and also no name.
    pub server_names: Vec<String>,
    /// Protocols of which one must be offered; none = any.
    pub alpn: Vec<String>,
}

/// The routes of a listener whose connections are passed through. Exact names win over wildcards, longer wildcards over
/// shorter ones, any name over none of these; then a rule with `alpn` over one without; then the file's order.
#[derive(Debug, Default)]
pub struct Names {
    exact: HashMap<Box<str>, Vec<Choice>>,
    wildcard: HashMap<Box<str>, Vec<Choice>>,
    any: Vec<Choice>,
}

#[derive(Clone, Debug)]
struct Choice {
    route: usize,
    alpn: Box<[String]>,
}

impl Names {
    /// The routes of these rules, which are in the file's order.
    pub fn build(rules: Vec<NameRule>) -> Self {
        let mut names = Self::default();
        for NameRule { index, server_names, alpn } in rules {
            let choice = Choice { route: index, alpn: alpn.into() };
            if server_names.is_empty() {
                names.any.push(choice.clone());
            }
            for name in server_names {
                let (of, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, &*name),
                };
                of.entry(name.into()).or_default().push(choice.clone());
            }
        }
        names
    }

    /// The route of a client that asks for this name, in lower case, and offers these protocols.
    pub fn find(&self, name: Option<&str>, offered: &[Box<[u8]>]) -> Option<usize> {
        let of_name = name.and_then(|name| {
            let exact = self.exact.get(name).and_then(|choices| pick(choices, offered));
            exact.or_else(|| {
                // Label after label from the left, so that the longest comes first.
                let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
                parents.into_iter().find_map(|parent| pick(self.wildcard.get(parent)?, offered))
            })
        });
        of_name.or_else(|| pick(&self.any, offered))
    }
}

fn pick(choices: &[Choice], offered: &[Box<[u8]>]) -> Option<usize> {
    let offers = |choice: &&Choice| {
        choice.alpn.iter().any(|wanted| offered.iter().any(|offered| **offered == *wanted.as_bytes()))
    };
    let any = || choices.iter().find(|choice| choice.alpn.is_empty());
    choices.iter().find(offers).or_else(any).map(|choice| choice.route)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &[(&[&str], &[&str])]) -> Names {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let rule = |(index, (names, alpn)): (usize, &(&[&str], &[&str]))| NameRule {
            index,
            server_names: owned(names),
            alpn: owned(alpn),
        };
        Names::build(rules.iter().enumerate().map(rule).collect())
    }

    #[test]
    fn the_closest_name_wins_and_no_name_goes_to_any() {
        let names = names(&[
            (&[], &[]),
            (&["*.example.com"], &[]),
            (&["a.example.com", "b.test"], &[]),
            (&["*.deep.example.com"], &[]),
        ]);
        for (name, route) in [
            (Some("a.example.com"), 2),
            (Some("b.test"), 2),
            (Some("c.example.com"), 1),
            (Some("x.y.example.com"), 1),
            (Some("x.deep.example.com"), 3),
            (Some("example.com"), 0),
            (Some("aexample.com"), 0),
            (Some("other.test"), 0),
            (None, 0),
        ] {
            assert_eq!(names.find(name, &[]), Some(route), "{name:?}");
        }
    }

    #[test]
    fn offered_protocols_decide_among_the_same_name() {
        let names = names(&[(&["a.test"], &[]), (&["a.test"], &["h2"]), (&["b.test"], &["imap"])]);
        let offers = |protocols: &[&str]| -> Vec<Box<[u8]>> {
            protocols.iter().map(|protocol| protocol.as_bytes().into()).collect()
        };
        assert_eq!(names.find(Some("a.test"), &offers(&["http/1.1", "h2"])), Some(1));
        assert_eq!(names.find(Some("a.test"), &offers(&["http/1.1"])), Some(0));
        assert_eq!(names.find(Some("a.test"), &[]), Some(0));
        assert_eq!(names.find(Some("b.test"), &offers(&["h2"])), None);
        assert_eq!(names.find(Some("c.test"), &offers(&["imap"])), None);
    }
}
