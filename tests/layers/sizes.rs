//! Budgets of design: how long files and functions are. What is longer holds two things.

use super::{
    code::{end_of_item, line_of, lines_without_tests, stands_alone, tested_code, word},
    source::{Source, holds_only_tests, root, sources},
};

/// Lines of files, and of functions from `fn` to the closing brace. Tests do not count.
const FILES: Budget = Budget { noun: "file", percentiles: &[(50, 150), (90, 350)], most: 400 };
/// Lines of files with their tests, and of those that are nothing else.
const WHOLE_FILES: Budget = Budget { noun: "file with its tests", percentiles: &[], most: 600 };
const FUNCTIONS: Budget = Budget { noun: "function", percentiles: &[(90, 25)], most: 80 };

/// What lengths may come to.
struct Budget {
    noun: &'static str,
    /// How many percent of them may be how long.
    percentiles: &'static [(usize, usize)],
    most: usize,
}

/// Something that has a length.
struct Measured {
    name: String,
    lines: usize,
}

#[test]
fn files_and_functions_fit_their_budgets() {
    let sources = sources(&root());
    let whole: Vec<_> = sources.iter().map(|source| file(source, source.text.lines().count())).collect();
    let mut wrong = WHOLE_FILES.over_most(&whole);
    wrong.extend(FILES.over_most(&files(&sources)));
    wrong.extend(FILES.over_percentiles(files(&sources)));
    let functions: Vec<_> = sources.iter().flat_map(functions).collect();
    wrong.extend(FUNCTIONS.over_most(&functions));
    wrong.extend(FUNCTIONS.over_percentiles(functions));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Budget {
    /// Which of the percentiles are over the budget; a sentence each.
    fn over_percentiles(&self, mut measured: Vec<Measured>) -> Vec<String> {
        measured.sort_by_key(|one| one.lines);
        let found =
            self.percentiles.iter().map(|&(share, limit)| (share, percentile(&measured, share), limit));
        let over = found.filter(|(_, lines, limit)| lines > limit);
        let name = |share| if share == 50 { "median".to_owned() } else { format!("{share}th percentile") };
        over.map(|(share, lines, limit)| {
            format!("the {} of {}s is {lines} lines, over {limit}", name(share), self.noun)
        })
        .collect()
    }

    /// Which are over the most that one may have; a sentence each.
    fn over_most(&self, measured: &[Measured]) -> Vec<String> {
        let over = measured.iter().filter(|one| one.lines > self.most);
        let over = over
            .map(|one| format!("{}: a {} of {} lines, over {}", one.name, self.noun, one.lines, self.most));
        over.collect()
    }
}

/// The least length that `share` percent do not exceed (nearest rank).
fn percentile(sorted: &[Measured], share: usize) -> usize {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0, |one| one.lines)
}

fn files(sources: &[Source]) -> Vec<Measured> {
    let sources = sources.iter().filter(|source| !holds_only_tests(&source.path));
    sources.map(|source| file(source, lines_without_tests(&source.text))).collect()
}

fn file(source: &Source, lines: usize) -> Measured {
    Measured { name: source.path.display().to_string(), lines }
}

/// The functions of a file that have a body.
fn functions(source: &Source) -> Vec<Measured> {
    if holds_only_tests(&source.path) {
        return Vec::new();
    }
    let code = tested_code(&source.text);
    let starts = code.match_indices("fn").map(|(at, _)| at);
    let starts = starts.filter(|&at| stands_alone(&code, at, 2));
    starts
        .filter_map(|at| {
            // `fn(u8) -> u8` is a type.
            let name =
                code[at + 2..].strip_prefix(char::is_whitespace).map(|rest| word(rest.trim_start()))?;
            let function = &code[at..at + end_of_item(&code[at..])];
            let lines = function.matches('\n').count() + 1;
            let place = format!("{}:{} {name}", source.path.display(), line_of(&code, at));
            function.ends_with('}').then_some(Measured { name: place, lines })
        })
        .collect()
}

/// The scanner itself: what it must find, and what it must not.
mod scanner {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let functions = functions(&Source { path: "room/planted.rs".into(), text: text.into() });
        functions.into_iter().map(|one| format!("{} {}", one.name, one.lines)).collect()
    }

    #[test]
    fn measures_functions_from_their_name_to_their_closing_brace() {
        let text = "impl A {\n    pub const fn one<'a>(x: [u8; 2]) -> fn(u8) -> &'a str {\n        \"}\" // }\n    }\n}\n\
                    trait B {\n    fn declared(&self) -> [u8; 3];\n    fn given(&self) { {} }\n}\n\
                    async fn two()\nwhere\n    A: Fn() -> u8,\n{\n    fn inner() {\n    }\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn three() {}\n}\nstruct C(fn(u8));\n";
        assert_eq!(
            found(text),
            [
                "room/planted.rs:2 one 3",
                "room/planted.rs:8 given 1",
                "room/planted.rs:10 two 7",
                "room/planted.rs:14 inner 2",
            ]
        );
    }

    #[test]
    fn tells_what_is_over_each_limit() {
        const SMALL: Budget = Budget { noun: "thing", percentiles: &[(50, 2), (90, 4)], most: 6 };
        let measured = |lines: &[usize]| -> Vec<_> {
            lines.iter().map(|&lines| Measured { name: format!("n{lines}"), lines }).collect()
        };
        assert_eq!(SMALL.over_percentiles(measured(&[1, 2, 2, 4, 3, 1, 1, 2, 4, 9])), Vec::<String>::new());
        assert_eq!(SMALL.over_percentiles(measured(&[])), Vec::<String>::new());
        assert_eq!(
            SMALL.over_percentiles(measured(&[5, 1, 3])),
            ["the median of things is 3 lines, over 2", "the 90th percentile of things is 5 lines, over 4"]
        );
        assert_eq!(SMALL.over_most(&measured(&[6, 7])), ["n7: a thing of 7 lines, over 6"]);
        let text = "one\n\n#[cfg(test)]\nmod tests {\n    #[cfg(test)]\n    mod a {}\n}\ntwo\n#[cfg(test)]\nmod b;\n";
        assert_eq!(lines_without_tests(text), 3);
    }
}
