//! Statuses of responses, one or a class.

use serde_json::json;

use super::{Data, Node, Reader, Value};

/// One status, or all that begin with the same digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// One.
    One(u16),
    /// All that begin with this digit.
    Class(u16),
}

impl Statuses {
    /// Takes `404`, or `4xx`; `None` for what is no status from 100 to 599.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class);
        }
        let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|status| is_status && (100..=599).contains(status)).map(Self::One)
    }

    /// Whether a status is one of them.
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => class == status / 100,
        }
    }

    /// Whether it stands for several, so that single ones come before it.
    pub fn is_class(self) -> bool {
        matches!(self, Self::Class(_))
    }

    /// The first digit.
    pub fn class(self) -> u16 {
        match self {
            Self::One(status) => status / 100,
            Self::Class(class) => class,
        }
    }
}

impl Value for Statuses {
    fn kind() -> String {
        "a status (`404`), or a class (`\"4xx\"`)".into()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^[1-5]([0-9][0-9]|xx)$"},
        ]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.data {
            Data::Integer(number) => number.to_string(),
            Data::String(text) => text.clone(),
            _ => {
                reader.wrong_type(node, &Self::kind());
                return None;
            }
        };
        let statuses = Self::parse(&text);
        if statuses.is_none() {
            let message = format!("`{text}` is not a status");
            reader.problem_with(
                node.place,
                message,
                "write a status such as 404, or a class such as \"4xx\"",
            );
        }
        statuses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_ones_or_classes() {
        for (text, expected) in [
            ("404", Some(Statuses::One(404))),
            ("5xx", Some(Statuses::Class(5))),
            ("200", Some(Statuses::One(200))),
            ("0xx", None),
            ("600", None),
            ("99", None),
            ("0404", None),
            ("xx", None),
            ("+40", None),
        ] {
            assert_eq!(Statuses::parse(text), expected, "{text}");
        }
        assert!(Statuses::Class(4).has(404) && !Statuses::Class(4).has(504) && !Statuses::One(404).has(405));
    }
}
