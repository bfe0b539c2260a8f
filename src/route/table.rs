//! The routes of one listener, found at a cost that does not grow with their number: host → path → rule.
//!
//! A level holds the rules of one host pattern, or of all regular expressions for hosts. Levels are asked from the most
//! specific host to the least; within one, exact paths, then prefixes from the longest, then regular expressions, then rules
//! that name no path. Each list is sorted by precedence at build, so that the first rule whose other
//! conditions hold wins, and a request that fails them falls through.

mod map;
mod regexes;
mod step;

use std::ops::ControlFlow;

use regex::Regex;

use self::{map::Map, regexes::Regexes};
use super::{
    host::{HostPattern, LONGEST_HOST},
    matcher::{Conditions, Facts, PathPattern, Rule},
};

pub use self::step::{Step, StepVerdict};

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct Table {
    /// The names of header fields that some rule looks at, each once.
    pub headers: Box<[Box<str>]>,
    rules: Box<[Compiled]>,
    exact: Map<Level>,
    /// By what is after `*.`.
    wildcard: Map<Level>,
    /// What few tables have: `None` costs a request one branch.
    rare: Option<Box<Rare>>,
    any: Level,
    looks_at_connections: bool,
    looks_beyond_urls: bool,
}

/// Levels of hosts that are open at their end, and of regular expressions.
#[derive(Debug, Default)]
struct Rare {
    /// By what is before `.*`.
    open: Map<Level>,
    /// The regular expressions of hosts, each with the rule that has it, in the order of rules.
    regexes: Regexes,
    /// Rules that have some.
    by_regex: Level,
}

impl Table {
    /// Builds the table.
    pub fn build(rules: Vec<Rule>) -> Self {
        let mut drafts = Drafts::default();
        for (number, rule) in rules.iter().enumerate() {
            if rule.hosts.is_empty() {
                drafts.any.add(number, rule);
            }
            let mut has_regex = false;
            for host in &rule.hosts {
                let (level, key) = match host {
                    HostPattern::Any => {
                        drafts.any.add(number, rule);
                        continue;
                    }
                    HostPattern::Regex(regex) => {
                        drafts.regexes.push((regex.clone(), place_of(number)));
                        has_regex = true;
                        continue;
                    }
                    HostPattern::Below(parent) => (&mut drafts.wildcard, parent),
                    HostPattern::Open(name) => (&mut drafts.open, name),
                    HostPattern::Exact(name) => (&mut drafts.exact, name),
                };
                level.entry(key.clone()).or_default().add(number, rule);
            }
            if has_regex {
                drafts.by_regex.add(number, rule);
            }
        }
        let compiled: Box<[Compiled]> = rules.iter().map(Compiled::new).collect();
        let finish = |levels: Map<Draft>| {
            let levels = levels.into_iter();
            levels.map(|(host, draft)| (host, draft.finish(&compiled))).collect()
        };
        let has_rare = !drafts.open.is_empty() || !drafts.regexes.is_empty();
        let rare = Rare {
            open: finish(drafts.open),
            regexes: Regexes::build(drafts.regexes),
            by_regex: drafts.by_regex.finish(&compiled),
        };
        Self {
            headers: Conditions::headers_of(compiled.iter().map(|rule| &rule.conditions)),
            exact: finish(drafts.exact),
            wildcard: finish(drafts.wildcard),
            rare: has_rare.then(|| Box::new(rare)),
            looks_at_connections: compiled.iter().any(|rule| rule.conditions.are_of_connection()),
            looks_beyond_urls: !compiled.iter().all(|rule| rule.conditions.are_of_url()),
            any: drafts.any.finish(&compiled),
            rules: compiled,
        }
    }

    /// The number of the route that takes the request.
    #[inline]
    pub fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        let found = self.walk(facts, &mut |rule| match rule.conditions.accept(facts) {
            true => ControlFlow::Break(rule.index),
            false => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(index) => Some(index),
            ControlFlow::Continue(()) => None,
        }
    }

    /// The number of the route that took a request before, where host and path lead to it still, and before it to none that
    /// asks for nothing beside the URL and the method. What it asked of anything else is not asked again.
    pub fn find_again(&self, facts: &Facts<'_>, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let found = self.walk(facts, &mut |rule| match is_it(rule.index) {
            true => ControlFlow::Break(Some(rule.index)),
            false if rule.conditions.are_of_url() && rule.conditions.accept(facts) => {
                ControlFlow::Break(None)
            }
            false => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(found) => found,
            ControlFlow::Continue(()) => None,
        }
    }

    /// Every rule with what became of it: first those whose host and path match, in order of
    /// precedence, then the others in file order. For people; costs what the number of rules costs.
    pub fn explain(&self, facts: &Facts<'_>) -> Vec<Step> {
        let mut steps = Vec::<Step>::new();
        let mut winner = None;
        let _ = self.walk(facts, &mut |rule| -> ControlFlow<()> {
            // A rule with several hosts or paths is met again at a lower place.
            if steps.iter().any(|step| step.route == rule.index) {
                return ControlFlow::Continue(());
            }
            let verdict = match (rule.conditions.refusal(facts), winner) {
                (Some(refusal), _) => StepVerdict::Refused(refusal),
                (None, Some(by)) => StepVerdict::Outranked { by },
                (None, None) => {
                    winner = Some(rule.index);
                    StepVerdict::Taken
                }
            };
            let route = rule.index;
            steps.push(Step { route, verdict });
            ControlFlow::Continue(())
        });
        let met: std::collections::HashSet<usize> = steps.iter().map(|it| it.route).collect();
        let others = self.rules.iter().filter(|rule| !met.contains(&rule.index));
        steps.extend(others.map(|rule| Step {
            route: rule.index,
            verdict: match rule.has_host(facts.host) {
                true => StepVerdict::Path,
                false => StepVerdict::Host,
            },
        }));
        steps
    }

    /// Whether some rule looks at what no field and no URI says of a client's connection: the name of its handshake, its
    /// protocol, its port.
    pub fn looks_at_connections(&self) -> bool {
        self.looks_at_connections
    }

    /// Whether some rule looks at anything beside the URL and the method.
    pub fn looks_beyond_urls(&self) -> bool {
        self.looks_beyond_urls
    }

    /// Shows `visit` every rule whose host and path match, in order of precedence.
    #[inline]
    fn walk<B>(
        &self,
        facts: &Facts<'_>,
        visit: &mut impl FnMut(&Compiled) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let host = facts.host.strip_suffix('.').unwrap_or(facts.host);
        let mut visit = |number: u32| match self.rules.get(number as usize) {
            Some(rule) => visit(rule),
            None => ControlFlow::Continue(()),
        };
        // The walk over its labels stays short.
        if host.len() <= LONGEST_HOST {
            if let Some(level) = self.exact.get(host) {
                level.walk(facts.path, &mut visit)?;
            }
            let mut rest = host;
            while !self.wildcard.is_empty()
                && let Some((_, suffix)) = rest.split_once('.')
            {
                if let Some(level) = self.wildcard.get(suffix) {
                    level.walk(facts.path, &mut visit)?;
                }
                rest = suffix;
            }
            if let Some(rare) = &self.rare {
                rare.walk(host, facts.path, &mut visit)?;
            }
        }
        self.any.walk(facts.path, &mut visit)
    }
}

impl Rare {
    fn walk<B>(
        &self,
        host: &str,
        path: &str,
        visit: &mut impl FnMut(u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut rest = host;
        while !self.open.is_empty()
            && let Some((prefix, _)) = rest.rsplit_once('.')
        {
            if let Some(level) = self.open.get(prefix) {
                level.walk(path, visit)?;
            }
            rest = prefix;
        }
        let mut met = Vec::new();
        let _ = self.regexes.walk(host, &mut |rule| -> ControlFlow<()> {
            met.push(rule);
            ControlFlow::Continue(())
        });
        if met.is_empty() {
            return ControlFlow::Continue(());
        }
        // In the order of rules, as they were added.
        self.by_regex.walk(path, &mut |rule| match met.binary_search(&rule) {
            Ok(_) => visit(rule),
            Err(_) => ControlFlow::Continue(()),
        })
    }
}

/// A rule without what the table's structure already says.
#[derive(Debug)]
struct Compiled {
    index: usize,
    conditions: Conditions,
    /// Only [`Table::explain`] reads them.
    hosts: Box<[HostPattern]>,
}

impl Compiled {
    fn new(rule: &Rule) -> Self {
        Self { index: rule.index, conditions: Conditions::new(rule), hosts: rule.hosts.as_slice().into() }
    }

    fn has_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

/// The rules of one host pattern, by path. Lists hold places in [`Table::rules`].
#[derive(Debug, Default)]
struct Level {
    exact: Map<Vec<u32>>,
    longest_exact: usize,
    prefixes: Vec<Node>,
    regexes: Regexes,
    any: Vec<u32>,
}

impl Level {
    #[inline]
    fn walk<B>(&self, path: &str, visit: &mut impl FnMut(u32) -> ControlFlow<B>) -> ControlFlow<B> {
        if path.len() <= self.longest_exact
            && let Some(rules) = self.exact.get(path)
        {
            rules.iter().copied().try_for_each(&mut *visit)?;
        }
        let mut next = self.deepest(path);
        while let Some(node) = next.and_then(|number| self.prefixes.get(number as usize)) {
            node.rules.iter().copied().try_for_each(&mut *visit)?;
            next = node.parent;
        }
        self.regexes.walk(path, visit)?;
        self.any.iter().copied().try_for_each(visit)
    }

    /// The node of the longest known prefix of `path`: one look-up per segment that is known, so
    /// thousands of slashes cost nothing.
    #[inline]
    fn deepest(&self, path: &str) -> Option<u32> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut number = 0;
        for segment in path.strip_prefix('/')?.split('/') {
            let child = self.prefixes.get(number as usize)?.children.get(segment);
            let Some(child) = child else { break };
            number = *child;
        }
        Some(number)
    }
}

/// One segment of the prefixes. The first node is the root, for `/*`.
#[derive(Debug, Default)]
struct Node {
    children: Map<u32>,
    parent: Option<u32>,
    rules: Vec<u32>,
}

/// What a table is made from.
#[derive(Default)]
struct Drafts {
    exact: Map<Draft>,
    wildcard: Map<Draft>,
    open: Map<Draft>,
    regexes: Vec<(Regex, u32)>,
    by_regex: Draft,
    any: Draft,
}

/// A level under construction.
#[derive(Default)]
struct Draft {
    level: Level,
    regexes: Vec<(Regex, u32)>,
}

impl Draft {
    fn add(&mut self, number: usize, rule: &Rule) {
        let number = place_of(number);
        let level = &mut self.level;
        if rule.paths.is_empty() {
            level.any.push(number);
        }
        for path in &rule.paths {
            match path {
                PathPattern::Exact(path) => {
                    level.longest_exact = level.longest_exact.max(path.len());
                    level.exact.entry(path.as_str().into()).or_default().push(number);
                }
                PathPattern::Prefix(prefix) => add_prefix(&mut level.prefixes, prefix, number),
                PathPattern::Regex(regex) => self.regexes.push((regex.clone(), number)),
            }
        }
    }

    /// Sorts every list by precedence.
    fn finish(mut self, rules: &[Compiled]) -> Level {
        let rank = |number: &u32| {
            let rule = rules.get(*number as usize);
            rule.map(|rule| (rule.conditions.rank(), rule.index))
        };
        let level = &mut self.level;
        level.any.sort_by_cached_key(rank);
        level.exact.values_mut().for_each(|list| list.sort_by_cached_key(rank));
        level.prefixes.iter_mut().for_each(|node| node.rules.sort_by_cached_key(rank));
        self.regexes.sort_by_cached_key(|(_, number)| rank(number));
        level.regexes = Regexes::build(self.regexes);
        self.level
    }
}

/// The place of a rule in [`Table::rules`]. A file has no room for more.
fn place_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn add_prefix(nodes: &mut Vec<Node>, prefix: &str, rule: u32) {
    if nodes.is_empty() {
        nodes.push(Node::default());
    }
    let mut number = 0_u32;
    let segments = prefix.strip_prefix('/').map(|rest| rest.split('/'));
    for segment in segments.into_iter().flatten() {
        let Ok(new) = u32::try_from(nodes.len()) else { return };
        let Some(node) = nodes.get_mut(number as usize) else {
            return;
        };
        let child = *node.children.entry(segment.into()).or_insert(new);
        if child == new {
            let parent = Some(number);
            nodes.push(Node { parent, ..Node::default() });
        }
        number = child;
    }
    if let Some(node) = nodes.get_mut(number as usize) {
        node.rules.push(rule);
    }
}

#[cfg(test)]
mod tests;
