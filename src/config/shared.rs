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
    /// What listeners, routes and upstreams say that say nothing else themselves: any of their keys but those by which they are told apart. Tables are laid under tables key by key, except `rewrite` and a table of another `kind`, which hold alone; arrays are not joined. A key that means nothing for one of them, such as `paths` for a listener of `tcp`, is left out there. `health_check = false`, or another key that is off when absent, takes a shared one away.
    pub struct DefaultsConf {
        /// Of each `[[listener]]`: all of its keys but `name` and `address`.
        pub listener: Shared<ListenerConf>;
        /// Of each `[[route]]`: all of its keys but `name`, `upstream`, `split`, `redirect`, `respond` and `files`.
        pub route: Shared<RouteConf>;
        /// Of each `[[upstream]]`: all of its keys but `name` and `backend`.
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
        Row::new::<String>(key, "Its name: routes use it in `policies`.")
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

const DOC: &str = "What several routes say, which name it in `policies`: any key of `[[route]]` but its name, its action and \
                   what requests are told apart by. What a route says itself goes before its policies, a later policy \
                   before an earlier one, and all of them before `[defaults.route]`; tables and `false` are as there.";

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
