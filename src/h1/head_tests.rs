use super::*;

fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let mut head = RequestHead::default();
    let length = head.parse(bytes, &HeadLimits::default(), &mut Scan::default())?;
    Ok(length.map(|length| (head, length)))
}

#[test]
fn a_head_is_the_same_however_it_is_cut() {
    let bytes =
        b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Two:  two words \r\nContent-Length: 3\r\n\r\nabc";
    for cut in 0..bytes.len() {
        let (mut head, mut scan) = (RequestHead::default(), Scan::default());
        let limits = HeadLimits::default();
        let first = head.parse(&bytes[..cut], &limits, &mut scan).unwrap();
        let length = match first {
            Some(length) => length,
            None => head.parse(bytes, &limits, &mut scan).unwrap().unwrap(),
        };
        assert_eq!(length, bytes.len() - 3);
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a?b=c"));
        assert_eq!(head.fields.get("x-two"), Some(&b"two words"[..]));
        let mut out = Vec::new();
        head.write(&head.target, &mut out);
        assert_eq!(
            out,
            b"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Two: two words\r\nContent-Length: 3\r\n"
        );
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for bad in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nH\0st: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x01\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\n\r\n",
        b"GET / a HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.x\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"G{T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nnocolon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
    ] {
        assert!(
            matches!(parse(bad), Err(HeadError::Malformed(_))),
            "{} gave {:?}",
            String::from_utf8_lossy(bad),
            parse(bad)
        );
    }
}

#[test]
fn limits_hold_and_say_which() {
    let limits = HeadLimits { bytes: 200, fields: 3, target: 50 };
    let parse = |text: String| RequestHead::default().parse(text.as_bytes(), &limits, &mut Scan::default());
    assert_eq!(parse(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(60))), Err(HeadError::TargetTooLong));
    assert_eq!(parse(format!("GET /{}", "x".repeat(300))), Err(HeadError::TargetTooLong));
    assert_eq!(parse(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(300))), Err(HeadError::TooLarge));
    assert_eq!(parse(format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(4))), Err(HeadError::TooLarge));
    assert_eq!(
        parse(format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(3))).map(|n| n.is_some()),
        Ok(true)
    );
}

#[test]
fn responses_are_read_as_strictly() {
    let mut head = ResponseHead::default();
    let mut parse = |bytes: &[u8]| {
        let length = head.parse(bytes, &HeadLimits::default(), &mut Scan::default())?;
        Ok(length.map(|_| head.status))
    };
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(200)));
    assert_eq!(parse(b"HTTP/1.0 404\r\n\r\n"), Ok(Some(404)));
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), Ok(None));
    for bad in [
        &b"HTTP/1.1 099 X\r\n\r\n"[..],
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    ] {
        assert!(matches!(parse(bad), Err(HeadError::Malformed(_))), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [0, 7, 10, 99, 65_535, u64::MAX] {
        let mut out = Vec::new();
        write_number(number, &mut out);
        assert_eq!(out, number.to_string().into_bytes());
    }
}
