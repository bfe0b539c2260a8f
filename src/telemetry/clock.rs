//! The wall clock as texts, formatted once per second and worker.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, macros::format_description};

thread_local! {
    static TEXTS: RefCell<Texts> = RefCell::default();
}

#[derive(Default)]
struct Texts {
    second: u64,
    date: String,
    iso: String,
    common: String,
}

/// The present as Unix time in milliseconds.
pub fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Gives the present as an IMF-fixdate (RFC 9110 §5.6.7), for a Date field.
pub fn with_date<T>(use_it: impl FnOnce(&str) -> T) -> T {
    with_texts(|texts, _| use_it(&texts.date))
}

/// Writes the present as RFC 3339 with milliseconds, in UTC.
pub fn write_iso(out: &mut Vec<u8>) {
    with_texts(|texts, millis| {
        out.extend_from_slice(texts.iso.as_bytes());
        let digit = |number: u32| b'0' + (number % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    });
}

/// A time as RFC 3339 with milliseconds, in UTC.
pub fn iso(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}Z", Texts::at(since.as_secs()).iso, since.subsec_millis())
}

/// Writes the present as the common log format has it: `22/Nov/2026:05:58:29 +0000`.
pub fn write_common(out: &mut Vec<u8>) {
    with_texts(|texts, _| out.extend_from_slice(texts.common.as_bytes()));
}

fn with_texts<T>(use_them: impl FnOnce(&Texts, u32) -> T) -> T {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TEXTS.with_borrow_mut(|texts| {
        if texts.second != now.as_secs() {
            *texts = Texts::at(now.as_secs());
        }
        use_them(texts, now.subsec_millis())
    })
}

impl Texts {
    fn at(second: u64) -> Self {
        let time =
            i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let date = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let iso = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        let common = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
        Self {
            second,
            date: time.format(date).unwrap_or_default(),
            iso: time.format(iso).unwrap_or_default(),
            common: time.format(common).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_written_as_the_standards_have_it() {
        let texts = Texts::at(784_111_777);
        assert_eq!(texts.date, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(texts.iso, "1994-11-06T08:49:37");
        assert_eq!(texts.common, "06/Nov/1994:08:49:37 +0000");
    }
}
