//! Where a key is, for what goes wrong only after the file was found good: "cannot listen on
//! 0.0.0.0:80: permission denied" belongs to a line too.

use std::path::Path;

use super::{include::Included, join};
use crate::schema::{Node, Place, Problem};

/// A step from a table or array into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// To the value of this key.
    Key(&'s str),
    /// To the item with this `name`, or of backends with this `address`.
    Named(&'s str),
    /// To the item with this number, from 0.
    Index(usize),
}

/// A problem with what `steps` lead to in `text`, which is in `file`, or in what it includes: with
/// `[Key("listener"), Named("web"), Key("address")]` the address of the listener `web`. Where a step leads
/// nowhere, the problem is reported at the last thing found, and of the file as a whole where nothing was.
pub fn problem_at(
    (text, file): (&str, &Path),
    included: &[Included],
    steps: &[Step<'_>],
    message: &str,
    hint: Option<&str>,
) -> Problem {
    let (message, hint) = (message.to_owned(), hint.map(str::to_owned));
    let mut joined = join::of_text(text, file);
    included.iter().for_each(|it| joined.add(it));
    match place(&joined.root, steps) {
        Some(place) => Problem::at(&joined.source, place, message, hint),
        None => Problem::with_file(file.to_owned(), message, hint),
    }
}

fn place(root: &Node, steps: &[Step<'_>]) -> Option<Place> {
    let (mut node, mut found) = (root, None);
    for step in steps {
        let next = match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.items().get(*index),
            Step::Named(name) => {
                let is_it = |item: &&Node| {
                    let called = item.get("name").or_else(|| item.get("address"));
                    called.and_then(Node::text) == Some(name)
                };
                node.items().iter().find(is_it)
            }
        };
        let Some(next) = next else {
            break;
        };
        node = next;
        found = Some(node.place);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[listener]]\nname = \"web\"\naddress = \"0.0.0.0:80\"\n\n[[listener]]\nname = \"other\"\n\
                        address = \"0.0.0.0:81\" # ü\n[admin]\n[[upstream]]\nname = \"api\"\n\
                        backend = [{ address = \"a:80\", weight = 3 }]\n";

    fn at(steps: &[Step<'_>]) -> (usize, usize, String) {
        let problem = problem_at((TEXT, Path::new("x.toml")), &[], steps, "no", None);
        (
            problem.line,
            problem.column,
            problem.text.chars().skip(problem.column.max(1) - 1).take(problem.width).collect(),
        )
    }

    #[test]
    fn finds_values_by_key_name_and_number() {
        use Step::{Index, Key, Named};
        let second = (7, 11, "\"0.0.0.0:81\"".to_owned());
        assert_eq!(at(&[Key("listener"), Named("other"), Key("address")]), second);
        assert_eq!(at(&[Key("listener"), Index(1), Key("address")]), second);
        let weight = [Key("upstream"), Named("api"), Key("backend"), Named("a:80"), Key("weight")];
        assert_eq!(at(&weight), (11, 41, "3".to_owned()));
        assert_eq!(
            at(&[Key("admin"), Key("address")]),
            (8, 1, "[admin]".to_owned()),
            "not written: its table"
        );
        assert_eq!(at(&[Key("listener"), Named("web"), Key("limits")]).0, 1);
        assert_eq!(at(&[Key("cache")]), (0, 0, String::new()), "nothing was found");
        assert_eq!(at(&[]).0, 0);
    }

    #[test]
    fn a_place_is_reported_like_every_other_problem() {
        let steps = [Step::Key("listener"), Step::Named("web"), Step::Key("address")];
        let message = "cannot listen on 0.0.0.0:80: permission denied";
        let hint = "ports below 1024 need a capability";
        let problem = problem_at((TEXT, Path::new("x.toml")), &[], &steps, message, Some(hint));
        assert_eq!(
            problem.to_string(),
            "x.toml:3:11: cannot listen on 0.0.0.0:80: permission denied\n    3 | address = \"0.0.0.0:80\"\n      \
             |           ^^^^^^^^^^^^\n  hint: ports below 1024 need a capability"
        );
        assert_eq!(problem.to_json()["source"], "address = \"0.0.0.0:80\"");
    }
}
