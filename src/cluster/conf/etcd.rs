//! `[cluster.etcd]`, as configured.

use std::time::Duration;

use super::url::StoreUrl;
use crate::{
    net::http_client::Server,
    schema::{Secret, Table, section},
    tls::conf::UpstreamTlsConf,
};

section! {
    /// Election by a key in etcd, which the primary holds with a lease.
    pub struct EtcdConf {
        /// etcd servers, such as `http://10.0.0.9:2379`; if one does not answer, the next is tried.
        pub endpoints: Vec<StoreUrl>;
        /// The key: the same on all nodes, and not used by anything else.
        pub key: String = "/pointsman/leader";
        /// Lifetime of the primary's lease, in whole seconds: when the primary dies, another node takes over after this time. etcd enforces a minimum of one and a half times its election timeout.
        pub lease: Duration = "2s", in "2s" to "1h";
        /// User name, if etcd requires authentication; with `password_file`.
        pub user: String = "";
        /// File with the user's password, or `env:NAME`.
        pub password_file: Option<Secret>;
        /// TLS settings for `https://` servers; by default the system's CA certificates are trusted.
        pub tls: Option<UpstreamTlsConf>;
    }
    check Self::check;
}

impl EtcdConf {
    /// Of who reads a key there and stands for nothing.
    pub fn to_read(servers: Vec<Server>, key: String, user: String, password_file: Option<Secret>) -> Self {
        let endpoints = servers.into_iter().map(StoreUrl).collect();
        Self { endpoints, key, lease: Duration::from_secs(2), user, password_file, tls: None }
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.endpoints.is_empty() && table.places_in("endpoints").is_empty() {
            let message = "`endpoints` is empty";
            let hint = "list etcd's servers, such as [\"http://10.0.0.9:2379\"]";
            table.reader.problem_with(table.place_of("endpoints"), message, hint);
        }
        if self.lease.subsec_nanos() > 0 {
            let message = "`lease` must be a whole number of seconds";
            table.reader.problem_with(
                table.place_of("lease"),
                message,
                "etcd counts leases in seconds: \"2s\"",
            );
        }
        if self.key.is_empty() {
            let message = "`key` is empty";
            table.reader.problem_with(table.place_of("key"), message, "such as \"/pointsman/leader\"");
        }
        if self.user.is_empty() != self.password_file.is_none() {
            let (there, missing) =
                if self.user.is_empty() { ("password_file", "user") } else { ("user", "password_file") };
            let message = format!("`{there}` needs `{missing}`");
            table.reader.problem_with(table.place_of(there), message, format!("add `{missing}`"));
        }
    }
}
