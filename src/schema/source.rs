//! A text with its name, and places in it; and texts that one includes, which come after it.

use std::path::{Path, PathBuf};

/// A range of bytes in a [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl Place {
    /// Moves it behind `by` bytes.
    pub fn shift(&mut self, by: usize) {
        self.start += by;
        self.end += by;
    }
}

/// A configuration text and the file that it is in, and after it the texts that it includes: a place in one of them
/// is one in all of them.
#[derive(Clone, Debug)]
pub struct Source {
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    file: PathBuf,
    /// Where each included text begins, and its file.
    included: Vec<(usize, PathBuf)>,
}

impl Source {
    /// `text` as it is in `file`; nothing is read.
    pub fn new(text: &str, file: &Path) -> Self {
        let mut this =
            Self { text: text.to_owned(), lines: vec![0], file: file.to_owned(), included: Vec::new() };
        this.add_lines(0);
        this
    }

    /// Adds a text that is included, and gives where it begins.
    pub fn include(&mut self, text: &str, file: &Path) -> usize {
        let before = self.text.len();
        // So that the file before it has a last line of its own.
        self.text.push('\n');
        let start = self.text.len();
        self.text.push_str(text);
        self.included.push((start, file.to_owned()));
        self.add_lines(before);
        start
    }

    /// Notes the lines that begin behind `from`.
    fn add_lines(&mut self, from: usize) {
        let added = self.text.get(from..).unwrap_or_default();
        self.lines.extend(added.match_indices('\n').map(|(at, _)| from + at + 1));
    }

    /// The whole text, with what is included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All files that the text is of, the one that includes the others first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&*self.file).chain(self.included.iter().map(|(_, file)| &**file))
    }

    /// The file that `offset` is in, as it was named.
    pub fn file(&self, offset: usize) -> &Path {
        self.part(offset).1
    }

    /// The folder that relative paths at `offset` start from.
    pub fn folder(&self, offset: usize) -> &Path {
        self.file(offset).parent().unwrap_or_else(|| Path::new(""))
    }

    /// Line of `offset` in its file, from 1.
    pub fn line(&self, offset: usize) -> usize {
        let (start, _) = self.part(offset);
        self.row(offset) - self.row(start) + 1
    }

    /// "line 7", with the file where it is another than that of `from`.
    pub fn line_seen_from(&self, offset: usize, from: usize) -> String {
        let (line, file) = (self.line(offset), self.file(offset));
        match file == self.file(from) {
            true => format!("line {line}"),
            false => format!("line {line} of {}", file.display()),
        }
    }

    /// Number of the line of `offset` among those of all files, from 1.
    pub fn row(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).max(1)
    }

    /// Column of `offset`, in characters, from 1.
    pub fn column(&self, offset: usize) -> usize {
        let offset = self.floor(offset);
        let start = self.line_start(offset);
        self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1)
    }

    /// The text of the line of `offset`, without its end.
    pub fn line_text(&self, offset: usize) -> &str {
        let rest = self.text.get(self.line_start(offset)..).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    /// How many characters `place` covers on the line that it begins on; at least 1.
    pub fn width(&self, place: Place) -> usize {
        let (start, end) = (self.floor(place.start), self.floor(place.end));
        let covered = self.text.get(start..end).unwrap_or_default();
        let first = covered.lines().next().unwrap_or_default();
        first.chars().count().max(1)
    }

    /// Where the text that `offset` is in begins, and its file.
    fn part(&self, offset: usize) -> (usize, &Path) {
        let after = self.included.partition_point(|(start, _)| *start <= offset);
        let included = after.checked_sub(1).and_then(|index| self.included.get(index));
        included.map_or((0, &self.file), |(start, file)| (*start, file))
    }

    fn line_start(&self, offset: usize) -> usize {
        self.lines.get(self.row(offset).saturating_sub(1)).copied().unwrap_or_default()
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
