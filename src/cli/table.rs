//! Text in columns and colours, for verbs that show what runs.
//!
//! Pure: cells in, text out. Colour is never alone in saying something, and goes only to a terminal that
//! wants it ([`is_colored`]). What comes from a program elsewhere cannot steer the terminal: control
//! characters are shown as `?`.

use std::{env, ffi::OsStr, io::IsTerminal};

/// What a piece of text is to look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// What matters less.
    Faint,
    Good,
    Warning,
    Bad,
}

/// A piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
    /// Numbers are at the right of their column.
    pub(super) is_number: bool,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        Self { text: text.as_ref().chars().map(plain).collect(), tone, is_number: false }
    }

    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::new(text, Tone::Plain)
    }

    pub(super) fn number(text: impl AsRef<str>) -> Self {
        Self { is_number: true, ..Self::text(text) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A line of cells.
pub(super) type Row = Vec<Cell>;

/// Rows below a heading; each column as wide as its widest cell, two blanks between them.
pub(super) fn table(heading: &[&str], rows: &[Row]) -> Vec<Row> {
    let is_number = |column: usize| rows.iter().any(|row| row.get(column).is_some_and(|it| it.is_number));
    let heading = heading.iter().enumerate();
    let heading: Row = heading
        .map(|(column, text)| Cell { is_number: is_number(column), ..Cell::new(text, Tone::Faint) })
        .collect();
    let all: Vec<&Row> = std::iter::once(&heading).chain(rows).collect();
    let widest = |column: usize| all.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
    let widths: Vec<usize> = (0..heading.len()).map_while(widest).collect();
    let line = |row: &&Row| {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&widths).enumerate();
        cells
            .map(|(column, (cell, width))| {
                let blanks = " ".repeat(width.saturating_sub(cell.width()));
                let text = match (cell.is_number, column == last) {
                    (true, true) => blanks + &cell.text,
                    (true, false) => blanks + &cell.text + "  ",
                    (false, true) => cell.text.clone(),
                    (false, false) => cell.text.clone() + &blanks + "  ",
                };
                Cell { text, ..cell.clone() }
            })
            .collect()
    };
    all.iter().map(line).collect()
}

/// A line of at most `width` characters; without one, whole.
pub(super) fn line(row: &[Cell], width: Option<usize>, is_colored: bool) -> String {
    let (mut left, mut out) = (width.unwrap_or(usize::MAX), String::new());
    for cell in row {
        let text: String = cell.text.chars().take(left).collect();
        left -= text.chars().count();
        match (is_colored, code(cell.tone)) {
            (true, Some(code)) if !text.is_empty() => out += &format!("\x1b[{code}m{text}\x1b[0m"),
            (true | false, _) => out += &text,
        }
    }
    match is_colored {
        true => out,
        false => out.trim_end().to_owned(),
    }
}

/// Lines of text.
pub(super) fn lines(rows: &[Row], is_colored: bool) -> String {
    rows.iter().map(|row| line(row, None, is_colored) + "\n").collect()
}

fn code(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Strong => Some("1"),
        Tone::Faint => Some("2"),
        Tone::Good => Some("32"),
        Tone::Warning => Some("33"),
        Tone::Bad => Some("31"),
    }
}

/// Whether standard output is a terminal that wants colours (`NO_COLOR`, see no-color.org).
pub(super) fn is_colored() -> bool {
    let variable = |name| env::var_os(name);
    std::io::stdout().is_terminal()
        && wants_color(variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

fn wants_color(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| term != "dumb" && !term.is_empty())
}

/// A backend's state.
pub(super) fn state(name: &str) -> Cell {
    let tone = match name {
        "up" => Tone::Good,
        "draining" | "disabled" => Tone::Warning,
        // Whatever a newer program calls it.
        _ => Tone::Bad,
    };
    Cell::new(name, tone)
}

/// A span of time in seconds, in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut parts = Vec::new();
    let mut left = seconds;
    for (size, unit) in units {
        let count = left / size;
        left %= size;
        if count > 0 || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

/// A number of bytes in the unit that suits it.
pub(super) fn bytes(count: f64) -> String {
    let mut left = count.max(0.0);
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return if unit == "B" { format!("{left:.0} B") } else { format!("{left:.1} {unit}") };
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

/// Milliseconds with as many digits as anyone needs.
pub(super) fn milliseconds(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.2} ms"),
        ..10.0 => format!("{value:.1} ms"),
        ..10_000.0 => format!("{value:.0} ms"),
        _ => format!("{:.1} s", value / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_at_the_right() {
        let rows = [
            vec![Cell::text("a"), Cell::number("1"), state("up"), Cell::text("fine")],
            vec![Cell::text("größer"), Cell::number("1000"), state("down"), Cell::text("")],
        ];
        let text = lines(&table(&["name", "count", "state", "why"], &rows), false);
        let expected = "name    count  state  why\na           1  up     fine\ngrößer   1000  down\n";
        assert_eq!(text, expected);
        let colored = lines(&table(&["name", "count", "state", "why"], &rows), true);
        assert!(colored.contains("\x1b[32mup     \x1b[0m") && colored.contains("\x1b[31mdown   \x1b[0m"));
    }

    #[test]
    fn a_line_is_cut_at_its_width_whatever_its_colours() {
        let row = [Cell::new("abc", Tone::Bad), Cell::text("defg"), Cell::new("h", Tone::Good)];
        assert_eq!(line(&row, Some(5), false), "abcde");
        assert_eq!(line(&row, Some(5), true), "\x1b[31mabc\x1b[0mde");
        assert_eq!(line(&row, Some(0), true), "");
        assert_eq!(line(&row, None, false), "abcdefgh");
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        let cell = Cell::text("a\x1b[2J\r\nb\u{9b}c");
        assert_eq!(cell.text, "a?[2J??b?c");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let (some, none) = (Some(OsStr::new("1")), Some(OsStr::new("")));
        let term = Some(OsStr::new("xterm"));
        assert!(wants_color(None, term) && wants_color(none, term));
        assert!(!wants_color(some, term) && !wants_color(None, Some(OsStr::new("dumb"))));
        assert!(!wants_color(None, None));
    }

    #[test]
    fn quantities_are_short() {
        assert_eq!([0, 59, 61, 3600, 7500, 90_061].map(span), ["0s", "59s", "1m 1s", "1h", "2h 5m", "1d 1h"]);
        assert_eq!([0.0, 1023.0, 1024.0, 1.5e9].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.4 GiB"]);
        assert_eq!([0.123, 1.25, 12.3, 12_300.0].map(milliseconds), ["0.12 ms", "1.2 ms", "12 ms", "12.3 s"]);
    }
}
