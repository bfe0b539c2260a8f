//! `[admin]`: the admin endpoint.

use std::path::Path;

use crate::schema::{Problems, Reader, Secret, Table, section};

use super::{join, listen::ListenAddress, read_text};

section! {
    /// The admin API, dashboard and metrics; off when the table is absent.
    pub struct AdminConf {
        /// Where to serve it: a Unix socket, which only its owner can open, or an IP address and port.
        pub address: ListenAddress = "unix:/run/pointsman/admin.sock";
        /// File with the bearer token, or `env:NAME`; required unless the address is a Unix socket or loopback. On a
        /// loopback address without it, a token is generated, in a file that the log names and the commands find.
        pub token_file: Option<Secret>;
        /// Separate access for clients that only read metrics.
        pub metrics: Option<AdminMetricsConf>;
    }
    check Self::check;
}

section! {
    /// Separate access for clients that only read metrics.
    pub struct AdminMetricsConf {
        /// A separate address, a Unix socket or an IP address and port, that serves only `/metrics`, `/healthz` and
        /// `/readyz`.
        pub address: Option<ListenAddress>;
        /// File with a separate bearer token, or `env:NAME`, that is good for `/metrics` only. Without it, `address` needs
        /// no token. The token of `[admin]` is not accepted at `address`.
        pub token_file: Option<Secret>;
    }
    check Self::check;
}

impl AdminMetricsConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if table.entry("token_file").is_none() && table.entry("address").is_none() {
            let message = format!("{} needs `address` or `token_file`", table.title());
            let hint = "add `token_file` (a file or `env:NAME`), or a separate `address`";
            table.reader.missing(table.place, message, hint);
        }
    }
}

impl AdminConf {
    /// Where metrics and health alone are served, where that is an address of its own.
    pub fn metrics_address(&self) -> Option<&ListenAddress> {
        self.metrics.as_ref()?.address.as_ref()
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let open = matches!(&self.address, ListenAddress::Tcp(address) if !address.ip().is_loopback());
        if open && table.entry("token_file").is_none() {
            let message = "an admin address that other machines can reach needs `token_file`";
            let hint = "add `token_file`, or listen on \"unix:/run/pointsman/admin.sock\"";
            table.reader.missing(table.place_of("address"), message, hint);
        }
        // Where the file has both, whoever compares all addresses says it.
        let is_default = table.entry("address").is_none();
        let metrics = table.entry("metrics").and_then(|entry| entry.node.get("address"));
        if let Some(node) = metrics.filter(|_| is_default && self.metrics_address() == Some(&self.address)) {
            let message = "this is already the default address of `[admin]`";
            table.reader.problem_with(node.place, message, "use a different address for metrics");
        }
    }
}

/// How a running program is reached, as far as its file says.
#[derive(Debug)]
pub struct Reach {
    /// Where it answers.
    pub address: ListenAddress,
    /// Its token.
    pub token: Option<Secret>,
    /// What is wrong with `[admin]`.
    pub problems: Option<Problems>,
}

/// Reads `[admin]` and nothing else: whoever asks a running program may be about to find out what is wrong
/// with the rest. `None` without `[admin]`.
pub fn reach(path: &Path) -> Result<Option<Reach>, Problems> {
    let text = read_text(path)?;
    // What is missing elsewhere is not asked for here.
    let joined = join::with_included(&text, path);
    let mut reader = Reader::new(&joined.source);
    let Some(admin) = joined.root.get("admin") else { return Ok(None) };
    let address = admin.get("address").map(|node| reader.read_as::<ListenAddress>("address", node));
    let address = match address {
        Some(Some(address)) => address,
        Some(None) => return Err(reader.into_problems()),
        None => ListenAddress::Unix(DEFAULT.into()),
    };
    let token = admin.get("token_file").and_then(|node| reader.read_as::<Secret>("token_file", node));
    let problems = reader.has_problems().then(|| reader.into_problems());
    Ok(Some(Reach { address, token, problems }))
}

/// The unix socket without an address in the file.
pub const DEFAULT: &str = "/run/pointsman/admin.sock";
