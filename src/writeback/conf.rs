//! What becomes of writes, as configured.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;

use crate::schema::{Size, StorePath, Table, choice, section};

choice! {
    /// What becomes of a request that changes something, such as a `PUT`.
    pub enum WritePolicy {
        /// It goes to the backend, and what is stored for its URL is used no more.
        Around = "around",
        /// It goes to the backend; what a successful `PUT` sent is stored, where the response allows it.
        Through = "through",
        /// It is answered once it is in the journal, and goes to the backend afterwards.
        Back = "back",
    }
}

section! {
    /// Whose writes `write_policy = "back"` answers in the backend's place, which nobody has checked then, and who sees them.
    pub struct WriteBackConf {
        /// Methods: `PUT`, `DELETE` or both. Others go to the backend.
        pub methods: Vec<http::Method> = ["PUT", "DELETE"];
        /// Networks of clients whose writes are accepted; those of others go to the backend. `["0.0.0.0/0", "::/0"]` = everybody's.
        pub networks: Vec<IpNet>;
        /// Who is shown what waits.
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
    /// Who is shown a write that waits.
    pub enum ServePending {
        /// The client address that wrote it; all others get what the backend has.
        Writer = "writer",
        /// Everybody.
        All = "all",
    }
}

section! {
    /// Where `write_policy = "back"` keeps writes until their backend has them.
    pub struct JournalConf {
        /// Where it is; it is made when it is not there.
        pub path: StorePath;
        /// How much may wait there.
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
