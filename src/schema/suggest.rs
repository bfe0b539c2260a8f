//! "Did you mean …?"

/// The hint that names the nearest of `known`, or lists them when none is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None if known.len() == 1 => format!("the only one is `{}`", known.concat()),
        None => {
            let shown = known.iter().take(LISTED).map(|name| format!("`{name}`"));
            let more = if known.len() > LISTED { " and others" } else { "" };
            format!("available: {}{more}", shown.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What other programs and people call what is called so here.
const ELSEWHERE: [(&str, &str); 19] = [
    ("h1", "http1"),
    ("http/1.1", "http1"),
    ("http1.1", "http1"),
    ("http2", "h2"),
    ("http/2", "h2"),
    ("h2c", "h2"),
    ("rr", "round-robin"),
    ("roundrobin", "round-robin"),
    ("wrr", "weighted-round-robin"),
    ("leastconn", "least-connections"),
    ("least-conn", "least-connections"),
    ("least-request", "least-connections"),
    ("source", "ip-hash"),
    ("ring-hash", "consistent-hash"),
    ("ketama", "consistent-hash"),
    ("p2c", "power-of-two"),
    ("brotli", "br"),
    ("gz", "gzip"),
    ("zst", "zstd"),
];

/// The one of `known` that the word means elsewhere, or the nearest, when one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let meant = ELSEWHERE.iter().filter(|(elsewhere, _)| *elsewhere == word);
    if let Some(name) = meant.flat_map(|(_, ours)| known.iter().find(|name| *name == ours)).next() {
        return Some(name);
    }
    let allowed = (word.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (distance(&word, &name.to_lowercase().replace('_', "-")), *name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many names a hint lists; a file may have thousands of upstreams.
const LISTED: usize = 20;

/// Edits (insert, delete, replace, swap neighbours) between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let mut previous_char = None;
    for (row, a) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_target = None;
        for (column, &b) in to.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let mut best = (at(&last, column) + usize::from(a != b))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if row > 0 && column > 0 && previous_char == Some(b) && previous_target == Some(a) {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
            previous_target = Some(b);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_char = Some(a);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_swapped_neighbours_as_one_edit() {
        assert_eq!(distance("hots", "host"), 1);
        assert_eq!(distance("", "host"), 4);
        assert_eq!(distance("host", "host"), 0);
    }

    #[test]
    fn suggests_what_is_near_and_lists_what_is_not() {
        let known = ["least-connections", "maglev"];
        assert_eq!(nearest("least_conections", &known), Some("least-connections"));
        assert_eq!(nearest("sticky", &known), None);
        assert_eq!(nearest("leastconn", &known), Some("least-connections"), "as HAProxy has it");
        assert_eq!(nearest("http2", &["http1", "h2", "auto"]), Some("h2"));
        assert_eq!(nearest("http2", &["http1"]), Some("http1"), "the nearest, where there is no other");
        assert_eq!(did_you_mean("sticky", known), "available: `least-connections`, `maglev`");
    }
}
