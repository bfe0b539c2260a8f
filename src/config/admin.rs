//! `[admin]`: the admin endpoint.

use crate::settings::{Secret, Table, section};

use super::listen::ListenAddress;

section! {
    /// The admin API, dashboard and metrics; off when the table is absent.
    pub struct AdminConf {
        /// Where it is served: an IP address and a port, or `unix:/run/pointsman.sock`.
        pub address: ListenAddress = "127.0.0.1:9900";
        /// File with the bearer token, or `env:NAME`; needed when the address is not loopback.
        pub token_file: Option<Secret>;
    }
    check Self::check;
}

impl AdminConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let open = matches!(&self.address, ListenAddress::Tcp(address) if !address.ip().is_loopback());
        if open && table.entry("token_file").is_none() {
            let message = "an admin address that others can reach needs `token_file`";
            let hint = "add `token_file`, or listen on \"127.0.0.1:9900\"";
            table.reader.missing(table.place_of("address"), message, hint);
        }
    }
}
