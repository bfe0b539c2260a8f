//! Circles inside a room: siblings that use each other, directly or through others of them.
//!
//! Siblings are the files and folders next below one module, at every depth. One uses another when it names something
//! that is defined there, at whatever depth, also where the parent gives it on. A parent that declares and gives on
//! what is below it is in no circle; one that uses what is below it, while that uses what the parent itself defines,
//! is. Nothing is excepted: what two files both use is in a third, below both.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    modules::{Modules, Name},
    source::{Source, root, sources},
};

#[test]
fn no_modules_use_each_other_in_circles() {
    let found = Circles::of(&Modules::of(&sources(&root())));
    let wrong: Vec<_> = found.complaints().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Siblings each of which uses each other, directly or through others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Circle {
    /// `room::folder`.
    parent: String,
    members: BTreeSet<String>,
}

impl Circle {
    /// Its members, for people.
    fn list(&self) -> String {
        self.members.iter().map(|member| format!("`{member}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The circles of a program.
struct Circles {
    siblings: Vec<Circle>,
    /// Those of which the parent is one.
    parents: Vec<Circle>,
}

impl Circles {
    fn of(modules: &Modules) -> Self {
        let uses = modules.uses();
        let (mut siblings, mut parents) = (Vec::new(), Vec::new());
        // The rooms themselves are held to their order by `rooms`.
        for (parent, _) in modules.families().into_iter().filter(|(parent, _)| !parent.is_empty()) {
            let within = |name: &Name| name.starts_with(&parent).then(|| name.get(parent.len()).cloned());
            // The parent itself is `None`.
            let edges: BTreeSet<_> =
                uses.iter().filter_map(|(user, used)| Some((within(user)?, within(used)?))).collect();
            let named = |members: Vec<Option<String>>| Circle {
                parent: parent.join("::"),
                members: members.into_iter().flatten().collect(),
            };
            let only_siblings: BTreeSet<_> =
                edges.iter().filter_map(|(user, used)| Some((user.clone()?, used.clone()?))).collect();
            let circles = strongly_connected(&only_siblings);
            siblings
                .extend(circles.into_iter().map(|members| named(members.into_iter().map(Some).collect())));
            let circles = strongly_connected(&edges).into_iter().filter(|members| members.contains(&None));
            parents.extend(circles.map(named));
        }
        Self { siblings, parents }
    }

    /// What is wrong; a sentence each.
    fn complaints(&self) -> impl Iterator<Item = String> {
        let siblings = self.siblings.iter();
        let siblings =
            siblings.map(|circle| format!("{}: {} use each other in a circle", circle.parent, circle.list()));
        let parents = self.parents.iter();
        siblings.chain(parents.map(|circle| {
            format!("{}: it uses {}, and they use what it defines", circle.parent, circle.list())
        }))
    }
}

/// The sets of more than one node in which each reaches each other.
fn strongly_connected<N: Ord + Clone>(edges: &BTreeSet<(N, N)>) -> Vec<Vec<N>> {
    let mut next = BTreeMap::<&N, Vec<&N>>::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    let reached = |from: &N| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(node) = todo.pop() {
            todo.extend(next.get(node).into_iter().flatten().filter(|to| seen.insert((**to).clone())));
        }
        seen
    };
    let reached: BTreeMap<&N, BTreeSet<N>> = next.keys().map(|node| (*node, reached(node))).collect();
    let mut found = Vec::<Vec<N>>::new();
    for (node, nodes) in &reached {
        if found.iter().any(|members| members.contains(node)) {
            continue;
        }
        let returns = |other: &&N| reached.get(*other).is_some_and(|nodes| nodes.contains(*node));
        let members: Vec<N> = nodes.iter().filter(returns).cloned().collect();
        found.extend((members.len() > 1).then_some(members));
    }
    found
}

/// The scanner itself: what it must find, and what it must not.
mod scanner {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Circles {
        let source = |(path, text): &(&str, &str)| Source { path: path.into(), text: (*text).into() };
        Circles::of(&Modules::of(&files.iter().map(source).collect::<Vec<_>>()))
    }

    #[test]
    fn finds_a_planted_circle_however_it_is_written() {
        let planted = [
            ("use super::two::Two;", "use super::one::One;"),
            ("use crate::room::two;", "fn f() { crate::room::one::f() }"),
            ("use super::{other::X, two::{self, Two}};", "impl super::one::One {}"),
            ("use super::Two;", "use super::{First as One};"),
            ("fn f(x: super::two::deep::Deep) {}", "use super::super::room::one::*;"),
            ("use super::other::X;", "use super::other::X;"),
        ];
        for (one, two) in planted {
            let circles = found(&[
                ("room/mod.rs", "mod one; mod two; mod other; pub use self::{one::One as First, two::Two};"),
                ("room/one.rs", one),
                ("room/two/mod.rs", two),
                ("room/two/deep.rs", "use super::super::one::One;"),
                ("room/other.rs", "use super::{one::One, two::Two};"),
            ]);
            let [circle] = &circles.siblings[..] else { panic!("{one} {two}: {:?}", circles.siblings) };
            assert_eq!(circle.parent, "room");
            assert!(["one", "two"].iter().all(|&member| circle.members.contains(member)), "{circle:?}");
            assert!(circles.parents.is_empty());
        }
    }

    #[test]
    fn finds_circles_at_any_depth_and_through_folders() {
        let circles = found(&[
            ("room/mod.rs", "mod d; mod folder;"),
            ("room/folder/mod.rs", "pub mod a; mod b; mod c;"),
            ("room/folder/a.rs", "use super::b::B;"),
            ("room/folder/b.rs", "use super::a::A;"),
            ("room/folder/c.rs", "use crate::room::d::D;"),
            ("room/d.rs", "use super::folder::a::A;"),
        ]);
        let circle = |parent: &str, members: [&str; 2]| Circle {
            parent: parent.to_owned(),
            members: members.map(str::to_owned).into(),
        };
        let expected = [circle("room", ["d", "folder"]), circle("room::folder", ["a", "b"])];
        assert_eq!(circles.siblings, expected);
    }

    #[test]
    fn leaves_alone_what_is_no_circle() {
        let circles = found(&[
            ("room/mod.rs", "mod one; mod two; pub use self::one::One; pub struct Own;"),
            ("room/one.rs", "use super::two::Two; /* super::three */ const A: &str = \"super::three\";"),
            (
                "room/two.rs",
                "use super::{three::Three, Own}; #[cfg(test)] mod tests { use super::super::one::One; }",
            ),
            ("room/three.rs", "pub(super) fn f() {} pub(in crate::room) fn g() {}"),
            ("room/three/tests.rs", "use super::super::one::One;"),
            // Rooms are held to their order elsewhere.
            ("other.rs", "use crate::room::One;"),
            ("room/four.rs", "use crate::other::Other;"),
        ]);
        assert_eq!(circles.siblings, []);
        assert_eq!(circles.parents, []);
    }

    #[test]
    fn a_parent_is_in_a_circle_with_its_users() {
        let with =
            |parent: &str, child: &str| found(&[("room/mod.rs", parent), ("room/a.rs", child)]).parents.len();
        assert_eq!(with("mod a; pub use a::A; pub struct Own;", "use super::Own;"), 0);
        assert_eq!(with("mod a; use a::A; pub struct Own(A);", "use crate::error::Own;"), 0);
        assert_eq!(with("mod a; use a::A; pub struct Own(A);", "use super::Own;"), 1);
        assert_eq!(with("mod a; fn f() { a::f() } fn g() {}", "fn f() { super::g() }"), 1);
        assert_eq!(with("mod a; pub use a::A; fn f() -> A {} fn g() {}", "use super::g;"), 1);
    }

    #[test]
    fn circles_are_named_with_their_members() {
        let circles = found(&[
            ("room/mod.rs", "mod a; mod b; mod c; use c::C; pub struct Own(C);"),
            ("room/a.rs", "use super::b::B;"),
            ("room/b.rs", "use super::a::A;"),
            ("room/c.rs", "use super::Own;"),
        ]);
        assert_eq!(
            circles.complaints().collect::<Vec<_>>(),
            ["room: `a`, `b` use each other in a circle", "room: it uses `c`, and they use what it defines",]
        );
    }
}
