//! Which fetch that is under way is joined, and which is not.

use super::*;

#[test]
fn a_fill_that_brings_nothing_is_not_joined() {
    let fills = Fills::new(BOUNDS);
    let (mut source, _leader) = lead(&fills, "/a");
    let key = key("/a");
    let request = Fields::default();
    let later = |seconds: u64| Want {
        key: &key,
        request: &request,
        origin: OriginId::default(),
        expected: None,
        accepts: &|_| true,
        now: Moment::now().plus(Duration::from_secs(seconds)),
        patience: PATIENCE,
    };
    assert!(matches!(fills.join(&later(9), || false), Joined::Wait(_)));
    let Joined::Lead(mut second, _reader) = fills.join(&later(11), || false) else { panic!("no head came") };
    source.answer(fresh(true));
    second.answer(fresh(true));
    second.push(Bytes::from_static(b"hello"));
    assert!(matches!(fills.join(&later(9), || false), Joined::Wait(_)), "the newest, which moves");
    let Joined::Lead(third, _reader) = fills.join(&later(11), || false) else { panic!("no body comes") };
    drop(third);
}

/// Else who asks after a reload waits for a backend that it has taken away, since that does not answer.
#[test]
fn a_fill_that_asks_another_origin_is_not_joined() {
    let fills = Fills::new(BOUNDS);
    let (_source, _leader) = lead(&fills, "/a");
    let (key, request, origins) = (key("/a"), Fields::default(), ["route", "upstream", "upstream of later"]);
    let [route, upstream, later] = &origins;
    let want = |origin| Want {
        key: &key,
        request: &request,
        origin,
        expected: None,
        accepts: &|_| true,
        now: Moment::now(),
        patience: PATIENCE,
    };
    let (one, other) = (OriginId::of(route, upstream), OriginId::of(route, later));
    let Joined::Lead(_source, _reader) = fills.join(&want(one), || false) else { panic!("it is another") };
    assert!(matches!(fills.join(&want(one), || false), Joined::Wait(_)));
    let Joined::Lead(_other, _reader) = fills.join(&want(other), || false) else { panic!("it is another") };
    assert!(matches!(fills.join(&want(one), || false), Joined::Wait(_)), "and each finds its own");
}
