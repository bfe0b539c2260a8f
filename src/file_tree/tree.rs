//! A folder whose files a route serves.

use std::{fs::File, io, sync::Arc};

use tokio::sync::oneshot;

use super::{Asked, Outcome, Reading, conf::FilesConf, find, threads::Threads};

/// A folder whose files a route serves. Equal are two of the same configuration.
#[derive(Debug)]
pub struct Tree {
    /// Its configuration.
    pub conf: FilesConf,
    threads: Threads,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.conf == other.conf
    }
}

impl Eq for Tree {}

impl Tree {
    /// The folder of this configuration; it is not looked at yet.
    pub fn new(conf: FilesConf) -> Self {
        Self { conf, threads: Threads::default() }
    }

    /// Has what is asked for looked for. Nothing comes where that could not be done.
    pub fn find(self: &Arc<Self>, asked: Asked) -> oneshot::Receiver<io::Result<Outcome>> {
        let (reply, outcome) = oneshot::channel();
        let tree = self.clone();
        // Dropped where nobody takes it, which its other end sees.
        self.threads.run(move || {
            if !reply.is_closed() {
                let _ = reply.send(tree.find_now(&asked));
            }
        });
        outcome
    }

    /// Looks for what is asked for, and waits for the disk.
    ///
    /// # Errors
    ///
    /// The folder is not there, or may not be read.
    pub fn find_now(&self, asked: &Asked) -> io::Result<Outcome> {
        find::find(&self.conf, asked)
    }

    /// The names in the folder that are looked for, in this order.
    pub fn names(&self, asked: &Asked) -> Vec<String> {
        let names = self.conf.r#try.iter().filter_map(|it| it.fill(&asked.path, &asked.host));
        names.map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
    }

    /// The bytes of a file from `from` to before `to`.
    pub fn read(&self, file: File, from: u64, to: u64) -> Reading {
        Reading::new(self.threads.clone(), file, from, to)
    }
}
