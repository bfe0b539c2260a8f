//! What is wrong with a configuration, for people and for scripts.

use std::{fmt, path::PathBuf};

use super::{Place, Source};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named on the command line.
    pub file: PathBuf,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the file as a whole is meant.
    pub column: usize,
    /// Text of that line.
    pub text: String,
    /// How many characters of the line are meant.
    pub width: usize,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place of `source`.
    pub fn at(source: &Source, place: Place, message: String, hint: Option<String>) -> Self {
        let line = source.line(place.start);
        Self {
            file: source.file().to_owned(),
            line,
            column: source.column(place.start),
            text: source.line_text(line).to_owned(),
            width: source.width(place),
            message,
            hint,
        }
    }

    /// A problem with a file as a whole.
    pub fn with_file(file: PathBuf, message: String, hint: Option<String>) -> Self {
        Self { file, line: 0, column: 0, text: String::new(), width: 0, message, hint }
    }

    /// The form in which the admin API and `check --format json` give it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.file.display().to_string(),
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
            "source": self.text,
        })
    }

    /// Reads what [`Problem::to_json`] wrote. How much of the line is meant is not in it, and is taken from
    /// what stands there. `None` for something else.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
        let number = |key: &str| usize::try_from(json.get(key)?.as_u64()?).ok();
        let (source, column) = (text("source").unwrap_or_default().to_owned(), number("column")?);
        Some(Self {
            file: text("file")?.into(),
            line: number("line")?,
            column,
            width: width_at(&source, column),
            text: source,
            message: text("message")?.to_owned(),
            hint: text("hint").map(str::to_owned),
        })
    }
}

/// Characters of what begins at a column of a line of TOML: a string, an array or table, or a word. Inside a
/// string it is one character, as what reads them tells.
fn width_at(line: &str, column: usize) -> usize {
    if is_in_string(line, column) {
        return 1;
    }
    let (mut depth, mut quote, mut is_escaped, mut width) = (0_usize, None, false, 0);
    for c in line.trim_end().chars().skip(column.saturating_sub(1)) {
        match (quote, c) {
            (Some('"'), '\\') if !is_escaped => is_escaped = true,
            (Some(open), _) => {
                if c == open && !is_escaped {
                    quote = None;
                }
                is_escaped = false;
            }
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') if depth == 0 => break,
            (None, ']' | '}') => depth -= 1,
            (None, ',' | '=' | '#') if depth == 0 => break,
            (None, _) if depth == 0 && c.is_whitespace() => break,
            (None, _) => {}
        }
        width += 1;
        let is_whole = depth == 0 && quote.is_none() && matches!(c, '"' | '\'' | ']' | '}');
        let header = line.trim_start().starts_with("[[") && c == ']' && depth > 0;
        if is_whole && !header {
            break;
        }
    }
    width.max(1)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if self.line > 0 && !self.text.trim().is_empty() {
            // Tabs are kept in front of the caret, so that it stands right at any tab width.
            let before = self.text.chars().take(self.column.saturating_sub(1));
            let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
            write!(f, "\n{:5} | {}", self.line, self.text)?;
            write!(f, "\n      | {indent}{}", "^".repeat(self.width))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// An array of [`Problem::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(Problem::to_json).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Whether a string of this line is open before the column.
fn is_in_string(line: &str, column: usize) -> bool {
    let (mut quote, mut is_escaped) = (None, false);
    for c in line.chars().take(column.saturating_sub(1)) {
        match quote {
            Some('"') if c == '\\' && !is_escaped => is_escaped = true,
            Some(open) => {
                if c == open && !is_escaped {
                    quote = None;
                }
                is_escaped = false;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
    }
    quote.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_found_again_in_the_line() {
        for (line, column, width) in [
            ("upstream = \"ap\"  # x", 12, 4),
            ("conect_timeout = \"2s\"", 1, 14),
            ("backend = [{ address = \"a]\" }, 3]", 11, 23),
            ("backend = [{ address = \"a]\" }, 3]", 24, 4),
            ("[[listener]]", 1, 12),
            ("weight = 70000", 10, 5),
            ("a = \"b\\\"c\" ", 5, 6),
            ("a = 'b\\'", 5, 4),
            ("name = ", 8, 1),
            ("a = \"open", 5, 5),
            ("a = ['~(b', 3]", 8, 1),
            ("a = [\"x\", 34]", 11, 2),
            ("", 9, 1),
        ] {
            assert_eq!(width_at(line, column), width, "{line} {column}");
        }
    }

    #[test]
    fn json_gives_back_the_problem() {
        let source = Source::new("a = 1\nupstream = \"ap\"\n", std::path::Path::new("x.toml"));
        let place = Place { start: 17, end: 21 };
        let problem = Problem::at(&source, place, "no upstream".into(), Some("did you mean `app`?".into()));
        assert_eq!(Problem::from_json(&problem.to_json()), Some(problem));
        let whole = Problem::with_file("y.toml".into(), "not there".into(), None);
        assert_eq!(Problem::from_json(&whole.to_json()).unwrap().to_string(), whole.to_string());
        assert_eq!(Problem::from_json(&serde_json::json!({"line": 1})), None);
    }
}
