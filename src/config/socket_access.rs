//! Who may open a listener's unix socket: `mode`, `owner` and `group` of its file.

use std::{fmt, fs, path::Path};

use serde_json::json;

use crate::schema::{Data, Node, Reader, Value, suggest};

/// The permissions of a file, at most 0777.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

/// The number of a user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId(pub u32);

/// The number of a group of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u32);

/// What a socket's file is to have; what is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketAccess {
    /// Its permissions.
    pub mode: Option<u32>,
    /// Its owner.
    pub owner: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Value for FileMode {
    fn kind() -> String {
        "permissions in octal".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "permissions in octal, such as \"0660\"")?;
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let mode = Some(digits).filter(|digits| digits.len() == 3);
        let mode = mode.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        if mode.is_none() {
            let message = format!("`{text}` is not a valid file mode");
            let hint = "use three octal digits, for owner, group and others: \"0660\", \"0666\"";
            reader.problem_with(node.place, message, hint);
        }
        mode.map(Self)
    }
}

impl Value for UserId {
    fn kind() -> String {
        "a user, by name or number".into()
    }

    fn schema() -> serde_json::Value {
        either()
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        by_name(node, reader, "user", Path::new("/etc/passwd")).map(Self)
    }
}

impl Value for GroupId {
    fn kind() -> String {
        "a group, by name or number".into()
    }

    fn schema() -> serde_json::Value {
        either()
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        by_name(node, reader, "group", Path::new("/etc/group")).map(Self)
    }
}

fn either() -> serde_json::Value {
    json!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]})
}

/// A number, or what a file of names and numbers (passwd(5), group(5)) has for a name. (-1 says "as it is" to chown(2).)
fn by_name(node: &Node, reader: &mut Reader<'_>, what: &str, file: &Path) -> Option<u32> {
    if let Data::Integer(number) = node.data {
        let number = u32::try_from(number).ok().filter(|number| *number != u32::MAX);
        if number.is_none() {
            let message = format!("no {what} has this number");
            reader.problem_with(
                node.place,
                message,
                format!("`{}` lists those of this machine", file.display()),
            );
        }
        return number;
    }
    let name = reader.text(node, &format!("the name or the number of a {what}"))?;
    // A machine with its names elsewhere has numbers still.
    let known = fs::read_to_string(file).unwrap_or_default();
    let lines = known.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        Some((name, parts.nth(1)?.parse::<u32>().ok()?))
    });
    let lines: Vec<(&str, u32)> = lines.collect();
    if let Some((_, number)) = lines.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    let hint = match suggest::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`? A number works too"),
        None => format!("it is not in `{}`: add it to this machine, or use a number", file.display()),
    };
    reader.lacking(node.place, format!("there is no {what} `{name}` on this machine"), hint);
    None
}
