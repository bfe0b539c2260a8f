//! What whoever brings a fetch does: it asks, is answered or fails, and brings a body to its end or not.

use super::*;

impl Stage<'_> {
    /// Whoever brings a fetch does something.
    pub(super) fn bring(&mut self, number: usize, world: &mut World) {
        let readers = self.requests.iter().filter(|it| it.fetch == number).count();
        let fetch = self.fetches.get_mut(&number).unwrap();
        let mut source = fetch.source.take().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        if !fetch.is_answered {
            let is_abandoned = source.poll_abandoned(&mut cx).is_ready();
            assert_eq!(is_abandoned, readers == 0, "whether anybody waits");
            if is_abandoned {
                world.record(|| format!("fetch {number} is given up"));
                fetch.end = Some(End::Failed);
                return;
            }
            return self.answer(number, source, world);
        }
        let fastest = self.requests.iter().filter(|it| it.fetch == number).map(|it| it.asked).max();
        let room = source.poll_room(&mut cx);
        fetch.was_shared |= fetch.is_outgrown && readers > 1;
        let is_wanted = readers > 0 || fetch.is_kept || fetch.is_open && !fetch.is_outgrown;
        let is_far = fetch.is_outgrown && fastest.is_some_and(|at| fetch.brought - at >= RUN_AHEAD);
        match room {
            Poll::Ready(false) => {
                assert!(!is_wanted, "a body that is wanted");
                world.record(|| format!("nobody wants the rest of fetch {number}"));
                fetch.end = Some(End::Broken);
                return;
            }
            Poll::Ready(true) => assert!(is_wanted && !is_far, "room for a body"),
            Poll::Pending => {
                assert!(is_wanted && is_far, "no room for a body");
                world.record(|| format!("fetch {number} waits for its readers"));
                fetch.source = Some(source);
                return;
            }
        }
        match world.rng.u8(0..10) {
            0 => self.end(number, source, world),
            1 => {
                world.record(|| format!("fetch {number} breaks off"));
                drop(source);
                self.fetches.get_mut(&number).unwrap().end = Some(End::Broken);
                self.hold_woken(number);
            }
            2 if fetch.is_kept => {
                world.record(|| format!("fetch {number} is not kept any more"));
                source.set_kept(false);
                (fetch.is_kept, fetch.source) = (false, Some(source));
            }
            _ => self.push(number, source, world),
        }
    }

    fn answer(&mut self, number: usize, mut source: Source, world: &mut World) {
        let fetch = self.fetches.get_mut(&number).unwrap();
        match world.rng.u8(0..10) {
            0..6 => {
                (fetch.is_answered, fetch.is_open) = (true, world.chance(80));
                fetch.is_kept = fetch.is_open && world.chance(30);
                world.record(|| {
                    format!("fetch {number} is answered; open: {}, kept: {}", fetch.is_open, fetch.is_kept)
                });
                let (entry, variant) = (self.fixture.head.clone(), self.fixture.variant.clone());
                source.set_kept(fetch.is_kept);
                source.answer(Arc::new(Answer {
                    entry,
                    variant,
                    length: None,
                    is_open: fetch.is_open,
                    is_of_peer: false,
                }));
                fetch.source = Some(source);
            }
            6 => {
                world.record(|| format!("fetch {number} is for one only"));
                fetch.end = Some(End::Released);
                source.release();
            }
            _ => {
                fetch.failures += 1;
                let is_over = fetch.failures == 2;
                world.record(|| format!("fetch {number} fails"));
                fetch.end = is_over.then_some(End::Failed);
                match world.rng.bool() {
                    true => source.fail(Failure { kind: Kind::Connect, text: "refused".to_owned() }),
                    false => drop(source),
                }
            }
        }
        self.hold_woken(number);
    }

    fn push(&mut self, number: usize, mut source: Source, world: &mut World) {
        let fetch = self.fetches.get_mut(&number).unwrap();
        let length = world.one_of(&[1, 10, 400, 700, LONGEST]);
        let begin = (fetch.brought % 256) as usize;
        source.push(self.fixture.bytes.slice(begin..begin + length));
        fetch.brought += length as u64;
        fetch.is_outgrown = !source.is_whole_kept();
        assert!(fetch.is_outgrown || fetch.brought <= BOUNDS.max_object, "more is kept than may be");
        world.record(|| format!("fetch {number} brings {length}; outgrown: {}", fetch.is_outgrown));
        fetch.source = Some(source);
        self.hold_woken(number);
    }

    fn end(&mut self, number: usize, source: Source, world: &mut World) {
        let fetch = self.fetches.get_mut(&number).unwrap();
        world.record(|| format!("fetch {number} is whole"));
        let (mut length, mut rules) = (None, Vec::new());
        source.finish(|body, given| (length, rules) = (body.map(|body| body.length), given.to_vec()));
        // What is not open is not stored, and need not know.
        if fetch.is_open && (fetch.is_kept || !fetch.is_outgrown) {
            assert_eq!(rules, fetch.purges, "purges that the store is given");
        }
        assert_eq!(length, (!fetch.is_outgrown).then_some(fetch.brought), "the body that may be stored");
        fetch.end = Some(End::Whole);
        self.hold_woken(number);
    }
}
