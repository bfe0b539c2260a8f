//! When a request goes to a backend once more, and how often that may happen.

use std::{cell::Cell, time::Duration};

use super::conf::{RetryConf, RetryOn};
use crate::{error::Kind, h1::Method, moment::Moment};

/// Whether an attempt that ended so is followed by another, as far as its own end decides.
/// `attempts` were made, this one included.
pub fn is_retryable(conf: &RetryConf, end: Result<u16, Kind>, method: &Method, attempts: u32) -> bool {
    // RFC 9113 §8.7: it was not processed. So it goes on once, however few attempts there may be.
    let most = if end == Err(Kind::Refused) { conf.attempts.max(2) } else { conf.attempts };
    if attempts >= most {
        return false;
    }
    let may_repeat = method.is_idempotent() || conf.non_idempotent;
    match end {
        Ok(status) => status >= 400 && may_repeat && conf.on.contains(&RetryOn::Status(status)),
        Err(kind) => match kind {
            // Nothing of the request was sent, so that it cannot have had an effect.
            Kind::NoSocket | Kind::Connect | Kind::ConnectTimeout | Kind::Unresolved | Kind::UpstreamTls => {
                conf.on.contains(&RetryOn::Connect)
            }
            Kind::Refused => true,
            Kind::Reset | Kind::ResetInUpload | Kind::ConnectionOverloaded => {
                may_repeat && conf.on.contains(&RetryOn::Reset)
            }
            Kind::ResponseTimeout => may_repeat && conf.on.contains(&RetryOn::Status(504)),
            Kind::BadResponse(_) => may_repeat && conf.on.contains(&RetryOn::Status(502)),
            // The next answer would be the same.
            Kind::ResponseTooLarge | Kind::WrongUpgrade => false,
            Kind::Malformed(_)
            | Kind::HeadTooLarge
            | Kind::UriTooLong
            | Kind::BodyTooLarge
            | Kind::HeadTimeout
            | Kind::BodyTimeout
            | Kind::ClientGone
            | Kind::ClientStalled
            | Kind::Misdirected
            | Kind::LoopDetected
            | Kind::NoRoute
            | Kind::ClientDenied
            | Kind::ClientLimit
            | Kind::RouteFull
            | Kind::NotAllowed
            | Kind::NotCached
            | Kind::NotImplemented
            | Kind::NoFile
            | Kind::MethodNotAllowed
            | Kind::FileUnreadable
            | Kind::NoBackend
            | Kind::QueueFull
            | Kind::QueueTimeout
            | Kind::BodyBroken
            | Kind::HelloTimeout
            | Kind::TunnelIdle
            | Kind::TunnelBroken
            | Kind::RouteTimeout
            | Kind::NotAccepted
            | Kind::MemoryFull
            | Kind::Draining
            | Kind::Ended => false,
        },
    }
}

/// How many retries an upstream may make on one worker: a share of the requests of the last ten
/// seconds, and some a second however few there are. It keeps retries from multiplying the load on
/// backends that fail because of load.
#[derive(Debug)]
pub struct Budget {
    percent: Cell<f64>,
    minimum: Cell<f64>,
    /// What has come together of a budget of less than one in the window: a worker's share of a small one.
    spare: Cell<f64>,
    /// Retries that may be made, as of `at`; fractions add up.
    requests: Cell<f64>,
    retries: Cell<f64>,
    at: Cell<Moment>,
}

/// The share is of the requests of about this time.
const WINDOW: Duration = Duration::from_secs(10);
/// What fractions may lack of the whole that they add up to: 0.29 times 100 is no whole 29.
const ROUNDING: f64 = 1e-9;

impl Budget {
    /// `percent` of the requests, and at least `per_second` retries a second.
    pub fn new(percent: u32, per_second: f64) -> Self {
        Self {
            percent: Cell::new(f64::from(percent) / 100.0),
            minimum: Cell::new(per_second * WINDOW.as_secs_f64()),
            spare: Cell::new(0.0),
            requests: Cell::new(0.0),
            retries: Cell::new(0.0),
            at: Cell::new(Moment::default()),
        }
    }

    /// Takes the limits of another configuration; what was counted stays, but for what came together where none are allowed.
    pub fn set(&self, percent: u32, per_second: f64) {
        self.percent.set(f64::from(percent) / 100.0);
        self.minimum.set(per_second * WINDOW.as_secs_f64());
        if percent == 0 && per_second <= 0.0 {
            self.spare.set(0.0);
        }
    }

    /// Counts a request.
    pub fn on_request(&self, now: Moment) {
        self.age(now);
        self.requests.set(self.requests.get() + 1.0);
    }

    /// Takes a retry from the budget; false when there is none left.
    pub fn try_retry(&self, now: Moment) -> bool {
        let is_left = self.has_retry(now);
        if is_left {
            self.retries.set(self.retries.get() + 1.0);
            self.spare.set((self.spare.get() - 1.0).max(0.0));
        }
        is_left
    }

    /// Whether there is one left.
    pub fn has_retry(&self, now: Moment) -> bool {
        self.age(now);
        let most = self.share() + self.minimum.get();
        self.retries.get() + 1.0 <= most + ROUNDING || self.spare.get() >= 1.0 - ROUNDING
    }

    /// How many retries the requests are good for.
    fn share(&self) -> f64 {
        self.percent.get() * self.requests.get()
    }

    /// Counts fade with the window as their time constant, so that their sums are those of about the
    /// last window. Steps of a hundredth of it are fine enough, and cost no exponential per request.
    fn age(&self, now: Moment) {
        let elapsed = now.since(self.at.get());
        if elapsed >= WINDOW / 100 {
            let windows = elapsed.as_secs_f64() / WINDOW.as_secs_f64();
            let kept = (-windows).exp();
            let (share, minimum) = (self.share(), self.minimum.get());
            // One of at least one is had within the window. Of a share, each request is good for its part once, as it fades.
            if share + minimum < 1.0 {
                let gained = share * (1.0 - kept) + minimum * windows;
                self.spare.set((self.spare.get() + gained).min(1.0));
            }
            self.requests.set(self.requests.get() * kept);
            self.retries.set(self.retries.get() * kept);
            self.at.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_fifth_of_requests_plus_ten() {
        let budget = Budget::new(20, 10.0);
        let mut now = Moment(1_000_000);
        let mut retries = 0;
        for _ in 0..100_000 {
            now = now.plus(Duration::from_millis(1));
            budget.on_request(now);
            retries += u64::from(budget.try_retry(now));
        }
        // 100 s of 1,000 requests a second: 200 + 10 a second, and what the first window has in advance.
        assert!((20_000..22_500).contains(&retries), "{retries}");
    }

    /// A worker's share of a small minimum: less than one in the window, and that each time in the end.
    #[test]
    fn share_of_a_small_minimum_comes_together() {
        for (workers, most) in [(11, 19), (16, 13), (100, 3)] {
            let budget = Budget::new(0, 1.0 / f64::from(workers));
            let mut now = Moment(1_000_000_000_000);
            let mut retries = 0;
            for _ in 0..200 {
                now = now.plus(Duration::from_secs(1));
                budget.on_request(now);
                retries += i32::from(budget.try_retry(now));
            }
            // And what may be had in advance.
            assert!((200 / workers..=most).contains(&retries), "{retries} of one of {workers} workers");
        }
        let none = Budget::new(0, 0.0);
        assert!(!(0..200).any(|second| none.try_retry(Moment(second * 1_000_000))));
    }

    /// A worker's share of few requests: less than one in the window, and as many as were meant in the end.
    #[test]
    fn share_of_few_requests_comes_together() {
        for (percent, seconds, most) in [(1, 1, 10), (20, 10, 20), (5, 2, 25), (100, 10, 100), (0, 1, 0)] {
            let budget = Budget::new(percent, 0.0);
            let mut now = Moment(1_000_000_000_000);
            let mut retries = 0;
            for _ in 0..1000 / seconds {
                now = now.plus(Duration::from_secs(seconds));
                budget.on_request(now);
                retries += i32::from(budget.try_retry(now));
            }
            assert!((most * 3 / 4..=most).contains(&retries), "{retries} at {percent} %, each {seconds} s");
        }
    }

    #[test]
    fn a_percentage_of_whole_requests_is_whole() {
        let now = Moment(1_000_000_000_000);
        for (percent, requests, expected) in [
            (29, 100, 29),
            (1, 100, 1),
            (1, 99, 0),
            (1, 10, 0),
            (0, 100, 0),
            (7, 100, 7),
            (20, 5, 1),
            (100, 10, 10),
            (1000, 1, 10),
        ] {
            let budget = Budget::new(percent, 0.0);
            (0..requests).for_each(|_| budget.on_request(now));
            let granted = (0..200).filter(|_| budget.try_retry(now)).count();
            assert_eq!(granted, expected, "{percent} % of {requests}");
        }
        let budget = Budget::new(0, 0.05);
        budget.on_request(now);
        budget.set(0, 0.0);
        assert!(!budget.try_retry(now), "what came together before is for none of nothing");
    }

    #[test]
    fn few_requests_may_be_retried_a_storm_may_not() {
        let budget = Budget::new(20, 10.0);
        let now = Moment(1_000_000);
        let made = (0..1000).filter(|_| budget.try_retry(now)).count();
        assert_eq!(made, 100);
        assert!(!budget.try_retry(now.plus(Duration::from_millis(50))));
        assert!(budget.try_retry(now.plus(Duration::from_secs(1))));
    }

    #[test]
    fn unsafe_requests_are_not_repeated_unless_configured() {
        let conf = RetryConf { attempts: 2, ..conf() };
        for (end, method, again) in [
            (Err(Kind::Connect), Method::Post, true),
            (Err(Kind::Reset), Method::Post, false),
            (Err(Kind::Reset), Method::Get, true),
            (Err(Kind::Refused), Method::Post, true),
            (Ok(503), Method::Get, true),
            (Ok(503), Method::Post, false),
            (Ok(500), Method::Get, false),
            (Ok(200), Method::Get, false),
            (Err(Kind::ClientGone), Method::Get, false),
            (Err(Kind::BodyBroken), Method::Get, false),
        ] {
            assert_eq!(is_retryable(&conf, end, &method, 1), again, "{end:?} {method:?}");
            assert!(!is_retryable(&conf, end, &method, 2));
        }
        let told = RetryConf { non_idempotent: true, ..conf };
        assert!(is_retryable(&told, Err(Kind::Reset), &Method::Post, 1));
    }

    fn conf() -> RetryConf {
        let on = [502, 503, 504].map(RetryOn::Status);
        RetryConf {
            attempts: 2,
            on: [RetryOn::Connect, RetryOn::Reset].into_iter().chain(on).collect(),
            non_idempotent: false,
            replay_bytes: crate::schema::Size(65_536),
            budget_percent: 20,
            budget_min_per_second: 10,
        }
    }
}
