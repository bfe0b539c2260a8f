//! What is looked for in the folder.

/// Something that a request may be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// A file of this name, or the folder where it ends with a slash.
    Name(Vec<Piece>),
    /// Nothing: the search ends with this status, 400 to 599.
    Status(u16),
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As the configuration has it.
    Text(String),
    /// The path of the request, without its escapes and what is stripped of it.
    Path,
    /// The host of the request.
    Host,
}

impl Candidate {
    /// Reads a candidate as it is written.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(status) = text.strip_prefix('=') {
            let is_plain = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
            let status = status.parse().ok().filter(|status| is_plain && (400..=599).contains(status));
            return status.map(Self::Status).ok_or("the status must be from 400 to 599");
        }
        if !text.starts_with('/') && !text.starts_with("{path}") {
            return Err("it must begin with `/` or `{path}`");
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or("a `{` is not closed")?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match name {
                "path" => Piece::Path,
                "host" => Piece::Host,
                _ => return Err("only `{path}` and `{host}` are available here"),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        if text.contains('\0') || text.split('/').any(|segment| segment == ".." || segment == ".") {
            return Err("it must not have a segment `.` or `..`, or a NUL");
        }
        Ok(Self::Name(pieces))
    }

    /// Whether it is the folder of the request's own path.
    pub fn is_own_folder(&self) -> bool {
        matches!(self, Self::Name(pieces)
            if matches!(pieces.as_slice(), [Piece::Path, Piece::Text(text)] if text == "/"))
    }

    /// The name for a request with this path, which begins with a slash and has nothing hidden, and this host: relative to
    /// the folder, with a slash at the end where it is a folder. `None` where it is none that is served.
    pub fn fill(&self, path: &[u8], host: &str) -> Option<Vec<u8>> {
        let Self::Name(pieces) = self else { return None };
        let mut name = Vec::with_capacity(path.len() + 16);
        let mut may_be_hidden = false;
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    may_be_hidden |= text.contains("/.");
                    name.extend_from_slice(text.as_bytes());
                }
                Piece::Path => name.extend_from_slice(path),
                // A dot at its beginning would hide it, or climb, also where the text may have what is hidden.
                Piece::Host if host.is_empty() || host.starts_with('.') || host.contains(['/', '\0']) => {
                    return None;
                }
                Piece::Host => name.extend_from_slice(host.as_bytes()),
            }
        }
        let is_hidden = |segment: &[u8]| segment.starts_with(b".") && segment != b".well-known";
        if !may_be_hidden && name.split(|byte| *byte == b'/').any(is_hidden) {
            return None;
        }
        while name.ends_with(b"//") {
            name.pop();
        }
        let from = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
        let is_root = from == name.len();
        name.drain(..from);
        Some(if is_root { b"./".to_vec() } else { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, path: &str) -> Option<String> {
        let name = Candidate::parse(text).unwrap().fill(path.as_bytes(), "a.example")?;
        Some(String::from_utf8(name).unwrap())
    }

    #[test]
    fn candidates_are_paths_in_the_folder() {
        for (text, path, expected) in [
            ("{path}", "/a/b.css", Some("a/b.css")),
            ("{path}", "/a/", Some("a/")),
            ("{path}/", "/a", Some("a/")),
            ("{path}/", "/a/", Some("a/")),
            ("{path}/", "/", Some("./")),
            ("{path}", "/", Some("./")),
            ("{path}.html", "/about", Some("about.html")),
            ("{path}.html", "/about/", None),
            ("/index.html", "/any/thing", Some("index.html")),
            ("/{host}{path}", "/a", Some("a.example/a")),
            ("/.hidden{path}", "/a", Some(".hidden/a")),
            ("{path}", "/.well-known/x", Some(".well-known/x")),
        ] {
            assert_eq!(filled(text, path).as_deref(), expected, "{text} {path}");
        }
        let host = Candidate::parse("/{host}{path}").unwrap();
        assert_eq!(host.fill(b"/a", ""), None);
        assert_eq!(host.fill(b"/a", ".."), None);
        let hidden = Candidate::parse("/.sites/{host}{path}").unwrap();
        assert_eq!(hidden.fill(b"/a", "b").as_deref(), Some(&b".sites/b/a"[..]));
        for host in ["..", ".", ".git"] {
            assert_eq!(hidden.fill(b"/a", host), None, "{host}");
        }
        assert_eq!(host.fill(b"/a", ".git"), None);
    }

    #[test]
    fn what_is_no_candidate_is_refused() {
        for text in
            ["", "a", "=200", "=4040", "=+404", "=x", "/{", "/{query}", "/../a", "{path}/../b", "{host}"]
        {
            assert!(Candidate::parse(text).is_err(), "{text}");
        }
        assert_eq!(Candidate::parse("=410"), Ok(Candidate::Status(410)));
        assert!(Candidate::parse("{path}/").unwrap().is_own_folder());
        assert!(!Candidate::parse("/app/").unwrap().is_own_folder());
    }
}
