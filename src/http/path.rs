//! The path in its one spelling (RFC 3986 §6.2.2), and how backends may read it otherwise.
//!
//! Previous stop: `http::normalize`; next stop: `http::routing`. Some backends merge slashes, decode `%2F`, or drop what
//! follows a `;` in a segment; nearly all take `%40` for `@`, and routes do ([`spelled`]). A path that a route would take by one reading and another route by another reading is
//! refused, so that no spelling passes by the route that guards it.

use crate::{
    config::listen::{EncodedSlash, PathsConf},
    error::{Kind, ProxyError, Result},
    exchange::{Exchange, PathReadings},
    h1::Method,
    route::spelling::spelled,
};

/// Normalizes the path of an exchange: dot segments removed, unreserved characters unescaped, every other escape in
/// upper case; and finds the other ways to read it.
///
/// # Errors
///
/// [`Kind::Malformed`] for what is no path, leads above the root, or would climb where slashes are decoded or parameters
/// dropped.
pub(super) fn normalize(exchange: &mut Exchange, conf: &PathsConf) -> Result<()> {
    let target = &mut exchange.request.target;
    exchange.path_length = memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len());
    if exchange.request.method == Method::Connect {
        exchange.path_length = target.len();
        return Ok(());
    }
    let path = target.get(..exchange.path_length).unwrap_or_default();
    if is_plain(path) {
        return Ok(());
    }
    let (normal, readings) = spellings(path, conf).map_err(malformed)?;
    exchange.readings = readings.map(Box::new);
    let query = target.get(exchange.path_length..).unwrap_or_default();
    exchange.path_length = normal.len();
    *target = normal + query;
    Ok(())
}

fn malformed(what: &'static str) -> ProxyError {
    Kind::Malformed(what).into()
}

/// A path in its one spelling, and the other ways to read it; what is no path is said.
pub(super) fn spellings(
    path: &str,
    conf: &PathsConf,
) -> Result<(String, Option<PathReadings>), &'static str> {
    let normal = normal_path(path, conf.encoded_slash)?;
    let readings = readings(&normal, conf)?;
    Ok((normal, readings))
}

/// Whether a path has one spelling and one reading, as nearly all have.
fn is_plain(path: &str) -> bool {
    // By a table and without a branch for each byte: paths are too short for wider steps to pay.
    let (mut odd, mut behind) = (0, 0);
    for byte in path.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(ODD);
        odd |= class & (ODD | behind);
        behind = (class & SLASH) << 1;
    }
    odd == 0
}

/// What a byte is in a path: bits that are tested together.
const CLASSES: [u8; 256] = classes();
const SLASH: u8 = 1;
/// It says more behind a slash: another one, or the beginning of a dot segment.
const BEHIND: u8 = SLASH << 1;
/// It may be written, or read, in another way.
const ODD: u8 = 4;

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    classes[b'/' as usize] = SLASH | BEHIND;
    classes[b'.' as usize] = BEHIND;
    let (odd, mut at) = (b"%;\"<>[\\]^`{|}", 0);
    while at < odd.len() {
        classes[odd[at] as usize] = ODD;
        at += 1;
    }
    classes
}

/// A path in its one spelling.
fn normal_path(path: &str, encoded_slash: EncodedSlash) -> Result<String, &'static str> {
    let decoded = unescape(path, encoded_slash)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." && segments.pop().is_none() {
                    return Err("the path leads above the root");
                }
                if is_last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// Unescapes unreserved characters, and slashes where `encoded_slash` says so; writes every other escape in upper case.
fn unescape(path: &str, encoded_slash: EncodedSlash) -> Result<String, &'static str> {
    // Bytes, since a character that is not ASCII has several.
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            // Some backends take a backslash for a slash; a browser never sends one.
            if byte == b'\\' {
                return Err("a backslash in the path");
            }
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err("a percent sign without two hexadecimal digits");
        };
        match (u8::try_from(high * 16 + low).unwrap_or_default(), encoded_slash) {
            (0, _) => return Err("a NUL in the path"),
            (b'/' | b'\\', EncodedSlash::Refuse) => return Err("an encoded slash in the path"),
            (b'\\', EncodedSlash::Decode) => return Err("a backslash in the path"),
            (b'/', EncodedSlash::Decode) => decoded.push(b'/'),
            (byte, _) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(byte);
            }
            (byte, _) => decoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    String::from_utf8(decoded).map_err(|_| "the path is not UTF-8")
}

/// The ways to read a normal path; `None` where there is one only.
fn readings(path: &str, conf: &PathsConf) -> Result<Option<PathReadings>, &'static str> {
    let matched = spelled(&if conf.merge_slashes { merged(path) } else { path.to_owned() });
    let (decoded, bare) = (bare(&unslashed(&matched)), unslashed(&bare(&matched)));
    // Each segment of the other is one of these too.
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("an encoded slash or a path parameter beside a dot segment");
    }
    // Decoding may bring slashes together; where it does not, slashes that are kept apart stay so.
    let merge = |path: String| if conf.merge_slashes { merged(&path) } else { path };
    let (decoded, bare) = (merge(decoded), merge(bare));
    if matched == path && decoded == path && bare == path {
        return Ok(None);
    }
    Ok(Some(PathReadings { matched, decoded, bare }))
}

/// A path with every run of slashes made one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

/// A path whose encoded slashes are decoded.
fn unslashed(path: &str) -> String {
    path.replace("%2F", "/").replace("%5C", "/")
}

/// A path without parameters (`;` and what follows in its segment).
fn bare(path: &str) -> String {
    let bare = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    bare.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, normal) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%7Euser/%41", "/~user/A"),
            ("/a%2fb%20c", "/a%2Fb%20c"),
            ("//a//.//b", "//a///b"),
            ("/...", "/..."),
            ("/.hidden", "/.hidden"),
            ("/é/./%41🚉", "/é/A🚉"),
        ] {
            assert_eq!(normal_path(path, EncodedSlash::Pass).as_deref(), Ok(normal));
        }
        for bad in ["/..", "/a/../..", "/%", "/%4", "/%zz", "/%00", "/a\\b", "/%2e%2e/a"] {
            assert!(normal_path(bad, EncodedSlash::Pass).is_err(), "{bad}");
        }
        assert_eq!(normal_path("/a/..%2fb%2F", EncodedSlash::Decode).as_deref(), Ok("/b/"));
        for (bad, encoded_slash) in [
            ("/a%5Cb", EncodedSlash::Decode),
            ("/a%5Cb", EncodedSlash::Refuse),
            ("/a%2Fb", EncodedSlash::Refuse),
        ] {
            assert!(normal_path(bad, encoded_slash).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for path in ["/", "/a/b", "/a.b/c..d", "/a/b/", "/a?", "/!$&'()*+,-.=:@_~AZaz09"] {
            assert!(is_plain(path), "{path}");
            assert_eq!(readings(path, &PathsConf::default()), Ok(None));
        }
        for path in ["//a", "/a//b", "/a/.b", "/a/./b", "/a%20b", "/a;b", "/a\\b"] {
            assert!(!is_plain(path), "{path}");
        }
        for odd in "\"<>[\\]^`{|};%".chars() {
            assert!(!is_plain(&format!("/a{odd}")), "{odd}");
        }
    }

    #[test]
    fn a_path_is_read_in_every_way() {
        let read = |path: &str| {
            readings(path, &PathsConf::default())
                .map(|read| read.map(|readings| (readings.matched, readings.decoded, readings.bare)))
        };
        for (path, matched, decoded, bare) in [
            ("//a///b", "/a/b", "/a/b", "/a/b"),
            ("/a%2Fb", "/a%2Fb", "/a/b", "/a/b"),
            ("/a%5Cb", "/a%5Cb", "/a/b", "/a/b"),
            ("/a;x=1/b;y", "/a;x=1/b;y", "/a/b", "/a/b"),
            ("/;/a", "/;/a", "/a", "/a"),
            ("//%2F;x//a", "/%2F;x/a", "/a", "/a"),
            ("/;%2Fx/a", "/;%2Fx/a", "/x/a", "/a"),
            ("/a;%5Cx/b", "/a;%5Cx/b", "/a/x/b", "/a/b"),
            ("/a%3Bx/b", "/a;x/b", "/a/b", "/a/b"),
            ("/%40a/b%3A", "/@a/b:", "/@a/b:", "/@a/b:"),
            ("/a|b", "/a%7Cb", "/a%7Cb", "/a%7Cb"),
        ] {
            assert_eq!(read(path), Ok(Some((matched.into(), decoded.into(), bare.into()))), "{path}");
        }
        for path in ["/a/..%2Fb", "/a/..;x/b", "/a/..%3Bx/b", "/.;/a", "/a%2F.", "/a%5C..%5Cb"] {
            assert!(read(path).is_err(), "{path}");
        }
        assert_eq!(read("/.hidden%20"), Ok(None));
        let apart = PathsConf { merge_slashes: false, ..PathsConf::default() };
        assert_eq!(readings("//a", &apart), Ok(None));
    }
}
