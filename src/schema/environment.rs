//! `${NAME}` and `${NAME:-default}` in strings: what the environment says.

use super::{Data, Node, Place};

/// What is wrong with a reference: its place, a message, and a hint.
pub type Missing = (Place, String, String);

/// What the environment of this process says of a variable.
pub fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Node {
    /// Puts what the environment says in place of `${NAME}` in every string, and what comes after `:-` where it says nothing;
    /// `$${` stands for `${`. Gives what could not be replaced, which is left as it is.
    pub fn expand(&mut self, variable: &impl Fn(&str) -> Option<String>) -> Vec<Missing> {
        let mut missing = Vec::new();
        self.expand_into(variable, &mut missing);
        missing
    }

    fn expand_into(&mut self, variable: &impl Fn(&str) -> Option<String>, missing: &mut Vec<Missing>) {
        let place = self.place;
        match &mut self.data {
            Data::String(text) => {
                if text.contains("${") {
                    match expanded(text, variable) {
                        Ok(expanded) => *text = expanded,
                        Err((message, hint)) => missing.push((place, message, hint)),
                    }
                }
            }
            Data::Array(items) => items.iter_mut().for_each(|item| item.expand_into(variable, missing)),
            Data::Table(entries) => {
                entries.iter_mut().for_each(|entry| entry.node.expand_into(variable, missing));
            }
            Data::Integer(_) | Data::Float(_) | Data::Boolean(_) | Data::Datetime => {}
        }
    }
}

fn expanded(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, (String, String)> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((inner, after)) = after.split_once('}') else {
            let hint = "write \"${NAME}\" or \"${NAME:-default}\"; for a literal `${` write \"$${\"";
            return Err(("`${` is not closed by `}`".into(), hint.into()));
        };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !is_name {
            let hint = "a name has letters, digits and `_`; for a literal `${` write \"$${\"";
            return Err((format!("`{name}` is not a valid environment variable name"), hint.into()));
        }
        match variable(name).filter(|value| !value.is_empty()).as_deref().or(default) {
            Some(value) => out.push_str(value),
            None => {
                let hint = format!("set it, or write \"${{{name}:-default}}\"");
                return Err((format!("the environment variable `{name}` is not set"), hint));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, (String, String)> {
        expanded(text, &|name| match name {
            "HOST" => Some("lb1".into()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${HOST}".into()),
            _ => None,
        })
    }

    #[test]
    fn what_the_environment_says_is_put_in() {
        assert_eq!(of("${HOST}.example:${PORT:-80}").unwrap(), "lb1.example:80");
        assert_eq!(of("${EMPTY:-none}$").unwrap(), "none$");
        assert_eq!(of("$${HOST} costs $5").unwrap(), "${HOST} costs $5");
        // What comes from there is not looked at again.
        assert_eq!(of("${ODD}").unwrap(), "${HOST}");
    }

    #[test]
    fn what_it_does_not_say_is_named_with_the_remedy() {
        let (message, hint) = of("a ${PORT} b").unwrap_err();
        assert!(
            message.contains("`PORT` is not set") && hint.contains("${PORT:-default}"),
            "{message}: {hint}"
        );
        assert!(of("${EMPTY}").is_err());
        for wrong in ["${", "${HOST", "${}", "${9A}", "${A B}", "${HOST-x}"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_strings_are_expanded_and_problems_have_places() {
        let text = "a = \"${HOST}\"\nb = [1, \"${NONE}\"]\nc = { d = \"${NONE}\" }\n";
        let (mut root, _) = Node::parse(text);
        let missing = root.expand(&|name| (name == "HOST").then(|| "x".into()));
        assert_eq!(root.get("a").and_then(Node::text), Some("x"));
        let places: Vec<&str> = missing.iter().map(|(place, ..)| &text[place.start..place.end]).collect();
        assert_eq!(places, ["\"${NONE}\"", "\"${NONE}\""]);
    }
}
