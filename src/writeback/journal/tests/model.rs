//! The journal beside a model of it, call by call.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(u8, u16),
    Take,
    Delivered(u8),
    Failed(u8),
    SetAside(u8),
    Forgotten(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..4, 0_u16..1500).prop_map(|(uri, length)| Step::Append(uri, length)),
        5 => Just(Step::Take),
        4 => any::<u8>().prop_map(Step::Delivered),
        2 => any::<u8>().prop_map(Step::Failed),
        1 => any::<u8>().prop_map(Step::SetAside),
        1 => any::<u8>().prop_map(Step::Forgotten),
        1 => Just(Step::Reopen),
    ]
}

/// By URI, oldest first: number and body.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u8, Vec<(Id, Vec<u8>)>>,
    under_way: BTreeSet<Id>,
    refused: Vec<u64>,
    last: Option<Id>,
}

impl Model {
    fn may_be_taken(&self) -> Vec<&(Id, Vec<u8>)> {
        let oldest = self.waiting.values().filter_map(|queue| queue.first());
        oldest.filter(|(id, _)| !self.under_way.contains(id)).collect()
    }

    fn complete(&mut self, id: Id) {
        self.waiting.values_mut().for_each(|queue| queue.retain(|(other, _)| *other != id));
    }

    fn agrees(&self, journal: &Journal) {
        for uri in 0..4 {
            let newest = self.waiting.get(&uri).and_then(|queue| queue.last());
            let found = journal.latest(&[uri]);
            let found = found.as_ref().map(|entry| (entry.id, &entry.write.body[..]));
            assert_eq!(found, newest.map(|(id, body)| (*id, &body[..])));
        }
        let all = || self.waiting.iter().flat_map(|(uri, queue)| queue.iter().map(move |one| (*uri, one)));
        let bytes: u64 = all().map(|(uri, (_, body))| plain(uri, body).cost()).sum();
        let stats = journal.stats();
        assert_eq!((stats.entries, stats.bytes), (all().count(), bytes));
    }
}

const SEGMENT: u64 = 4 << 10;
const LIMIT: u64 = 24 << 10;

fn plain(uri: u8, body: &[u8]) -> Write {
    Write { uri: [uri].as_slice().into(), ..write("", body) }
}

/// The journal and its model, side by side.
struct Pair {
    scratch: Scratch,
    options: Options,
    journal: Arc<Journal>,
    model: Model,
    held: Vec<Delivery>,
}

impl Pair {
    fn new() -> Self {
        let scratch = Scratch::new();
        let options = scratch.options(LIMIT, SEGMENT);
        let journal = Journal::open(&options).unwrap();
        Self { scratch, options, journal, model: Model::default(), held: Vec::new() }
    }

    fn append(&mut self, uri: u8, length: u16) {
        let body: Vec<u8> = (0..length).map(|at| at as u8 ^ uri).collect();
        let fits = self.journal.stats().bytes + plain(uri, &body).cost() <= LIMIT;
        match append(&self.journal, plain(uri, &body)) {
            Ok(id) => {
                assert!(fits && self.model.last < Some(id));
                self.model.last = Some(id);
                self.model.waiting.entry(uri).or_default().push((id, body));
            }
            Err(error) => assert!(matches!(error, AppendError::Full) && !fits, "{error}"),
        }
    }

    fn take(&mut self) {
        match take(&self.journal) {
            Some(delivery) => {
                let (id, body) = (delivery.id(), delivery.write().body.to_vec());
                assert!(self.model.may_be_taken().contains(&&(id, body)), "{id:?} may not be delivered now");
                self.model.under_way.insert(id);
                self.held.push(delivery);
            }
            None => assert_eq!(self.model.may_be_taken(), Vec::<&(Id, Vec<u8>)>::new()),
        }
    }

    fn reopen(&mut self) {
        self.held.clear();
        // The old one must be gone before its folder can be had again: a stand-in takes its place.
        let elsewhere = Scratch::new();
        self.journal = open(&elsewhere);
        self.journal = Journal::open(&self.options).unwrap();
        self.model.under_way.clear();
        assert_eq!(self.journal.stats().damaged, 0);
    }

    /// One of those that are under way; it is not any more.
    fn pick(&mut self, pick: u8) -> Option<Delivery> {
        let at = usize::from(pick).checked_rem(self.held.len())?;
        let delivery = self.held.swap_remove(at);
        self.model.under_way.remove(&delivery.id());
        Some(delivery)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(uri, length) => self.append(uri, length),
            Step::Take => self.take(),
            Step::Reopen => self.reopen(),
            Step::Delivered(pick) => {
                if let Some(delivery) = self.pick(pick) {
                    self.model.complete(delivery.id());
                    delivery.delivered();
                }
            }
            Step::SetAside(pick) => {
                if let Some(delivery) = self.pick(pick) {
                    self.model.complete(delivery.id());
                    self.model.refused.push(delivery.id().0);
                    delivery.set_aside("no");
                }
            }
            Step::Failed(pick) => {
                if let Some(delivery) = self.pick(pick) {
                    delivery.failed(Moment(0));
                }
            }
            Step::Forgotten(pick) => drop(self.pick(pick)),
        }
        self.model.agrees(&self.journal);
    }
}

fn run(steps: Vec<Step>) {
    let mut pair = Pair::new();
    steps.into_iter().for_each(|step| pair.step(step));
    pair.reopen();
    pair.model.agrees(&pair.journal);
    let refused: Vec<_> = pair.scratch.refused().iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(refused, pair.model.refused);
    let disk: u64 = pair.scratch.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(disk <= 2 * LIMIT + 6 * SEGMENT, "{disk} bytes on disk");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        run(steps);
    }
}
