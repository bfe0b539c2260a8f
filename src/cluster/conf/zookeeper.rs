//! `[cluster.zookeeper]`, as configured.

use std::time::Duration;

use crate::schema::{Secret, Table, section};

section! {
    /// A node in ZooKeeper, which the primary has for as long as its session lasts.
    pub struct ZooKeeperConf {
        /// Its servers, `10.0.0.9:2181,10.0.0.10:2181`, and where all paths begin, if not at `/`.
        pub connect: String;
        /// The path: the same on all nodes, and nobody else's.
        pub path: String = "/pointsman/leader";
        /// How long a session lasts without a sign of life; ZooKeeper makes it at least twice its `tickTime`. A node that
        /// dies is followed after that time. Half of it is relied on, since ZooKeeper's servers tell each other of signs of
        /// life by turns.
        pub session_timeout: Duration = "4s", in "1s" to "1h";
        /// File with `user:password` for ZooKeeper's scheme `digest`, or `env:NAME`; what is created is that user's alone then.
        pub auth_file: Option<Secret>;
    }
    check Self::check;
}

impl ZooKeeperConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.connect.trim_matches([',', ' ']).is_empty() && table.entry("connect").is_some() {
            let message = "`connect` is empty";
            table.reader.problem_with(table.place_of("connect"), message, "such as \"10.0.0.9:2181\"");
        }
        let is_path = self.path.len() > 1
            && self.path.starts_with('/')
            && self.path.split('/').skip(1).all(|name| !matches!(name, "" | "." | ".."));
        if !is_path {
            let message = format!("`{}` is not a path", self.path);
            let hint = "it must begin with `/`, and no part may be empty: \"/pointsman/leader\"";
            table.reader.problem_with(table.place_of("path"), message, hint);
        }
    }
}
