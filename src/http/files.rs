//! Files of a folder as responses: conditions, ranges, encodings.
//!
//! Previous stop: `http::own`, which finds that the route serves files; the folder is [`crate::file_tree`]. Next stop:
//! `http::respond`.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use super::{
    cached::OF_CONTENT,
    edit,
    respond::{self, Part, Patience, Reply, Source},
    upgrade_request,
};
use crate::{
    cache::{
        date::Date,
        range::Extent,
        validate::{is_not_modified, not_modified_fields},
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::{Fields, Known},
    file_tree::{Asked, Found, Outcome, Tree},
    filter::{compression::ranked, page::media_type, small_error},
    h1::Method,
    runtime::{Listener, Route},
    telemetry::clock::unix_millis,
};

mod precondition;

/// How long the disk may take for anything that is asked of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves the file that a request asks for.
///
/// # Errors
///
/// [`Kind::MethodNotAllowed`], [`Kind::NoFile`], [`Kind::NotAllowed`] where the file may not be read,
/// [`Kind::FileUnreadable`], and those of the client.
pub(super) async fn serve<D: Downstream>(
    (listener, route): (&Listener, &Route),
    tree: &Arc<Tree>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let asked = ask(tree, exchange)?;
    let reply = Reply { is_own: true, ..Reply::on(listener, route) };
    match find(tree, asked, client).await? {
        Outcome::File(found) => send(tree, found, reply, exchange, client).await,
        Outcome::Folder => {
            let answer = edit::to_folder(exchange);
            respond::send_answer(reply, answer, exchange, client).await
        }
        Outcome::Status(404) | Outcome::Nothing => Err(Kind::NoFile.into()),
        Outcome::Status(status) => {
            let (kind, message) = (Kind::NoFile, Kind::NoFile.to_string());
            let (media_type, body) = small_error::of(exchange, status, kind.label(), &message);
            exchange.facts.error = Some((kind, message));
            respond::own_head(status, exchange);
            exchange.response.fields.push_known(Known::ContentType, media_type);
            small_error::vary(&mut exchange.response.fields);
            let reply = Reply::to_error(kind, Some(listener), Some(route));
            respond::send_own(reply, body.into(), exchange, client).await
        }
    }
}

/// Serves the file that a request asks for where there is one, of a route that passes other requests on. Whether it was
/// served: if not, nothing of the request has changed.
///
/// # Errors
///
/// As of [`serve`], but those that say that there is no such file.
pub(super) async fn serve_first<D: Downstream>(
    (listener, route): (&Listener, &Route),
    tree: &Arc<Tree>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<bool> {
    if upgrade_request::is_for_backend(route, exchange) {
        return Ok(false);
    }
    let Ok(asked) = ask(tree, exchange) else { return Ok(false) };
    let reply = Reply { is_own: true, ..Reply::on(listener, route) };
    match find(tree, asked, client).await? {
        Outcome::File(found) => send(tree, found, reply, exchange, client).await?,
        Outcome::Folder => respond::send_answer(reply, edit::to_folder(exchange), exchange, client).await?,
        Outcome::Status(_) | Outcome::Nothing => return Ok(false),
    }
    Ok(true)
}

/// What a request asks of a folder.
///
/// # Errors
///
/// [`Kind::MethodNotAllowed`] and [`Kind::NoFile`].
pub(crate) fn ask(tree: &Tree, exchange: &Exchange) -> Result<Asked> {
    if !matches!(exchange.request.method, Method::Get | Method::Head) {
        return Err(Kind::MethodNotAllowed.into());
    }
    let codings = ranked(&tree.conf.precompressed, &exchange.request.fields);
    let path = edit::stripped(exchange.path(), &tree.conf.strip_prefix, exchange.readings.as_deref());
    let asked = path.and_then(|path| Asked::of(path, &exchange.host, codings));
    asked.ok_or_else(|| Kind::NoFile.into())
}

/// What became of a search, as an error where the disk failed.
pub(crate) fn found(outcome: std::io::Result<Outcome>) -> Result<Outcome> {
    outcome.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => ProxyError::because(Kind::NotAllowed, error),
        _ => ProxyError::because(Kind::FileUnreadable, error),
    })
}

/// Waits for what is looked for, but not for longer than it may take, or its client waits.
async fn find<D: Downstream>(tree: &Arc<Tree>, asked: Asked, client: &mut D) -> Result<Outcome> {
    let mut outcome = tree.find(asked);
    client.deadline().after(PATIENCE);
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = std::pin::Pin::new(&mut outcome).poll(cx) {
            return Poll::Ready(outcome.map_err(|_| unreadable("too many reads wait for the disk")));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Kind::ClientGone.into()));
        }
        client.deadline().poll_elapsed(cx).map(|()| Err(unreadable("the disk did not answer in time")))
    });
    let outcome = outcome.await;
    client.deadline().clear();
    found(outcome?)
}

fn unreadable(why: &'static str) -> ProxyError {
    ProxyError::because(Kind::FileUnreadable, why)
}

/// Sends a file, or what its conditions have come to.
async fn send<D: Downstream>(
    tree: &Tree,
    found: Found,
    reply: Reply<'_>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let part = answer(tree, &found, exchange);
    let timeout = reply.route.map_or(Duration::ZERO, |route| route.timeout);
    let end = (!timeout.is_zero()).then(|| exchange.facts.started.plus(timeout));
    let client_patience = reply.listener.map_or(PATIENCE, |listener| listener.conf.timeouts.idle);
    let min_rate = reply.route.map_or(0, Route::min_rate_of_place);
    let holds_place = min_rate > 0;
    let patience = Patience { backend: PATIENCE, client: Some(client_patience), min_rate, holds_place, end };
    let reading = tree.read(found.file, part.at, part.end.unwrap_or(found.length));
    let sent = respond::send(&reply, Source::File(part, reading), patience, exchange, client).await;
    sent.map_err(|error| match error.kind() {
        Kind::BodyBroken => unreadable("the disk returned nothing for too long"),
        _ => error,
    })
}

/// Makes the head of what a request gets of a file, by its conditions (RFC 9110 §13.2.2); gives the bytes that go with it.
fn answer(tree: &Tree, found: &Found, exchange: &mut Exchange) -> Part {
    let now = Date(unix_millis() / 1000);
    respond::own_head(200, exchange);
    describe(tree, found, now, &mut exchange.response.fields);
    let (request, response) = (&exchange.request, &mut exchange.response);
    let fields = &mut response.fields;
    // A date is a strong validator only beside the time when it was given (RFC 9110 §8.8.2.2).
    fields.push_known(Known::Date, now.to_string().as_bytes());
    let length = found.length;
    let mut part = Part::whole(Some(length));
    if !precondition::holds(&request.fields, fields, now) {
        response.status = 412;
        part.end = Some(0);
    } else if is_not_modified(&request.method, &request.fields, 200, fields, (now, false)) {
        response.status = 304;
        response.fields = not_modified_fields(fields);
    } else {
        let extent = Extent::of(&request.method, &request.fields, fields, length, now);
        if let Some(range) = extent.content_range(length) {
            fields.push_known(Known::ContentRange, range.as_bytes());
        }
        match extent {
            Extent::Whole => {}
            Extent::Part { first, last } => {
                response.status = 206;
                part = Part { at: first, end: Some(last.saturating_add(1)) };
            }
            Extent::Unsatisfiable => {
                response.status = 416;
                part.end = Some(0);
            }
        }
    }
    let fields = &mut response.fields;
    fields.remove_known(Known::Date);
    if matches!(response.status, 412 | 416) {
        // Caches on the way would keep the error for as long as they may keep the file.
        fields.retain(|field| !OF_CONTENT.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
    } else if request.method == Method::Head && response.status == 200 {
        fields.push_known(Known::ContentLength, length.to_string().as_bytes());
    }
    part
}

/// What is said of a file.
fn describe(tree: &Tree, found: &Found, now: Date, fields: &mut Fields) {
    fields.push_known(Known::ContentType, media_type(found.name.as_ref()).as_bytes());
    fields.push_known(Known::Etag, format!("\"{:016x}\"", found.version).as_bytes());
    if let Some(modified) = found.modified {
        // RFC 9110 §8.8.2.1: no later than the Date.
        fields.push_known(Known::LastModified, Date(modified.min(now.0)).to_string().as_bytes());
    }
    fields.push_known(Known::AcceptRanges, b"bytes");
    if let Some(coding) = found.coding {
        fields.push_known(Known::ContentEncoding, coding.name().as_bytes());
    }
    if found.varies {
        fields.push_known(Known::Vary, b"Accept-Encoding");
    }
    if !tree.conf.cache_control.is_empty() {
        fields.push("cache-control", tree.conf.cache_control.as_bytes());
    }
}
