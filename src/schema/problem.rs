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
    /// Whether the text may be good all the same: what it names cannot be had on this machine, and may be another time.
    pub is_lacking: bool,
}

impl Problem {
    /// A problem at a place of `source`.
    pub fn at(source: &Source, place: Place, message: String, hint: Option<String>) -> Self {
        Self {
            file: source.file(place.start).to_owned(),
            line: source.line(place.start),
            column: source.column(place.start),
            text: source.line_text(place.start).to_owned(),
            width: source.width(place),
            message,
            hint,
            is_lacking: false,
        }
    }

    /// A problem with a file as a whole.
    pub fn with_file(file: PathBuf, message: String, hint: Option<String>) -> Self {
        Self { file, line: 0, column: 0, text: String::new(), width: 0, message, hint, is_lacking: false }
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
            "width": self.width,
        })
    }

    /// Reads what [`Problem::to_json`] wrote, also in a version before `width`; `None` for something else.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
        let number = |key: &str| usize::try_from(json.get(key)?.as_u64()?).ok();
        Some(Self {
            file: text("file")?.into(),
            line: number("line")?,
            column: number("column")?,
            text: text("source")?.to_owned(),
            width: number("width").unwrap_or(1),
            message: text("message")?.to_owned(),
            hint: text("hint").map(str::to_owned),
            is_lacking: false,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if self.line > 0 && !self.text.trim().is_empty() {
            // Tabs are kept in front of the caret, so that it is right at any tab width.
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
    /// Whether something is not to be had on this machine now. Only without that it can be said that the text is wrong: what
    /// else there is may come of it. Of a text with syntax errors it is not said.
    pub fn has_lacking(&self) -> bool {
        self.0.iter().any(|problem| problem.is_lacking)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

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
