//! Edits of fields, ready to be made.

mod conf;
mod replace;

use std::borrow::Cow;

use crate::{
    exchange::Exchange,
    fields::{Field, Fields, Known, is_respelled},
    template::{Context, Place, Scope, Template, Use},
};

pub use self::{
    conf::HeaderEditConf,
    replace::{Replace, ReplacesConf},
};

/// Edits of fields: removed, then replaced in parts, then set, then set where missing, then added. Placeholders are filled from what was there
/// before all of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdits {
    remove: Box<[String]>,
    replace: Box<[Replace]>,
    edits: Box<[Edit]>,
    /// Whether every value is the same for every request.
    is_fixed: bool,
    /// Whether whoever gets the fields may take another spelling of a name (`x_user`) for it, as backends may.
    takes_spellings: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    how: How,
    name: Box<str>,
    value: Template,
}

/// Bytes that a value gets at first.
const VALUE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Set,
    SetIfMissing,
    Add,
}

impl HeaderEdits {
    /// The edits of a route; `None` where there is nothing to do.
    pub fn of(conf: &HeaderEditConf, of: Use) -> Option<Self> {
        let kinds = [(How::Set, &conf.set), (How::SetIfMissing, &conf.set_if_missing), (How::Add, &conf.add)];
        let edits = kinds.into_iter().flat_map(|(how, list)| {
            list.iter().map(move |(name, value)| Edit {
                how,
                name: name.as_str().into(),
                value: Template::of(value, of, Context::Field),
            })
        });
        let edits: Box<[Edit]> = edits.collect();
        let is_fixed = edits.iter().all(|edit| edit.value.fixed().is_some());
        let is_empty = edits.is_empty() && conf.remove.is_empty() && conf.replace.0.is_empty();
        let replace = conf.replace.0.as_slice().into();
        let takes_spellings = of == Use::RequestField;
        let remove = conf.remove.as_slice().into();
        (!is_empty).then(|| Self { remove, replace, edits, is_fixed, takes_spellings })
    }

    /// Makes them in these fields of an exchange.
    #[inline]
    pub fn apply(
        &self,
        exchange: &mut Exchange,
        place: Place<'_>,
        fields: impl Fn(&mut Exchange) -> &mut Fields,
    ) {
        if self.is_fixed {
            let fields = fields(exchange);
            self.take_away(fields);
            for edit in &self.edits {
                edit.make(edit.value.fixed().unwrap_or_default().as_bytes(), false, fields);
            }
            return;
        }
        let scope = Scope { exchange, place };
        let values: Vec<Cow<'_, [u8]>> = self.edits.iter().map(|edit| edit.value(&scope)).collect();
        let fields = fields(exchange);
        self.take_away(fields);
        for (edit, value) in self.edits.iter().zip(values) {
            edit.make(value.trim_ascii(), edit.value.fixed().is_none(), fields);
        }
    }

    #[inline]
    fn take_away(&self, fields: &mut Fields) {
        // Only where `underscores` lets them pass.
        if self.takes_spellings && fields.has(Known::Underscored) {
            self.take_spellings(fields);
        }
        self.remove.iter().for_each(|name| fields.remove(name));
        self.replace.iter().for_each(|replace| replace.make(fields));
    }

    /// Removes other spellings of the names of which this has the last word: before anything is set, for what is set may
    /// itself be spelled otherwise.
    #[cold]
    fn take_spellings(&self, fields: &mut Fields) {
        let set = self.edits.iter().filter(|edit| edit.how == How::Set).map(|edit| &*edit.name);
        let replaced = self.replace.iter().map(|replace| replace.name.as_str());
        let names: Vec<&str> = self.remove.iter().map(String::as_str).chain(replaced).chain(set).collect();
        let is_taken = |field: Field<'_>| names.iter().any(|name| is_respelled(field.name, name.as_bytes()));
        fields.retain(|field| field.known != Known::Underscored || !is_taken(field));
    }

    /// The edits for people, a line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let removed = self.remove.iter().map(|name| format!("remove {name}"));
        let replaced = self.replace.iter().map(Replace::line);
        removed.chain(replaced).chain(self.edits.iter().map(|Edit { how, name, value }| {
            let how = match how {
                How::Set => "set",
                How::SetIfMissing => "set if missing",
                How::Add => "add",
            };
            format!("{how} {name}: {}", value.text())
        }))
    }
}

impl Edit {
    fn value(&self, scope: &Scope<'_>) -> Cow<'_, [u8]> {
        match self.value.fixed() {
            Some(text) => text.as_bytes().into(),
            None => {
                let mut out = Vec::with_capacity(VALUE);
                self.value.write(scope, &mut out);
                out.into()
            }
        }
    }

    /// A value that placeholders left empty is no field: what a client sent by that name must not stand for it.
    fn make(&self, value: &[u8], is_made: bool, fields: &mut Fields) {
        let is_nothing = is_made && value.is_empty();
        match self.how {
            How::Set if is_nothing => fields.remove(&self.name),
            How::Set => fields.set(&self.name, value),
            How::SetIfMissing | How::Add if is_nothing => {}
            How::SetIfMissing if fields.get(&self.name).is_some() => {}
            How::SetIfMissing | How::Add => fields.push(&self.name, value),
        }
    }
}

#[cfg(test)]
mod tests;
