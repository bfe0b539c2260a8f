//! How deep tables and arrays are within each other in a text, before a tree is made of it.
//!
//! The TOML crate bounds how many brackets are within each other, and how many parts a key has (80 each), but not what
//! they come to together: with a long dotted key in each bracket, some kilobytes are thousands of levels. Whoever goes
//! down such a tree, that crate itself when it drops one, has no stack left, and that ends the process. What is counted
//! here are the events that the crate makes its tree of, from the same parser, so that both see the same text, errors
//! too.

use toml_parser::{
    Source,
    parser::{Event, EventKind, RecursionGuard, parse_document},
};

use super::Place;

/// Levels that a text may have: no option is a tenth as deep.
pub(super) const MOST: usize = 100;

/// Brackets that the parser goes down; it refuses more, as the TOML crate has it do.
const MOST_BRACKETS: u32 = 80;

/// Where a text goes down too many levels.
pub(super) fn beyond(text: &str) -> Option<Place> {
    let mut depth = Depth::default();
    let tokens = Source::new(text).lex().into_vec();
    let mut count = |event: Event| depth.count(&event);
    // What is wrong with the text is said when the tree is made.
    parse_document(&tokens, &mut RecursionGuard::new(&mut count, MOST_BRACKETS), &mut ());
    depth.beyond
}

/// What was counted of the events so far.
#[derive(Debug, Default)]
struct Depth {
    /// The level of the table whose header came last.
    table: usize,
    /// The levels of the brackets that are open, the innermost last.
    open: Vec<usize>,
    /// Parts of the key that was read last, and whose value did not come yet.
    parts: usize,
    /// Whether it is that of a header; behind one that is not closed, any may be taken for its key.
    is_header: bool,
    /// Where there were too many levels first.
    beyond: Option<Place>,
}

impl Depth {
    fn count(&mut self, event: &Event) {
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                (self.table, self.parts, self.is_header) = (0, 0, true);
                self.open.clear();
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.table = self.level();
                (self.parts, self.is_header) = (0, false);
            }
            EventKind::SimpleKey => {
                self.parts += 1;
                self.note(event);
            }
            EventKind::InlineTableOpen | EventKind::ArrayOpen => {
                self.note(event);
                self.open.push(self.level());
                self.parts = 0;
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                self.open.pop();
                self.parts = 0;
            }
            EventKind::Scalar => {
                self.note(event);
                self.parts = 0;
            }
            EventKind::ValueSep => self.parts = 0,
            // Within brackets a key and its value may be on two lines.
            EventKind::Newline if self.open.is_empty() => self.parts = 0,
            EventKind::Newline
            | EventKind::KeySep
            | EventKind::KeyValSep
            | EventKind::Whitespace
            | EventKind::Comment
            | EventKind::Error => {}
        }
    }

    /// The level of the value of the key that was read last; of an array's next value where there is no key.
    fn level(&self) -> usize {
        // Each part of a header may be of an array of tables, which is two levels.
        let of_part = if self.is_header { 2 } else { 1 };
        self.open.last().copied().unwrap_or(self.table) + of_part * self.parts.max(1)
    }

    fn note(&mut self, event: &Event) {
        if self.level() > MOST && self.beyond.is_none() {
            let span = event.span();
            self.beyond = Some(Place { start: span.start(), end: span.end() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::schema::{Data, Node};

    /// Levels below a node.
    fn levels(node: &Node) -> usize {
        let below = match &node.data {
            Data::Table(entries) => entries.iter().map(|entry| levels(&entry.node)).max(),
            Data::Array(items) => items.iter().map(levels).max(),
            _ => None,
        };
        below.map_or(0, |most| most + 1)
    }

    /// Inline tables within each other, each with a key of so many parts.
    fn nested(tables: usize, parts: usize) -> String {
        let key = vec!["a"; parts].join(".");
        format!("{}1{}", format!("{key} = {{ ").repeat(tables) + &key + " = ", " }".repeat(tables))
    }

    #[test]
    fn deep_texts_do_not_overflow_the_stack() {
        let long = nested(79, 80);
        let texts = [
            long.clone(),
            format!("a = 1\n{long}"),
            format!("[x]\n{long}\n[[y]]\n{long}"),
            format!("z = [ {{ {long} }}"),
            "a = [".repeat(100_000),
            "[".repeat(100_000),
            "{a=".repeat(100_000),
            vec!["a"; 100_000].join("."),
        ];
        let parse = move || {
            for text in texts {
                let (root, errors) = Node::parse(&text);
                assert!(!errors.is_empty(), "{}", text.get(..40).unwrap());
                drop(root.clone());
            }
        };
        // As much as a thread of the runtime has.
        thread::Builder::new().stack_size(2 << 20).spawn(parse).unwrap().join().unwrap();
    }

    #[test]
    fn too_many_levels_are_told_with_their_place() {
        for (tables, parts) in [(9, 10), (49, 2), (79, 1), (0, 79)] {
            let (root, errors) = Node::parse(&nested(tables, parts));
            assert!(errors.is_empty(), "{tables} × {parts}: {errors:?}");
            assert_eq!(levels(&root), (tables + 1) * parts);
        }
        let text = format!("ok = 1\n{}", nested(10, 10));
        let (root, errors) = Node::parse(&text);
        let [(place, message)] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(message.contains("more than 100 levels"), "{message}");
        assert_eq!((text.get(place.start..place.end), root.entries().len()), (Some("a"), 0));
        assert!(text.get(..place.start).unwrap().matches('a').count() == 100);
    }

    #[test]
    fn no_tree_is_deeper_than_what_was_counted() {
        const PIECES: [&str; 16] =
            ["a", ".", "=", "{", "}", "[", "]", "[[", "]]", ",", "\n", " ", "1", "\"b\"", "#", "a.b = {"];
        let mut random = fastrand::Rng::with_seed(11);
        let mut deep = 0;
        for _ in 0..50_000 {
            let text: String = (0..random.usize(1..60)).map(|_| *random.choice(&PIECES).unwrap()).collect();
            let (root, _) = Node::parse(&text);
            let mut counted = 0;
            let tokens = Source::new(&text).lex().into_vec();
            let mut depth = Depth::default();
            let mut count = |event: Event| {
                depth.count(&event);
                counted = counted.max(depth.level()).max(depth.open.last().copied().unwrap_or(0));
            };
            parse_document(&tokens, &mut RecursionGuard::new(&mut count, MOST_BRACKETS), &mut ());
            assert!(levels(&root) <= counted, "{} > {counted}: {text:?}", levels(&root));
            deep = deep.max(levels(&root));
        }
        assert!(deep > 5, "only {deep} levels");
    }
}
