//! `[cluster.zookeeper]`, as configured.

use std::time::Duration;

use crate::schema::{Secret, Table, section};

section! {
    /// Election by a node in ZooKeeper, which the primary holds for as long as its session lasts.
    pub struct ZooKeeperConf {
        /// ZooKeeper servers, `10.0.0.9:2181,10.0.0.10:2181`, optionally followed by a chroot path.
        pub connect: String;
        /// The path: the same on all nodes, and not used by anything else.
        pub path: String = "/pointsman/leader";
        /// Session timeout: when the primary dies, another node takes over after this time. ZooKeeper enforces a minimum of twice its `tickTime`. A primary relies on only half of it, because ZooKeeper's servers tell each other of heartbeats with a delay.
        pub session_timeout: Duration = "4s", in "1s" to "1h";
        /// File with `user:password` for ZooKeeper's `digest` scheme, or `env:NAME`. Nodes that Pointsman creates then belong to that user alone.
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
