//! Fields that a cache reads, of any bytes: Cache-Control, Vary, Range, structured fields. Each is read the same twice, and a
//! range lies within its body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        date::Date,
        range::Extent,
        structured_fields,
        vary::Vary,
    },
    fields::Fields,
    h1::Method,
};

fuzz_target!(|input: (u64, Vec<&[u8]>)| {
    let (length, values) = input;
    // What a reader of heads lets through.
    let values: Vec<Vec<u8>> = values
        .iter()
        .take(8)
        .map(|value| value.iter().copied().filter(|byte| !b"\0\r\n".contains(byte)).collect())
        .collect();
    let said = read(length, &values);
    assert_eq!(said, read(length, &values));
});

fn read(length: u64, values: &[Vec<u8>]) -> String {
    let fields = |name: &str| {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.push(name, value.trim_ascii()));
        fields
    };
    let control = fields("cache-control");
    let vary = Vary::of(&fields("vary"));
    let extent = Extent::of(&Method::Get, &fields("range"), &Fields::default(), length, Date(0));
    if let Extent::Part { first, last } = extent {
        assert!(first <= last && last < length);
    }
    let structured = structured_fields::parse(values.iter().map(Vec::as_slice));
    format!(
        "{:?} {:?} {vary:?} {:?} {extent:?} {structured:?}",
        RequestControl::of(&control),
        ResponseControl::of(&control),
        vary.key(&fields("accept-encoding")),
    )
}
