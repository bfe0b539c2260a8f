//! The paths that are in code: `crate::a::B`, `super::b`, and every leaf of `use super::{a::{B, C}, d as e}`.

use super::code::{line_of, stands_alone, word};

/// A path, from its first word to its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// The name that it goes by where it is imported; `*` for everything behind it.
    pub(crate) name: String,
}

/// The paths of `code` that begin with `crate`, `super` or `self`, each with its line.
pub(crate) fn paths(code: &str) -> Vec<(Path, usize)> {
    let starts = |start: &'static str| code.match_indices(start).map(|(at, start)| (at, start.len()));
    let mut starts: Vec<_> = ["crate", "super", "self"].into_iter().flat_map(starts).collect();
    starts.sort_unstable();
    let mut found = Vec::new();
    let mut end = 0;
    for (at, length) in starts {
        // The second `super` of `super::super::x`, or one inside the braces of a tree, was read with the first.
        let is_read = at < end;
        // `pub(in crate::x)` names nobody.
        if is_read || !stands_alone(code, at, length) || code[..at].trim_end().ends_with("(in") {
            continue;
        }
        let leaves = leaves(&code[at..]);
        end = code.len() - leaves.rest.len();
        let leaves = leaves.found.into_iter().filter(|path| path.segments.len() > 1);
        let line = line_of(code, at);
        found.extend(leaves.map(|path| (path, line)));
    }
    found
}

/// What the `use` lines of `code` bring into it.
pub(crate) fn imports(code: &str) -> Vec<Path> {
    import_lines(code).flat_map(|at| leaves(&code[at + USE.len()..]).found).collect()
}

/// `code` without its `use` lines.
pub(crate) fn without_imports(code: &str) -> String {
    let mut body = String::with_capacity(code.len());
    let mut end = 0;
    for at in import_lines(code) {
        body.push_str(&code[end..at]);
        end = code[at..].find(';').map_or(code.len(), |length| at + length);
    }
    body + &code[end..]
}

/// Where `use` lines begin.
fn import_lines(code: &str) -> impl Iterator<Item = usize> {
    let found = code.match_indices(USE).map(|(at, _)| at);
    found.filter(|&at| {
        stands_alone(code, at, USE.len()) && code[at + USE.len()..].starts_with(char::is_whitespace)
    })
}

const USE: &str = "use";

/// The paths of the tree that `text` begins with.
fn leaves(text: &str) -> Tree<'_> {
    let mut tree = Tree { rest: text, found: Vec::new() };
    tree.read(&[]);
    tree
}

/// A reader of `a::{b, c::d as e, self, f::*}`.
struct Tree<'a> {
    rest: &'a str,
    found: Vec<Path>,
}

impl Tree<'_> {
    fn read(&mut self, before: &[String]) {
        let mut segments = before.to_vec();
        let mut is_any = false;
        loop {
            if self.takes("*") {
                return self.keep(segments, Some("*".to_owned()));
            }
            if self.takes("{") {
                return self.read_group(&segments);
            }
            // `a::<u8>` ends where the angle bracket begins.
            let Some(segment) = self.takes_word() else { break };
            is_any = true;
            // `a::{self}` is `a`; at the front it is a place to begin.
            if segment != "self" || segments.is_empty() {
                segments.push(segment);
            }
            if !self.takes("::") {
                break;
            }
        }
        if is_any {
            let name = self.takes_word_as();
            self.keep(segments, name);
        }
    }

    fn read_group(&mut self, before: &[String]) {
        while !self.takes("}") && !self.rest.is_empty() {
            let left = self.rest.len();
            self.read(before);
            self.takes(",");
            if self.rest.len() == left {
                return;
            }
        }
    }

    fn keep(&mut self, segments: Vec<String>, name: Option<String>) {
        if let Some(last) = segments.last() {
            let name = name.unwrap_or_else(|| last.clone());
            self.found.push(Path { segments, name });
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn takes_word(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let rest = rest.strip_prefix("r#").unwrap_or(rest);
        let word = word(rest);
        self.rest = &rest[word.len()..];
        (!word.is_empty()).then_some(word)
    }

    fn takes_word_as(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        (word(rest) == "as").then(|| self.rest = &rest[2..])?;
        self.takes_word()
    }
}

#[test]
fn every_leaf_of_a_tree_is_found() {
    let found = |code: &str| -> Vec<String> {
        paths(code)
            .into_iter()
            .map(|(path, line)| format!("{line} {} = {}", path.segments.join("::"), path.name))
            .collect()
    };
    assert_eq!(
        found(
            "use super::{\n    super::z, a::{B, self, c as d},\n    r#type::*, e,\n};\nfn f() { self::g::<u8>(crate::h::I) }"
        ),
        [
            "1 super::super::z = z",
            "1 super::a::B = B",
            "1 super::a = a",
            "1 super::a::c = d",
            "1 super::type = *",
            "1 super::e = e",
            "5 self::g = g",
            "5 crate::h::I = I",
        ]
    );
    assert_eq!(
        found("use super::super::a; pub(super) fn f(self) {} pub(in crate::b) fn g(&self) { mysuper::c }"),
        ["1 super::super::a = a"]
    );
    assert_eq!(
        imports("pub use a::B; use c; fn reuse() { use_it() }\nimpl<'a> D { fn e() -> impl use<'a> F {} }")
            .len(),
        2
    );
}
