//! The certificates that are served, for status and metrics.

use std::{
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use super::Admin;
use crate::{
    reload::{plan::Certificate, preview},
    runtime::Snapshot,
};

/// The certificates that are served. Their files are read once in a generation and hour: what is left of them changes by the
/// day.
pub(super) fn certificates(admin: &Admin, snapshot: &Snapshot) -> Arc<[Certificate]> {
    let hours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 3600;
    let mut kept = admin.certificates.lock().unwrap_or_else(PoisonError::into_inner);
    match &*kept {
        Some((looked, certificates)) if *looked == (snapshot.generation, hours) => certificates.clone(),
        Some(_) | None => {
            let certificates: Arc<[Certificate]> = preview::certificates(&snapshot.config).into();
            *kept = Some(((snapshot.generation, hours), certificates.clone()));
            certificates
        }
    }
}
