//! What a route does with a request.

use std::path::Path;

use super::{cached::CacheAnswer, destination::Destination};
use crate::{
    error::{Kind, ProxyError},
    exchange::Exchange,
    file_tree::{Outcome, Tree},
    filter::{Answer, coding::Coding, page::media_type},
    http::{files, upgrade_request},
    runtime::Route,
};

/// What a route does with the request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It sends the client elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
    },
    /// It answers itself.
    Respond {
        /// The status.
        status: u16,
        /// The body's media type.
        content_type: String,
        /// The body's length.
        bytes: usize,
    },
    /// It answers with a file of a folder.
    Files {
        /// What is looked for, in this order.
        names: Vec<String>,
        /// What is there now, where the disk was asked.
        found: Option<FileAnswer>,
    },
    /// It passes the request on.
    Forward {
        /// The files that are looked for before, in this order; the disk was not asked, or there is none of them.
        files: Vec<String>,
        /// The head as a backend gets it, a line each.
        head: Vec<String>,
        /// Where to; several where the route splits.
        destinations: Vec<Destination>,
        /// What a cache does with it before.
        cache: Option<Box<CacheAnswer>>,
    },
    /// It passes the connection on.
    Pass {
        /// Where to; several where the route splits.
        destinations: Vec<Destination>,
    },
}

/// What a search for a file comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAnswer {
    /// This file.
    File {
        /// Its name.
        name: String,
        /// Its encoding, where it stands for another one beside it.
        encoding: Option<&'static str>,
        /// Its media type.
        content_type: &'static str,
        /// Its length.
        bytes: u64,
    },
    /// A folder, to which the client is sent.
    Folder,
    /// Nothing, and this status.
    Nothing(u16),
}

impl FileAnswer {
    fn of(root: &Path, outcome: Outcome) -> Self {
        match outcome {
            Outcome::File(found) => Self::File {
                name: root.join(&found.name).display().to_string(),
                encoding: found.coding.map(Coding::name),
                content_type: media_type(found.name.as_ref()),
                bytes: found.length,
            },
            Outcome::Folder => Self::Folder,
            Outcome::Status(status) => Self::Nothing(status),
            Outcome::Nothing => Self::Nothing(404),
        }
    }
}

impl Decision {
    /// What is said of a file of a folder. The disk is asked only where nobody else waits meanwhile.
    pub(super) fn of_files(tree: &Tree, exchange: &Exchange, may_wait: bool) -> Result<Self, Kind> {
        let kind = |error: ProxyError| error.kind();
        let asked = files::ask(tree, exchange).map_err(kind)?;
        let root = &tree.conf.root;
        let names = tree.names(&asked).iter().map(|name| root.join(name).display().to_string()).collect();
        let found = match may_wait {
            true => Some(FileAnswer::of(root, files::found(tree.find_now(&asked)).map_err(kind)?)),
            false => None,
        };
        Ok(Self::Files { names, found })
    }

    /// The files that are looked for before an upstream is asked; as the error, what is said where one of them is there.
    pub(super) fn before_upstream(
        route: &Route,
        exchange: &Exchange,
        may_wait: bool,
    ) -> Result<Vec<String>, Self> {
        let tree = route.files.as_ref().filter(|_| !upgrade_request::is_for_backend(route, exchange));
        match tree.and_then(|tree| Self::of_files(tree, exchange, may_wait).ok()) {
            Some(Self::Files { names, found: None | Some(FileAnswer::Nothing(_)) }) => Ok(names),
            Some(found) => Err(found),
            None => Ok(Vec::new()),
        }
    }

    /// What is said of an answer that no backend gives.
    pub(super) fn of_answer(answer: Answer) -> Self {
        let Answer { status, fields, body } = answer;
        let text = |name: &str| {
            let value = fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        match text("location") {
            Some(location) => Self::Redirect { status, location },
            None => Self::Respond {
                status,
                content_type: text("content-type").unwrap_or_default(),
                bytes: body.len(),
            },
        }
    }
}
