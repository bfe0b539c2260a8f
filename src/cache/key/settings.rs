//! What of a request becomes part of its key.

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
