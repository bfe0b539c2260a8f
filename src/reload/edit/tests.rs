//! Examples by line, and generated files with generated changes.

use serde_json::json;

use super::*;

const FILE: &str = "conf/x.toml";

fn weight(backend: &str, weight: u32) -> Change {
    Change::Weight { upstream: "api".into(), backend: backend.into(), weight }
}

fn state(backend: &str, state: BackendState) -> Change {
    Change::State { upstream: "api".into(), backend: backend.into(), state }
}

fn remove(backend: &str) -> Change {
    Change::Remove { upstream: "api".into(), backend: backend.into() }
}

fn add(json: serde_json::Value) -> Change {
    let backend = BackendConf::from_json(&json, Path::new(FILE)).unwrap();
    Change::Add { upstream: "api".into(), backend }
}

/// A text without others, with a change.
fn edit(text: &str, file: &Path, change: &Change) -> Result<String, EditError> {
    let texts = Texts { path: file.to_owned(), text: text.into(), included: Arc::default() };
    edit_texts(&texts, change).map(|texts| texts.text.to_string())
}

fn edited(text: &str, change: &Change) -> String {
    edit(text, Path::new(FILE), change).unwrap_or_else(|error| panic!("{error}: {change:?} in\n{text}"))
}

/// The lines that went (`-`) and came (`+`).
fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let same_start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[same_start..], &new[same_start..]);
    let same_end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let signed = |sign: &'static str, lines: &[&str]| {
        lines[..lines.len() - same_end].iter().map(|line| format!("{sign}{line}")).collect::<Vec<_>>()
    };
    [signed("-", old), signed("+", new)].concat()
}

const TABLES: &str = r#"# The whole.
[[listener]]
name = "web"
address = "127.0.0.1:0"

[[upstream]]
name = "api"

# Not of a: a blank line follows.

# Of a.
[[upstream.backend]] # a's header
  name    = "a"
  address = "10.0.0.1:80" # where
  weight  = 2 # heavy

[[upstream.backend]]
address = "10.0.0.2:80"
# state = "disabled"

# The retries.
[upstream.retry]
attempts = 3
[[upstream.backend]]
name = "c"
address = "10.0.0.3:80"
"#;

#[test]
fn tables_change_by_the_line() {
    let changed = |change: &Change| difference(TABLES, &edited(TABLES, change));
    assert_eq!(changed(&weight("a", 30)), ["-  weight  = 2 # heavy", "+  weight  = 30 # heavy"]);
    assert_eq!(changed(&weight("a", 1)), ["-  weight  = 2 # heavy", "+  weight  = 1 # heavy"]);
    assert_eq!(changed(&weight("10.0.0.2:80", 5)), ["+weight = 5"]);
    assert!(changed(&weight("c", 1)).is_empty(), "the default is not written");
    assert_eq!(changed(&state("a", BackendState::Draining)), ["+  state   = \"draining\""]);
    assert!(changed(&state("a", BackendState::Enabled)).is_empty());
    assert_eq!(
        changed(&remove("a")),
        [
            "-# Of a.",
            "-[[upstream.backend]] # a's header",
            "-  name    = \"a\"",
            "-  address = \"10.0.0.1:80\" # where",
            "-  weight  = 2 # heavy",
            "-",
        ]
    );
    assert_eq!(
        changed(&remove("10.0.0.2:80")),
        ["-[[upstream.backend]]", "-address = \"10.0.0.2:80\"", "-# state = \"disabled\"", "-"]
    );
    assert_eq!(
        changed(&add(json!({"name": "d", "address": "unix:d.sock", "weight": 7}))),
        ["+[[upstream.backend]]", "+name = \"d\"", "+address = \"unix:d.sock\"", "+weight = 7"]
    );
}

#[test]
fn windows_line_ends_and_a_missing_last_one_stay() {
    for text in [TABLES.replace('\n', "\r\n"), TABLES.trim_end().to_owned(), "# only\n".to_owned() + TABLES] {
        for change in [
            weight("c", 5),
            state("a", BackendState::Disabled),
            add(json!({"address": "app.internal:80"})),
            remove("c"),
            remove("a"),
        ] {
            let new = edited(&text, &change);
            assert_eq!(new.ends_with('\n'), text.ends_with('\n'), "{change:?}\n{new}");
            let lone = |text: &str| text.matches('\n').count() - text.matches("\r\n").count();
            assert_eq!(lone(&new) > 0, lone(&text) > 0, "{change:?}\n{new}");
        }
    }
}

#[test]
fn inline_tables_change_in_place() {
    let before = "listener = [{name=\"web\", address=\"127.0.0.1:0\"}]\n";
    let changed = |backends: &str, change: &Change| {
        let text = format!("{before}[[upstream]]\nname = \"api\"\nbackend = {backends} # end\n");
        let new = edited(&text, change);
        let rest = new.strip_prefix(&format!("{before}[[upstream]]\nname = \"api\"\nbackend = ")).unwrap();
        rest.strip_suffix(" # end\n").unwrap().to_owned()
    };
    let line = r#"[{ name = "a", address = "10.0.0.1:80" }, {address="10.0.0.2:80", weight=3}]"#;
    assert_eq!(
        changed(line, &weight("a", 5)),
        r#"[{ name = "a", address = "10.0.0.1:80", weight = 5 }, {address="10.0.0.2:80", weight=3}]"#
    );
    assert_eq!(
        changed(line, &state("10.0.0.2:80", BackendState::Disabled)),
        r#"[{ name = "a", address = "10.0.0.1:80" }, {address="10.0.0.2:80", weight=3, state="disabled"}]"#
    );
    assert_eq!(changed(line, &remove("a")), r#"[{address="10.0.0.2:80", weight=3}]"#);
    assert_eq!(changed(line, &remove("10.0.0.2:80")), r#"[{ name = "a", address = "10.0.0.1:80" }]"#);
    assert_eq!(
        changed(line, &add(json!({"address": "c:80", "backup": true}))),
        line.replace("]", r#", {address="c:80", backup=true}]"#)
    );
    let lines =
        "[\n  # first\n  { address = \"a:80\" }, # of a\n\n  # second\n  { address = \"b:80\" } # of b\n]";
    assert_eq!(changed(lines, &remove("a:80")), "[\n\n  # second\n  { address = \"b:80\" } # of b\n]");
    assert_eq!(changed(lines, &remove("b:80")), "[\n  # first\n  { address = \"a:80\" }, # of a\n\n]");
    assert_eq!(
        changed(lines, &add(json!({"address": "c:80"}))),
        lines.replace(" # of b\n]", ", # of b\n  { address = \"c:80\" }\n]")
    );
    let closed = lines.replace(" # of b", ", # of b");
    assert_eq!(
        changed(&closed, &add(json!({"address": "c:80"}))),
        closed.replace("# of b\n]", "# of b\n  { address = \"c:80\" },\n]")
    );
}

#[test]
fn says_why_not() {
    let file = Path::new(FILE);
    assert!(matches!(edit("x", file, &remove("a")), Err(EditError::Problems(_))));
    let refused = edit(TABLES, file, &remove("none")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no backend `none` in `api`: available: `a`, `10.0.0.2:80`, `c`"
    );
    let elsewhere = Change::Remove { upstream: "apis".into(), backend: "a".into() };
    let refused = edit(TABLES, file, &elsewhere).unwrap_err();
    assert_eq!(refused.to_string(), "there is no upstream `apis`: did you mean `api`?");
    let strange = BackendConf::from_json(&json!({"address": "unix:/run/a\"\\\u{7}.sock"}), file).unwrap();
    let new = edited(TABLES, &Change::Add { upstream: "api".into(), backend: strange });
    assert!(new.contains(r#"address = "unix:/run/a\"\\\u0007.sock""#), "{new}");
}

/// A file in random style. Comments of a backend end in its address, others in `free`.
fn generated(random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    if random.bool() {
        text += "# head free\n\n";
    }
    text += "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
    for upstream in ["other", "api", "last"] {
        text += &format!("\n# {upstream} free\n\n[[upstream]]\nname = \"{upstream}\"\n");
        let backends: Vec<String> =
            (1..=random.usize(2..5)).map(|host| format!("10.0.0.{host}:80")).collect();
        match random.u8(0..4) {
            0 => inline(random, &backends, &mut text),
            _ => tables(random, upstream, &backends, &mut text),
        }
    }
    if random.bool() {
        text += "\n# tail free\n";
    }
    if random.u8(0..4) == 0 {
        text.truncate(text.trim_end().len());
    }
    if random.u8(0..3) == 0 { text.replace('\n', "\r\n") } else { text }
}

fn pairs(random: &mut fastrand::Rng, address: &str, is_first: bool) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("address", format!("\"{address}\""))];
    if random.bool() {
        pairs.push(("name", format!("\"name-{}\"", &address[7..8])));
    }
    if random.bool() {
        pairs.push(("weight", random.u32(u32::from(is_first)..4).to_string()));
    }
    if random.u8(0..3) == 0 {
        pairs.push((
            "state",
            random.choice(["'enabled'", "\"draining\"", "\"disabled\""]).unwrap().to_owned(),
        ));
    }
    if !is_first && random.u8(0..3) == 0 {
        pairs.push(("backup", random.bool().to_string()));
    }
    random.shuffle(&mut pairs);
    pairs
}

fn tables(random: &mut fastrand::Rng, upstream: &str, backends: &[String], text: &mut String) {
    let indent = *random.choice(["", "", "  ", "\t"].iter()).unwrap();
    let equals = *random.choice([" = ", "=", "  =  "].iter()).unwrap();
    for (index, address) in backends.iter().enumerate() {
        match random.u8(0..8) {
            0 => *text += "\n[upstream.retry]\nattempts = 3 # free\n",
            1 => {
                *text += &format!(
                    "\n[[route]]\nname = \"r-{upstream}-{index}\"\nhosts = [\"{upstream}{index}\"]\n\
                     respond = {{ status = 200, body = \"\"\"\n# no comment\n# nor this\"\"\" }}\n"
                );
            }
            _ => {}
        }
        match random.u8(0..4) {
            0 => *text += "\n# apart free\n\n",
            1 | 2 => *text += "\n",
            _ => {}
        }
        if random.bool() {
            *text += &format!("{indent}# above {upstream} {address}\n");
        }
        *text += &format!("{indent}[[upstream.backend]]\n");
        for (key, value) in pairs(random, address, index == 0) {
            let comment =
                if random.u8(0..4) == 0 { format!(" # at {upstream} {address}") } else { String::new() };
            *text += &format!("{indent}{key}{equals}{value}{comment}\n");
        }
    }
}

fn inline(random: &mut fastrand::Rng, backends: &[String], text: &mut String) {
    let is_long = random.bool();
    *text += "backend = [";
    for (index, address) in backends.iter().enumerate() {
        let pairs = pairs(random, address, index == 0);
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        *text += if is_long { "\n  " } else { "" };
        *text += &format!("{{ {} }}", pairs.join(", "));
        if index + 1 < backends.len() || random.bool() {
            *text += if is_long { "," } else { ", " };
        }
    }
    *text += if is_long { "\n]\n" } else { "]\n" };
}

fn any_change(random: &mut fastrand::Rng) -> Change {
    let called = format!("10.0.0.{}:80", random.u8(1..6));
    match random.u8(0..4) {
        0 => weight(&called, random.u32(0..4)),
        1 => state(&called, random.choice(BackendState::ALL).unwrap().0),
        2 => remove(&called),
        _ => add(json!({"address": called, "weight": random.u32(0..3), "backup": random.bool()})),
    }
}

/// The comments of a text, each from its `#`.
fn comments(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.contains("no comment") && !line.contains("nor this"));
    lines.filter_map(|line| line.find('#').map(|at| &line[at..])).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(600))]

    /// What is written is what the override does; nobody else's bytes are touched.
    #[test]
    fn the_file_says_what_the_override_does(seed in proptest::prelude::any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let text = generated(&mut random);
        let Ok(config) = config::parse(&text, Path::new(FILE)) else {
            // Two `[upstream.retry]` of one upstream.
            proptest::prop_assume!(false);
            return Ok(());
        };
        let change = any_change(&mut random);
        let Ok(overrides) = Overrides::default().with(&change, &config, &Addresses::default()) else {
            assert!(matches!(edit(&text, Path::new(FILE), &change), Err(EditError::Refused(_))));
            return Ok(());
        };
        let new = edited(&text, &change);
        let mut wanted = config;
        overrides.apply(&mut wanted);
        assert_eq!(config::parse(&new, Path::new(FILE)).unwrap(), wanted, "{text}\n---\n{new}");
        assert_eq!(new.ends_with('\n'), text.ends_with('\n'), "{text}\n---\n{new}");
        assert_eq!(new.contains('\r'), text.contains('\r'));
        if text.contains('\r') {
            assert_eq!(new.matches('\n').count(), new.matches("\r\n").count());
        }
        let difference = difference(&text, &new);
        let (gone, come): (Vec<_>, Vec<_>) = difference.iter().partition(|line| line.starts_with('-'));
        match &change {
            Change::Weight { .. } | Change::State { .. } => {
                assert!(gone.len() <= 1 && come.len() <= 1, "{difference:#?}");
                assert_eq!(comments(&new), comments(&text));
            }
            Change::Add { .. } => {
                // A comma, or the line end that was missing.
                assert!(gone.len() <= 1, "{difference:#?}");
                assert_eq!(comments(&new), comments(&text));
            }
            Change::Remove { backend, .. } => {
                assert!(come.len() <= 1, "{difference:#?}");
                let own = format!("api {backend}");
                let others = |text| comments(text).into_iter().filter(|it| !it.ends_with(&own)).map(str::to_owned).collect::<Vec<_>>();
                assert_eq!(others(&new), others(&text), "{text}\n---\n{new}");
                assert_eq!(comments(&new).len(), others(&new).len(), "own comments go\n{text}\n---\n{new}");
            }
        }
    }
}

#[test]
fn odd_ways_of_writing_are_kept() {
    let head = "listener = [{ name = \"web\", address = \"127.0.0.1:0\" }]\n";
    let spaced = format!(
        "\u{feff}{head}[[ upstream ]]\nname = 'api'\n\t[[ \"upstream\" . backend ]] # ü\n\taddress = '''a:80'''\n\t\"weight\" = +2\n"
    );
    let inline =
        format!("{head}upstream = [{{ name = \"api\", backend = [{{ address = \"a:80\", weight = 2 }}] }}]");
    let multi_line = format!(
        "{head}[[upstream]]\nname = \"api\"\nbackend = [\n  {{\n    address = \"a:80\", # where\n    weight = 2, # heavy\n  }},\n]\n"
    );
    let dotted = format!(
        "{head}[[upstream]]\nname = \"api\"\nqueue.size = 3\nbackend = [ {{ address = \"a:80\", weight = 2 }},]\n"
    );
    for text in [&spaced, &inline, &multi_line, &dotted] {
        let more = edited(text, &add(json!({"address": "b:80", "name": "b"})));
        for change in [
            weight("a:80", 9),
            state("a:80", BackendState::Disabled),
            state("b", BackendState::Draining),
            remove("a:80"),
            remove("b"),
        ] {
            let new = edited(&more, &change);
            if !matches!(change, Change::Remove { .. }) {
                assert_eq!(comments(&new), comments(text));
            }
            assert_eq!(new.ends_with('\n'), text.ends_with('\n'));
        }
        assert_eq!(&edited(&more, &remove("b")), text, "there and back");
    }
    let more = edited(&spaced, &add(json!({"address": "b:80"})));
    assert!(more.ends_with("\t[[ \"upstream\" . backend ]]\n\taddress = \"b:80\"\n"), "{more}");
    let value = edited(&spaced, &weight("a:80", 7));
    assert!(value.contains("\"weight\" = 7\n"), "{value}");
}
