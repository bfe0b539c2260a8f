//! Lines, names and lists.

use super::*;

/// A head's lines as a parser takes them.
fn loaded(head: &str) -> Fields {
    let mut fields = Fields::default();
    let mut start = 0;
    for line in head.split_inclusive("\r\n") {
        if let Some((name, value)) = line.split_once(':') {
            let at = start + name.len() + 1 + value.len() - value.trim_start().len();
            let (name, value) = (start..start + name.len(), at..at + value.trim().len());
            let is_line = head.get(name.end..value.start) == Some(": ")
                && line.ends_with(&format!(" {}\r\n", &head[value.clone()]));
            assert!(fields.push_of(Known::of(head[name.clone()].as_bytes()), is_line, name, value));
        }
        start += line.len();
    }
    fields.hold(head.as_bytes());
    fields
}

#[test]
fn lines_are_written_alike_however_they_came() {
    let all = |_| true;
    for head in [
        "A: 1\r\nB: 2\r\nC: 3\r\n\r\n",
        "A:1\r\nB:  2\r\nC: 3 \r\nD:\t4\r\n\r\n",
        "A: \r\nB:\r\nC: 3\r\n\r\n",
        "Host: a\r\nVia: b\r\nHost: c\r\nX: y\r\n\r\n",
    ] {
        let mut fields = loaded(head);
        fields.push("x-new", b"1");
        fields.push("x-other", b"2");
        for passes in [all, |known| known != Known::Via, |known| known == Known::Other] {
            let mut expected = Vec::new();
            for field in fields.iter().filter(|field| passes(field.known)) {
                expected.extend([field.name, b": ", field.value, b"\r\n"].concat());
            }
            let mut written = Vec::new();
            fields.write_lines(passes, &mut written);
            assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&expected), "{head}");
        }
        fields.retain(|field| field.name != b"B");
        let mut written = Vec::new();
        fields.write_lines(all, &mut written);
        assert!(!written.starts_with(b"B") && !written.windows(3).any(|some| some == b"\nB:"), "{head}");
    }
}

#[test]
fn known_names_are_found_in_any_case_no_others() {
    for (known, text) in Known::ALL {
        assert_eq!(Known::of(text), *known);
        assert_eq!(Known::of(&text.to_ascii_uppercase()), *known);
        let mut longer = text.to_vec();
        longer.push(b'x');
        let is_of_proxy = text.starts_with(b"x-forwarded-");
        assert_eq!(Known::of(&longer), if is_of_proxy { Known::OfProxy } else { Known::Other });
    }
    for (name, known) in [
        ("X-Forwarded-Whatever", Known::OfProxy),
        ("x-real-ip", Known::OfProxy),
        ("X-Original-URL", Known::OfProxy),
        ("X-Pointsman-Mirror", Known::OfProxy),
        ("x-pointsman-mirror-x", Known::Other),
        ("X_Pointsman.Mirror", Known::Disguised),
        ("x-real-ipx", Known::Other),
        ("xx-forwarded-for", Known::Other),
        ("x_api_key", Known::Underscored),
        ("CONTENT_LENGTH", Known::Disguised),
        ("X_Forwarded-Prefix", Known::Disguised),
        ("X.Forwarded.For", Known::Disguised),
        ("x~real~ip", Known::Disguised),
        ("X.Forwarded_For", Known::Disguised),
        ("X+Original!URL", Known::Disguised),
        ("pointsman.peer", Known::Disguised),
        ("X_HTTP_Method_Override", Known::Disguised),
        ("x.host", Known::Disguised),
        ("X.Anything", Known::Underscored),
        ("x-user.", Known::Underscored),
        ("accept.encoding", Known::Underscored),
    ] {
        assert_eq!(Known::of(name.as_bytes()), known, "{name}");
    }
    assert_eq!(Known::of(b""), Known::Other);
    assert_eq!(Known::of(b"x-other"), Known::Other);
}

#[test]
fn every_sign_of_tokens_is_one_but_the_hyphen() {
    for byte in (0..=u8::MAX).filter(|byte| is_token_byte(*byte)) {
        let name = ["x".as_bytes(), &[byte], b"real-ip"].concat();
        let expected = match byte {
            b'-' => Known::OfProxy,
            byte if byte.is_ascii_alphanumeric() => Known::Other,
            _ => Known::Disguised,
        };
        assert_eq!(Known::of(&name), expected, "{}", char::from(byte));
        assert_eq!(is_respelled(&name, b"X-Real-IP"), expected == Known::Disguised, "{}", char::from(byte));
    }
    assert!(is_respelled(b"x.user", b"x_user") && is_respelled(b"x-user", b"x_user"));
    assert!(!is_respelled(b"X-User", b"x-user") && !is_respelled(b"x_user", b"x-users"));
}

#[test]
fn a_sign_is_found_wherever_it_stands_in_a_name() {
    for length in 1..=25 {
        for at in 0..length {
            for byte in (0..=u8::MAX).filter(|byte| is_token_byte(*byte)) {
                let mut name = vec![b'q'; length];
                name[at] = byte;
                let is_plain = byte == b'-' || byte.is_ascii_alphanumeric();
                let is_sign = Known::of(&name) == Known::Underscored;
                assert_eq!(is_sign, !is_plain, "{} in {}", char::from(byte), String::from_utf8_lossy(&name));
            }
        }
    }
}

#[test]
fn an_oversized_name_is_left_out_never_cut() {
    let mut fields = Fields::default();
    fields.push(&"x".repeat(65_535), b"1");
    fields.push(&format!("transfer-encoding{}", "x".repeat(65_536)), b"chunked");
    fields.push("y", b"2");
    assert_eq!((fields.len(), fields.get("y")), (2, Some(&b"2"[..])));
    assert!(!fields.has(Known::TransferEncoding));
    fields.clear();
    let value = 65_538..65_539;
    assert!(!fields.push_of(Known::Other, true, 0..65_536, value.clone()) && fields.is_empty());
    assert!(fields.push_of(Known::Other, true, 0..65_535, value));
}

#[test]
fn the_table_is_in_alphabetical_order_for_its_index() {
    assert!(Known::ALL.is_sorted_by_key(|(_, text)| text[0]));
}

#[test]
fn fields_are_set_added_and_removed_without_regard_to_case() {
    let mut fields = Fields::default();
    fields.push("X-One", b"1");
    fields.push("x-one", b"2");
    fields.push("Host", b"a");
    assert_eq!(fields.all("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(fields.known(Known::Host), Some(&b"a"[..]));
    fields.set("x-ONE", b"3");
    assert_eq!(fields.all("x-one").collect::<Vec<_>>(), [b"3"]);
    fields.remove("HOST");
    assert!(!fields.has(Known::Host));
    assert_eq!(fields.len(), 1);
}

#[test]
fn a_tag_is_found_exactly_where_a_field_has_it() {
    let check = |fields: &Fields| {
        for (known, _) in Known::ALL {
            let is_there = fields.iter().any(|field| field.known == *known);
            assert_eq!((fields.has(*known), fields.has_any(&[*known])), (is_there, is_there), "{known:?}");
            assert_eq!(fields.known(*known).is_some(), is_there);
            assert_eq!(fields.all_known(*known).next().is_some(), is_there);
        }
    };
    let mut fields = loaded("Host: a\r\nVia: b\r\nAge: 1\r\nhost: c\r\nTe: x\r\nDate: d\r\n\r\n");
    check(&fields);
    fields.remove_known(Known::Host);
    fields.push_known(Known::Cookie, b"1");
    check(&fields);
    fields.push_known(Known::Host, b"a");
    fields.remove_all_known(&[Known::Age, Known::Te, Known::Expect]);
    check(&fields);
    fields.remove("via");
    fields.retain(|field| field.known != Known::Cookie);
    fields.set("Upgrade", b"x");
    let mut copy = Fields::default();
    copy.push_known(Known::Location, b"/");
    copy.copy_from(&fields);
    [&fields, &copy, &fields.compact()].into_iter().for_each(check);
    fields.clear();
    check(&fields);
}

#[test]
fn copies_are_equal_and_a_compact_one_holds_no_more() {
    let mut fields = Fields::default();
    for number in 0..20 {
        fields.push("x-name", format!("value {number}").as_bytes());
    }
    fields.push_known(Known::Host, b"a");
    fields.remove("x-name");
    fields.push("y", b"z");
    let mut copy = Fields::default();
    copy.push("old", b"gone");
    copy.copy_from(&fields);
    let compact = fields.compact();
    for same in [&copy, &compact] {
        assert_eq!(format!("{same:?}"), r#"{"host": "a", "y": "z"}"#);
        assert_eq!(same.known(Known::Host), Some(&b"a"[..]));
    }
    assert_eq!(compact.memory(), "host: a\r\ny: z\r\n".len() + 2 * size_of::<Entry>());
}

#[test]
fn a_list_is_split_at_commas_over_several_fields() {
    let values: [&[u8]; 3] = [b"a, b,,", b"", b" c "];
    assert_eq!(list(values.into_iter()).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}
