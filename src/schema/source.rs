//! A text with its name, and places in it.

use std::path::{Path, PathBuf};

/// A range of bytes in a [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// A configuration text and the file that it is in.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// `text` as it is in `file`; nothing is read.
    pub fn new(text: &str, file: &Path) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            lines: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The folder that relative paths in the text start from.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// Line of `offset`, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).max(1)
    }

    /// Column of `offset`, in characters, from 1.
    pub fn column(&self, offset: usize) -> usize {
        let offset = self.floor(offset);
        let start = self.line_start(self.line(offset));
        self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1)
    }

    /// The text of a line (from 1), without its end.
    pub fn line_text(&self, line: usize) -> &str {
        let start = self.line_start(line);
        let rest = self.text.get(start..).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    /// How many characters `place` covers on the line that it begins on; at least 1.
    pub fn width(&self, place: Place) -> usize {
        let (start, end) = (self.floor(place.start), self.floor(place.end));
        let covered = self.text.get(start..end).unwrap_or_default();
        let first = covered.lines().next().unwrap_or_default();
        first.chars().count().max(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The nearest character boundary at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}
