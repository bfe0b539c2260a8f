//! Reads a text with placeholders.

use std::borrow::Cow;

use super::{
    escape::Context,
    filter::{FILTERS, Filter},
    foreign,
    scope::Scope,
    variable::Variable,
};
use crate::schema::suggest;

/// What a template is for: not everything is known everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A field of the request to a backend.
    RequestField,
    /// Path or host of the request to a backend.
    Rewrite,
    /// The location of a redirect.
    Redirect,
    /// The body of a response that Pointsman makes; braces are common there.
    Body,
    /// A page in the place of an error; braces are as common there.
    Page,
    /// A field of a response.
    ResponseField,
    /// What a cache finds a response by.
    Key,
    /// A field of the access log.
    Log,
}

impl Use {
    /// Whether braces that are no placeholders are common in such texts.
    fn has_braces(self) -> bool {
        matches!(self, Self::Body | Self::Page)
    }
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The same for every request.
    Text(Box<str>),
    /// What a request says.
    Value { variable: Variable, filters: Box<[Filter]> },
}

impl Piece {
    /// The group of a regular expression that it names, if it does.
    pub(super) fn capture(&self) -> Option<&str> {
        match self {
            Self::Value { variable: Variable::Capture(group), .. } => Some(group),
            Self::Value { .. } | Self::Text(_) => None,
        }
    }

    /// Whether it is a value that no host is made of.
    pub(super) fn is_of_no_host(&self) -> bool {
        match self {
            Self::Value { variable, .. } => {
                !matches!(variable, Variable::Scheme | Variable::Host | Variable::Port)
            }
            Self::Text(_) => false,
        }
    }

    /// Whether it is the port.
    pub(super) fn is_port(&self) -> bool {
        matches!(self, Self::Value { variable: Variable::Port, .. })
    }

    /// Whether it is where a path, query or fragment begins, whatever the request.
    pub(super) fn begins_path(&self) -> bool {
        match self {
            Self::Text(text) => text.starts_with(['/', '?', '#']),
            Self::Value { variable: Variable::Path | Variable::PathAndQuery, filters } => {
                !filters.contains(&Filter::UrlEncode)
            }
            Self::Value { .. } => false,
        }
    }

    /// Whether it names a domain of two labels or more: what a request says before it is a name in that, and not the domain.
    pub(super) fn is_domain(&self) -> bool {
        match self {
            Self::Text(text) => text.trim_matches('.').contains('.'),
            Self::Value { variable, .. } => matches!(variable, Variable::Host),
        }
    }

    /// Whether requests for one URL may differ in it.
    pub(super) fn tells_clients_apart(&self) -> bool {
        matches!(self, Self::Value { variable, .. } if variable.tells_clients_apart())
    }

    /// What it stands for, where it is a placeholder.
    pub(super) fn variable(&self) -> Option<&Variable> {
        match self {
            Self::Value { variable, .. } => Some(variable),
            Self::Text(_) => None,
        }
    }

    /// Writes it for a request.
    pub(super) fn write(&self, scope: &Scope<'_>, context: Context, out: &mut Vec<u8>) {
        self.write_value(|variable| variable.value(scope), context, out);
    }

    /// Writes it with what placeholders stand for.
    pub(super) fn write_value<'a>(
        &'a self,
        value: impl Fn(&'a Variable) -> Cow<'a, [u8]>,
        context: Context,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Value { variable, filters } => {
                let value = filters.iter().fold(value(variable), |value, filter| filter.apply(value));
                let is_part = match context {
                    Context::Path => variable.is_of_path(),
                    _ => variable.is_of_target(),
                };
                context.write(&value, is_part || filters.contains(&Filter::UrlEncode), out);
            }
        }
    }
}

/// The pieces of a text.
pub(super) fn parse(text: &str, of: Use) -> Result<Vec<Piece>, Fault> {
    if let Some((found, ours)) = foreign::find(text, of.has_braces()) {
        return Err(Fault {
            message: format!("`{found}` is the syntax of another program"),
            hint: match ours {
                Some(ours) => format!("write `{{{ours}}}`"),
                None => format!("placeholders are {}; `{{{{` stands for `{{`", known()),
            },
        });
    }
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('{') {
            literal.push('{');
            rest = after;
            continue;
        }
        // `${name}` of a script is its own.
        let is_script = of.has_braces() && before.ends_with('$');
        let found = if is_script { None } else { placeholder(after, of)? };
        let Some((inner, after)) = found else {
            literal.push('{');
            rest = after;
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
        }
        pieces.push(value(inner, of)?);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal.into()));
    }
    Ok(pieces)
}

/// What is between the braces and what is behind them; `None` where the brace is only a brace: before anything but a
/// letter, as in JSON, and in a body wherever what follows cannot be a placeholder.
fn placeholder(after: &str, of: Use) -> Result<Option<(&str, &str)>, Fault> {
    let is_name = after.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_cut = of == Use::Redirect && after.is_empty();
    if !is_name && !is_cut {
        return Ok(None);
    }
    let Some((inner, after)) = after.split_once('}') else {
        if of.has_braces() {
            return Ok(None);
        }
        let hint = "placeholders are `{name}`".to_owned();
        return Err(Fault { message: "a `{` is not closed".to_owned(), hint });
    };
    let name = inner.split('|').next().unwrap_or_default();
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if of.has_braces() && !name.chars().all(is_sign) {
        return Ok(None);
    }
    Ok(Some((inner, after)))
}

fn value(inner: &str, of: Use) -> Result<Piece, Fault> {
    let mut parts = inner.split('|');
    let name = parts.next().unwrap_or_default();
    let variable = Variable::parse(name).ok_or_else(|| unknown(name))?;
    if let Some(why) = not_known(&variable, of) {
        return Err(Fault { message: format!("`{{{name}}}` is not available here"), hint: why.to_owned() });
    }
    let filter = |text: &str| {
        Filter::parse(text).ok_or_else(|| Fault {
            message: format!("unknown filter `{text}` in `{{{inner}}}`"),
            hint: format!("available: {FILTERS}"),
        })
    };
    let variable = if of == Use::Key { variable.in_key() } else { variable };
    Ok(Piece::Value { variable, filters: parts.map(filter).collect::<Result<_, _>>()? })
}

fn unknown(name: &str) -> Fault {
    let names: Vec<&str> = Variable::names().collect();
    let hint = match foreign::ours(name) {
        Some(ours) => format!("write `{{{ours}}}`"),
        None => match suggest::nearest(name, &names) {
            Some(near) => format!("did you mean `{{{near}}}`?"),
            None => format!("available: {}", known()),
        },
    };
    Fault { message: format!("unknown placeholder `{{{name}}}`"), hint }
}

fn known() -> String {
    Variable::names().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
}

/// Why something is not known where the template is for.
fn not_known(variable: &Variable, of: Use) -> Option<&'static str> {
    match (variable, of) {
        (Variable::Backend, Use::RequestField | Use::Rewrite | Use::Key) => {
            Some("the backend is chosen later; it is available in `response_headers` and `log.fields`")
        }
        (Variable::Backend, Use::Redirect | Use::Body) => Some("no backend is involved"),
        (Variable::Capture(_), Use::Page) => Some("a page is shared by many routes"),
        (Variable::Capture(_), Use::Key) => {
            Some("a cache is shared by many routes, and its keys already contain the path")
        }
        (Variable::RequestId | Variable::TimeIso | Variable::TimeUnix | Variable::ClientPort, Use::Key) => {
            Some("it differs for each request, so nothing stored would ever be found again")
        }
        (Variable::Status, Use::RequestField | Use::Rewrite | Use::Redirect | Use::Body | Use::Key) => Some(
            "there is no response yet; it is available in `error_pages`, `response_headers` and `log.fields`",
        ),
        (Variable::Error, Use::RequestField | Use::Rewrite | Use::Redirect | Use::Body | Use::Key) => Some(
            "nothing has gone wrong yet; it is available in `error_pages`, `response_headers` and `log.fields`",
        ),
        (Variable::Listener, Use::Rewrite | Use::Key) => Some(
            "rewrites and cache keys are the same on every listener; use a route for each, with `listeners`",
        ),
        _ => None,
    }
}
