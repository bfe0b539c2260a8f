//! What an endpoint takes and gives: the rows from which questions are checked and the OpenAPI description
//! is made, so that the two cannot differ.
//!
//! Previous stop: the file of an endpoint, which holds its [`Spec`]. Next stops: [`super::params`] and
//! `openapi`.

use serde_json::{Value, json};

/// What an endpoint takes and gives.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// What may be in the query, or in a field of the head.
    pub parameters: &'static [Parameter],
    /// What its body is.
    pub body: Body,
    /// Its answers, errors left out.
    pub gives: &'static [ResponseSpec],
    /// Statuses of errors of its own; those of many endpoints follow from the other keys.
    pub errors: &'static [u16],
    /// Whether it changes something: it is then refused while the program drains.
    pub is_change: bool,
    /// Whether all nodes of a cluster make the change.
    pub is_shared: bool,
}

impl Spec {
    /// The description of an endpoint that takes nothing and changes nothing.
    pub const PLAIN: Self = Self {
        parameters: &[],
        body: Body::None,
        gives: &[],
        errors: &[],
        is_change: false,
        is_shared: false,
    };
}

/// Something that may be in the query, or in a field of the head.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub what: &'static str,
    /// Where it is.
    pub place: Place,
    /// Its values.
    pub kind: Kind,
}

/// Says that a change is for the configuration file too.
pub const PERSIST: Parameter = Parameter {
    name: "persist",
    what: "also write the change to the configuration file; otherwise only the running program has it",
    place: Place::Query,
    kind: Kind::Flag,
};

/// Says that a change is for this node alone.
pub const LOCAL: Parameter = Parameter {
    name: "local",
    what: "make the change on this node only, not on its peers",
    place: Place::Query,
    kind: Kind::Flag,
};

/// Where a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the query.
    Query,
    /// In a field of the head.
    Field,
}

/// Values of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number from the first to the second.
    Count(u64, u64),
    /// Text that this expression matches.
    Text(&'static str),
    /// Text that this expression matches, and that must be there.
    Needed(&'static str),
    /// Text that this expression matches, any number of times.
    Many(&'static str),
    /// An IP address.
    Address,
}

impl Kind {
    /// The values of this kind as a JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Self::Flag => json!({"type": "boolean", "default": false}),
            Self::Count(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Self::Text(pattern) | Self::Needed(pattern) => json!({"type": "string", "pattern": pattern}),
            Self::Many(pattern) => json!({"type": "array", "items": {"type": "string", "pattern": pattern}}),
            Self::Address => json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
        }
    }
}

/// What an endpoint's body is.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// There is none.
    None,
    /// JSON of this schema.
    Json(fn() -> Value),
    /// A whole configuration file.
    Toml,
    /// A configuration as TOML, or nothing for the file that is there.
    TomlOrNothing,
}

impl Body {
    /// The media type that it must have.
    pub fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json(_) => Some("application/json"),
            Self::Toml | Self::TomlOrNothing => Some(TOML),
        }
    }

    /// Most bytes.
    pub fn most(self) -> usize {
        match self {
            Self::None | Self::Json(_) => MOST_SMALL,
            Self::Toml | Self::TomlOrNothing => MOST_CONFIG,
        }
    }

    /// Whether it is a configuration.
    pub fn is_toml(self) -> bool {
        match self {
            Self::None | Self::Json(_) => false,
            Self::Toml | Self::TomlOrNothing => true,
        }
    }
}

/// The media type of a configuration, as registered with IANA.
pub const TOML: &str = "application/toml";
/// Most bytes of a body that is not a configuration.
pub const MOST_SMALL: usize = 64 * 1024;
/// Most bytes of a configuration.
pub const MOST_CONFIG: usize = 16 * 1024 * 1024;

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSpec {
    /// Its status.
    pub status: u16,
    /// What it says.
    pub what: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// The schema of its body.
    pub schema: fn() -> Value,
}

impl ResponseSpec {
    /// 200 with JSON.
    pub const fn json(what: &'static str, schema: fn() -> Value) -> Self {
        Self { status: 200, what, media_type: "application/json", schema }
    }

    /// An answer of another media type, whose body is a text.
    pub const fn text(status: u16, what: &'static str, media_type: &'static str) -> Self {
        Self { status, what, media_type, schema: text }
    }
}

/// The schema of a text.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// The schema of an object that has all of these keys, and no other.
pub fn object(properties: Value) -> Value {
    let required: Vec<String> =
        properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The schema of an array.
pub fn array(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// A schema of the document's list.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema of a count.
pub fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}
