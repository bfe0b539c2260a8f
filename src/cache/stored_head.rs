//! The head of a stored response with all that is known of it: made when a response comes, made anew when the
//! origin validated it. What holds a body beside it, and finds it, is the store's.
//!
//! The steps have an order that is easily got wrong (Age and Date of a 304, fields that a directive of the
//! older head forbids), so that it is here once.

use crate::{
    cache::{
        cache_control::RequestControl,
        date::Date,
        freshness::{Freshness, Times, date_of},
        policy::Policy,
        storable::{Refusal, storable, stored_fields},
        validate::merge,
        vary::Vary,
    },
    fields::{Fields, Known},
    h1::{RequestHead, ResponseHead},
};

/// The head of a stored response.
#[derive(Clone, Debug)]
pub struct StoredHead {
    /// Status and fields, as they are served but for Age.
    pub head: ResponseHead,
    /// How long it may be served.
    pub freshness: Freshness,
    /// What it depends on.
    pub vary: Vary,
    /// Its Date, by which the most recent of several is known.
    pub date: Date,
    /// When it came, or was validated.
    pub received: Date,
}

impl StoredHead {
    /// The entry for a response that came, or why it may not be stored.
    pub fn of(
        request: &RequestHead,
        response: &ResponseHead,
        policy: &Policy,
        times: Times,
    ) -> Result<Self, Refusal> {
        let (entry, verdict) = Self::checked(request, response.clone(), policy, times);
        verdict.map(|()| entry)
    }

    /// The entry after a 304, or a HEAD, whose fields are `newer` (RFC 9111 §3.2, §4.3.4), and whether it may
    /// stay stored: the newer fields may forbid it. It may be served for `request` either way.
    pub fn refreshed(
        &self,
        request: &RequestHead,
        newer: &Fields,
        policy: &Policy,
        times: Times,
    ) -> (Self, Result<(), Refusal>) {
        let mut head = self.head.clone();
        merge(&mut head.fields, newer, policy);
        // The age is that of the validation (§4.2.3), whose own Age and Date count, not those of the response
        // that is updated. Without a Date it is as if it had the time of its arrival (RFC 9110 §6.6.1).
        if !newer.has(Known::Date) {
            head.fields.remove_known(Known::Date);
        }
        head.fields.remove_known(Known::Age);
        for age in newer.all_known(Known::Age) {
            head.fields.push_known(Known::Age, age);
        }
        Self::checked(request, head, policy, times)
    }

    /// The entry for a response, and whether it may be stored: one that may not can still be shared with those who
    /// asked before it came.
    pub fn checked(
        request: &RequestHead,
        head: ResponseHead,
        policy: &Policy,
        times: Times,
    ) -> (Self, Result<(), Refusal>) {
        let control = policy.control(&head.fields);
        let freshness = Freshness::of(&head, &control, policy, times);
        let asked = RequestControl::of(&request.fields);
        let verdict = storable(request, &asked, &head, &control, freshness.source(), policy);
        let date = date_of(&head.fields, times.received);
        let vary = Vary::of(&head.fields);
        let mut fields = stored_fields(&head, &control, policy);
        if !fields.has(Known::Date) {
            // RFC 9110 §6.6.1: a recipient with a clock "MUST … append a corresponding Date header field to
            // the message's header section if it is cached".
            fields.push("Date", date.to_string().as_bytes());
        }
        let head = ResponseHead { fields, ..head };
        (Self { head, freshness, vary, date, received: times.received }, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::Method;

    const NOW: Date = Date(1_795_000_000);

    fn at(seconds: u64) -> Times {
        Times { requested: Date(NOW.0 + seconds), received: Date(NOW.0 + seconds) }
    }

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
        fields
    }

    fn entry(lines: &[(&str, &str)]) -> Result<StoredHead, Refusal> {
        let response = ResponseHead { status: 200, fields: fields(lines), ..ResponseHead::default() };
        StoredHead::of(&RequestHead::default(), &response, &Policy::default(), at(0))
    }

    fn refreshed(
        entry: &StoredHead,
        newer: &[(&str, &str)],
        after: u64,
    ) -> (StoredHead, Result<(), Refusal>) {
        entry.refreshed(&RequestHead::default(), &fields(newer), &Policy::default(), at(after))
    }

    #[test]
    fn a_stored_head_keeps_its_date_and_its_age_grows() {
        let date = NOW.to_string();
        let entry = entry(&[("Cache-Control", "max-age=60"), ("Age", "5"), ("Date", &date)]).unwrap();
        // Age is worked out for each answer (§4).
        assert_eq!(entry.freshness.age(Date(NOW.0 + 10)), 15);
        assert!(entry.head.fields.get("age").is_none());
        assert_eq!(entry.head.fields.known(Known::Date), Some(date.as_bytes()));
    }

    #[test]
    fn a_response_without_date_gets_one() {
        let entry = entry(&[("Cache-Control", "max-age=60")]).unwrap();
        assert_eq!(entry.head.fields.known(Known::Date), Some(NOW.to_string().as_bytes()));
    }

    #[test]
    fn what_may_not_be_stored_gives_its_reason() {
        assert_eq!(entry(&[("Cache-Control", "private")]).unwrap_err(), Refusal::Private);
        let request = RequestHead { method: Method::Post, ..RequestHead::default() };
        let response =
            ResponseHead { status: 200, fields: fields(&[("Expires", "0")]), ..ResponseHead::default() };
        let refused = StoredHead::of(&request, &response, &Policy::default(), at(0));
        assert_eq!(refused.unwrap_err(), Refusal::Method);
    }

    #[test]
    fn a_validation_begins_the_age_anew() {
        let old = entry(&[("Cache-Control", "max-age=60"), ("Age", "50"), ("X", "1")]).unwrap();
        // With and without a Date of its own.
        let date = at(100).received.to_string();
        for lines in [&[][..], &[("Date", date.as_str())]] {
            let (new, verdict) = refreshed(&old, lines, 100);
            assert_eq!(verdict, Ok(()));
            assert_eq!((new.freshness.age(at(101).received), new.date), (1, at(100).received));
            assert!(new.freshness.is_fresh(at(159).received) && !new.freshness.is_fresh(at(160).received));
            assert_eq!(new.head.fields.get("x"), Some(&b"1"[..]));
        }
        let (new, _) = refreshed(&old, &[("Age", "20")], 100);
        assert_eq!(new.freshness.age(at(101).received), 21);
        assert!(new.head.fields.get("age").is_none());
    }

    #[test]
    fn a_validation_may_end_the_storing() {
        let old = entry(&[("Cache-Control", "max-age=60")]).unwrap();
        assert_eq!(refreshed(&old, &[("Cache-Control", "no-store")], 1).1, Err(Refusal::NoStore));
        assert_eq!(refreshed(&old, &[("Vary", "*")], 1).1, Err(Refusal::VaryAny));
        let (new, verdict) = refreshed(&old, &[("Cache-Control", "max-age=9"), ("Vary", "a")], 1);
        assert_eq!((verdict, new.freshness.lifetime()), (Ok(()), 9));
        assert_eq!(new.vary, Vary::Names(vec!["a".into()]));
    }

    #[test]
    fn fields_the_older_head_forbids_are_not_taken_over() {
        let old = entry(&[("Cache-Control", "max-age=60, private=\"x\"")]).unwrap();
        let (new, _) = refreshed(&old, &[("X", "1"), ("Y", "2")], 1);
        assert!(new.head.fields.get("x").is_none());
        assert!(new.head.fields.get("y").is_some());
    }
}
