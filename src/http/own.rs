//! What a route answers by itself: redirects, answers that are configured, and that it serves files.

use std::sync::Arc;

use bytes::Bytes;

use super::edit;
use crate::{
    error::{Kind, Result},
    exchange::Exchange,
    file_tree::Tree,
    filter::{Answer, Verdict},
    runtime::{Action, Listener, Route},
    template::Scope,
};

/// Who answers a request whose route is found.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Pointsman itself.
    Answer(Box<Answer>),
    /// The upstream that its route leads to, by index.
    Upstream(usize),
    /// A file of a folder.
    Files(Arc<Tree>),
    /// Another upstream, which a filter has chosen.
    Elsewhere(usize),
}

/// Has the filters judge a request; then its route says who answers it.
///
/// # Errors
///
/// Of the filter that refuses it.
#[inline]
pub(crate) fn decide(listener: &Listener, route: &Route, exchange: &Exchange) -> Result<Decision> {
    if (listener.filters.act_on_requests() || route.filters.act_on_requests())
        && let Some(decision) = filtered(listener, route, exchange)?
    {
        return Ok(decision);
    }
    if let Action::Files(tree) = &route.action {
        return Ok(Decision::Files(tree.clone()));
    }
    Ok(match route.action.upstream() {
        Some(index) => Decision::Upstream(index),
        None => Decision::Answer(Box::new(answer(listener, route, exchange).ok_or(Kind::NoRoute)?)),
    })
}

/// What the filters say; `None` where they let it go on.
fn filtered(listener: &Listener, route: &Route, exchange: &Exchange) -> Result<Option<Decision>> {
    let place = edit::own_place(listener, route);
    for filters in [&listener.filters, &route.filters] {
        match filters.on_request(exchange, place)? {
            Verdict::Continue => {}
            Verdict::Respond(answer) => return Ok(Some(Decision::Answer(answer))),
            Verdict::Upstream(index) => return Ok(Some(Decision::Elsewhere(index))),
        }
    }
    Ok(None)
}

/// The answer of a route that neither asks an upstream nor looks for a file; `None` of others.
pub fn answer(listener: &Listener, route: &Route, exchange: &Exchange) -> Option<Answer> {
    let scope = Scope { exchange, place: edit::own_place(listener, route) };
    match &route.action {
        Action::Redirect { to, status } => {
            let location = edit::expand(to, &scope).into_bytes();
            Some(Answer { status: *status, fields: vec![("location", location)], body: Bytes::new() })
        }
        Action::Respond { status, body, content_type } => Some(Answer {
            status: *status,
            fields: vec![("content-type", content_type.as_bytes().to_vec())],
            body: body.render(&scope),
        }),
        Action::Upstream(_) | Action::Split(..) | Action::Files(_) => None,
    }
}
