//! Certificates and keys from PEM files.
//!
//! The one place that reads them: the configuration check reports what goes wrong here at the key that
//! names the file, and the builders of this room pass it on.

use std::{path::Path, sync::Arc};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SigningKey},
};

use crate::{
    error::BuildError,
    schema::{self, regular_file},
};

/// The chain and the key in two files, ready to sign.
pub fn certified_key(chain: &Path, key: &Path) -> Result<CertifiedKey, BuildError> {
    pair(certificates(chain)?, signer(key)?, chain)
}

/// The certificates in a file: at least one, each of which can be understood.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let pem = contents(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let message = match parsed {
        Ok(found) if found.is_empty() => format!("no certificate in {}", path.display()),
        Ok(found) => match found.iter().position(is_broken) {
            None => return Ok(found),
            Some(index) => format!("certificate {} of {} is broken", index + 1, path.display()),
        },
        Err(error) => cut_off(path, &error).unwrap_or_else(|| match &error {
            pem::Error::IllegalSectionStart { line } => {
                format!("{} is not PEM: `{}` begins no block", path.display(), shown(line))
            }
            error => format!("{} is not PEM: {error}", path.display()),
        }),
    };
    Err(BuildError::new(message, "it must contain blocks that begin with `-----BEGIN CERTIFICATE-----`"))
}

/// The private key in a file, ready to sign.
pub fn signer(path: &Path) -> Result<Arc<dyn SigningKey>, BuildError> {
    let pem = contents(path)?;
    if is_encrypted(&pem) {
        let message = format!(
            "the private key in {} is encrypted, and Pointsman does not ask for a passphrase",
            path.display()
        );
        let (file, name) = (path.display(), path.file_name().unwrap_or_default().display());
        let hint = format!(
            "remove the passphrase: `openssl pkey -in {file} -out plain-{name}`; mode 0600 keeps it to its \
             owner"
        );
        return Err(BuildError::new(message, hint));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let nothing = || format!("no private key in {}", path.display());
        let message = cut_off(path, &error).unwrap_or_else(nothing);
        BuildError::new(message, "it must contain a block that begins with `-----BEGIN PRIVATE KEY-----`")
    })?;
    any_supported_type(&key).map_err(|_| {
        let message = format!("the private key in {} is not supported", path.display());
        BuildError::new(
            message,
            "keys must be ECDSA (P-256, P-384, P-521), Ed25519 or RSA of 2048 bits or more",
        )
    })
}

/// That a file ends before its last block does, as one that was not copied whole.
fn cut_off(path: &Path, error: &pem::Error) -> Option<String> {
    let pem::Error::MissingSectionEnd { end_marker } = error else { return None };
    Some(format!("{} is cut off: there is no `-----END {}-----`", path.display(), shown(end_marker)))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).escape_debug().to_string()
}

/// A chain with the key that its first certificate was made for. `path` is the chain's, for the message.
pub fn pair(
    chain: Vec<CertificateDer<'static>>,
    signer: Arc<dyn SigningKey>,
    path: &Path,
) -> Result<CertifiedKey, BuildError> {
    let pair = CertifiedKey::new(chain, signer);
    // A key that does not give its public half (`Unknown`) is left to the handshake.
    if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) = pair.keys_match() {
        let message = format!("the key does not match the first certificate of {}", path.display());
        return Err(BuildError::new(message, "the certificate of this key must come first in the chain"));
    }
    Ok(pair)
}

/// Whether a passphrase is needed for the first key (RFC 7468 §11; RFC 1421 §4.6.1.1 for what OpenSSL wrote before).
fn is_encrypted(pem: &[u8]) -> bool {
    let find = |what: &[u8]| memchr::memmem::find(pem, what);
    let marks = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"\nProc-Type: 4,ENCRYPTED"];
    let Some(first) = marks.into_iter().filter_map(find).min() else { return false };
    let plain = find(b"-----BEGIN PRIVATE KEY-----");
    plain.is_none_or(|plain| first < plain)
}

/// Whether the certificate cannot be understood.
fn is_broken(certificate: &CertificateDer<'static>) -> bool {
    rustls::server::ParsedCertificate::try_from(certificate).is_err()
}

/// The bytes of a file that must be there.
fn contents(path: &Path) -> Result<Vec<u8>, BuildError> {
    regular_file::read(path, regular_file::MOST)
        .map_err(|error| BuildError::new(schema::unreadable(path, &error), schema::unreadable_hint(&error)))
}
