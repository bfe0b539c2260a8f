//! A text with placeholders.

use super::{
    escape::Context,
    parse::{Fault, Piece, Use, parse},
    scope::Scope,
};

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

    /// Writes it for a request.
    pub fn write(&self, scope: &Scope<'_>, out: &mut Vec<u8>) {
        if let Some(text) = self.fixed() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        self.pieces.iter().for_each(|piece| piece.write(scope, self.context, out));
    }

    /// The same, as a text: what is not UTF-8 becomes U+FFFD.
    pub fn render(&self, scope: &Scope<'_>) -> String {
        let mut out = Vec::with_capacity(self.text.len() * 2);
        self.write(scope, &mut out);
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}
