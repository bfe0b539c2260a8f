//! Options that are one word of a few.

/// Declares an enum whose variants have names in the file: `Variant = "name"`, each with its doc.
/// Names after `later` are in the contract and are refused by this version.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $type:ident { $( $(#[doc = $about:literal])* $variant:ident = $name:literal, )* }
        $(later { $($later:literal),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $( $(#[doc = $about])* $variant, )* }

        impl $type {
            /// Every variant, its name in the file, and what it does.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$( (Self::$variant, $name, concat!($($about),*)) ),*];

            /// Its name in the file.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }

        impl $crate::schema::Value for $type {
            fn kind() -> String {
                $crate::schema::choice::kind(&[$($name),*])
            }

            fn schema() -> serde_json::Value {
                let about = [$( concat!("`", $name, "`:", $($about),*) ),*];
                serde_json::json!({"enum": [$($name),*], "description": about.join("\n")})
            }

            fn read(
                node: &$crate::schema::Node,
                reader: &mut $crate::schema::Reader<'_>,
            ) -> Option<Self> {
                let names = [$($name),*];
                let later: &[&str] = &[$($($later),*)?];
                let index = $crate::schema::choice::pick(&names, later, node, reader)?;
                Self::ALL.get(index).map(|(value, ..)| *value)
            }
        }
    };
}

pub(crate) use choice;

use super::{Node, Reader, suggest};

/// "`http` or `https`".
pub fn kind(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        other => other.join(""),
    }
}

/// Which of `names` is at `node`, or a problem.
pub fn pick(names: &[&str], later: &[&str], node: &Node, reader: &mut Reader<'_>) -> Option<usize> {
    let text = reader.text(node, &kind(names))?;
    let found = names.iter().position(|name| *name == text);
    if found.is_some() {
        return found;
    }
    if later.contains(&text) {
        let message = format!("`{} = \"{text}\"` is not implemented in this version", reader.key());
        let hint = format!("this version has {}", kind(names));
        reader.problem_with(node.place, message, hint);
    } else {
        let message = format!("unknown {} `{text}`", noun(reader.key()));
        let hint = suggest::did_you_mean(text, names.iter().copied());
        reader.problem_with(node.place, message, hint);
    }
    None
}

/// What people call the value of a key.
fn noun(key: &str) -> &str {
    match key {
        "balance" => "balancing policy",
        other => other,
    }
}
