//! Cache-Control as requests and responses carry it (RFC 9111 §5.2), with the extensions `immutable`
//! (RFC 8246), `stale-while-revalidate` and `stale-if-error` (RFC 5861), Pragma (§5.4), and the targeted
//! field CDN-Cache-Control (RFC 9213).
//!
//! Next stop: `storable` and `freshness`. What is not as the grammar has it is read in the most restrictive
//! way (§4.2.1): a wrong lifetime is none, a wrong prohibition prohibits, a wrong permission does not permit.

use std::borrow::Cow;

use crate::{
    cache::{
        directive::{Argument, LONGEST, directives, is},
        structured_fields::{self, Value},
    },
    fields::{Fields, Known, is_token_byte},
};

/// The targeted fields that are looked at, from most applicable to least (RFC 9213 §2.2).
pub const TARGETS: [&str; 1] = ["cdn-cache-control"];

/// What a request says about the cache (RFC 9111 §5.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// The greatest age that is accepted.
    pub max_age: Option<u64>,
    /// By how much a response may have exceeded its lifetime; without argument, `u64::MAX`.
    pub max_stale: Option<u64>,
    /// How long the response must still be fresh.
    pub min_fresh: Option<u64>,
    /// Nothing is served without validation.
    pub no_cache: bool,
    /// The response is not stored.
    pub no_store: bool,
    /// Nothing is asked of the origin.
    pub only_if_cached: bool,
    /// How stale a response may be where the origin fails (RFC 5861 §4 has it for requests too).
    pub stale_if_error: Option<u64>,
}

impl RequestControl {
    /// Reads the directives of a request.
    pub fn of(fields: &Fields) -> Self {
        let mut control = Self::default();
        if !fields.has(Known::CacheControl) {
            // RFC 9111 §5.4: Pragma is for requests of clients that do not know Cache-Control.
            control.no_cache =
                directives(fields.all_known(Known::Pragma)).any(|directive| directive.is("no-cache"));
            return control;
        }
        for directive in directives(fields.all_known(Known::CacheControl)) {
            let seconds = directive.seconds();
            let name = directive.name;
            let first = |slot: &mut Option<u64>, value| *slot = slot.or(Some(value));
            if is(name, "max-age") {
                first(&mut control.max_age, seconds.unwrap_or(0));
            } else if is(name, "max-stale") {
                match directive.argument {
                    Argument::None => first(&mut control.max_stale, u64::MAX),
                    // A wrong permission does not permit.
                    Argument::Text(_) | Argument::Invalid => {
                        control.max_stale = control.max_stale.or(seconds);
                    }
                }
            } else if is(name, "min-fresh") {
                first(&mut control.min_fresh, seconds.unwrap_or(LONGEST));
            } else if is(name, "stale-if-error") {
                control.stale_if_error = control.stale_if_error.or(seconds);
            } else if is(name, "no-cache") {
                control.no_cache = true;
            } else if is(name, "no-store") {
                control.no_store = true;
            } else if is(name, "only-if-cached") {
                control.only_if_cached = true;
            }
        }
        control
    }
}

/// What a directive that can name fields covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The directive is not there.
    #[default]
    Absent,
    /// Only these fields of the response; names in lower case, at most 64.
    Fields(Vec<String>),
    /// The whole response.
    Whole,
}

impl Scope {
    /// The names of the fields that are covered; empty for the other two.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Fields(names) => names,
            Self::Absent | Self::Whole => &[],
        }
    }

    /// Whether the whole response is covered.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    fn add(&mut self, argument: &Argument<'_>) {
        let names = match argument {
            Argument::Text(text) => field_names(text),
            Argument::None | Argument::Invalid => None,
        };
        *self = match (std::mem::take(self), names) {
            (Self::Whole, _) | (_, None) => Self::Whole,
            (Self::Absent, Some(names)) => Self::Fields(names),
            (Self::Fields(earlier), Some(names)) if earlier.len() + names.len() > MOST_NAMES => Self::Whole,
            (Self::Fields(mut earlier), Some(names)) => {
                earlier.extend(names);
                Self::Fields(earlier)
            }
        };
    }
}

/// More names than anyone has a use for: each is compared with each field. Where there are more, the directive covers
/// everything.
const MOST_NAMES: usize = 64;

/// The names in `no-cache="a, b"`; none when the list is empty, too long, or has something else in it, which makes the
/// directive cover everything.
fn field_names(text: &[u8]) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = crate::fields::list([text].into_iter())
        .take(MOST_NAMES + 1)
        .map(|name| {
            let text = std::str::from_utf8(name).ok()?;
            text.bytes().all(is_token_byte).then(|| text.to_ascii_lowercase())
        })
        .collect();
    names.filter(|names| (1..=MOST_NAMES).contains(&names.len()))
}

/// What a response says about the cache (RFC 9111 §5.2.2), from Cache-Control or the targeted field that
/// stands in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// Whether a targeted field was read; Cache-Control and Expires are then as if they were not there.
    pub targeted: bool,
    /// Lifetime in seconds.
    pub max_age: Option<u64>,
    /// Lifetime in shared caches.
    pub s_maxage: Option<u64>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<u64>,
    /// What may not be reused without validation.
    pub no_cache: Scope,
    /// What may not be stored by a shared cache.
    pub private: Scope,
    /// Nothing may be stored.
    pub no_store: bool,
    /// It may be stored although something else would prevent it.
    pub public: bool,
    /// Never reused when stale.
    pub must_revalidate: bool,
    /// Never reused when stale, by shared caches.
    pub proxy_revalidate: bool,
    /// Stored only by a cache that understands the status, which then ignores `no-store`.
    pub must_understand: bool,
    /// It does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// The content must stay as it is; says nothing to a cache, but to what compresses.
    pub no_transform: bool,
    /// RFC 9111 §3.5: a well-formed directive allows reuse although the request had Authorization.
    pub allows_credentials: bool,
    /// A quoted string does not end: the directives that could be read are not trusted to make it fresh.
    pub malformed: bool,
}

impl ResponseControl {
    /// Reads the directives of a response.
    pub fn of(fields: &Fields) -> Self {
        // RFC 9213 §2.2: the first of the target list "with a valid, non-empty value".
        let targeted = TARGETS.iter().find_map(|name| {
            structured_fields::parse(fields.all(name)).filter(|members| !members.is_empty())
        });
        match targeted {
            Some(members) => Self::of_dictionary(&members),
            None => Self::of_lines(fields.all_known(Known::CacheControl)),
        }
    }

    fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut control = Self::default();
        let mut lines = directives(lines);
        for directive in lines.by_ref() {
            control.add(directive.name, &directive.argument);
        }
        control.malformed = lines.malformed;
        control
    }

    /// RFC 9213 §2.1: values must be of the type that the directive has. One that is not counts as a wrong
    /// argument does in Cache-Control; but a directive that is explicitly false is not there.
    fn of_dictionary(members: &[(Vec<u8>, Value)]) -> Self {
        let mut control = Self { targeted: true, ..Self::default() };
        for (name, value) in members {
            let number;
            let argument = match value {
                Value::Boolean(true) => Argument::None,
                Value::Boolean(false) => continue,
                Value::Integer(seconds) => match u64::try_from(*seconds) {
                    Ok(seconds) => {
                        number = seconds.to_string();
                        Argument::Text(Cow::Borrowed(number.as_bytes()))
                    }
                    Err(_) => Argument::Invalid,
                },
                // `max-age="60"` is a string where an integer belongs.
                Value::String(text) if is(name, "no-cache") || is(name, "private") => {
                    Argument::Text(Cow::Borrowed(text))
                }
                Value::String(_) | Value::Token(_) | Value::Other => Argument::Invalid,
            };
            control.add(name, &argument);
        }
        control
    }

    /// RFC 9111 §4.2.1: of a directive that is there twice, the first counts. §5.2.3: unknown ones are
    /// ignored.
    fn add(&mut self, name: &[u8], argument: &Argument<'_>) {
        let bare = matches!(argument, Argument::None);
        let seconds = argument.seconds();
        let first = |slot: &mut Option<u64>| *slot = slot.or(Some(seconds.unwrap_or(0)));
        if is(name, "max-age") {
            first(&mut self.max_age);
        } else if is(name, "s-maxage") {
            first(&mut self.s_maxage);
            self.allows_credentials |= seconds.is_some();
        } else if is(name, "stale-while-revalidate") {
            first(&mut self.stale_while_revalidate);
        } else if is(name, "stale-if-error") {
            first(&mut self.stale_if_error);
        } else if is(name, "no-cache") {
            self.no_cache.add(argument);
        } else if is(name, "private") {
            self.private.add(argument);
        } else if is(name, "no-store") {
            self.no_store = true;
        } else if is(name, "public") {
            self.public |= bare;
            self.allows_credentials |= bare;
        } else if is(name, "must-revalidate") {
            self.must_revalidate = true;
            self.allows_credentials |= bare;
        } else if is(name, "proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is(name, "must-understand") {
            self.must_understand |= bare;
        } else if is(name, "immutable") {
            // RFC 8246 §2: "If any arguments are present, they have no meaning and MUST be ignored."
            self.immutable = true;
        } else if is(name, "no-transform") {
            self.no_transform = true;
        }
    }
}

#[cfg(test)]
mod tests;
