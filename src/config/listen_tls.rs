//! What a listener says of TLS: its folder of certificates, what it agrees on with clients.

use super::listen::{ListenerConf, Protocol};
use crate::{schema::Table, tls::crypto::CryptoConf};

/// What is offered where `alpn` says nothing.
const OF_REQUESTS: [&str; 3] = ["h2", "http/1.1", "http/1.0"];

impl ListenerConf {
    /// Takes the pairs of its folder of certificates to the others, and reports what TLS has no use for.
    pub(super) fn check_offer(&mut self, table: &mut Table<'_, '_, '_>) {
        if let Some(folder) = &self.certificates {
            let place = table.place_of("certificates");
            match folder.pairs() {
                Err(error) => table.reader.lacking(place, error.message, error.hint),
                Ok(pairs) => {
                    for pair in &pairs {
                        if let Err(error) = pair.read() {
                            table.reader.lacking(place, error.message, error.hint);
                        }
                    }
                    self.certificate.extend(pairs);
                }
            }
        }
        let has_tls = match self.protocol {
            Protocol::Https => true,
            Protocol::Tcp => !self.certificate.is_empty(),
            Protocol::Http | Protocol::Tls | Protocol::Udp => false,
        };
        if !has_tls {
            let set = [("tls", self.tls != CryptoConf::default()), ("alpn", !self.alpn.is_empty())];
            let written = set.map(|(key, is_set)| table.entry(key).filter(|_| is_set));
            for entry in written.into_iter().flatten() {
                let message =
                    format!("`{}` has no effect here: this listener does not terminate TLS", entry.key);
                let hint = "use it with `https`, or `tcp` with certificates; or leave it out";
                table.reader.problem_with(entry.place, message, hint);
            }
            return;
        }
        let is_known = |name: &str| {
            let is_name = !name.is_empty() && name.len() <= 255;
            if self.protocol == Protocol::Https { OF_REQUESTS.contains(&name) } else { is_name }
        };
        let places = table.places_in("alpn");
        for (name, place) in self.alpn.iter().zip(places).filter(|(name, _)| !is_known(name)) {
            let message = format!("`{name}` is not a protocol that this listener supports");
            let hint = match self.protocol {
                Protocol::Https => "use \"h2\", \"http/1.1\" or \"http/1.0\"",
                _ => "ALPN protocol names have 1 to 255 bytes",
            };
            table.reader.problem_with(place, message, hint);
        }
    }

    /// The protocols that clients may choose over TLS.
    pub fn offered(&self) -> Vec<String> {
        match self.protocol {
            Protocol::Https if self.alpn.is_empty() => OF_REQUESTS.map(str::to_owned).into(),
            _ => self.alpn.clone(),
        }
    }
}
