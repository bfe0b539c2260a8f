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
    /// What peers tell each other, over TLS with certificates on both sides: what they know of backends, changes made by the
    /// admin API, purges, and keys of TLS tickets.
    pub struct PeersConf {
        /// Where this node hears its peers: an IP address and a port that only they need to reach.
        pub listen: SocketAddr;
        /// Where the others do; this node's own may be among them.
        pub members: Vec<SocketAddr>;
        /// The certificate of this node, which it shows as server and as client.
        pub certificate: CertificateConf;
        /// The authority of the peers' certificates, and of nothing else: who has a certificate of it is believed.
        pub ca: PathBuf;
        /// The name that all peers' certificates are for.
        pub server_name: String = "pointsman";
        /// How long a peer may take to begin to answer a request that it is asked for, a new connection to it included;
        /// then this node does without it.
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
