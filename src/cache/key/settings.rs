//! What of a request becomes part of its key.

use crate::schema::form::decoded;

/// What of a request becomes part of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Which parameters of the query.
    pub query: QueryKey,
    /// Whether parameters are put in order by their names; those of the same name keep theirs.
    pub sorted: bool,
    /// Names of header fields, in lower case.
    pub headers: Vec<String>,
}

/// Which parameters of the query are part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryKey {
    /// The whole query.
    #[default]
    All,
    /// None of it.
    None,
    /// The parameters of these names.
    Names(Vec<String>),
}

impl QueryKey {
    /// Whether a parameter of this name is part of the key; without a name, whether all are.
    pub fn has(&self, parameter: Option<&str>) -> bool {
        match (self, parameter) {
            (Self::All, _) => true,
            (Self::None, _) | (Self::Names(_), None) => false,
            (Self::Names(names), Some(parameter)) => names.iter().any(|name| names_it(name, parameter)),
        }
    }
}

/// Whether a name of the configuration stands for a parameter of this name, which is decoded: a `+` is both itself and a
/// space.
fn names_it(name: &str, parameter: &str) -> bool {
    name == parameter || decoded(name).eq(parameter.bytes())
}
