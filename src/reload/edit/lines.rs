//! Lines of a text, by the places of bytes in it.

/// Where the line of `at` begins.
pub(super) fn start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of `at` ends, behind its line break.
pub(super) fn end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Where the line of `at` ends, before its line break.
pub(super) fn end_of_content(text: &str, at: usize) -> usize {
    let line = text.get(at..end(text, at)).unwrap_or_default();
    at + line.trim_end_matches(['\r', '\n']).len()
}

/// The blanks that the line of `at` begins with.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = text.get(start(text, at)..).unwrap_or_default();
    let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..blanks).unwrap_or_default()
}

/// The line break of the line of `at`; of the text's first line where it has none.
pub(super) fn line_break(text: &str, at: usize) -> &'static str {
    let has_none = end(text, at) == text.len() && !text.ends_with('\n');
    let at = if has_none { 0 } else { at };
    let line = text.get(at..end(text, at)).unwrap_or_default();
    if line.ends_with("\r\n") { "\r\n" } else { "\n" }
}

/// Whether nothing but blanks is before `at` on its line.
pub(super) fn is_first(text: &str, at: usize) -> bool {
    text.get(start(text, at)..at).is_some_and(|before| before.trim().is_empty())
}

/// Whether nothing but blanks and a comment is behind `at` on its line.
pub(super) fn is_last(text: &str, at: usize) -> bool {
    let rest = text.get(at..end(text, at)).unwrap_or_default().trim();
    rest.is_empty() || rest.starts_with('#')
}

/// Whether the line that begins at `at` is a comment.
pub(super) fn is_comment(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('#'))
}

/// Whether the line that begins at `at` is blank; the end of the text is no line.
pub(super) fn is_blank(text: &str, at: usize) -> bool {
    at < text.len() && text.get(at..end(text, at)).is_some_and(|line| line.trim().is_empty())
}

/// Where the comments directly above the line of `at` begin; none from before `floor` is taken.
pub(super) fn comments_above(text: &str, at: usize, floor: usize) -> usize {
    let mut first = start(text, at);
    while first > 0 {
        let above = start(text, first - 1);
        if above < floor || !is_comment(text, above) {
            break;
        }
        first = above;
    }
    first
}
