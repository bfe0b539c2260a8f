//! What of a Rust file is code: comments, the contents of literals and tests are made blank, lines stay lines.

use std::ops::Range;

/// The code of `text` that is compiled without tests.
pub(crate) fn tested_code(text: &str) -> String {
    without_tests(&only_code(text))
}

/// The word that `text` begins with; a name written `r#name` is `name`.
pub(crate) fn word(text: &str) -> String {
    let text = text.strip_prefix("r#").unwrap_or(text);
    text.chars().take_while(|&sign| is_word(sign)).collect()
}

pub(crate) fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Whether the word of `length` bytes at `at` is alone: `mycrate` and `crates` are other words than `crate`.
pub(crate) fn stands_alone(code: &str, at: usize, length: usize) -> bool {
    !code[..at].chars().next_back().is_some_and(is_word)
        && !code[at + length..].chars().next().is_some_and(is_word)
}

/// The line that is at a byte of `code`, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// `text` with comments and the contents of literals made blank, so that only code is left; lines stay lines.
pub(crate) fn only_code(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < signs.len() {
        let end = match signs[at] {
            '/' if signs.get(at + 1) == Some(&'/') => end_of_line(&signs, at),
            '/' if signs.get(at + 1) == Some(&'*') => end_of_comment(&signs, at),
            '"' => end_of_text(&signs, at),
            'r' if at == 0 || !is_word(signs[at - 1]) || signs[at - 1] == 'b' => end_of_raw_text(&signs, at),
            '\'' => end_of_character(&signs, at),
            _ => at,
        };
        if end == at {
            code.push(signs[at]);
            at += 1;
        } else {
            code.extend(signs[at..end].iter().map(|&sign| if sign == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn end_of_line(signs: &[char], at: usize) -> usize {
    signs[at..].iter().position(|&sign| sign == '\n').map_or(signs.len(), |length| at + length)
}

/// Block comments nest.
fn end_of_comment(signs: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(signs: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < signs.len() && signs[end] != '"' {
        end += if signs[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(signs.len())
}

/// `r"…"`, `r##"…"##`; `at` itself for a name that merely begins with r.
fn end_of_raw_text(signs: &[char], at: usize) -> usize {
    let hashes = signs[at + 1..].iter().take_while(|&&sign| sign == '#').count();
    let open = at + 1 + hashes;
    if signs.get(open) != Some(&'"') {
        return at;
    }
    let closes =
        |end: usize| signs[end] == '"' && signs[end + 1..].iter().take(hashes).all(|&sign| sign == '#');
    (open + 1..signs.len()).find(|&end| closes(end)).map_or(signs.len(), |end| end + 1 + hashes)
}

/// `'x'`, `'\n'`, `'\u{7f}'`; `at` itself for a lifetime.
fn end_of_character(signs: &[char], at: usize) -> usize {
    match signs.get(at + 1) {
        Some('\\') => {
            signs[at + 3..].iter().position(|&sign| sign == '\'').map_or(at, |length| at + length + 4)
        }
        Some(_) if signs.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// `code` with every item behind `#[cfg(test)]` made blank; lines stay lines.
fn without_tests(code: &str) -> String {
    let mut left = String::with_capacity(code.len());
    let mut end = 0;
    for item in test_items(code) {
        left.push_str(&code[end..item.start]);
        end = item.end;
        left.extend(code[item].chars().filter(|&sign| sign == '\n'));
    }
    left + &code[end..]
}

/// How many lines of `text` are none of its tests'.
pub(crate) fn lines_without_tests(text: &str) -> usize {
    let code = only_code(text);
    let of_tests = test_items(&code).into_iter().map(|item| code[item].lines().count());
    text.lines().count() - of_tests.sum::<usize>()
}

/// The items behind `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut items = Vec::<Range<usize>>::new();
    for (at, _) in code.match_indices(MARK) {
        if items.last().is_none_or(|item| item.end <= at) {
            items.push(at..at + end_of_item(&code[at..]));
        }
    }
    items
}

/// Where an item ends: at the `;` or the `}` that closes what it opened.
pub(crate) fn end_of_item(item: &str) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, sign) in item.char_indices() {
        match sign {
            '{' => braces += 1,
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 && !item[at + 1..].trim_start().starts_with(';') {
                    return at + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}
