//! A file that is read with the configuration, to be sent as the body of a response.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::json;

use crate::{
    schema::{Node, Reader, Value, regular_file, unreadable},
    template::{Context, Scope, Template, Use},
};

/// Most bytes of such a file: it is held in memory.
const MOST: u64 = 1 << 20;

/// A file that is read with the configuration, and again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    path: PathBuf,
    bytes: Arc<[u8]>,
}

impl Page {
    /// The media type, by the ending of its name.
    pub fn media_type(&self) -> &'static str {
        media_type(&self.path)
    }

    /// It as a body of this media type. Placeholders are filled where it is a text.
    pub fn body(&self, media_type: &str, of: Use) -> PageBody {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => PageBody::of(text, media_type, of),
            Err(_) => PageBody::Fixed(Bytes::copy_from_slice(&self.bytes)),
        }
    }

    /// What is wrong with placeholders in it, for people.
    pub fn fault(&self, of: Use) -> Option<(String, String)> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let (message, hint) = match Template::parse(text, of, Context::of_body(self.media_type())) {
            Ok(template) => {
                let group = template.captures().next()?;
                let hint = "groups are available in `body`, but not in a file".to_owned();
                (format!("`{{path.{group}}}` is not available"), hint)
            }
            Err(fault) => (fault.message, fault.hint),
        };
        Some((format!("in {}: {message}", self.path.display()), hint))
    }
}

/// The body that a page gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageBody {
    /// The same for every request.
    Fixed(Bytes),
    /// Made for each.
    Template(Template),
}

impl PageBody {
    /// A text of this media type, whose placeholders are filled for each request.
    pub fn of(text: &str, media_type: &str, of: Use) -> Self {
        let template = Template::of(text, of, Context::of_body(media_type));
        match template.fixed() {
            Some(text) => Self::Fixed(text.to_owned().into()),
            None => Self::Template(template),
        }
    }

    /// The body for a request.
    pub fn render(&self, scope: &Scope<'_>) -> Bytes {
        match self {
            Self::Fixed(bytes) => bytes.clone(),
            Self::Template(template) => {
                let mut body = Vec::new();
                template.write(scope, &mut body);
                body.into()
            }
        }
    }
}

/// The media type of a file, by the ending of its name; what is not known is `application/octet-stream`.
pub fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    TYPES.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, media)| media)
}

const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("xml", "application/xml"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("mov", "video/quicktime"),
    ("mkv", "video/matroska"),
    ("ts", "video/mp2t"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("mpd", "application/dash+xml"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("atom", "application/atom+xml"),
    ("rss", "application/rss+xml"),
    ("eot", "application/vnd.ms-fontobject"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zst", "application/zstd"),
    ("xz", "application/x-xz"),
    ("tar", "application/x-tar"),
    ("deb", "application/vnd.debian.binary-package"),
];

impl Value for Page {
    fn kind() -> String {
        "a file".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let path = PathBuf::read(node, reader)?;
        let size = fs::metadata(&path).map(|it| (it.is_file(), it.len()));
        let (message, hint) = match size {
            Ok((true, size)) if size > MOST => (
                format!(
                    "{} has {size} bytes; it is held in memory, and may have at most {MOST}",
                    path.display()
                ),
                "serve large files with `files`",
            ),
            Ok((true, _)) => match regular_file::read(&path, MOST) {
                Ok(bytes) => return Some(Self { path, bytes: bytes.into() }),
                Err(error) => (unreadable(&path, &error), HINT),
            },
            Ok((false, _)) => (format!("{} is not a file", path.display()), HINT),
            Err(error) => (unreadable(&path, &error), HINT),
        };
        reader.lacking(node.place, message, hint);
        None
    }

    fn files(&self, files: &mut Vec<PathBuf>) {
        files.push(self.path.clone());
    }
}

const HINT: &str = "relative paths start from the folder of the configuration file";
