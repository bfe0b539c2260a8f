//! Overrides of addresses of names: what is said of one goes before what is said of the name.

use super::{Overridden, Override, Overrides, What, at, kept_set};
use crate::{
    moment::Moment,
    runtime::addresses::Addresses,
    upstream::conf::{BackendConf, BackendState, NameAddresses, UpstreamConf},
};

impl Overrides {
    /// Without those of addresses that left their names long ago.
    #[must_use]
    pub fn without_forgotten(mut self, addresses: &Addresses, now: Moment) -> Self {
        let is_forgotten = |it: &Override| {
            it.of.as_ref().is_some_and(|of| addresses.is_forgotten(&it.upstream, of, &it.address, now))
        };
        self.list.retain(|it| !is_forgotten(it));
        self
    }

    /// Overrides, addresses, and the overrides of these.
    pub(super) fn apply_whole(&self, upstream: &mut UpstreamConf, addresses: &Addresses) {
        self.apply_to(upstream);
        addresses.expand(upstream);
        let weights: Vec<u32> = upstream.backend.iter().map(|backend| backend.weight).collect();
        for it in self.list.iter().filter(|it| it.upstream == upstream.name && it.of.is_some()) {
            let is_it = |backend: &&mut BackendConf| {
                Some(backend.address.configured()) == it.of && backend.address.to_string() == it.address
            };
            if let (What::Set { weight, state }, Some(backend)) =
                (&it.what, upstream.backend.iter_mut().find(is_it))
            {
                backend.weight = weight.map_or(backend.weight, |weight| weight.value);
                backend.state = state.map_or(backend.state, |state| state.value);
            }
        }
        // Addresses come and go, and those that are left may all have been given nothing.
        if upstream.backend.iter().all(|backend| backend.weight == 0) {
            for (backend, weight) in upstream.backend.iter_mut().zip(weights) {
                backend.weight = weight;
            }
        }
    }

    /// What of an override of one address holds with `file`; `self` has those made before it.
    pub(super) fn keep_of_name(&self, it: &Override, of: &str, file: &UpstreamConf) -> Option<Override> {
        let What::Set { weight, state } = &it.what else { return None };
        let mut listed = file.clone();
        self.apply_to(&mut listed);
        let base = base(file, &listed, of).filter(|name| name.addresses == NameAddresses::Each)?;
        kept_set((*weight, *state), base).map(|what| Override { what, ..it.clone() })
    }

    /// Sets keys of one address, as it is with the overrides so far.
    pub(super) fn set_of_name(
        &mut self,
        (file, listed): (&UpstreamConf, &UpstreamConf),
        backend: &BackendConf,
        new_weight: Option<u32>,
        new_state: Option<BackendState>,
    ) {
        let of = backend.address.configured();
        let Some((base, name)) = base(file, listed, &of).zip(at(&listed.backend, &of)) else { return };
        // What holds for the name already is nothing to say of one address.
        let weight = new_weight.unwrap_or(backend.weight);
        let weight = (weight != name.weight).then_some(Overridden { base: base.weight, value: weight });
        let state = new_state.unwrap_or(backend.state);
        let state = (state != name.state).then_some(Overridden { base: base.state, value: state });
        let is_something = weight.is_some() || state.is_some();
        self.put(&file.name, backend, is_something.then_some(What::Set { weight, state }));
    }
}

/// What the file says of a name; of one that an administrator added, what he said.
fn base<'c>(file: &'c UpstreamConf, listed: &'c UpstreamConf, address: &str) -> Option<&'c BackendConf> {
    at(&file.backend, address).or_else(|| at(&listed.backend, address))
}
