//! The examples of RFC 7541, Appendix C, and what is not a block.

use super::{Decoder, Encoder};
use crate::fields::Fields;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<String, &'static str> {
    let mut lines = String::new();
    let text = String::from_utf8_lossy;
    let taken = decoder.decode(block, |name, value| {
        lines.push_str(&format!("{}: {}\n", text(name), text(value)));
    });
    taken.map(|()| lines).map_err(|error| error.0)
}

const FIRST: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n";
const SECOND: &str =
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n";
const THIRD: &str = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
                     custom-key: custom-value\n";

#[test]
fn requests_of_the_standard_are_decoded() {
    for blocks in [
        // C.3, without Huffman.
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        // C.4, with it.
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        for (block, expected) in blocks.into_iter().zip([FIRST, SECOND, THIRD]) {
            assert_eq!(decode(&mut decoder, &bytes(block)).unwrap(), expected, "{block}");
        }
    }
}

#[test]
fn responses_of_the_standard_are_decoded_with_eviction() {
    let date = "Mon, 21 Oct 2013 20:13:21 GMT";
    let head = |status: u16, date: &str| {
        format!(
            ":status: {status}\ncache-control: private\ndate: {date}\nlocation: https://www.example.com\n"
        )
    };
    let later = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
                 location: https://www.example.com\ncontent-encoding: gzip\n\
                 set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";
    for blocks in [
        // C.5
        [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17\
             68747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d41\
             53444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b207665727369\
             6f6e3d31",
        ],
        // C.6
        [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97\
             c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd\
             5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
    ] {
        let mut decoder = Decoder::new(256);
        let seen = blocks.map(|block| decode(&mut decoder, &bytes(block)).unwrap());
        assert_eq!(seen, [head(302, date), head(307, date), later.to_owned()]);
    }
}

#[test]
fn literals_and_sizes_are_decoded() {
    let mut decoder = Decoder::default();
    // C.2.1 to C.2.4
    for (block, expected) in [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header\n"),
        ("040c2f73616d706c652f70617468", ":path: /sample/path\n"),
        ("100870617373776f726406736563726574", "password: secret\n"),
        ("82", ":method: GET\n"),
        ("be", "custom-key: custom-header\n"),
        // Two changes of size at the beginning (RFC 7541 §4.2); the table is empty after them.
        ("203fe11f82", ":method: GET\n"),
    ] {
        assert_eq!(decode(&mut decoder, &bytes(block)).unwrap(), expected, "{block}");
    }
    assert!(decode(&mut decoder, &bytes("be")).is_err(), "nothing is left of it");
}

#[test]
fn what_is_not_a_block_is_an_error() {
    for block in [
        "80",                 // index 0
        "be",                 // an entry that is not there
        "ffffffffff0f",       // an integer without end
        "4003",               // a string that is cut off
        "40",                 // no string
        "8220",               // a size in the middle
        "3fe21f",             // a larger table than may be (4097)
        "408100",             // padding that is not ones
        "0085ffffffffff0100", // EOS in a string
        "7f",                 // an integer that is cut off
    ] {
        let mut decoder = Decoder::default();
        assert!(decode(&mut decoder, &bytes(block)).is_err(), "{block}");
    }
}

#[test]
fn the_table_never_holds_more_than_it_may() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut decoder = Decoder::default();
    for _ in 0..10_000 {
        let block: Vec<u8> = (0..random.usize(1..40)).map(|_| random.u8(..)).collect();
        let _ = decode(&mut decoder, &block);
        assert!(decoder.table_size() <= 4096);
    }
    // One entry as large as the table, referred to again and again: a bomb of references is handed out by reference.
    let mut bomb = bytes("400161");
    super::integer::write(4000, 7, 0, &mut bomb);
    bomb.extend(vec![b'x'; 4000]);
    bomb.extend(vec![0xbe; 10_000]);
    let mut fields = 0;
    Decoder::default().decode(&bomb, |_, value| fields += usize::from(value.len() == 4000)).unwrap();
    assert_eq!(fields, 10_001);
}

#[test]
fn what_is_encoded_is_decoded_again() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    for status in [200, 204, 206, 304, 400, 404, 500, 103, 999] {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.status(status, &mut block);
        encoder.field(b"Content-Type", b"text/html", &mut block);
        encoder.field(b"X-Long", &[b'v'; 300], &mut block);
        let mut fields = Fields::default();
        for name in ["Date", "X-Known-To-Nobody", "Content-Language"] {
            fields.push(name, b"1");
        }
        fields.iter().for_each(|field| encoder.tagged(&field, &mut block));
        let tagged = "date: 1\nx-known-to-nobody: 1\ncontent-language: 1\n";
        let long = "v".repeat(300);
        let expected = format!(":status: {status}\ncontent-type: text/html\nx-long: {long}\n{tagged}");
        assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
    }
    for length in [0, 1, 126, 127, 300] {
        let mut block = Vec::new();
        let at = encoder.begin_value(b"X-Pieces", &mut block);
        block.extend(vec![b'v'; length]);
        encoder.end_value(at, &mut block);
        encoder.field(b"a", b"b", &mut block);
        let expected = format!("x-pieces: {}\na: b\n", "v".repeat(length));
        assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
    }
    let mut block = Vec::new();
    encoder.resize();
    encoder.begin(&mut block);
    assert_eq!(block, [0x20]);
}

#[test]
fn what_is_secret_is_never_indexed() {
    for (name, first) in [
        ("Authorization", 0x10),
        ("cookie", 0x10),
        ("Proxy-Authorization", 0x10),
        ("set-cookie", 0x10),
        ("Server", 0),
        ("content-type", 0),
        ("x-known-to-nobody", 0),
    ] {
        let encoder = Encoder::default();
        let mut fields = Fields::default();
        fields.push(name, b"v");
        let (mut tagged, mut plain, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        fields.iter().for_each(|field| encoder.tagged(&field, &mut tagged));
        encoder.field(name.as_bytes(), b"v", &mut plain);
        let at = encoder.begin_value(name.as_bytes(), &mut pieces);
        pieces.push(b'v');
        encoder.end_value(at, &mut pieces);
        for block in [tagged, plain, pieces] {
            assert_eq!(block[0] & 0xf0, first, "{name}");
            let expected = format!("{}: v\n", name.to_ascii_lowercase());
            assert_eq!(decode(&mut Decoder::default(), &block).unwrap(), expected);
        }
    }
}
