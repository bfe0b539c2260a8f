use super::*;

fn nothing() -> HeaderEditConf {
    let nothing = Vec::new;
    let replace = ReplacesConf::default();
    HeaderEditConf { set: nothing(), set_if_missing: nothing(), replace, add: nothing(), remove: Vec::new() }
}

/// A replacement as the file has it.
fn replacing(text: &str) -> ReplacesConf {
    use crate::schema::{Node, Reader, Source, Value};
    let source = Source::new("", std::path::Path::new("x"));
    ReplacesConf::read(&Node::parse_value(text).unwrap(), &mut Reader::new(&source)).unwrap()
}

#[test]
fn parts_of_every_value_are_replaced_and_nothing_else() {
    let conf = replacing(r#"{ X-A = { pattern = "^(b+)", with = "<$1>" } }"#);
    let edits = HeaderEdits::of(&HeaderEditConf { replace: conf, ..nothing() }, Use::ResponseField).unwrap();
    let mut exchange = Exchange::default();
    for (name, value) in [("x-a", "bbc"), ("x-b", "bb"), ("X-A", "cb"), ("x-a", "b")] {
        exchange.response.fields.push(name, value.as_bytes());
    }
    edits.apply(&mut exchange, Place::default(), |exchange| &mut exchange.response.fields);
    let all = |name| exchange.response.fields.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(all("x-a"), [b"<bb>c".to_vec(), b"cb".to_vec(), b"<b>".to_vec()]);
    assert_eq!(all("x-b"), [b"bb".to_vec()]);
    let conf = replacing(r#"{ x-b = { pattern = ".+", with = " " } }"#);
    let edits = HeaderEdits::of(&HeaderEditConf { replace: conf, ..nothing() }, Use::ResponseField).unwrap();
    edits.apply(&mut exchange, Place::default(), |exchange| &mut exchange.response.fields);
    assert_eq!(exchange.response.fields.get("x-b"), None);
}

fn made(edits: &[(&str, &str, &str)], fields: &[(&str, &str)], target: &str) -> Vec<String> {
    let of = |kind: &str| -> Vec<(String, String)> {
        let of = edits.iter().filter(|(how, ..)| *how == kind);
        of.map(|(_, name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let remove = of("remove").into_iter().map(|(name, _)| name).collect();
    let conf =
        HeaderEditConf { set: of("set"), set_if_missing: of("missing"), add: of("add"), remove, ..nothing() };
    let mut exchange = Exchange::default();
    exchange.request.target.push_str(target);
    exchange.path_length = target.find('?').unwrap_or(target.len());
    fields.iter().for_each(|(name, value)| exchange.request.fields.push(name, value.as_bytes()));
    let edits = HeaderEdits::of(&conf, Use::RequestField).unwrap();
    edits.apply(&mut exchange, Place::default(), |exchange| &mut exchange.request.fields);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    exchange
        .request
        .fields
        .iter()
        .map(|field| format!("{}: {}", text(field.name), text(field.value)))
        .collect()
}

#[test]
fn placeholders_see_what_was_there_before_any_edit() {
    let edits = [("remove", "x-a", ""), ("set", "x-b", "{header.x-a}"), ("add", "x-c", "{header.x-b}")];
    assert_eq!(made(&edits, &[("x-a", "1"), ("x-b", "2")], "/"), ["x-b: 1", "x-c: 2"]);
}

#[test]
fn a_value_that_is_empty_leaves_no_field() {
    let edits = [("set", "x-user", "{query.user}"), ("add", "x-more", "{query.more}")];
    assert_eq!(made(&edits, &[("X-User", "forged")], "/"), Vec::<String>::new());
    assert_eq!(made(&edits, &[("X-User", "forged")], "/?user=%20ann%20"), ["x-user: ann"]);
    // What is written as empty is.
    assert_eq!(made(&[("set", "x-user", "")], &[("X-User", "forged")], "/"), ["x-user: "]);
}

#[test]
fn fields_that_are_there_are_not_missing() {
    let edits = [("missing", "x-a", "mine"), ("missing", "x-b", "{path}")];
    assert_eq!(made(&edits, &[("x-a", "")], "/p"), ["x-a: ", "x-b: /p"]);
}

#[test]
fn no_value_begins_another_field() {
    let edits = [("set", "x-a", "{query.a}")];
    assert_eq!(made(&edits, &[], "/?a=1%0d%0aset-cookie:%20x%00%7f"), ["x-a: 1set-cookie: x"]);
}

/// Where `underscores` lets them pass: backends that take one for the other would get two, of which one is the client's.
#[test]
fn edits_of_requests_take_other_spellings_too() {
    let sent = [("X_User", "admin"), ("x.user", "admin"), ("x_users", "1"), ("X-User", "admin")];
    assert_eq!(made(&[("set", "x-user", "ann")], &sent, "/"), ["x_users: 1", "x-user: ann"]);
    assert_eq!(made(&[("remove", "x-user", "")], &sent, "/"), ["x_users: 1"]);
    let kept = ["X_User: admin", "x.user: admin", "x_users: 1", "X-User: admin"];
    assert_eq!(made(&[("add", "x-other", "1")], &sent, "/"), [&kept[..], &["x-other: 1"]].concat());
    assert_eq!(made(&[("missing", "x-user", "1")], &sent, "/"), kept, "a client may say it");
    // What is set may itself be spelled so, and what is spelled as every name is, is another field than that.
    let both = [("set", "x-user", "ann"), ("set", "x_user", "bob")];
    assert_eq!(made(&both, &sent, "/"), ["x_users: 1", "x-user: ann", "x_user: bob"]);
    assert_eq!(made(&[("remove", "x_user", "")], &sent, "/"), ["x_users: 1", "X-User: admin"]);
}

#[test]
fn replacements_see_every_byte_and_other_spellings() {
    let edits = |of| {
        let replace = replacing(r#"{ x-role = { pattern = "^.*$", with = "user" } }"#);
        HeaderEdits::of(&HeaderEditConf { replace, ..nothing() }, of).unwrap()
    };
    let mut exchange = Exchange::default();
    for (name, value) in [("X-Role", &b"\xffadmin"[..]), ("x_role", b"admin"), ("x-a", b"\xff")] {
        exchange.request.fields.push(name, value);
        exchange.response.fields.push(name, value);
    }
    edits(Use::RequestField).apply(&mut exchange, Place::default(), |exchange| &mut exchange.request.fields);
    let lines =
        |fields: &Fields| fields.iter().map(|it| (it.name.to_vec(), it.value.to_vec())).collect::<Vec<_>>();
    let of = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    assert_eq!(lines(&exchange.request.fields), [of("x-a", b"\xff"), of("x-role", b"user")]);
    // Clients do not take one name for another.
    edits(Use::ResponseField)
        .apply(&mut exchange, Place::default(), |exchange| &mut exchange.response.fields);
    let expected = [of("x_role", b"admin"), of("x-a", b"\xff"), of("x-role", b"user")];
    assert_eq!(lines(&exchange.response.fields), expected);
}
