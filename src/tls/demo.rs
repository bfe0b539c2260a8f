//! Throw-away certificates for demonstrations and tests, so that no key is in git.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// Names that the demonstration server's certificate is good for.
pub const NAMES: [&str; 6] = ["localhost", "127.0.0.1", "::1", "*.localhost", "example.com", "*.example.com"];

/// The name that nodes of a cluster are issued for, if they are not told another (`server_name`).
const NODE: &str = "pointsman";

/// Makes an authority (`ca.pem`), a server's certificate (`demo.pem`, `demo.key`) and a client's
/// (`client.pem`, `client.key`, checked with `clients-ca.pem`) in `dir`, and that of the nodes of a cluster (`peer.pem`,
/// `peer.key`), whose authority is their own (`peers-ca.pem`): who has a certificate of it is believed. The keys of the
/// authorities are not kept. Returns the names of the files.
pub fn demo_certificates(dir: &Path) -> io::Result<Vec<&'static str>> {
    fs::create_dir_all(dir)?;
    let authority = Authority::new().map_err(io::Error::other)?;
    let of_nodes = Authority::new().map_err(io::Error::other)?;
    let server = authority
        .issue("localhost", &NAMES, ExtendedKeyUsagePurpose::ServerAuth)
        .map_err(io::Error::other)?;
    let client =
        authority.issue("demo client", &[], ExtendedKeyUsagePurpose::ClientAuth).map_err(io::Error::other)?;
    let node = of_nodes.issue_node().map_err(io::Error::other)?;
    let files = [
        ("ca.pem", &authority.certificate, false),
        ("clients-ca.pem", &authority.certificate, false),
        ("demo.pem", &server.certificate, false),
        ("demo.key", &server.key, true),
        ("client.pem", &client.certificate, false),
        ("client.key", &client.key, true),
        ("peers-ca.pem", &of_nodes.certificate, false),
        ("peer.pem", &node.certificate, false),
        ("peer.key", &node.key, true),
    ];
    for (name, pem, private) in files {
        write(&dir.join(name), pem, private)?;
    }
    Ok(files.into_iter().map(|(name, ..)| name).collect())
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Issues certificates; the room's tests use it too.
pub(super) struct Authority {
    pub(super) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let mut params = parameters("Pointsman demonstration CA", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { certificate: params.self_signed(&key)?.pem(), issuer: Issuer::new(params, key) })
    }

    pub(super) fn issue(
        &self,
        common_name: &str,
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, rcgen::Error> {
        self.sign(parameters(common_name, names)?, vec![purpose])
    }

    /// One for nodes, which are each other's servers and clients.
    fn issue_node(&self) -> Result<Issued, rcgen::Error> {
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters("demo node", &[NODE])?, purposes)
    }

    /// One for clients that was good for two days, until yesterday.
    #[cfg(test)]
    pub(super) fn issue_ended(&self, common_name: &str) -> Result<Issued, rcgen::Error> {
        let mut params = parameters(common_name, &[])?;
        let yesterday = time::OffsetDateTime::now_utc() - time::Duration::days(1);
        params.not_before = yesterday - time::Duration::days(2);
        params.not_after = yesterday;
        self.sign(params, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        purposes: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<Issued, rcgen::Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Issued { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn parameters(common_name: &str, names: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Some clients refuse server certificates that are valid for more than 398 days.
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(365);
    Ok(params)
}

/// Writes a file; a private one is readable by its owner only, from the first byte on.
fn write(path: &Path, text: &str, private: bool) -> io::Result<()> {
    if private {
        // `mode` holds for new files only, so an old one must not be written into.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mode = if private { 0o600 } else { 0o644 };
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_made_anew_each_time() {
        let dir = std::env::temp_dir().join(format!("pointsman-demo-{}", std::process::id()));
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let names = demo_certificates(&dir).unwrap();
        let first = read("demo.key");
        // An old file that everybody may read must not lend its mode to the new key.
        fs::set_permissions(dir.join("demo.key"), fs::Permissions::from_mode(0o644)).unwrap();
        demo_certificates(&dir).unwrap();
        assert_ne!(first, read("demo.key"));
        for name in names {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o077;
            assert_eq!(mode == 0, name.ends_with(".key"), "{name}");
        }
        assert_eq!(read("ca.pem"), read("clients-ca.pem"));
        assert_ne!(read("ca.pem"), read("peers-ca.pem"), "no client is a node");
        fs::remove_dir_all(dir).unwrap();
    }
}
