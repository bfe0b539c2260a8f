//! Whether a failed attempt gets another one: [`Rules::decide`], within a [`Budget`].
//!
//! Previous stop: an attempt of `upstream::forward` failed; next stop: another pick, or the client gets
//! the error. Retries multiply load when a backend can bear it least, so the budget ties them to the
//! requests that came.

use std::time::Duration;

use crate::moment::Moment;

/// How an attempt failed, as far as a retry is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection was made, so nothing was sent.
    Connect,
    /// The connection broke before the response head was whole.
    Reset,
    /// No response head came in time.
    Timeout,
    /// A response head came, with this status.
    Status(u16),
}

/// What is retried; a route's upstream says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Retry failed connects.
    pub on_connect: bool,
    /// Retry broken connections.
    pub on_reset: bool,
    /// Retry attempts that timed out.
    pub on_timeout: bool,
    /// Retry responses with these statuses.
    pub on_statuses: Vec<u16>,
    /// Retry methods that are not idempotent even though the backend may have acted.
    pub non_idempotent: bool,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// How.
    pub failure: Failure,
    /// Attempts so far, this one included.
    pub number: u32,
    /// Whether the request's method is idempotent (RFC 9110 §9.2.2).
    pub is_idempotent: bool,
    /// Whether any byte of the request was written to the backend.
    pub is_sent: bool,
    /// Whether the request has no body, or all of it that was read can be sent again.
    pub is_body_whole: bool,
    /// Whether it went over a pooled connection that closed before the first byte of a response.
    pub is_stale: bool,
    /// Whether such a stale connection was replaced in this exchange before.
    pub was_stale_before: bool,
}

/// What becomes of an exchange whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The client gets the error, or the response.
    GiveUp(Why),
    /// Another attempt, if [`Budget::try_retry`] allows.
    Retry,
    /// The same request once more on a fresh connection, outside budget and count of attempts: the
    /// backend had closed an idle connection, as it may at any time (RFC 9112 §9.3.1).
    RetryFresh,
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All attempts were made.
    NoAttemptsLeft,
    /// This kind of failure is not retried.
    NotConfigured,
    /// The backend may have acted, and acting twice is not the same as once.
    NotIdempotent,
    /// Parts of the body are gone.
    BodyConsumed,
}

impl Rules {
    /// What to do after a failed attempt. The caller asks only while no byte of the response went to
    /// the client.
    pub fn decide(&self, attempt: &Attempt) -> Decision {
        if !attempt.is_body_whole {
            return Decision::GiveUp(Why::BodyConsumed);
        }
        if attempt.is_stale && !attempt.was_stale_before && attempt.failure == Failure::Reset {
            return Decision::RetryFresh;
        }
        if attempt.number >= self.attempts {
            return Decision::GiveUp(Why::NoAttemptsLeft);
        }
        if !self.covers(attempt.failure) {
            return Decision::GiveUp(Why::NotConfigured);
        }
        let may_have_acted = attempt.is_sent && attempt.failure != Failure::Connect;
        if may_have_acted && !attempt.is_idempotent && !self.non_idempotent {
            return Decision::GiveUp(Why::NotIdempotent);
        }
        Decision::Retry
    }

    fn covers(&self, failure: Failure) -> bool {
        match failure {
            Failure::Connect => self.on_connect,
            Failure::Reset => self.on_reset,
            Failure::Timeout => self.on_timeout,
            Failure::Status(status) => self.on_statuses.contains(&status),
        }
    }
}

/// How many retries an upstream bears: a share of the requests of the last 10 s, and some per second so
/// that a quiet upstream has any.
///
/// Each worker has its own for each upstream, with its share of the fixed part: no atomics, and a
/// worker's retries are tied to the requests that it saw itself.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: f64,
    /// Retries that the fixed part gives per window.
    fixed: f64,
    buckets: [Counts; BUCKETS],
    /// Sum of the buckets.
    sum: Counts,
    /// Number of the newest bucket.
    newest: u64,
}

/// Requests and retries of a bucket or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A budget of `percent` of the requests and `min_per_second`; one of `workers` equal shares.
    pub fn new(percent: f64, min_per_second: f64, workers: usize) -> Self {
        let per_worker = min_per_second / workers.max(1) as f64;
        Self {
            percent,
            fixed: match min_per_second > 0.0 {
                // Workers share unevenly; one retry in ten seconds is left to each.
                true => (per_worker * WINDOW.as_secs_f64()).max(1.0),
                false => 0.0,
            },
            buckets: [Counts::default(); BUCKETS],
            sum: Counts::default(),
            newest: 0,
        }
    }

    /// A request came; retries are no requests.
    #[inline]
    pub fn on_request(&mut self, now: Moment) {
        self.advance(now);
        self.sum.requests += 1;
        if let Some(bucket) = self.current() {
            bucket.requests += 1;
        }
    }

    /// Takes one retry out of the budget, if it has one.
    pub fn try_retry(&mut self, now: Moment) -> bool {
        self.advance(now);
        let most = self.sum.requests as f64 * self.percent / 100.0 + self.fixed;
        // The hair absorbs rounding: 20 % of 5 is 1.
        if self.sum.retries as f64 + 1.0 > most + 1e-9 {
            return false;
        }
        self.sum.retries += 1;
        if let Some(bucket) = self.current() {
            bucket.retries += 1;
        }
        true
    }

    /// Forgets the buckets that have left the window.
    #[inline]
    fn advance(&mut self, now: Moment) {
        let number = now.0 / BUCKET_MICROS;
        if number <= self.newest {
            return;
        }
        let passed = (number - self.newest).min(BUCKETS as u64);
        for old in number + 1 - passed..=number {
            if let Some(bucket) = self.buckets.get_mut((old % BUCKETS as u64) as usize) {
                self.sum.requests -= bucket.requests;
                self.sum.retries -= bucket.retries;
                *bucket = Counts::default();
            }
        }
        self.newest = number;
    }

    fn current(&mut self) -> Option<&mut Counts> {
        self.buckets
            .get_mut((self.newest % BUCKETS as u64) as usize)
    }
}

const WINDOW: Duration = Duration::from_secs(10);
const BUCKETS: usize = 10;
const BUCKET_MICROS: u64 = WINDOW.as_micros() as u64 / BUCKETS as u64;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules {
            attempts: 2,
            on_connect: true,
            on_reset: true,
            on_timeout: false,
            on_statuses: vec![502, 503, 504],
            non_idempotent: false,
        }
    }

    fn attempt(failure: Failure) -> Attempt {
        Attempt {
            failure,
            number: 1,
            is_idempotent: true,
            is_sent: failure != Failure::Connect,
            is_body_whole: true,
            is_stale: false,
            was_stale_before: false,
        }
    }

    #[test]
    fn what_is_configured_is_retried_and_nothing_else() {
        let decide = |failure| rules().decide(&attempt(failure));
        for failure in [Failure::Connect, Failure::Reset, Failure::Status(502)] {
            assert_eq!(decide(failure), Decision::Retry, "{failure:?}");
        }
        for failure in [Failure::Timeout, Failure::Status(500), Failure::Status(200)] {
            assert_eq!(
                decide(failure),
                Decision::GiveUp(Why::NotConfigured),
                "{failure:?}"
            );
        }
        let last = Attempt {
            number: 2,
            ..attempt(Failure::Connect)
        };
        assert_eq!(rules().decide(&last), Decision::GiveUp(Why::NoAttemptsLeft));
    }

    #[test]
    fn what_may_have_acted_is_repeated_only_when_that_is_harmless_or_allowed() {
        let post = |failure| Attempt {
            is_idempotent: false,
            ..attempt(failure)
        };
        assert_eq!(rules().decide(&post(Failure::Connect)), Decision::Retry);
        let unsent = Attempt {
            is_sent: false,
            ..post(Failure::Reset)
        };
        assert_eq!(rules().decide(&unsent), Decision::Retry);
        for failure in [Failure::Reset, Failure::Status(503)] {
            let decision = rules().decide(&post(failure));
            assert_eq!(decision, Decision::GiveUp(Why::NotIdempotent));
            let daring = Rules {
                non_idempotent: true,
                ..rules()
            };
            assert_eq!(daring.decide(&post(failure)), Decision::Retry);
        }
    }

    #[test]
    fn a_body_that_is_gone_ends_it_whatever_else_holds() {
        for failure in [Failure::Connect, Failure::Reset, Failure::Status(502)] {
            let gone = Attempt {
                is_body_whole: false,
                is_stale: true,
                ..attempt(failure)
            };
            assert_eq!(rules().decide(&gone), Decision::GiveUp(Why::BodyConsumed));
        }
    }

    #[test]
    fn a_stale_connection_is_replaced_once_even_for_a_post_and_the_last_attempt() {
        let stale = Attempt {
            is_stale: true,
            is_idempotent: false,
            number: 2,
            ..attempt(Failure::Reset)
        };
        assert_eq!(rules().decide(&stale), Decision::RetryFresh);
        let again = Attempt {
            was_stale_before: true,
            ..stale
        };
        assert_ne!(rules().decide(&again), Decision::RetryFresh);
    }

    #[test]
    fn the_budget_is_a_share_of_the_requests_and_a_fixed_part() {
        let mut budget = Budget::new(20.0, 10.0, 1);
        let now = Moment(1_000_000);
        (0..1_000).for_each(|_| budget.on_request(now));
        let retries = (0..1_000).filter(|_| budget.try_retry(now)).count();
        assert_eq!(retries, 300);
        let later = now.plus(WINDOW);
        let retries = (0..1_000).filter(|_| budget.try_retry(later)).count();
        assert_eq!(retries, 100);
        let mut none = Budget::new(20.0, 0.0, 4);
        (0..4).for_each(|_| none.on_request(now));
        assert!(!none.try_retry(now));
        none.on_request(now);
        assert!(none.try_retry(now) && !none.try_retry(now));
    }

    #[test]
    fn each_worker_has_its_share_of_the_fixed_part() {
        let retries: usize = (0..4)
            .map(|_| {
                let mut budget = Budget::new(20.0, 10.0, 4);
                (0..1_000).filter(|_| budget.try_retry(Moment(0))).count()
            })
            .sum();
        assert_eq!(retries, 100);
    }

    proptest! {
        /// Never more retries than the rule says over the buckets of any window, and none refused
        /// that it allows.
        #[test]
        fn no_window_holds_more_than_its_budget(
            events in prop::collection::vec((any::<bool>(), 0_u64..3_000_000), 1..400),
        ) {
            let mut budget = Budget::new(20.0, 0.5, 1);
            let mut now = Moment(0);
            let mut log = VecDeque::new();
            for (is_request, pause) in events {
                now = now.plus(Duration::from_micros(pause / 20));
                let bucket = now.0 / BUCKET_MICROS;
                log.retain(|(at, _)| at + BUCKETS as u64 > bucket);
                if is_request {
                    budget.on_request(now);
                    log.push_back((bucket, true));
                    continue;
                }
                let requests = log.iter().filter(|(_, is_request)| *is_request).count();
                let retries = log.len() - requests;
                let fits = (retries + 1) as f64 <= requests as f64 * 0.2 + 5.0 + 1e-9;
                prop_assert_eq!(budget.try_retry(now), fits);
                if fits {
                    log.push_back((bucket, false));
                }
            }
        }
    }
}
