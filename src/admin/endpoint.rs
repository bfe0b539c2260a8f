//! A row of the table of endpoints, and how its answer is made.

use std::{pin::Pin, sync::Arc};

use super::{
    Admin,
    params::{Params, decode},
    reply::Reply,
    spec::Spec,
};

/// One row of the table of endpoints.
#[derive(Debug)]
pub struct Endpoint {
    /// The method; GET answers HEAD too.
    pub method: &'static str,
    /// The path; `{name}` is any one segment, given to the endpoint as a parameter.
    pub path: &'static str,
    /// What it is for, in a few words.
    pub summary: &'static str,
    /// Whether it answers without the token, to any `Host`: there is nothing to learn from it.
    pub is_open: bool,
    /// Whether it tells watchers of health and numbers: it is answered whatever else is asked.
    pub is_watched: bool,
    /// What it takes and gives.
    pub about: &'static Spec,
    /// Makes the answer.
    pub answer: Answer,
}

/// How an answer is made, so that the control loop never stands still for it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// On the loop: it takes next to no time.
    Now(fn(&Admin, &Params) -> Reply),
    /// On a thread beside it, so many at a time: it takes time.
    Aside(fn(&Admin, &Params) -> Reply),
    /// On the loop: it waits for others.
    Later(AnswerLater),
}

/// An answer to come.
pub type Pending = Pin<Box<dyn Future<Output = Reply>>>;
/// What waits for others before it answers.
pub(super) type AnswerLater = fn(Arc<Admin>, Params) -> Pending;

impl Endpoint {
    /// The parameters in `path`, decoded, when it is this endpoint's.
    pub(super) fn parameters(&self, path: &str) -> Option<Vec<String>> {
        let mut parameters = Vec::new();
        let mut given = path.split('/');
        for own in self.path.split('/') {
            let given = given.next()?;
            if own.starts_with('{') {
                parameters.push(decode(given)?);
            } else if own != given {
                return None;
            }
        }
        given.next().is_none().then_some(parameters)
    }

    pub(super) fn takes(&self, method: &str) -> bool {
        method == self.method || (method == "HEAD" && self.method == "GET")
    }
}
