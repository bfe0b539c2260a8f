//! Many regular expressions asked at once.

use std::ops::ControlFlow;

use regex::{Regex, RegexSet, RegexSetBuilder};

/// Regular expressions in order of precedence, each with its rule.
#[derive(Debug, Default)]
pub(super) struct Regexes {
    /// All at once; absent when there are none, or when together they would grow too large.
    set: Option<RegexSet>,
    each: Vec<(Regex, u32)>,
}

impl Regexes {
    /// Of expressions in order of precedence.
    pub(super) fn build(each: Vec<(Regex, u32)>) -> Self {
        if each.is_empty() {
            // Also an empty set takes its time to build, and there is one for each host.
            return Self::default();
        }
        let patterns = each.iter().map(|(regex, _)| regex.as_str());
        let set = RegexSetBuilder::new(patterns).size_limit(SET_LIMIT).build();
        Self { set: set.ok().filter(|set| !set.is_empty()), each }
    }

    /// Shows `visit` each rule whose expression matches.
    #[inline]
    pub(super) fn walk<B>(
        &self,
        path: &str,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.each.is_empty() {
            return ControlFlow::Continue(());
        }
        let matches = self.set.as_ref().map(|set| set.matches(path));
        let mut each = self.each.iter().enumerate();
        each.try_for_each(|(number, (regex, rule))| {
            let is_match = match &matches {
                Some(matches) => matches.matched(number),
                None => regex.is_match(path),
            };
            match is_match {
                true => visit(*rule),
                false => ControlFlow::Continue(()),
            }
        })
    }
}

/// Bytes that the regular expressions of one host may compile to together.
const SET_LIMIT: usize = 256 << 20;
