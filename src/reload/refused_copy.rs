//! What a store has, and could not be taken over. It is tried again and again, as a file is, and has failed once for as long
//! as it stays the same.

use std::sync::Arc;

use super::state::Failed;
use crate::config::Problems;

/// The text of a store that failed last, and for what.
#[derive(Debug, Default)]
pub(super) struct RefusedCopy {
    last: Option<(Arc<str>, Problems)>,
}

impl RefusedCopy {
    /// Notes how an attempt at a text went; whether it failed for what it failed for the last time.
    pub(super) fn note<T>(&mut self, text: &Arc<str>, result: &Result<T, Failed>) -> bool {
        let failed = match result {
            Ok(_) => None,
            Err(failed) => match failed.problems() {
                Some(problems) => Some((text.clone(), problems.clone())),
                // Nothing was wrong with it: what was before still is.
                None => return false,
            },
        };
        let is_known = failed.is_some() && failed == self.last;
        self.last = failed;
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Problem;

    /// A port that was taken for an hour counted as 720 reloads that failed.
    #[test]
    fn the_same_failure_of_the_same_text_is_one() {
        let mut refused = RefusedCopy::default();
        let why = |message: &str| Problems(vec![Problem::with_file("x".into(), message.into(), None)]);
        let (first, second): (Arc<str>, Arc<str>) = ("first".into(), "second".into());
        let taken = || Err::<(), _>(Failed::Lacking(why("the port is taken")));
        assert!(!refused.note(&first, &taken()));
        assert!(refused.note(&first, &taken()) && refused.note(&first, &taken()));
        // Another thing that is wrong with it, and another text with the same.
        assert!(!refused.note(&first, &Err::<(), _>(Failed::Problems(why("there is no route")))));
        assert!(!refused.note(&second, &taken()));
        // The copy that is written to meanwhile is nothing of that kind.
        assert!(!refused.note(&second, &Err::<(), _>(Failed::Outdated)));
        assert!(refused.note(&second, &taken()));
        // It was in force.
        assert!(!refused.note(&second, &Ok(())));
        assert!(!refused.note(&second, &taken()));
    }
}
