//! What the endpoints report, and change, and how much of it at a time.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{access::Access, totals::History};
use crate::{
    config::{admin::AdminConf, listen::ListenAddress},
    listen::mailbox::Mailboxes,
    moment::Moment,
    reload::{Reloader, plan::Certificate},
    runtime::worker::Shared,
};

/// Answers at a time that only read.
const MOST_READING: usize = 2;
/// Answers at a time with metrics: who may ask for them only, and asks without end, takes no place of others.
const MOST_SCRAPING: usize = 1;
/// Requests for metrics at a time, with those that wait for their turn: the connections of more are told so at once, and do
/// not keep their places from others.
const MOST_SCRAPES: usize = 16;
/// Configurations at a time that are looked at; a large one takes seconds and much memory.
const MOST_BUILDING: usize = 1;
/// Answers at a time that wait for others; the others take one after another.
const MOST_WAITING: usize = 32;
/// Large bodies at a time.
const MOST_LARGE: usize = 2;

/// What the endpoints report, and change.
#[derive(Debug)]
pub struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) access: ArcSwap<Access>,
    /// Who may ask where metrics alone are answered.
    pub(super) metrics_access: ArcSwap<Access>,
    /// The configuration that `access` was made for, and where it listens.
    made_for: ArcSwap<(Option<AdminConf>, String)>,
    pub(super) reloader: Reloader,
    pub(super) mailboxes: Mailboxes,
    pub(super) started: Moment,
    /// The traffic of the last minutes.
    pub(super) history: History,
    /// The certificates that are served, and when they were looked at.
    pub(super) certificates: Mutex<Option<(Looked, Arc<[Certificate]>)>>,
    pub(super) reading: Arc<Semaphore>,
    pub(super) scraping: Arc<Semaphore>,
    pub(super) scrapes: Arc<Semaphore>,
    pub(super) building: Arc<Semaphore>,
    pub(super) large: Arc<Semaphore>,
    pub(super) waiting: Arc<Semaphore>,
}

/// When certificates were looked at: the generation, and hours since 1970.
pub(super) type Looked = (u64, u64);

impl Admin {
    /// The way to the workers.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// The state of the admin endpoint. To be made once the snapshot is there.
    pub fn new(shared: Arc<Shared>, access: Access, reloader: Reloader, mailboxes: Mailboxes) -> Self {
        Self {
            shared,
            access: ArcSwap::from_pointee(access),
            metrics_access: ArcSwap::from_pointee(Access::Nobody),
            made_for: ArcSwap::default(),
            reloader,
            mailboxes,
            started: Moment::now(),
            history: History::default(),
            certificates: Mutex::default(),
            reading: Arc::new(Semaphore::new(MOST_READING)),
            scraping: Arc::new(Semaphore::new(MOST_SCRAPING)),
            scrapes: Arc::new(Semaphore::new(MOST_SCRAPES)),
            building: Arc::new(Semaphore::new(MOST_BUILDING)),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    /// Takes over who may ask from the first configuration; `bound` is where it listens. Fails when its token cannot be
    /// read.
    pub fn begin(&self, conf: &AdminConf, bound: &str) -> Result<(), String> {
        let (access, of_metrics) = (Access::new(conf, bound)?, Access::of_metrics(conf)?);
        self.access.store(Arc::new(access));
        self.metrics_access.store(Arc::new(of_metrics));
        self.made_for.store(Arc::new((Some(conf.clone()), bound.to_owned())));
        Ok(())
    }

    /// Takes over who may ask from another configuration; `bound` is where it listens from here on, when that changes. A
    /// token that cannot be read leaves the old one, but at another address, or where everyone might ask, nobody may until
    /// it can be.
    pub fn set_access(&self, conf: Option<&AdminConf>, bound: Option<&str>) {
        let Some(conf) = conf else { return };
        let made_for = self.made_for.load();
        let is_same = bound.is_none() && made_for.0.as_ref() == Some(conf);
        // A file that is named may have another token in it; one that was made has not.
        if is_same && conf.token_file.is_none() && conf.metrics.is_none() {
            return;
        }
        let (before, at) = (made_for.0.as_ref(), bound.unwrap_or(&made_for.1));
        let is_elsewhere = bound.is_some() || before.is_none_or(|before| before.address != conf.address);
        take_over(&self.access, Access::new(conf, at), is_elsewhere, Some(&conf.address));
        let address = conf.metrics_address();
        let is_elsewhere = before.and_then(AdminConf::metrics_address) != address;
        take_over(&self.metrics_access, Access::of_metrics(conf), is_elsewhere, address);
        self.made_for.store(Arc::new((Some(conf.clone()), at.to_owned())));
    }
}

/// Takes over who may ask at an address.
fn take_over(
    own: &ArcSwap<Access>,
    next: Result<Access, String>,
    is_elsewhere: bool,
    address: Option<&ListenAddress>,
) {
    let next = match next {
        Ok(next) => next,
        Err(error) => {
            // Those of a unix socket are let in by its file.
            let is_unix = matches!(address, Some(ListenAddress::Unix(_)));
            let (stays, instead) = unread(&own.load(), is_elsewhere, is_unix);
            tracing::error!("{error}; {instead}");
            if stays {
                return;
            }
            Access::Nobody
        }
    };
    own.store(Arc::new(next));
}

/// Whether those who might ask still may, where the token cannot be read, and what is so then, for people.
fn unread(before: &Access, is_elsewhere: bool, is_unix: bool) -> (bool, &'static str) {
    match before {
        Access::Token(_) if !is_elsewhere => (true, "the token that was read before stays valid"),
        Access::Anyone if !is_elsewhere && is_unix => (true, "who can open the socket may ask, as before"),
        Access::Token(_) | Access::Anyone | Access::Nobody => {
            (false, "until it can be read, only health is answered")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;
    use crate::{
        admin::tests::{CONFIG, admin},
        config,
    };

    /// Who may ask, for everything and for metrics.
    fn access(admin: &Admin) -> [String; 2] {
        [&admin.access, &admin.metrics_access].map(|access| format!("{:?}", access.load()))
    }

    fn conf(lines: &str) -> AdminConf {
        let text =
            CONFIG.replace("address = \"127.0.0.1:0\"\n[[listener]]", &format!("{lines}\n[[listener]]"));
        config::parse(&text, Path::new("test.toml")).unwrap().admin.unwrap()
    }

    /// A token that was there when the configuration was read, and may not be when it is wanted.
    struct TokenFile(std::path::PathBuf);

    impl TokenFile {
        fn new(name: &str) -> Self {
            let file = Self(env::temp_dir().join(format!("pointsman-{name}-{}", std::process::id())));
            file.write();
            file
        }

        fn write(&self) {
            fs::write(&self.0, "s3cret\n").unwrap();
        }

        fn remove(&self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn an_address_opens_to_nobody_whose_token_cannot_be_read() {
        let admin = admin(CONFIG, Access::Nobody);
        let unix = conf("address = \"unix:/run/a.sock\"");
        admin.begin(&unix, "unix:/run/a.sock").unwrap();
        assert_eq!(access(&admin), ["Anyone", "Anyone"]);
        let token = TokenFile::new("moved");
        let tcp = conf(&format!("address = \"127.0.0.1:1\"\ntoken_file = \"{}\"", token.0.display()));
        token.remove();
        admin.set_access(Some(&tcp), Some("127.0.0.1:1"));
        assert_eq!(access(&admin)[0], "Nobody");
        token.write();
        admin.set_access(Some(&tcp), None);
        assert_eq!(access(&admin)[0], "Token(secret)");
        token.remove();
        admin.set_access(Some(&tcp), None);
        assert_eq!(access(&admin)[0], "Token(secret)", "at the same address the old one stays");
        let other = AdminConf { address: conf("address = \"127.0.0.1:2\"").address, ..tcp };
        admin.set_access(Some(&other), Some("127.0.0.1:2"));
        assert_eq!(access(&admin)[0], "Nobody");
    }

    #[test]
    fn what_is_said_of_a_token_is_so() {
        let admin = admin(CONFIG, Access::Nobody);
        let token = TokenFile::new("said");
        let tcp = conf(&format!("address = \"127.0.0.1:1\"\ntoken_file = \"{}\"", token.0.display()));
        let said = |admin: &Admin| unread(&admin.access.load(), false, false).1;
        assert!(said(&admin).contains("only health"), "there was no token");
        admin.begin(&tcp, "127.0.0.1:1").unwrap();
        assert!(said(&admin).contains("stays valid"));
        let unix = conf("address = \"unix:/run/a.sock\"");
        admin.begin(&unix, "unix:/run/a.sock").unwrap();
        assert!(said(&admin).contains("only health"), "it was open, and is to be no more");
        assert!(unread(&admin.access.load(), false, true).1.contains("socket"));
        token.remove();
    }

    #[test]
    fn metrics_open_to_nobody_whose_token_cannot_be_read() {
        let admin = admin(CONFIG, Access::Nobody);
        let token = TokenFile::new("metrics");
        let unix = "address = \"unix:/run/a.sock\"\n[admin.metrics]\naddress";
        let open = conf(&format!("{unix} = \"127.0.0.1:1\""));
        let closed = conf(&format!("{unix} = \"127.0.0.1:1\"\ntoken_file = \"{}\"", token.0.display()));
        admin.begin(&open, "unix:/run/a.sock").unwrap();
        assert_eq!(access(&admin)[1], "Anyone", "no token is wanted");
        token.remove();
        admin.set_access(Some(&closed), None);
        assert_eq!(access(&admin), ["Anyone", "Nobody"], "the socket of the other is its owner's still");
        token.write();
        admin.set_access(Some(&closed), None);
        assert_eq!(access(&admin)[1], "Token(secret)");
        token.remove();
        admin.set_access(Some(&closed), None);
        assert_eq!(access(&admin)[1], "Token(secret)");
    }
}
