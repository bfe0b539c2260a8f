//! A text with placeholders.

use super::{
    escape::Context,
    parse::{Fault, Piece, Use, parse},
    scope::{Place, Scope},
    variable::Variable,
};
use crate::exchange::Facts;

/// A text with placeholders, or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As it is written; where nothing is to be filled in, as it comes out.
    text: Box<str>,
    /// Empty where nothing is to be filled in.
    pieces: Box<[Piece]>,
    context: Context,
}

impl Template {
    /// The template that is written so.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn parse(text: &str, of: Use, context: Context) -> Result<Self, Fault> {
        let pieces = parse(text, of)?;
        if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            let texts = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => &**text,
                Piece::Value { .. } => "",
            });
            return Ok(Self { text: texts.collect::<String>().into(), pieces: Box::default(), context });
        }
        Ok(Self { text: text.into(), pieces: pieces.into(), context })
    }

    /// The same of a text that was checked; one that is wrong is taken as it is written.
    pub fn of(text: &str, of: Use, context: Context) -> Self {
        let fixed = |_| Self { text: text.into(), pieces: Box::default(), context };
        Self::parse(text, of, context).unwrap_or_else(fixed)
    }

    /// What comes out for every request, where nothing is to be filled in.
    #[inline]
    pub fn fixed(&self) -> Option<&str> {
        self.pieces.is_empty().then_some(&*self.text)
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What of it is the same for every request.
    pub fn literal(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Value { .. } => None,
        };
        self.fixed().map_or_else(|| self.pieces.iter().filter_map(text).collect(), str::to_owned)
    }

    /// The groups of a regular expression that it names.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(Piece::capture)
    }

    /// Whether it has the request's path, or groups of it, and nothing of its query: then any path can be put in its place.
    pub fn is_made_of_path(&self) -> bool {
        let mut variables = self.pieces.iter().filter_map(Piece::variable);
        variables.clone().any(Variable::is_of_path) && !variables.any(Variable::is_of_query)
    }

    /// Writes it for a request.
    pub fn write(&self, scope: &Scope<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        self.pieces.iter().for_each(|piece| piece.write(scope, self.context, out));
    }

    /// Writes it for a key: each value with its length, so that no two requests come out alike which say something else. What
    /// a request does not have is another than what is empty in it, where no default makes them the same.
    pub fn write_key(&self, scope: &Scope<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        let mut value = Vec::new();
        for piece in &self.pieces {
            let Some(variable) = piece.variable() else {
                piece.write(scope, self.context, out);
                continue;
            };
            value.clear();
            piece.write(scope, self.context, &mut value);
            if value.is_empty() && variable.is_absent(scope) {
                out.push(ABSENT);
            } else {
                write_delimited(&value, out);
            }
        }
    }

    /// Writes it as [`Template::write`] does, as a text: what is not UTF-8 becomes U+FFFD.
    pub fn render(&self, scope: &Scope<'_>) -> String {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        self.write(scope, &mut out);
        text_of(out)
    }

    /// Writes it for a connection that is passed on, or a session of datagrams: what only a request has is empty.
    pub fn write_of_connection(&self, facts: &Facts, place: Place<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        for piece in &self.pieces {
            piece.write_value(|variable| variable.value_of_connection(facts, place), self.context, out);
        }
    }

    /// Writes it for a request, as a URL: what a request says directly behind the host goes into the path, and what it says
    /// in the host is part of a name. It makes no other host of what the template says.
    pub fn render_url(&self, scope: &Scope<'_>) -> String {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
        }
        // Whether what the request says is the end of the host that is written, and no name of the template's own.
        let mut is_chosen = false;
        for (index, piece) in self.pieces.iter().enumerate() {
            let (at, place) = (out.len(), self.host_place(index, &out, is_chosen));
            piece.write(scope, self.context, &mut out);
            match place {
                HostPlace::Elsewhere => is_chosen &= !piece.is_domain(),
                HostPlace::Inside => self.keep_name(index, at, &mut out),
                HostPlace::Behind => self.lead_into_path(index, at, &mut out),
            }
            let is_said = !matches!(place, HostPlace::Elsewhere) && out.len() > at;
            is_chosen |= is_said && open_host(&out).is_some();
        }
        text_of(out)
    }

    /// Leaves of a value in the host, which is written from `at` on, what names are made of. Where nothing of the host
    /// comes behind it, it may have a port, and the path.
    fn keep_name(&self, index: usize, at: usize, out: &mut Vec<u8>) {
        let is_last = !self.has_host_behind(index);
        let value = out.get(at..).unwrap_or_default();
        let is_kept = |byte: &u8| is_of_name(*byte) || (is_last && b":[]".contains(byte));
        let length = value.iter().position(|byte| !is_kept(byte)).unwrap_or(value.len());
        let is_path = value.get(length).is_some_and(|byte| ENDS_HOST.contains(byte));
        if !(is_last && is_path) {
            out.truncate(at + length);
        }
    }

    /// Puts a `/` before a value behind the host, which is written from `at` on, where it would be more of that.
    fn lead_into_path(&self, index: usize, at: usize, out: &mut Vec<u8>) {
        let value = out.get(at..).unwrap_or_default();
        let is_wrong = match self.goes_on_behind(index) {
            // Part of the host, as what follows is, where it can be one.
            true => !value.iter().all(|byte| is_of_name(*byte)),
            false => !value.is_empty(),
        };
        let is_path = value.first().is_some_and(|first| b"/?#".contains(first));
        if is_wrong && !is_path {
            out.insert(at, b'/');
        }
    }

    /// Where a piece stands, of which this is written before it. In `https://{path.1}.example.com` it is in the host, in
    /// `https://example.com{path.1}` behind it.
    fn host_place(&self, index: usize, before: &[u8], is_chosen: bool) -> HostPlace {
        let is_value = self.pieces.get(index).is_some_and(Piece::is_of_no_host);
        let Some(host) = open_host(before).filter(|_| is_value) else { return HostPlace::Elsewhere };
        let is_over = match host.last() {
            Some(b':') => index > 0 && self.pieces.get(index - 1).is_some_and(Piece::is_port),
            Some(last) => last.is_ascii_alphanumeric() || *last == b']',
            None => false,
        };
        // Else one value would be the host, and the next one end it.
        let is_held = is_chosen && self.has_host_behind(index);
        let is_path = self.pieces.get(index).is_some_and(Piece::begins_path);
        if is_path || (is_over && !is_held) { HostPlace::Behind } else { HostPlace::Inside }
    }

    /// Whether the template has more of the host behind a piece. A value between may be empty.
    fn has_host_behind(&self, index: usize) -> bool {
        let mut behind = self.pieces.iter().skip(index + 1);
        let next = behind.find(|piece| piece.begins_path() || !piece.is_of_no_host());
        next.is_some_and(|piece| !piece.begins_path())
    }

    /// Whether text that is no path, query or fragment comes behind a piece, so that the host may go on there.
    fn goes_on_behind(&self, index: usize) -> bool {
        match self.pieces.get(index + 1) {
            Some(Piece::Text(text)) => !text.starts_with(['/', '?', '#']),
            Some(Piece::Value { .. }) | None => false,
        }
    }

    /// Whether it has something that only the node knows which has the client's connection: what its TLS agreed on, and its
    /// certificate.
    pub fn is_of_connection(&self) -> bool {
        self.pieces.iter().filter_map(Piece::variable).any(Variable::is_of_connection)
    }

    /// Whether it has what clients prove themselves by: a certificate, or credentials.
    pub fn has_proof(&self) -> bool {
        self.pieces.iter().filter_map(Piece::variable).any(Variable::is_proof)
    }

    /// Whether it has cookies of the request.
    pub fn has_cookies(&self) -> bool {
        self.pieces.iter().filter_map(Piece::variable).any(Variable::is_cookie)
    }

    /// Whether it has the time.
    pub fn is_of_moment(&self) -> bool {
        self.pieces.iter().filter_map(Piece::variable).any(Variable::is_of_moment)
    }

    /// The header fields that it names.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(Piece::variable).filter_map(Variable::header)
    }

    /// Whether requests for one URL may get something else of it.
    pub fn tells_clients_apart(&self) -> bool {
        self.pieces.iter().any(Piece::tells_clients_apart)
    }

    /// Whether it has something of the request's query.
    pub fn is_of_query(&self) -> bool {
        self.pieces.iter().filter_map(Piece::variable).any(Variable::is_of_query)
    }

    /// Writes what may be something else for another request of the same key; readable in one way only. `lacks` says whether
    /// keys are without a parameter of this name, or without any.
    pub fn write_apart(&self, scope: &Scope<'_>, lacks: &dyn Fn(Option<&str>) -> bool, out: &mut Vec<u8>) {
        let is_apart = |piece: &Piece| piece.variable().is_some_and(|it| it.is_apart_of_key(lacks));
        for piece in self.pieces.iter().filter(|piece| is_apart(piece)) {
            let mut value = Vec::new();
            piece.write(scope, self.context, &mut value);
            write_delimited(&value, out);
        }
    }
}

/// Where a piece of a URL stands.
#[derive(Clone, Copy)]
enum HostPlace {
    /// Before the host, or where that is over; and what is no value that could make another of it.
    Elsewhere,
    /// In the host.
    Inside,
    /// Where the host may be over.
    Behind,
}

/// What ends the host of a URL; browsers take `\` for `/`.
const ENDS_HOST: &[u8] = b"/?#\\";

/// What is written of a host that is not over.
fn open_host(before: &[u8]) -> Option<&[u8]> {
    let of_scheme = |at: &usize| before.iter().take(*at).all(u8::is_ascii_alphabetic);
    let behind_scheme = || Some(memchr::memmem::find(before, b"://").filter(of_scheme)? + 3);
    let begin = if before.starts_with(b"//") { Some(2) } else { behind_scheme() };
    let host = before.get(begin?..)?;
    (!host.iter().any(|byte| ENDS_HOST.contains(byte))).then_some(host)
}

/// What names of hosts are made of.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// What stands in a key for a value that is not there: no length begins so.
const ABSENT: u8 = b'-';

/// Writes a value so that it is seen where it ends, whatever is in it.
fn write_delimited(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", value.len()).as_bytes());
    out.extend_from_slice(value);
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
