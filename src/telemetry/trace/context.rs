//! W3C Trace Context: identities, the `traceparent` field, and whether a request is traced.
//!
//! <https://www.w3.org/TR/trace-context/>; `tracestate` belongs to others and goes on as it came.

/// What all spans of one request through all services share; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// One span; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

/// The flag that spans of this trace are kept.
const SAMPLED: u8 = 1;
/// The flag that the trace id is random (level 2), which is passed on.
const RANDOM: u8 = 2;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The span of whoever sent it.
    pub span: SpanId,
    /// Its flags.
    pub flags: u8,
}

impl Parent {
    /// Reads a field value: `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal, and of later versions as
    /// much (§3.2.2). `None` when it is anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let version = hex(value.get(..2)?)?;
        let trace = hex(value.get(3..35)?)?;
        let span = hex(value.get(36..52)?)?;
        let flags = hex(value.get(53..55)?)?;
        let are_dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
        let fits = match (version, value.get(55)) {
            // Version 255 is forbidden, and version 0 ends here.
            (0xff, _) | (0, Some(_)) => false,
            (_, next) => next.is_none_or(|byte| *byte == b'-'),
        };
        if !are_dashes || !fits || trace == 0 || span == 0 {
            return None;
        }
        // Of sixteen digits, and of two.
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
        Some(Self { trace: TraceId(trace), span: SpanId(span), flags })
    }

    /// Whether its sender keeps spans of this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// The number that lower-case digits stand for.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn write_hex(number: u128, digits: u32, out: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        const LOW: u128 = 15;
        let digit = (number >> (place * 4) & LOW) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// The place of a request in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The client's span, when it named one.
    pub parent: Option<SpanId>,
    /// The span of the request here.
    pub span: SpanId,
    /// The span of the attempt under way, or of the last one.
    pub attempt: SpanId,
    flags: u8,
}

impl Context {
    /// Goes on with the client's trace, or begins one.
    ///
    /// The flag of a client that is trusted decides. That of any other does not: a stranger must not be
    /// able to have everything traced, nor to hide; a share of `sample` is then traced, and by a number of
    /// our own, since a stranger chooses the trace id.
    pub fn begin(
        parent: Option<Parent>,
        is_trusted: bool,
        sample: f64,
        random: &mut impl FnMut() -> u64,
    ) -> Self {
        let trace = parent.map_or_else(
            || TraceId((u128::from(random()) << 64 | u128::from(random())).max(1)),
            |parent| parent.trace,
        );
        let is_sampled = match parent {
            Some(parent) if is_trusted => parent.is_sampled(),
            _ => is_in_sample(sample, random()),
        };
        let flags = parent.map_or(0, |parent| parent.flags & RANDOM) | if is_sampled { SAMPLED } else { 0 };
        let span = SpanId(random().max(1));
        Self { trace, parent: parent.map(|parent| parent.span), span, attempt: span, flags }
    }

    /// Whether its spans are kept.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags that go on.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Begins an attempt to reach a backend, which is a span of its own.
    pub fn begin_attempt(&mut self, random: &mut impl FnMut() -> u64) {
        self.attempt = SpanId(random().max(1));
    }

    /// Writes the `traceparent` that a backend gets in this attempt.
    pub fn write_traceparent(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        write_hex(self.trace.0, 32, out);
        out.push(b'-');
        write_hex(self.attempt.0.into(), 16, out);
        out.push(b'-');
        write_hex(self.flags.into(), 2, out);
    }

    /// Writes the trace's id, for the log.
    pub fn write_trace_id(&self, out: &mut Vec<u8>) {
        write_hex(self.trace.0, 32, out);
    }
}

/// Whether a random number is within a share of all numbers.
fn is_in_sample(sample: f64, random: u64) -> bool {
    // 53 bits are all that an f64 holds; each is below 2^53, so that a share of 1 is all of them.
    ((random >> 11) as f64) < sample * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<Parent> {
        Parent::parse(text.as_bytes())
    }

    #[test]
    fn the_standards_example_is_read_and_written_back() {
        let parent = parse(GOOD).unwrap();
        assert_eq!(parent.trace, TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(parent.span, SpanId(0x00f0_67aa_0ba9_02b7));
        assert!(parent.is_sampled());
        let mut context = Context::begin(Some(parent), true, 0.0, &mut || 7);
        context.attempt = parent.span;
        let mut out = Vec::new();
        context.write_traceparent(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), GOOD);
    }

    #[test]
    fn what_is_not_a_traceparent_is_none() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-010",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_this_one() {
        for later in [GOOD.replacen("00", "01", 1), GOOD.replacen("00", "cc", 1) + "-more"] {
            assert_eq!(parse(&later).unwrap(), parse(GOOD).unwrap());
        }
    }

    #[test]
    fn a_trusted_flag_decides_and_a_strangers_does_not() {
        let sampled = parse(GOOD).unwrap();
        let unsampled = Parent { flags: 0, ..sampled };
        let is_sampled =
            |parent, trusted, sample| Context::begin(parent, trusted, sample, &mut || 1 << 63).is_sampled();
        assert!(is_sampled(Some(sampled), true, 0.0));
        assert!(!is_sampled(Some(unsampled), true, 1.0));
        assert!(!is_sampled(Some(sampled), false, 0.0));
        assert!(is_sampled(Some(unsampled), false, 1.0));
        assert!(is_sampled(None, true, 0.51));
        assert!(!is_sampled(None, true, 0.49));
        // Its trace goes on either way.
        assert_eq!(Context::begin(Some(sampled), false, 0.0, &mut || 1).trace, sampled.trace);
    }

    #[test]
    fn a_share_is_a_share() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut count = |sample| (0..100_000).filter(|_| is_in_sample(sample, random.u64(..))).count();
        assert_eq!((count(0.0), count(1.0)), (0, 100_000));
        assert!((9_000..11_000).contains(&count(0.1)));
        assert!(!is_in_sample(0.0, 0) && is_in_sample(1.0, u64::MAX));
    }

    #[test]
    fn only_flags_that_are_known_go_on() {
        let parent = Parent { flags: 0xff, ..parse(GOOD).unwrap() };
        assert_eq!(Context::begin(Some(parent), true, 0.0, &mut || 1).flags(), 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1_u128.., attempt in 1_u64.., sample in 0..2_u8) {
            let parent = Parent { trace: TraceId(trace), span: SpanId(1), flags: 0 };
            let mut random = || attempt;
            let mut context = Context::begin(Some(parent), false, f64::from(sample), &mut random);
            context.begin_attempt(&mut random);
            let mut out = Vec::new();
            context.write_traceparent(&mut out);
            let read = Parent::parse(&out).unwrap();
            prop_assert_eq!(read, Parent { trace: TraceId(trace), span: SpanId(attempt), flags: sample });
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(parent) = Parent::parse(&bytes) {
                prop_assert!(parent.trace.0 != 0 && parent.span.0 != 0);
            }
        }

        #[test]
        fn a_traceparent_with_a_changed_byte_is_invalid_or_differs(at in 0..55_usize, byte in any::<u8>()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let changed = Parent::parse(&bytes);
            // The version is not part of what is read.
            prop_assert!(at < 2 || bytes == GOOD.as_bytes() || changed != parse(GOOD));
        }
    }
}
