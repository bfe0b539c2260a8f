use super::*;

fn made(edits: &[(&str, &str, &str)], fields: &[(&str, &str)], target: &str) -> Vec<String> {
    let of = |kind: &str| -> Vec<(String, String)> {
        let of = edits.iter().filter(|(how, ..)| *how == kind);
        of.map(|(_, name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let remove = of("remove").into_iter().map(|(name, _)| name).collect();
    let conf = HeaderEditConf { set: of("set"), set_if_missing: of("missing"), add: of("add"), remove };
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
