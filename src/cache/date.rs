//! HTTP dates: the three formats read, the one written (RFC 9110 §5.6.7).
//!
//! Neither `httpdate` (which is case-sensitive and has a fixed turn of the century) nor `time` reads them as
//! RFC 9111 §4.2 wants it, and the grammar is small. Time zones play no part: all three formats are UTC.

use std::fmt;

/// A point in time on the wall clock: whole seconds since the beginning of 1970, UTC.
///
/// A date before 1970 is read as the beginning of 1970: to a cache both are long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub u64);

impl Date {
    /// Reads a date of any of the three formats without regard to case (RFC 9111 §4.2); `now` decides the
    /// century of a year of two digits. Any zone but GMT makes it invalid (RFC 9111 §4.2).
    pub fn parse(value: &[u8], now: Self) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let civil = imf_fixdate(text).or_else(|| rfc850(text, now)).or_else(|| asctime(text))?;
        civil.date()
    }

    /// Seconds from `earlier` to `self`; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    fn year(self) -> u64 {
        civil_of_days(self.0 / DAY).0
    }
}

/// As IMF-fixdate, the only format that may be generated.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last second of the year 9999, because the format has four digits.
        let seconds = self.0.min(253_402_300_799);
        let (year, month, day) = civil_of_days(seconds / DAY);
        let second = seconds % DAY;
        // The first day of 1970 was a Thursday.
        let weekday = name_at(&WEEKDAYS, (seconds / DAY + 3) % 7).get(..3).unwrap_or_default();
        let month = name_at(&MONTHS, month - 1);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

fn name_at(names: &[&'static str], at: u64) -> &'static str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
}

/// A date by the calendar, in UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    /// Hour, minute, second as seconds of the day.
    second: u64,
}

impl Civil {
    fn date(self) -> Option<Date> {
        if self.day == 0 || self.day > days_in_month(self.year, self.month) {
            return None;
        }
        if self.year < 1970 {
            return Some(Date(0));
        }
        Some(Date(days_of_civil(self.year, self.month, self.day) * DAY + self.second))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<Civil> {
    let (weekday, rest) = text.split_once(", ")?;
    if !WEEKDAYS.iter().any(|name| name.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(weekday))) {
        return None;
    }
    let mut parts = rest.split(' ');
    let civil = Civil {
        day: digits(parts.next()?, 2)?,
        month: month(parts.next()?)?,
        year: digits(parts.next()?, 4)?,
        second: second_of_day(parts.next()?)?,
    };
    is_end(parts.next()?, parts.next()).then_some(civil)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &str, now: Date) -> Option<Civil> {
    let (weekday, rest) = text.split_once(", ")?;
    if !WEEKDAYS.iter().any(|name| name.eq_ignore_ascii_case(weekday)) {
        return None;
    }
    let mut parts = rest.split(' ');
    let mut date = parts.next()?.split('-');
    let (day, month) = (digits(date.next()?, 2)?, month(date.next()?)?);
    let year = century(digits(date.next()?, 2)?, now);
    let second = second_of_day(parts.next()?)?;
    let ends = date.next().is_none() && is_end(parts.next()?, parts.next());
    ends.then_some(Civil { year, month, day, second })
}

/// RFC 9110 §5.6.7: a year of two digits "that appears to be more than 50 years in the future" is "the most
/// recent year in the past that had the same last two digits".
fn century(two_digits: u64, now: Date) -> u64 {
    let present = now.year();
    let year = present - present % 100 + two_digits;
    match year {
        year if year > present + 50 => year - 100,
        // 2090 reads `05` as 2105: fifteen years ahead are not "more than 50 years in the future".
        year if year + 100 <= present + 50 => year + 100,
        year => year,
    }
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<Civil> {
    if !text.is_ascii() || text.len() != 24 {
        return None;
    }
    let (weekday, rest) = text.split_once(' ')?;
    if !WEEKDAYS.iter().any(|name| name.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(weekday))) {
        return None;
    }
    let (name, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let day = match day.strip_prefix(' ') {
        Some(day) => digits(day, 1)?,
        None => digits(day, 2)?,
    };
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    Some(Civil { year: digits(year, 4)?, month: month(name)?, day, second: second_of_day(time)? })
}

fn is_end(zone: &str, more: Option<&str>) -> bool {
    zone.eq_ignore_ascii_case("GMT") && more.is_none()
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn month(name: &str) -> Option<u64> {
    MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name)).map(|at| at as u64 + 1)
}

/// A leap second is the second before it: RFC 9111 §4.2 wants the nearest time "equal to or earlier".
fn second_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = digits(parts.next()?, 2)?;
    let is_time = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    is_time.then(|| hour * 3600 + minute * 60 + second.min(59))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date not before it.
fn days_of_civil(year: u64, month: u64, day: u64) -> u64 {
    // Leap days of all years before `year`, counted from the year 0.
    let leap_days = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leap_days(year) - leap_days(1970);
    years + (1..month).map(|month| days_in_month(year, month)).sum::<u64>() + day - 1
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_of_days(days: u64) -> (u64, u64, u64) {
    // 400 years have 146,097 days; the guess is at most one year too late or early.
    let mut year = 1970 + days * 400 / 146_097;
    while days_of_civil(year, 1, 1) > days {
        year -= 1;
    }
    while days_of_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut left = days - days_of_civil(year, 1, 1);
    let mut month = 1;
    while left >= days_in_month(year, month) {
        left -= days_in_month(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

const DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Date = Date(1_795_000_000); // 2026-11-18

    fn parse(text: &str) -> Option<u64> {
        Date::parse(text.as_bytes(), NOW).map(|date| date.0)
    }

    #[test]
    fn the_three_formats_are_read() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Thu, 29 Feb 2024 23:59:60 GMT"), Some(1_709_251_199));
    }

    #[test]
    fn a_date_before_1970_is_long_ago_and_no_error() {
        assert_eq!(parse("Mon, 01 Jan 1900 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn dates_are_matched_without_regard_to_case() {
        for text in [
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 gMT",
        ] {
            assert_eq!(parse(text), Some(2_544_400_878), "{text}");
        }
    }

    #[test]
    fn what_is_nearly_a_date_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 +0000",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 30 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:00:00 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_digit_years_are_at_most_fifty_years_ahead() {
        let year = |two: &str, now| {
            let text = format!("Sunday, 06-Nov-{two} 08:49:37 GMT");
            Date::parse(text.as_bytes(), now).map(Date::year)
        };
        assert_eq!(year("94", NOW), Some(1994));
        assert_eq!(year("76", NOW), Some(2076));
        assert_eq!(year("77", NOW), Some(1977));
        assert_eq!(year("00", NOW), Some(2000));
        let late = Date(days_of_civil(2090, 6, 1) * DAY);
        assert_eq!(year("05", late), Some(2105));
        assert_eq!(year("89", late), Some(2089));
    }

    #[test]
    fn a_date_is_written_as_imf_fixdate() {
        assert_eq!(Date(784_111_777).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(Date(0).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Date(u64::MAX).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(Date::parse(Date(seconds).to_string().as_bytes(), NOW), Some(Date(seconds)));
        }

        #[test]
        fn no_bytes_stop_the_reader_of_dates(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Date::parse(&bytes, NOW);
        }
    }
}
