//! Keys for session tickets (RFC 5077 §4, RFC 8446 §4.6.1), shared by all workers.
//!
//! They outlive reloads, so that a client resumes across one. A ticket is bound to a [`Context`]: the
//! listener and how it authenticates clients. Without that, a client could take a ticket where no
//! certificate is asked for and resume with it where one is required (CVE-2025-23419).
//!
//! Not bound here, since rustls does it: the server name. Its `can_resume`, used for TLS 1.2 and 1.3
//! alike, compares the name within the ticket with the name asked for (RFC 6066 §3); a test of this
//! room holds it to that.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, SHA256_OUTPUT_LEN, digest},
    rand,
};
use rustls::{pki_types::UnixTime, server::ProducesTickets};

use super::{conf::ClientAuthMode, session};
use crate::{error::BuildError, moment::Moment};

/// After this time a new key is made. The one before is accepted for as long again.
pub const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);

/// The longest that a ticket is accepted, sent to clients as its lifetime.
const LIFETIME: Duration = Duration::from_secs(2 * 6 * 60 * 60);

/// The ticket keys of this process.
///
/// Purposefully not `Clone`: two rotations of the same keys would drift apart.
pub struct Tickets {
    /// Read once per ticket made or taken, written each six hours.
    keys: RwLock<Keys>,
}

impl Tickets {
    /// New random keys.
    pub fn new(now: Moment) -> Result<Arc<Self>, BuildError> {
        let key = Key::random().ok_or_else(|| {
            BuildError::new("the system gave no random numbers for ticket keys", "is /dev/urandom there?")
        })?;
        let keys = Keys { current: Arc::new(key), previous: None, due: now.plus(ROTATION) };
        Ok(Arc::new(Self { keys: RwLock::new(keys) }))
    }

    /// The keys in the clear, with the seconds until the next rotation, for the program that takes this one's
    /// place. They go from process to process, and nowhere else.
    pub fn reveal(&self, now: Moment) -> Revealed {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let both = [Some(&keys.current), keys.previous.as_ref()];
        Revealed {
            keys: both.into_iter().flatten().map(|key| [&key.name[..], &key.secret].concat()).collect(),
            left: keys.due.since(now),
        }
    }

    /// Takes the keys over that another program revealed; false when they are none.
    pub fn take_over(&self, revealed: &Revealed, now: Moment) -> bool {
        let mut taken = revealed.keys.iter().map(|bytes| {
            let (name, secret) = bytes.split_at_checked(NAME_LEN)?;
            Key::of(name.try_into().ok()?, secret.try_into().ok()?).map(Arc::new)
        });
        let Some(Some(current)) = taken.next() else { return false };
        let previous = taken.next().flatten();
        let due = now.plus(revealed.left.min(ROTATION));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys { current, previous, due };
        true
    }

    /// Makes a new key when the current one is old enough; says whether it did. To be called by the
    /// control side every minute or so.
    pub fn rotate(&self, now: Moment) -> bool {
        let due = self.keys.read().unwrap_or_else(PoisonError::into_inner).due;
        if now < due {
            return false;
        }
        let Some(key) = Key::random() else {
            tracing::error!("no random numbers for a new ticket key; the old one stays for now");
            return false;
        };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut keys.current, Arc::new(key));
        // After a long sleep of the machine the old key has outlived its tickets.
        keys.previous = (now.since(due) < LIFETIME - ROTATION).then_some(old);
        keys.due = now.plus(ROTATION);
        true
    }

    /// These keys for tickets of one context only. Where clients are asked for a certificate, a ticket is good for no
    /// longer than what its client showed.
    pub fn bound_to(self: &Arc<Self>, context: Context, client_auth: ClientAuthMode) -> BoundTickets {
        BoundTickets { tickets: self.clone(), context, client_auth }
    }

    fn current(&self) -> Arc<Key> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    fn by_name(&self, name: &[u8]) -> Option<Arc<Key>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        [Some(&keys.current), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|it| it.name == name)
            .cloned()
    }
}

/// Keys in the clear.
#[derive(Clone)]
pub struct Revealed {
    /// The current key, then the one before, each as its name and its secret.
    pub keys: Vec<Vec<u8>>,
    /// Time until the next rotation.
    pub left: Duration,
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(secret)")
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(secret)")
    }
}

/// What a ticket is good for: nothing but the settings that this was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context([u8; SHA256_OUTPUT_LEN]);

impl Context {
    /// The context that these parts make, in this order.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            // With lengths, so that no two lists of parts read the same.
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        let mut context = [0; SHA256_OUTPUT_LEN];
        context.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        Self(context)
    }
}

/// Ticket keys for one context; what a listener's TLS configuration holds.
#[derive(Debug)]
pub struct BoundTickets {
    tickets: Arc<Tickets>,
    context: Context,
    /// Whether clients are asked for a certificate.
    client_auth: ClientAuthMode,
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.current().seal(plain, &self.context)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_at_checked(NAME_LEN)?;
        let session = self.tickets.by_name(name)?.open(sealed, &self.context)?;
        session::is_still_good(&session, self.client_auth, UnixTime::now()).then_some(session)
    }
}

struct Keys {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
    /// When the next one is made.
    due: Moment,
}

/// Tells a ticket's key; as long as RFC 5077 §4 recommends, so that a chance match does not happen.
const NAME_LEN: usize = 16;

struct Key {
    name: [u8; NAME_LEN],
    /// Kept for [`Tickets::reveal`].
    secret: [u8; 32],
    /// Random nonces: 2^32 tickets under one key are safe (NIST SP 800-38D §8.3), which is 198,000 a
    /// second until the next rotation.
    aead: RandomizedNonceKey,
}

impl Key {
    fn random() -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_LEN], [0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Self::of(name, secret)
    }

    fn of(name: [u8; NAME_LEN], secret: [u8; 32]) -> Option<Self> {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?;
        Some(Self { name, secret, aead })
    }

    /// Name, nonce, then what was sealed with its tag.
    fn seal(&self, plain: &[u8], context: &Context) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(&context.0), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8], context: &Context) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = self.aead.open_in_place(nonce, Aad::from(&context.0), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::{
        super::{
            demo::{Authority, Issued},
            session::tests::session,
        },
        *,
    };

    fn bound(tickets: &Arc<Tickets>, context: &str) -> BoundTickets {
        tickets.bound_to(Context::of([context.as_bytes()]), ClientAuthMode::Off)
    }

    fn later(rotations: u32) -> Moment {
        Moment(1).plus(ROTATION * rotations)
    }

    #[test]
    fn a_ticket_lives_through_one_rotation_and_not_through_two() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let ticket = bound(&tickets, "web").encrypt(b"session").unwrap();
        assert!(!tickets.rotate(Moment(2)), "it is not due yet");
        for opened in [true, true, false] {
            assert_eq!(bound(&tickets, "web").decrypt(&ticket).is_some(), opened);
            let now = tickets.keys.read().unwrap().due;
            assert!(tickets.rotate(now));
        }
        let tickets = Tickets::new(Moment(1)).unwrap();
        let ticket = bound(&tickets, "web").encrypt(b"session").unwrap();
        assert!(tickets.rotate(later(5)));
        assert_eq!(bound(&tickets, "web").decrypt(&ticket), None, "the key slept for too long");
    }

    #[test]
    fn a_ticket_opens_only_unchanged_in_its_own_context() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let ticket = bound(&tickets, "web").encrypt(b"session").unwrap();
        assert_eq!(bound(&tickets, "web").decrypt(&ticket).unwrap(), b"session");
        assert_eq!(bound(&tickets, "mutual").decrypt(&ticket), None);
        assert_eq!(bound(&Tickets::new(Moment(1)).unwrap(), "web").decrypt(&ticket), None);
        for length in 0..ticket.len() {
            assert_eq!(bound(&tickets, "web").decrypt(&ticket[..length]), None);
        }
        for place in 0..ticket.len() {
            let mut ticket = ticket.clone();
            ticket[place] ^= 1;
            assert_eq!(bound(&tickets, "web").decrypt(&ticket), None);
        }
        assert!(!ticket.windows(7).any(|it| it == b"session"));
    }

    #[test]
    fn the_ticket_of_a_certificate_that_has_ended_opens_nothing() {
        let tickets = Tickets::new(Moment(1)).unwrap();
        let authority = Authority::new().unwrap();
        let der = |issued: Issued| CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let good = der(authority.issue("good", &[], ClientAuth).unwrap());
        let ended = der(authority.issue_ended("ended").unwrap());
        let context = Context::of([&b"web"[..]]);
        let is_opened = |mode, chain: &[&[u8]]| {
            let bound = tickets.bound_to(context, mode);
            let session = session(Some("a.test"), chain);
            let opened = bound.decrypt(&bound.encrypt(&session).unwrap());
            assert!(opened.as_ref().is_none_or(|opened| *opened == session));
            opened.is_some()
        };
        for mode in [ClientAuthMode::Request, ClientAuthMode::Require] {
            assert!(is_opened(mode, &[&good]), "{mode:?}");
            assert!(!is_opened(mode, &[&ended]), "{mode:?}");
            assert!(!is_opened(mode, &[&good, &ended]), "{mode:?}");
            assert_eq!(is_opened(mode, &[]), mode == ClientAuthMode::Request);
        }
    }

    #[test]
    fn ticket_keys_and_rotation_go_on_in_the_next_program() {
        let (old, new) = (Tickets::new(Moment(1)).unwrap(), Tickets::new(Moment(1)).unwrap());
        assert!(old.rotate(later(1)));
        let first = bound(&old, "web").encrypt(b"session").unwrap();
        let now = later(1).plus(ROTATION / 2);
        let revealed = old.reveal(now);
        assert_eq!((revealed.keys.len(), revealed.left), (2, ROTATION / 2));
        // The next program's clock begins elsewhere.
        let begun = Moment(77);
        assert!(new.take_over(&revealed, begun));
        assert_eq!(bound(&new, "web").decrypt(&first).unwrap(), b"session");
        assert!(!new.rotate(begun));
        assert!(new.rotate(begun.plus(ROTATION / 2)));
        assert!(bound(&new, "web").decrypt(&first).is_some());
        for broken in [vec![], vec![vec![1; 47]], vec![vec![1; 15]]] {
            assert!(!new.take_over(&Revealed { keys: broken, left: ROTATION }, begun));
        }
        assert!(bound(&new, "web").decrypt(&first).is_some());
    }

    #[test]
    fn parts_of_a_context_do_not_run_together() {
        let of = |parts: &[&'static str]| Context::of(parts.iter().map(|it| it.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }
}
