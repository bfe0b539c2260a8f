use super::{
    super::{
        crypto::frame,
        handshake::{
            LEAST,
            tests::{hello, seal},
        },
        packet::known,
    },
    *,
};

const ID: &[u8] = b"made up!";
const BEGIN: Moment = Moment(1_000_000);

fn after(millis: u64) -> Moment {
    BEGIN.plus(Duration::from_millis(millis))
}

/// A datagram with a part of a message.
fn part(id: &[u8], number: u8, message: &[u8], (from, to): (usize, usize)) -> Vec<u8> {
    let mut frames = frame(from, &message[from..to]);
    frames.resize(LEAST, 0);
    seal(Version::One, id, number, &frames)
}

fn offer(waiting: &mut Waiting<u32>, client: u32, datagram: &[u8], now: Moment) -> Offer {
    let long = Long::read(datagram).unwrap();
    waiting.offer(client, (&long, known(long.version).unwrap()), datagram, now)
}

#[test]
fn datagrams_wait_for_the_rest_and_keep_their_order() {
    let message = hello("a.test", b"h3");
    let (one, two) = (part(ID, 0, &message, (700, message.len())), part(ID, 1, &message, (0, 700)));
    let mut waiting = Waiting::default();
    assert!(matches!(offer(&mut waiting, 1, &one, after(0)), Offer::Waits(0)));
    // Another client, and another connection of the same one, wait for themselves.
    assert!(matches!(offer(&mut waiting, 2, &two, after(1)), Offer::Waits(0)));
    let other = part(b"another one", 0, &message, (0, 700));
    assert!(matches!(offer(&mut waiting, 1, &other, after(2)), Offer::Waits(0)));
    // What cannot be opened is somebody else's.
    let mut broken = two.clone();
    broken[100] ^= 1;
    assert!(matches!(offer(&mut waiting, 1, &broken, after(3)), Offer::Dropped(Dropped::QuicMalformed, 1)));
    match offer(&mut waiting, 1, &two, after(4)) {
        Offer::Whole(hello, before) => {
            assert_eq!(hello.server_name.as_deref(), Some("a.test"));
            assert_eq!(before, [one.into_boxed_slice()]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(waiting.next(), Some(after(1001)));
    assert_eq!((waiting.expire(after(1000)), waiting.expire(after(2000))), (0, 2));
    assert_eq!((waiting.next(), waiting.bytes), (None, 0));
}

#[test]
fn four_datagrams_without_a_whole_hello_are_dropped() {
    let message = hello("a.test", b"h3");
    let mut waiting = Waiting::default();
    for number in 0..3 {
        let datagram = part(ID, number, &message, (0, 100));
        assert!(matches!(offer(&mut waiting, 1, &datagram, after(0)), Offer::Waits(0)));
    }
    let datagram = part(ID, 3, &message, (0, 100));
    assert!(matches!(
        offer(&mut waiting, 1, &datagram, after(0)),
        Offer::Dropped(Dropped::QuicIncomplete, 4)
    ));
    assert_eq!((waiting.next(), waiting.bytes), (None, 0));
    // The fourth may be the last that is missing.
    for (number, piece) in [(0, 100), (100, 200), (200, 300)].into_iter().enumerate() {
        let datagram = part(ID, u8::try_from(number).unwrap(), &message, piece);
        assert!(matches!(offer(&mut waiting, 1, &datagram, after(0)), Offer::Waits(0)));
    }
    let last = part(ID, 3, &message, (300, message.len()));
    assert!(matches!(offer(&mut waiting, 1, &last, after(0)), Offer::Whole(_, before) if before.len() == 3));
}

#[test]
fn strangers_cannot_have_more_held_than_is_bounded() {
    let message = hello("a.test", b"h3");
    let datagram = part(ID, 0, &message, (0, 100));
    let mut waiting = Waiting::default();
    let all = u32::try_from(MOST_WAITING).unwrap();
    for client in 0..all {
        assert!(matches!(offer(&mut waiting, client, &datagram, after(0)), Offer::Waits(0)));
    }
    assert!(matches!(offer(&mut waiting, all, &datagram, after(0)), Offer::Waits(1)));
    assert!(waiting.bytes <= MOST_BYTES);
    assert_eq!(waiting.expire(after(1000)), u64::from(all), "the first went for the last");
    assert_eq!(waiting.bytes, 0);
    // Datagrams of the largest size: the bytes are the bound.
    let mut frames = frame(0, &message[..100]);
    frames.resize(16000, 0);
    let large = seal(Version::One, ID, 0, &frames);
    let taken = (0..all)
        .filter(|client| matches!(offer(&mut waiting, *client, &large, after(2000)), Offer::Waits(0)))
        .count();
    assert!((400..MOST_BYTES / large.len()).contains(&taken), "{taken}");
    assert!(waiting.bytes <= MOST_BYTES);
    assert_eq!(waiting.expire(after(3000)), taken as u64, "one goes for each that comes");
}

#[test]
fn handshakes_that_lack_a_part_keep_out_no_other() {
    let message = hello("a.test", b"h3");
    // A byte at the end of the longest hello, which promises all that is before it.
    let mut frames = frame(16387, b"x");
    frames.resize(LEAST, 0);
    let partial = seal(Version::One, ID, 0, &frames);
    let (one, two) = (part(ID, 0, &message, (0, 700)), part(ID, 1, &message, (700, message.len())));
    let mut waiting = Waiting::default();
    let others = 1100..1200;
    let mut gone = 0;
    let mut flood = |waiting: &mut Waiting<u32>, clients: std::ops::Range<u32>| {
        for client in clients {
            match offer(waiting, client, &partial, after(0)) {
                Offer::Waits(count) => gone += count,
                other => panic!("{client}: {other:?}"),
            }
        }
    };
    flood(&mut waiting, 0..1100);
    let first = offer(&mut waiting, 5000, &one, after(0));
    assert!(matches!(first, Offer::Waits(_)), "{first:?}");
    flood(&mut waiting, others);
    let second = offer(&mut waiting, 5000, &two, after(1));
    assert!(matches!(second, Offer::Whole(_, ref before) if before.len() == 1), "{second:?}");
    assert!(gone < 200, "{gone}: one byte takes little");
}

#[test]
fn a_handshake_that_grows_makes_older_ones_go() {
    let message = hello("a.test", b"h3");
    let datagram = |number| {
        let mut frames = frame(0, &message[..100]);
        frames.resize(16000, 0);
        seal(Version::One, ID, number, &frames)
    };
    let (one, two) = (datagram(0), datagram(1));
    let mut waiting = Waiting::default();
    let first =
        (0..).take_while(|client| matches!(offer(&mut waiting, *client, &one, after(0)), Offer::Waits(0)));
    let last = u32::try_from(first.count()).unwrap();
    assert!(waiting.bytes + two.len() > MOST_BYTES, "it is full");
    assert!(matches!(offer(&mut waiting, last, &two, after(1)), Offer::Waits(1)));
    assert!(waiting.bytes <= MOST_BYTES && waiting.bytes + two.len() > MOST_BYTES);
    // The oldest of all goes itself.
    let oldest = waiting.table.oldest(TERMS.group).map(|(id, _)| *waiting.table.get(id).unwrap().0);
    assert!(matches!(offer(&mut waiting, oldest.unwrap().0, &two, after(2)), Offer::Waits(2)));
    assert!(waiting.bytes <= MOST_BYTES);
}
