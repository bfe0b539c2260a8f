//! `[defaults]` and `[[policy]]` as options: what may be in them, for reader, schema and reference. What they come to is in
//! `config::blocks`.

use std::marker::PhantomData;

use crate::{
    config::listen::ListenerConf,
    route::conf::{CONDITIONS, MatchConf, RouteConf},
    schema::{Data, Node, Reader, Row, Section, Value, json_schema, name, section, suggest, value::Nested},
    upstream::conf::UpstreamConf,
};

section! {
    /// Defaults for all listeners, routes and upstreams; whatever one sets itself wins. Tables are merged key by key, except `rewrite` and tables of another `kind`, which replace the default; arrays also replace it. A key with no meaning somewhere, such as `paths` for a `tcp` listener, is ignored there. To turn off a shared table such as `health_check`, write `health_check = false`.
    pub struct DefaultsConf {
        /// Defaults for every `[[listener]]`: any of its keys but `name` and `address`.
        pub listener: Shared<ListenerConf>;
        /// Defaults for every `[[route]]`: any of its keys but `name`, `upstream`, `split`, `redirect`, `respond` and `files`.
        pub route: Shared<RouteConf>;
        /// Defaults for every `[[upstream]]`: any of its keys but `name` and `backend`.
        pub upstream: Shared<UpstreamConf>;
    }
}

/// A table of which parts can be shared.
pub trait SharedTable: Section {
    /// Its name in the file.
    const TABLE: &'static str;
    /// Keys that each has for itself.
    const OWN: &'static [&'static str];
}

impl SharedTable for ListenerConf {
    const TABLE: &'static str = "listener";
    const OWN: &'static [&'static str] = &["name", "address"];
}

impl SharedTable for RouteConf {
    const TABLE: &'static str = "route";
    const OWN: &'static [&'static str] = &["name", "upstream", "split", "redirect", "respond", "files"];
}

impl SharedTable for UpstreamConf {
    const TABLE: &'static str = "upstream";
    const OWN: &'static [&'static str] = &["name", "backend"];
}

/// Keys of a route that a policy cannot have.
pub fn of_policies() -> Vec<&'static str> {
    RouteConf::OWN.iter().chain(&CONDITIONS).chain(&["policies"]).copied().collect()
}

/// A block of `[defaults]`. Nothing is kept of it: what it says is in the tables when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<T>(PhantomData<T>);

impl<T: SharedTable> Value for Shared<T> {
    fn kind() -> String {
        "a table".into()
    }

    fn schema() -> serde_json::Value {
        json_schema::object(&format!("Keys of `[[{}]]`.", T::TABLE), &rows::<T>(T::OWN))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let title = format!("defaults.{}", T::TABLE);
        check(&Block { table: T::TABLE, title: &title, own: T::OWN }, &rows::<T>(T::OWN), &[], node, reader)?;
        Some(Self(PhantomData))
    }

    fn absent() -> Option<Self> {
        Some(Self(PhantomData))
    }
}

/// A `[[policy]]`. Of what it says only the name is kept: the rest is in the routes when they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConf {
    /// Its name.
    pub name: String,
}

impl PolicyConf {
    fn name_row() -> Row {
        let key = crate::schema::row::Key { name: "name", default: None, range: None };
        Row::new::<String>(key, "The policy's name, used by `policies` in routes.")
    }
}

impl Value for PolicyConf {
    fn kind() -> String {
        "a table".into()
    }

    fn schema() -> serde_json::Value {
        let mut all = rows::<RouteConf>(&of_policies());
        all.insert(0, Self::name_row());
        json_schema::object(DOC, &all)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let own = of_policies();
        let block = Block { table: RouteConf::TABLE, title: "policy", own: &own };
        check(&block, &rows::<RouteConf>(&own), &["name"], node, reader)?;
        let mut table = reader.table(node)?;
        name::check(&mut table);
        let name = table.read::<String>(&Self::name_row().key)?;
        Some(Self { name })
    }

    fn rows() -> Option<Nested> {
        Some(Nested { doc: DOC, rows: vec![Self::name_row()], repeated: false })
    }
}

const DOC: &str = "Settings that several routes share, by naming it in `policies`: any key of `[[route]]` except its name, \
                   conditions and action. A route's own keys win over its policies, a later policy over an earlier one, \
                   and all of them over `[defaults.route]`. Tables are merged, and `false` turns one off, as in \
                   `[defaults]`.";

/// The rows of what can be shared. None of them is required.
fn rows<T: Section>(not: &[&str]) -> Vec<Row> {
    let rows = T::rows().into_iter().filter(|row| !not.contains(&row.key.name));
    rows.map(|row| Row { required: false, ..row }).collect()
}

/// Whether an option is one that is off when it is absent, and no boolean: `false` takes a shared one away.
pub fn can_be_off(row: &Row) -> bool {
    row.key.default.is_none() && !row.required && !row.later && row.kind != "a boolean"
}

/// A block, and how it is called.
struct Block<'b> {
    /// The table that it is laid under.
    table: &'static str,
    title: &'b str,
    /// Keys of that table that are not to be shared.
    own: &'b [&'static str],
}

/// Reads each key of a block, only for the problems; `None` where it is no table.
fn check(
    block: &Block<'_>,
    rows: &[Row],
    beside: &[&str],
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<()> {
    // Called as where it is laid under: what is wrong is reported once, however many it is read with.
    let outer = reader.called(block.table);
    let mut table = reader.table(node)?;
    for row in rows {
        let entry = table.entry(row.key.name);
        let is_off = entry.is_some_and(|it| matches!(it.node.data, Data::Boolean(false))) && can_be_off(row);
        if entry.is_some() && !is_off {
            (row.check)(&mut table, &row.key);
        }
    }
    reader.call(outer);
    let offered = rows.iter().filter(|row| !row.later);
    let known: Vec<&str> = offered.map(|row| row.key.name).chain(beside.iter().copied()).collect();
    let is_read = |key: &str| rows.iter().any(|row| row.key.name == key) || beside.contains(&key);
    for entry in node.entries().iter().filter(|entry| !is_read(&entry.key)) {
        let key = entry.key.as_str();
        if block.own.contains(&key) {
            let message = format!("`{key}` cannot be shared");
            let is_condition = |row: &Row| row.key.name == key;
            let hint =
                match block.title == "policy" && <MatchConf as Section>::rows().iter().any(is_condition) {
                    true => "set it in each route, or in a `[[matcher]]` that the routes use".to_owned(),
                    false => format!("each `[[{}]]` has its own; set it there", block.table),
                };
            reader.problem_with(entry.place, message, hint);
        } else {
            let message = format!("unknown key `{key}` in `{}`", block.title);
            let hint = suggest::did_you_mean(key, known.iter().copied());
            reader.problem_with(entry.place, message, hint);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_shared_is_a_key() {
        let own = |rows: Vec<Row>, keys: &[&str]| {
            let names: Vec<&str> = rows.iter().map(|row| row.key.name).collect();
            assert!(keys.iter().all(|key| names.contains(key)), "{keys:?}");
        };
        own(<ListenerConf as Section>::rows(), ListenerConf::OWN);
        own(<RouteConf as Section>::rows(), &of_policies());
        own(<UpstreamConf as Section>::rows(), UpstreamConf::OWN);
        let schema = <DefaultsConf as Value>::schema();
        assert!(schema["properties"]["upstream"]["properties"]["backend"].is_null());
        assert_eq!(schema["properties"]["route"]["required"], json!([]));
    }
}
