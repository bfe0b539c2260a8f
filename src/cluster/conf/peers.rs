//! `[cluster.peers]`, as configured.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    schema::{Table, section},
    tls::{
        conf::{CertificateConf, UpstreamTlsConf},
        crypto::CryptoConf,
    },
};

section! {
    /// What the nodes tell each other, over mutual TLS: backend health, changes made through the admin API, purges, and TLS ticket keys.
    pub struct PeersConf {
        /// Where this node listens for its peers: an IP address and port that only they need to reach.
        pub listen: SocketAddr;
        /// The other nodes' `listen` addresses; this node's own may be among them.
        pub members: Vec<SocketAddr>;
        /// This node's certificate, used as server and as client.
        pub certificate: CertificateConf;
        /// The CA that issues the nodes' certificates, and nothing else: anyone with a certificate from it is trusted.
        pub ca: PathBuf;
        /// The name that all nodes' certificates are issued for.
        pub server_name: String = "pointsman";
        /// How long a peer may take to start answering a request, including a new connection to it; after that this node does without it.
        pub response_timeout: Duration = "50ms", in "1ms" to "10s";
    }
    check Self::check;
}

impl PeersConf {
    /// The other nodes.
    pub fn others(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.members.iter().copied().filter(|member| *member != self.listen)
    }

    /// TLS to the other nodes.
    pub fn tls(&self) -> UpstreamTlsConf {
        UpstreamTlsConf {
            server_name: Some(self.server_name.clone()),
            ca: Some(self.ca.clone()),
            certificate: Some(self.certificate.clone()),
            verify: true,
            crypto: CryptoConf::default(),
        }
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.others().next().is_none() {
            let message = "`members` lists no other node";
            let hint = "list the `listen` address of each other node, such as [\"10.0.0.2:7946\"]";
            table.reader.problem_with(table.place_of("members"), message, hint);
        }
        // Files are looked at as those of any TLS to a backend.
        if let Err(error) = crate::tls::client::build(&self.tls()) {
            let (message, hint) = (error.message, error.hint);
            table.reader.problem_with(table.place_of("ca"), message, hint);
        }
    }
}
