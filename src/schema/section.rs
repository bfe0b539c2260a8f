//! Tables of options: one row each, from which struct, reader, schema and reference come.

use super::{
    Table, Value, json_schema,
    row::{Key, Nested, Row},
};

/// A table of options.
pub trait Section: Sized {
    /// What the table is for.
    const DOC: &'static str;

    /// Its options.
    fn rows() -> Vec<Row>;

    /// Takes its options out of `table`; `None` after a problem that leaves nothing to go on with.
    fn take(table: &mut Table<'_, '_, '_>) -> Option<Self>;

    /// Adds the files that are read for its options, where it is among those of another table.
    fn flat_files(&self, files: &mut Vec<std::path::PathBuf>);
}

impl Row {
    /// The row of an option of type `T`.
    pub fn new<T: Value>(key: Key, doc: &'static str) -> Self {
        Self {
            required: key.default.is_none() && T::absent().is_none(),
            key,
            doc,
            kind: T::kind(),
            schema: T::schema(),
            nested: T::rows(),
            later: false,
            check: |table, key| drop(table.read::<T>(key)),
        }
    }

    /// The row of an option that this version refuses.
    pub fn later<T: Value>(key: Key, doc: &'static str) -> Self {
        Self { required: false, later: true, ..Self::new::<T>(key, doc) }
    }
}

/// Declares a table of options.
///
/// A row is `pub name: Type = default, in least to greatest;` with its doc; default and range are
/// TOML and may be left out. `flat` takes another section's options out of the same table, `later`
/// lists what the contract has and this version refuses (a default may still be written), and
/// `check` names a `fn(&mut Self, &mut Table)` for what one row alone cannot say.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $type:ident {
            $(
                $(#[doc = $about:literal])*
                pub $name:ident: $value:ty $(= $default:tt)? $(, in $least:tt to $greatest:tt)?;
            )*
        }
        $(flat { $( $(#[doc = $flat_about:literal])* pub $flat:ident: $flat_value:ty; )* })?
        $(later {
            $( $(#[doc = $later_about:literal])* $later:ident: $later_value:ty $(= $later_default:tt)?; )*
        })?
        $(check $check:path;)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $type {
            $( $(#[doc = $about])* pub $name: $value, )*
            $($( $(#[doc = $flat_about])* pub $flat: $flat_value, )*)?
        }

        impl $crate::schema::Section for $type {
            const DOC: &'static str = concat!($($doc, "\n"),*);

            #[allow(unused_mut, reason = "not every section has rows beyond its own")]
            fn rows() -> Vec<$crate::schema::Row> {
                use $crate::schema::{Row, section::key};
                let mut rows = vec![$( Row::new::<$value>(
                    key!($name $(= $default)? $(, $least, $greatest)?),
                    concat!($($about, "\n"),*),
                ) ),*];
                $($( rows.extend(<$flat_value as $crate::schema::Section>::rows()); )*)?
                $($( rows.push(Row::later::<$later_value>(
                    key!($later $(= $later_default)?),
                    concat!($($later_about, "\n"),*),
                )); )*)?
                rows
            }

            fn flat_files(&self, files: &mut Vec<std::path::PathBuf>) {
                $crate::schema::Value::files(self, files);
            }

            fn take(table: &mut $crate::schema::Table<'_, '_, '_>) -> Option<Self> {
                use $crate::schema::section::key;
                $( let $name = table.read::<$value>(&key!($name $(= $default)? $(, $least, $greatest)?)); )*
                $($( let $flat = <$flat_value as $crate::schema::Section>::take(table); )*)?
                $($( table.refuse::<$later_value>(&key!($later $(= $later_default)?)); )*)?
                #[allow(unused_mut, reason = "not every section has checks")]
                let mut taken = Self { $($name: $name?,)* $($($flat: $flat?,)*)? };
                $( $check(&mut taken, table); )?
                Some(taken)
            }
        }

        impl $crate::schema::Value for $type {
            fn kind() -> String {
                "a table".into()
            }

            fn schema() -> serde_json::Value {
                $crate::schema::section::schema::<Self>()
            }

            fn read(
                node: &$crate::schema::Node,
                reader: &mut $crate::schema::Reader<'_>,
            ) -> Option<Self> {
                $crate::schema::section::read(node, reader)
            }

            fn absent() -> Option<Self> {
                $crate::schema::section::absent()
            }

            fn rows() -> Option<$crate::schema::row::Nested> {
                Some($crate::schema::section::nested::<Self>())
            }

            fn changed(&self, other: &Self, key: &str, changed: &mut Vec<String>) {
                use $crate::schema::{Value, section::{joined, plain}};
                $( Value::changed(&self.$name, &other.$name, &joined(key, plain(stringify!($name))), changed); )*
                $($( if self.$flat != other.$flat {
                    changed.push(joined(key, stringify!($flat)));
                } )*)?
            }

            fn files(&self, files: &mut Vec<std::path::PathBuf>) {
                $( $crate::schema::Value::files(&self.$name, files); )*
                $($( $crate::schema::Section::flat_files(&self.$flat, files); )*)?
            }
        }
    };
}

/// The [`Key`] of a row.
macro_rules! key {
    ($name:ident $(= $default:tt)? $(, $least:tt, $greatest:tt)?) => {
        $crate::schema::row::Key {
            name: $crate::schema::section::plain(stringify!($name)),
            default: $crate::schema::section::optional!($(stringify!($default))?),
            range: $crate::schema::section::optional!($((stringify!($least), stringify!($greatest)))?),
        }
    };
}

/// `Some` of what is given, `None` of nothing.
macro_rules! optional {
    () => {
        None
    };
    ($given:expr) => {
        Some($given)
    };
}

pub(crate) use {key, optional, section};

/// The name of an option whose field is named by a word of Rust's own (`r#try`).
pub const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// `table.key`; the key alone at the root.
pub fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Reads a table as a section; unknown keys are problems.
pub fn read<S: Section>(node: &super::Node, reader: &mut super::Reader<'_>) -> Option<S> {
    let mut table = reader.table(node)?;
    let taken = S::take(&mut table);
    table.finish();
    taken
}

/// A section of which nothing is written, when every option has a default.
pub fn absent<S: Section>() -> Option<S> {
    let source = super::Source::new("", std::path::Path::new(""));
    let mut reader = super::Reader::new(&source);
    let empty = super::Node { place: super::Place::default(), data: super::Data::Table(Vec::new()) };
    let taken = read(&empty, &mut reader);
    taken.filter(|_| !reader.has_problems())
}

/// The JSON Schema of a section.
pub fn schema<S: Section>() -> serde_json::Value {
    json_schema::object(S::DOC, &S::rows())
}

/// The options of a section, for the reference.
pub fn nested<S: Section>() -> Nested {
    Nested { doc: S::DOC, rows: S::rows(), repeated: false }
}
