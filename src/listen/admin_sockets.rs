//! The sockets of the admin endpoint: the one for everything, and the one for metrics alone. Each follows the configuration
//! by itself.

use super::{
    bind::{self, Bound},
    listener_sockets::Handed,
    socket_files::{NewFile, SocketFiles},
    unbound::{Unbound, Whose},
};
use crate::config::{Config, listen::ListenAddress};

/// Something for each of the two addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each<T> {
    /// Of the admin endpoint, `[admin] address`.
    pub whole: T,
    /// Of metrics and health alone, `[admin.metrics] address`.
    pub metrics: T,
}

impl<T: Default> Default for Each<T> {
    fn default() -> Self {
        Self { whole: T::default(), metrics: T::default() }
    }
}

impl<T> Each<T> {
    /// Makes something else of both.
    pub fn try_map<U, E>(self, mut make: impl FnMut(T) -> Result<U, E>) -> Result<Each<U>, E> {
        Ok(Each { whole: make(self.whole)?, metrics: make(self.metrics)? })
    }

    /// Both, to look at.
    pub const fn as_ref(&self) -> Each<&T> {
        Each { whole: &self.whole, metrics: &self.metrics }
    }

    /// Each with the other's counterpart.
    pub fn zip<U>(self, other: Each<U>) -> Each<(T, U)> {
        Each { whole: (self.whole, other.whole), metrics: (self.metrics, other.metrics) }
    }
}

/// Where a configuration wants them.
pub fn addresses(config: &Config) -> Each<Option<&ListenAddress>> {
    let admin = config.admin.as_ref();
    Each {
        whole: admin.map(|admin| &admin.address),
        metrics: admin.and_then(|admin| admin.metrics_address()),
    }
}

/// Which of the two each is.
const WHOSE: Each<Whose> = Each { whole: Whose::Admin, metrics: Whose::Metrics };

/// A socket, where there is one, and the address that it was bound for.
pub type Held = Option<(ListenAddress, Bound)>;

/// The sockets of the first generation: those of the program before, or of a service manager, where the address is the
/// same. The files of what is new are to be among `files`.
pub fn first(
    config: &Config,
    handed: Each<Option<Handed>>,
    files: &SocketFiles,
) -> Result<Each<Held>, Unbound> {
    let mut new = Vec::new();
    let held = addresses(config).zip(handed).zip(WHOSE).try_map(|((address, handed), whose)| {
        let Some(address) = address else { return Ok(None) };
        let handed = handed.filter(|handed| handed.address == address.to_string());
        let bound = handed.map_or_else(|| bind(whose, address), |handed| Ok(handed.bound))?;
        new.push(NewFile::of(address, bound.owner));
        Ok::<Held, Unbound>(Some((address.clone(), bound)))
    })?;
    // Where the second cannot be had, that of the first goes.
    new.into_iter().for_each(|file| file.keep_among(files));
    Ok(held)
}

/// New sockets, where the address is another, and their files, to be kept once they are used.
pub fn next(before: &Config, next: &Config) -> Result<(Each<Option<Bound>>, Vec<NewFile>), Unbound> {
    let mut files = Vec::new();
    let new = addresses(before).zip(addresses(next)).zip(WHOSE).try_map(|((old, new), whose)| match new {
        Some(new) if old != Some(new) => {
            let bound = bind(whose, new).map_err(|failure| failure.beside(before))?;
            files.push(NewFile::of(new, bound.owner));
            Ok::<Option<Bound>, Unbound>(Some(bound))
        }
        Some(_) | None => Ok(None),
    })?;
    Ok((new, files))
}

fn bind(whose: Whose, address: &ListenAddress) -> Result<Bound, Unbound> {
    bind::bind_private(address).map_err(|error| Unbound::of_admin(whose, address, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_folder_is_refused_with_a_remedy() {
        let nowhere = ListenAddress::Unix("/proc/no/such/folder/admin.sock".into());
        let said = bind(Whose::Admin, &nowhere).unwrap_err();
        assert!(said.message.contains("cannot listen on unix:/proc/no/such"), "{}", said.message);
        assert!(said.hint.is_some_and(|hint| hint.contains("another `address`")));
    }
}
