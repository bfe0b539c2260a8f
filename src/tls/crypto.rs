//! Which versions, cipher suites and groups of TLS are agreed on, with clients and with backends.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{cipher_suite, default_provider, kx_group},
    },
    version::{TLS12, TLS13},
};

use crate::schema::{Table, choice, section};

choice! {
    /// Which TLS versions and algorithms to allow.
    pub enum TlsProfile {
        /// TLS 1.3 only.
        Modern = "modern",
        /// TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only.
        Intermediate = "intermediate",
        /// Set by `versions`, `cipher_suites` and `curves`.
        Custom = "custom",
    }
}

choice! {
    /// A version of TLS. Those before have faults and are not there.
    pub enum TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

choice! {
    /// A cipher suite, by its registered name.
    pub enum CipherSuite {
        /// TLS 1.3.
        Aes128 = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3.
        Aes256 = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3.
        ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2.
        EcdsaAes128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2.
        EcdsaAes256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2.
        EcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2.
        RsaAes128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2.
        RsaAes256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2.
        RsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

choice! {
    /// A group for the exchange of keys, by its registered name.
    pub enum Curve {
        /// X25519 with ML-KEM: protects traffic recorded today from quantum computers later.
        X25519MlKem768 = "X25519MLKEM768",
        /// Curve25519.
        X25519 = "x25519",
        /// P-256.
        P256 = "secp256r1",
        /// P-384.
        P384 = "secp384r1",
    }
}

section! {
    /// TLS versions, cipher suites and key exchange groups.
    pub struct CryptoConf {
        /// Which TLS versions and algorithms to allow.
        pub profile: TlsProfile = "intermediate";
        /// For `custom`: TLS versions; empty = both.
        pub versions: Vec<TlsVersion> = [];
        /// For `custom`: cipher suites in order of preference; empty = all. Suites of a version that is not negotiated have no effect.
        pub cipher_suites: Vec<CipherSuite> = [];
        /// For `custom`: key exchange groups in order of preference; empty = all.
        pub curves: Vec<Curve> = [];
    }
    check Self::check;
}

impl Default for CryptoConf {
    fn default() -> Self {
        let (versions, cipher_suites, curves) = Default::default();
        Self { profile: TlsProfile::Intermediate, versions, cipher_suites, curves }
    }
}

impl CryptoConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let profile = table.entry("profile");
        // One that could not be read has been replaced by the default.
        let is_read = profile.is_none_or(|entry| entry.node.text() == Some(self.profile.name()));
        if self.profile != TlsProfile::Custom && is_read {
            let written = ["versions", "cipher_suites", "curves"].map(|key| table.entry(key));
            for entry in written.into_iter().flatten() {
                let name = self.profile.name();
                let message = format!("`{}` has no effect with the profile `{name}`", entry.key);
                let hint = "set `profile = \"custom\"`, or leave it out";
                table.reader.problem_with(entry.place, message, hint);
            }
        }
        let versions = self.versions();
        let suites = self.cipher_suites.iter().map(|suite| supported(*suite));
        let suites: Vec<_> = suites.collect();
        let is_bare = |version: &&&SupportedProtocolVersion| {
            !suites.is_empty() && !suites.iter().any(|suite| suite.version() == **version)
        };
        if let Some(bare) = versions.iter().find(is_bare) {
            let name = if bare.version == TLS12.version { "1.2" } else { "1.3" };
            let message = format!("no cipher suite of TLS {name} is listed");
            let hint = format!("add one, or leave \"{name}\" out of `versions`");
            table.reader.problem_with(table.place_of("cipher_suites"), message, hint);
        }
    }

    /// The versions that are agreed on.
    pub fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match self.profile {
            TlsProfile::Modern => vec![&TLS13],
            TlsProfile::Custom if !self.versions.is_empty() => {
                let has = |version| self.versions.contains(&version);
                let known = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
                known.into_iter().filter(|(version, _)| has(*version)).map(|(_, it)| it).collect()
            }
            TlsProfile::Intermediate | TlsProfile::Custom => vec![&TLS13, &TLS12],
        }
    }

    /// The cryptography that is agreed on.
    pub fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = default_provider();
        if self.profile == TlsProfile::Custom {
            if !self.cipher_suites.is_empty() {
                provider.cipher_suites = self.cipher_suites.iter().map(|suite| supported(*suite)).collect();
            }
            if !self.curves.is_empty() {
                provider.kx_groups = self.curves.iter().map(|curve| group(*curve)).collect();
            }
        }
        Arc::new(provider)
    }
}

fn supported(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::Aes128 => cipher_suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256 => cipher_suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::ChaCha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::X25519MlKem768 => kx_group::X25519MLKEM768,
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    }
}
