//! Whether a stored response may be served now (RFC 9111 §4.2, RFC 5861, RFC 8246).
//!
//! Previous stop: `storable`, which let the response in; next stop: `validate`, where it may not be served as
//! it is. [`Freshness`] is worked out once, when the response comes; a hit is then a few comparisons of
//! integers.

use crate::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        date::Date,
        directive::delta_seconds,
        policy::Policy,
        status_code::is_heuristic,
    },
    fields::{Fields, Known, list},
    h1::ResponseHead,
};

/// When the exchange that brought a response took place, by this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When the request was sent.
    pub requested: Date,
    /// When the response's head came.
    pub received: Date,
}

/// Where a lifetime comes from (RFC 9111 §4.2.1), from the strongest to the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `s-maxage`
    SharedMaxAge,
    /// `max-age`
    MaxAge,
    /// The Expires field.
    Expires,
    /// A fraction of the time since Last-Modified.
    Heuristic,
    /// The configuration, for a response that says nothing.
    Configured,
    /// Nothing says anything: never fresh.
    Nothing,
}

impl Source {
    const ALL: [Self; 6] =
        [Self::SharedMaxAge, Self::MaxAge, Self::Expires, Self::Heuristic, Self::Configured, Self::Nothing];
}

/// How long a stored response may be served, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the response came, from which its time here is counted.
    received: Date,
    /// How old it was when it came (`corrected_initial_age`).
    initial_age: u64,
    lifetime: u64,
    source: Source,
    /// `no-cache`: each use needs validation.
    always_validate: bool,
    /// Something forbids to serve it stale.
    never_stale: bool,
    while_revalidate: u64,
    if_error: u64,
    immutable: bool,
}

impl Freshness {
    /// Works out the freshness of a response that came at `times`.
    pub fn of(response: &ResponseHead, control: &ResponseControl, policy: &Policy, times: Times) -> Self {
        let (lifetime, source) = lifetime(response, control, policy, times);
        // RFC 9111 §5.2.2.10: s-maxage "incorporates the semantics of the proxy-revalidate response
        // directive".
        let never_stale = control.must_revalidate
            || control.proxy_revalidate
            || control.s_maxage.is_some()
            || control.no_cache.is_whole();
        Self {
            received: times.received,
            initial_age: initial_age(&response.fields, times),
            lifetime: if control.malformed { 0 } else { lifetime },
            source,
            always_validate: control.no_cache.is_whole(),
            never_stale,
            while_revalidate: control.stale_while_revalidate.unwrap_or(policy.stale_while_revalidate),
            if_error: control.stale_if_error.unwrap_or(policy.stale_if_error),
            immutable: control.immutable,
        }
    }

    /// How many words [`Freshness::to_words`] gives.
    pub(super) const WORDS: usize = 6;

    /// All of it but the time that it came, for keeping it.
    pub(super) fn to_words(&self) -> [u64; Self::WORDS] {
        let Self { received: _, initial_age, lifetime, source, while_revalidate, if_error, .. } = *self;
        let flags = [self.always_validate, self.never_stale, self.immutable];
        let flags = flags.iter().enumerate().map(|(bit, is_set)| u64::from(*is_set) << bit).sum();
        [initial_age, lifetime, source as u64, while_revalidate, if_error, flags]
    }

    /// What [`Freshness::to_words`] gave, of a response that came at `received`.
    pub(super) fn from_words(received: Date, words: [u64; Self::WORDS]) -> Option<Self> {
        let [initial_age, lifetime, source, while_revalidate, if_error, flags] = words;
        let source = Source::ALL.into_iter().find(|other| *other as u64 == source)?;
        let is_set = |bit: u64| flags & (1 << bit) != 0;
        let (always_validate, never_stale, immutable) = (is_set(0), is_set(1), is_set(2));
        Some(Self {
            received,
            initial_age,
            lifetime,
            source,
            always_validate,
            never_stale,
            while_revalidate,
            if_error,
            immutable,
        })
    }

    /// `current_age` (RFC 9111 §4.2.3); it is also what the Age field says (§4, §5.1). What came in the future, before the
    /// clock was set back, is of an age that nobody knows, and not fresh.
    pub fn age(&self, now: Date) -> u64 {
        let age = self.age_by_clock(now);
        // Clocks are read as whole seconds, on many threads.
        if self.received.0 > now.0.saturating_add(1) { age.max(self.lifetime) } else { age }
    }

    fn age_by_clock(&self, now: Date) -> u64 {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// The lifetime in seconds.
    pub fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// What the lifetime comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Seconds that are left of the lifetime, negative when it is over, as Cache-Status has it (RFC 9211
    /// §2.4).
    pub fn ttl(&self, now: Date) -> i64 {
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        signed(self.lifetime).saturating_sub(signed(self.age(now)))
    }

    /// Whether no use goes without validation (RFC 9111 §5.2.2.4), not even by those who waited for it.
    pub fn is_validated_each_time(&self) -> bool {
        self.always_validate
    }

    /// RFC 9111 §4.2: `response_is_fresh = (freshness_lifetime > current_age)`.
    pub fn is_fresh(&self, now: Date) -> bool {
        self.lifetime > self.age(now)
    }

    /// Makes the response stale from `now` on; what permits to serve it stale still does.
    pub fn expire(&mut self, now: Date) {
        self.lifetime = self.lifetime.min(self.age_by_clock(now));
    }

    /// Demands validation before the response is served again (RFC 9111 §4.4: "in need of a mandatory validation").
    pub fn invalidate(&mut self) {
        self.always_validate = true;
        self.never_stale = true;
    }

    /// What may be done with the stored response for a request that asks like this, now.
    pub fn verdict(&self, request: &RequestControl, now: Date) -> Verdict {
        let verdict = self.reuse(request, now);
        match verdict {
            // RFC 9111 §5.2.1.7: the origin is not asked.
            Verdict::Validate(_) if request.only_if_cached => Verdict::GatewayTimeout,
            Verdict::Fresh
            | Verdict::Stale
            | Verdict::StaleWhileRevalidate
            | Verdict::Validate(_)
            | Verdict::GatewayTimeout => verdict,
        }
    }

    fn reuse(&self, request: &RequestControl, now: Date) -> Verdict {
        if request.no_cache {
            return Verdict::Validate(Reason::Request);
        }
        if self.always_validate {
            return Verdict::Validate(Reason::Stale);
        }
        let age = self.age(now);
        let fresh = self.lifetime > age;
        // RFC 8246 §2.1: a fresh immutable response needs no validation because a browser reloads with
        // `max-age=0`; `no-cache`, a forced reload, was above.
        let too_old = request.max_age.is_some_and(|most| age > most) && !(fresh && self.immutable);
        if too_old {
            return Verdict::Validate(Reason::Request);
        }
        if fresh {
            // §5.2.1.3: "whose freshness lifetime is no less than its current age plus the specified time".
            return match request.min_fresh {
                Some(least) if self.lifetime < age.saturating_add(least) => {
                    Verdict::Validate(Reason::Request)
                }
                Some(_) | None => Verdict::Fresh,
            };
        }
        if self.never_stale || request.min_fresh.is_some() {
            return Verdict::Validate(Reason::Stale);
        }
        let staleness = age - self.lifetime;
        if request.max_stale.is_some_and(|most| staleness <= most) {
            return Verdict::Stale;
        }
        // §5.2.1.1: with max-age and without max-stale "the client does not wish to receive a stale
        // response".
        if staleness < self.while_revalidate && request.max_age.is_none() {
            return Verdict::StaleWhileRevalidate;
        }
        Verdict::Validate(Reason::Stale)
    }

    /// Whether it may be served after the origin could not be asked, or answered with one of
    /// [`is_error`] (RFC 5861 §4). `no-cache` and what forbids stale responses forbids this too; the window
    /// is the response's, the request's or the configuration's.
    pub fn may_serve_on_error(&self, request: &RequestControl, now: Date) -> bool {
        if self.never_stale || self.always_validate || request.no_cache {
            return false;
        }
        let staleness = self.age(now).saturating_sub(self.lifetime);
        staleness < self.if_error.max(request.stale_if_error.unwrap_or(0))
            || request.max_stale.is_some_and(|most| staleness <= most)
    }
}

/// What may be done with a stored response that was found for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Served; it is fresh.
    Fresh,
    /// Served stale, because the client accepts it (`max-stale`).
    Stale,
    /// Served stale, while one request refreshes it.
    StaleWhileRevalidate,
    /// Not served before the origin validated it.
    Validate(Reason),
    /// Not served, and the origin may not be asked: 504.
    GatewayTimeout,
}

/// Why a stored response needs validation, as Cache-Status says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is stale, or must be validated each time.
    Stale,
    /// The request asks for it.
    Request,
}

/// Whether an answer's status is an error that `stale-if-error` covers (RFC 5861 §4).
pub fn is_error(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// RFC 9111 §4.2.1: the first that matches.
fn lifetime(
    response: &ResponseHead,
    control: &ResponseControl,
    policy: &Policy,
    times: Times,
) -> (u64, Source) {
    if let Some(seconds) = control.s_maxage {
        return (seconds, Source::SharedMaxAge);
    }
    if let Some(seconds) = control.max_age {
        return (seconds, Source::MaxAge);
    }
    let fields = &response.fields;
    let date = date_of(fields, times.received);
    // RFC 9213 §2.2: with a targeted field, Expires is ignored.
    if let Some(expires) = fields.get("expires").filter(|_| !control.targeted && !policy.ignores_expires) {
        // §5.3: an invalid date, "especially the value 0", is in the past.
        let expires = Date::parse(expires, times.received).unwrap_or_default();
        return (expires.since(date), Source::Expires);
    }
    // What is said of a status here comes before what can be guessed.
    if let Some(ttl) = policy.ttl_named(response.status) {
        return (ttl, if ttl > 0 { Source::Configured } else { Source::Nothing });
    }
    // §4.2.2: heuristics only where the status allows it or `public` says so.
    if is_heuristic(response.status) || control.public {
        let modified = fields.known(Known::LastModified).and_then(|value| Date::parse(value, times.received));
        if let Some(modified) = modified.filter(|modified| policy.heuristic > 0.0 && *modified < date) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float beyond the range becomes its end"
            )]
            let lifetime = (date.since(modified) as f64 * policy.heuristic) as u64;
            return (lifetime, Source::Heuristic);
        }
        if let Some(ttl) = policy.ttl_of(response.status) {
            return (ttl, Source::Configured);
        }
    }
    (0, Source::Nothing)
}

/// The Date field, or when the response came (RFC 9110 §6.6.1).
pub fn date_of(fields: &Fields, received: Date) -> Date {
    fields.known(Known::Date).and_then(|value| Date::parse(value, received)).unwrap_or(received)
}

/// `corrected_initial_age` (RFC 9111 §4.2.3), the conservative way: an old cache between may not send Age.
fn initial_age(fields: &Fields, times: Times) -> u64 {
    let apparent = times.received.since(date_of(fields, times.received));
    // §4.2.3: "relative to the time the request was initiated, not the time that the response was received".
    let delay = times.received.since(times.requested);
    apparent.max(age_value(fields).saturating_add(delay))
}

/// §5.1: of a list the first member counts; what is no number is ignored.
pub fn age_value(fields: &Fields) -> u64 {
    list(fields.all_known(Known::Age)).next().and_then(delta_seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests;
