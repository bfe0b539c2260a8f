//! `[admin]`: the admin endpoint.

use std::path::PathBuf;

use crate::settings::{Table, section};

use super::listen::ListenAddress;

section! {
    /// The admin API, dashboard and metrics; off when the table is absent.
    pub struct AdminConf {
        /// Where it is served: an IP address and a port, or `unix:/run/pointsman.sock`.
        pub address: ListenAddress = "127.0.0.1:9900";
        /// File with the bearer token; needed when the address is not loopback.
        pub token_file: Option<PathBuf>;
    }
    check Self::check;
}

impl AdminConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let Some(path) = &self.token_file else {
            let open =
                matches!(&self.address, ListenAddress::Tcp(address) if !address.ip().is_loopback());
            if open && table.entry("token_file").is_none() {
                let message = "an admin address that others can reach needs `token_file`";
                let hint = "add `token_file`, or listen on \"127.0.0.1:9900\"";
                table
                    .reader
                    .missing(table.place_of("address"), message, hint);
            }
            return;
        };
        let place = table.place_of("token_file");
        match std::fs::read_to_string(path) {
            Ok(token) if token.trim().is_empty() => {
                let message = format!("there is no token in {}", path.display());
                table
                    .reader
                    .problem_with(place, message, "write a long random text into it");
            }
            Ok(_) => {}
            Err(error) => {
                let message = crate::settings::unreadable(path, &error);
                let hint = "relative paths start from the folder of the configuration file";
                table.reader.problem_with(place, message, hint);
            }
        }
    }
}
