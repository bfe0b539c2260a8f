use super::{header_edits::HeaderEditConf, *};

fn nothing() -> HeaderEditConf {
    let nothing = Vec::new;
    let replace = super::header_edits::ReplacesConf::default();
    HeaderEditConf { set: nothing(), set_if_missing: nothing(), replace, add: nothing(), remove: Vec::new() }
}

fn alt_svc() -> Filter {
    Filter::AltSvc(AltSvc::parse("clear").unwrap())
}

fn edits(value: &str) -> Filter {
    let conf = HeaderEditConf { add: vec![("alt-svc".to_owned(), value.to_owned())], ..nothing() };
    Filter::ResponseHeaders(ResponseHeaders::of(&conf).unwrap())
}

fn request_edits() -> Filter {
    let conf = HeaderEditConf { set: vec![("x-a".to_owned(), "{header.x-b}".to_owned())], ..nothing() };
    Filter::RequestHeaders(RequestHeaders::of(&conf).unwrap())
}

/// A response of 200 with a field of the backend's, behind these filters.
fn answered(filters: &Filters) -> (Vec<String>, BodyPlan) {
    let mut exchange = Exchange::default();
    exchange.response.status = 200;
    exchange.response.fields.push("Alt-Svc", b"backend");
    let (mut facts, mut plan) = (ResponseFacts::default(), BodyPlan::default());
    filters.on_response(&mut exchange, &mut facts, &mut plan);
    let values = exchange.response.fields.all("alt-svc").map(|it| String::from_utf8_lossy(it).into_owned());
    (values.collect(), plan)
}

#[test]
fn filters_act_in_their_order_however_they_were_listed() {
    for (filters, expected) in [
        (Filters::new([alt_svc(), edits("h2=\":1\"")]), &["clear", "h2=\":1\""][..]),
        (Filters::new([edits("h2=\":1\""), alt_svc()]), &["clear", "h2=\":1\""]),
        (Filters::new([edits("1"), edits("2")]), &["backend", "1", "2"]),
        (Filters::default(), &["backend"]),
    ] {
        assert_eq!(answered(&filters).0, expected);
    }
    let filters = Filters::new([edits("1"), request_edits(), alt_svc()]);
    let names: Vec<_> = filters.names().collect();
    assert_eq!(names, ["request_headers", "alt_svc", "response_headers"]);
}

#[test]
fn a_filter_without_a_hook_does_nothing_there() {
    let filters = Filters::new([edits("1"), alt_svc()]);
    assert!(!filters.act_on_requests() && Filters::new([alt_svc(), request_edits()]).act_on_requests());
    let mut exchange = Exchange::default();
    exchange.request.fields.push("x-b", b"1");
    assert!(matches!(filters.on_request(&exchange, Place::default()), Ok(Verdict::Continue)));
    filters.on_forward(&mut exchange, Place::default());
    assert_eq!(exchange.request.fields.get("x-a"), None);
    assert!(answered(&filters).1.stages.is_empty());
    Filters::new([request_edits()]).on_forward(&mut exchange, Place::default());
    assert_eq!(exchange.request.fields.get("x-a"), Some(&b"1"[..]));
}

#[test]
fn edits_without_an_edit_are_no_filter() {
    assert!(ResponseHeaders::of(&nothing()).is_none());
    assert!(RequestHeaders::of(&nothing()).is_none());
}
