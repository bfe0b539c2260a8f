//! What readers are fed: a unit again and again, in which each has something to begin, to end, or to go back for.

/// A text of any size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    unit: &'static str,
    end: &'static str,
}

impl Pattern {
    /// So many bytes of it, or up to a unit less, behind these. Where the unit has a `#`, each has a number of its own.
    pub(crate) fn bytes(&self, begin: &str, size: usize) -> Vec<u8> {
        let mut text = begin.to_owned();
        if !self.unit.contains('#') {
            // In one go: what makes texts runs under callgrind too.
            let room = size.saturating_sub(begin.len() + self.end.len());
            text += &self.unit.repeat(room / self.unit.len());
            text += self.end;
            return text.into_bytes();
        }
        for at in 0.. {
            let unit = self.unit.replace('#', &format!("{at:03x}"));
            if text.len() + unit.len() + self.end.len() > size {
                break;
            }
            text.push_str(&unit);
        }
        text.push_str(self.end);
        text.into_bytes()
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("{:?}…{:?}", self.unit, self.end)
    }
}

/// Declares patterns by their units; behind `..` stands what a text ends in.
macro_rules! patterns {
    ($($unit:literal $(.. $end:literal)?),* $(,)?) => {
        &[$(Pattern { unit: $unit, end: concat!($($end)?) },)*]
    };
}

/// Of fields: lists, parameters, quoted strings, dates, addresses.
pub(crate) const VALUES: &[Pattern] = patterns![
    "a",
    "9",
    " ",
    "\t",
    ",",
    ", ",
    ";",
    "; ",
    "=",
    "\"",
    "\"".."a",
    "\\",
    "\\\"",
    "\\\"".."\\",
    "\"\\\"",
    "(",
    ")",
    "-",
    "*,",
    "_",
    "a,",
    "k#,",
    "k#,".."\"",
    "a=b,",
    "k#=1, ",
    "a=\"b\",",
    "a=\"",
    "a=\"a=\"",
    "a=\"a=\"".."\"",
    "a=\",",
    "a=\"\\",
    "x=\"\\\",",
    "a;",
    "a;q=0.1,",
    "a;q=",
    "a;a=\"",
    ";a=1",
    "a=(b c),",
    "a=:YQ==:,",
    "k#=\"a\"; ",
    "0-,",
    "0-0,2-2,",
    "W/\"a\",",
    "\"a\" ",
    "1.1 a, ",
    "1.2.3.4, ",
    "for=\"[::1]\";by=a, ",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, ",
    "close,",
];

/// Of targets, hosts and references.
pub(crate) const TARGETS: &[Pattern] = patterns![
    "a", "9", "/", "//", "/.", "/./", "/../", "/a/../", "/a/..", "/a/b/../", "/k#", "%", "%2", "%2e",
    "%2e%2e/", "%41", "%zz", "&", "a&", "k#=1&", "%61=%62&", "+=+&", "?", "=", "\\", ":", "[", "]", ".",
    "a.", "@", "#", ";",
];

/// Of what comes in lines, and of binary headers.
pub(crate) const LINES: &[Pattern] = patterns![
    "a",
    "0",
    " ",
    ":",
    "a:b\r\n".."\r\n",
    "k#:1\r\n".."\r\n",
    "\r\n",
    "\r",
    "\n",
    " a\r\n",
    "1\r\na\r\n".."0\r\n\r\n",
    "1;a=b\r\na\r\n".."0\r\n\r\n",
    "5;a=\"b\\\"\"\r\nabcde\r\n",
    ";a",
    "a=\"",
    "\0",
    "\x04\0\0",
    "\x04\0\x01a",
];

/// For whole requests, which cost much more than a reader: one of each kind.
pub(crate) const FEW: &[Pattern] = patterns!["a,", "\\\"", "k#,".."\"", "a;q=0.1,", "/a/..%41&",];
