//! The proxy and the origin that cases play on; each case has a path of its own, so that many share them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Client, Origin, Proxy, Reply, Request, proxy::config_of};

/// What the origin is to say next, for each case by the beginning of its path.
type Script = Arc<Mutex<HashMap<String, VecDeque<Said>>>>;

/// An answer of the origin, byte by byte.
#[derive(Clone, Debug)]
pub struct Said {
    pub bytes: Vec<u8>,
    /// Whether the connection ends behind it.
    pub closes: bool,
}

/// What cases play on.
pub struct Stage {
    pub proxy: Proxy,
    origin: Origin,
    script: Script,
    next: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Stage {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With options of the cache.
    pub fn with(cache: &str) -> Self {
        Self::behind("", cache)
    }

    /// The same, with options of the listener.
    pub fn behind(listener: &str, cache: &str) -> Self {
        let script = Script::default();
        let answers = script.clone();
        let origin = Origin::start(move |request| {
            let said = answers.lock().unwrap().get_mut(folder(&request.target)).and_then(VecDeque::pop_front);
            match said {
                Some(Said { bytes, closes: false }) => Reply::Bytes(bytes),
                Some(Said { bytes, closes: true }) => Reply::Close(bytes),
                None => Reply::Text(418, "it was not to be asked".into()),
            }
        });
        // Errors of the origin are what some cases are about, and must not keep it from being asked.
        let upstream = "[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n\
                        [upstream.retry]\nattempts = 1\n";
        let more = format!("{upstream}---\n[[cache]]\nname = \"pages\"\n{cache}\n");
        let text = config_of(&[origin.address().to_string()], listener, &more)
            .replace("upstream = \"u\"", "upstream = \"u\"\ncache = \"pages\"");
        let proxy = Proxy::start(&text);
        Self { proxy, origin, script, next: AtomicUsize::new(1), failed: Mutex::default() }
    }

    /// The path of another case.
    pub fn path(&self) -> String {
        format!("/{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn connect(&self) -> Client {
        self.proxy.connect()
    }

    /// What the origin says when it is asked for something below this path.
    pub fn say(&self, path: &str, said: Said) {
        self.script.lock().unwrap().entry(folder(path).to_owned()).or_default().push_back(said);
    }

    /// How many answers below this path were not asked for; they are forgotten.
    pub fn unsaid(&self, path: &str) -> usize {
        self.script.lock().unwrap().remove(folder(path)).map_or(0, |left| left.len())
    }

    /// What the origin was asked below this path.
    pub fn asked(&self, path: &str) -> Vec<Request> {
        let requests = self.origin.requests();
        requests.into_iter().filter(|request| folder(&request.target) == folder(path)).collect()
    }

    /// Takes down that a case failed; the test ends with all of them.
    pub fn fail(&self, text: String) {
        self.failed.lock().unwrap().push(text);
    }
}

impl Drop for Stage {
    /// What failed is reported at the end, so that one failure hides no other.
    fn drop(&mut self) {
        let failed = self.failed.lock().unwrap();
        if !failed.is_empty() && !std::thread::panicking() {
            panic!("{} failed:\n\n{}", failed.len(), failed.join("\n\n"));
        }
    }
}

/// The first part of a path, which says whose it is. An absolute target has its path behind the host.
fn folder(target: &str) -> &str {
    let path =
        target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    path.split(['/', '?']).nth(1).unwrap_or_default()
}
