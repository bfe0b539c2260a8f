//! `pointsman certificates`: a demonstration authority and what it signs, so that no key is in git.

use std::{path::Path, process::ExitCode};

use super::{Failure, Status, print};
use crate::tls::demo::{NAMES, demo_certificates};

/// Makes the files and says what they are for.
pub(super) fn certificates(dir: &Path) -> Status {
    let files = demo_certificates(dir)
        .map_err(|error| Failure::new(format!("cannot create certificates in {}: {error}", dir.display())))?;
    let mut text = String::new();
    for file in files {
        text += &format!("{}\n", dir.join(file).display());
    }
    text += &format!(
        "\nA server's certificate for {}, for demonstrations only.\nTry it with: curl --cacert {} https://localhost:8443/\n",
        NAMES.join(", "),
        dir.join("ca.pem").display()
    );
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
