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

    /// Writes it for a request, as a URL: what a request says directly behind the host goes into the path, and makes no other
    /// host of it.
    pub fn render_url(&self, scope: &Scope<'_>) -> String {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
        }
        for (index, piece) in self.pieces.iter().enumerate() {
            let at = out.len();
            let is_behind_host = self.is_behind_host(index, &out);
            piece.write(scope, self.context, &mut out);
            let value = out.get(at..).unwrap_or_default();
            let is_wrong = match self.goes_on_behind(index) {
                // Part of the host, as what follows is, where it can be one.
                true => !value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)),
                false => !value.is_empty(),
            };
            let is_path = value.first().is_some_and(|first| b"/?#".contains(first));
            if is_behind_host && is_wrong && !is_path {
                out.insert(at, b'/');
            }
        }
        text_of(out)
    }

    /// Whether a piece stands where the host may be over, of which this is written before it. In
    /// `https://{path.1}.example.com` it is not.
    fn is_behind_host(&self, index: usize, before: &[u8]) -> bool {
        let is_value = self.pieces.get(index).is_some_and(Piece::is_of_no_host);
        let of_scheme = |at: &usize| before.iter().take(*at).all(u8::is_ascii_alphabetic);
        let behind_scheme = || Some(memchr::memmem::find(before, b"://").filter(of_scheme)? + 3);
        let begin = if before.starts_with(b"//") { Some(2) } else { behind_scheme() };
        let Some(host) = begin.and_then(|begin| before.get(begin..)).filter(|_| is_value) else {
            return false;
        };
        let is_open = !host.iter().any(|byte| b"/?#\\".contains(byte));
        let is_over = match host.last() {
            Some(b':') => index > 0 && self.pieces.get(index - 1).is_some_and(Piece::is_port),
            Some(last) => last.is_ascii_alphanumeric() || *last == b']',
            None => false,
        };
        is_open && is_over
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
