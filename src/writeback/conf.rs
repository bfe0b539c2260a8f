//! What becomes of writes, as configured.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;

use crate::schema::{Size, StorePath, Table, choice, section};

choice! {
    /// What to do with requests that change something, such as a `PUT`.
    pub enum WritePolicy {
        /// Send them to the backend and invalidate what is stored for the URL.
        Around = "around",
        /// Send them to the backend; store the content of a successful `PUT`, if the response allows it.
        Through = "through",
        /// Answer them once they are in the journal, and deliver them to the backend later.
        Back = "back",
    }
}

section! {
    /// Which writes `write_policy = "back"` accepts on the backend's behalf, before the backend could check them, and who sees them until they are delivered.
    pub struct WriteBackConf {
        /// Methods to accept: `PUT`, `DELETE` or both. Others go to the backend.
        pub methods: Vec<http::Method> = ["PUT", "DELETE"];
        /// Networks of clients to accept writes from; those of others go to the backend. `["0.0.0.0/0", "::/0"]` = everybody.
        pub networks: Vec<IpNet>;
        /// Who sees a write that is not delivered yet.
        pub serve: ServePending = "writer";
    }
    check Self::check;
}

impl WriteBackConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let is_accepted = |method: &http::Method| [http::Method::PUT, http::Method::DELETE].contains(method);
        if let Some(method) = self.methods.iter().find(|method| !is_accepted(method)) {
            let message = format!("{method} cannot be written back: only its backend knows the result");
            table.reader.problem_with(
                table.place_of("methods"),
                message,
                "set `methods` to PUT, DELETE or both",
            );
        }
        if self.networks.is_empty() {
            let message = "no client's writes would be accepted";
            let hint = "list the networks of clients that may write: `networks = [\"10.0.0.0/8\"]`";
            table.reader.missing(table.place_of("networks"), message, hint);
        }
    }

    /// Whether a write of this method by the client at this address is answered here.
    pub fn accepts(&self, method: &str, client: IpAddr) -> bool {
        self.methods.iter().any(|accepted| accepted.as_str() == method)
            && self.networks.iter().any(|network| network.contains(&client))
    }
}

choice! {
    /// Who sees a write that is not delivered yet.
    pub enum ServePending {
        /// Only the client address that wrote it; all others get what the backend has.
        Writer = "writer",
        /// Everybody.
        All = "all",
    }
}

section! {
    /// Where `write_policy = "back"` keeps writes until they are delivered to the backend.
    pub struct JournalConf {
        /// The journal's folder; it is created if missing.
        pub path: StorePath;
        /// How much may wait for delivery.
        pub size: Size = "1GiB", in "1MiB" to "1024TiB";
    }
}

impl JournalConf {
    /// The journal of a cache that names none and has a disk there.
    pub fn below(disk: &Path) -> Self {
        Self { path: StorePath(disk.join("journal")), size: DEFAULT_SIZE }
    }
}

/// As the row has it.
const DEFAULT_SIZE: Size = Size(1 << 30);
