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

    fn settle(&mut self, id: Id) {
        self.under_way.remove(&id);
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

fn run(steps: Vec<Step>) {
    let scratch = Scratch::new();
    let options = scratch.options(LIMIT, SEGMENT);
    let mut journal = Journal::open(&options).unwrap();
    let mut model = Model::default();
    let mut held: Vec<Delivery> = Vec::new();
    for step in steps {
        let mut one = |pick: u8| {
            let at = usize::from(pick).checked_rem(held.len())?;
            Some(held.swap_remove(at))
        };
        match step {
            Step::Append(uri, length) => {
                let body: Vec<u8> = (0..length).map(|at| at as u8 ^ uri).collect();
                let fits = journal.stats().bytes + plain(uri, &body).cost() <= LIMIT;
                match append(&journal, plain(uri, &body)) {
                    Ok(id) => {
                        assert!(fits && model.last < Some(id));
                        model.last = Some(id);
                        model.waiting.entry(uri).or_default().push((id, body));
                    }
                    Err(error) => assert!(matches!(error, AppendError::Full) && !fits, "{error}"),
                }
            }
            Step::Take => match take(&journal) {
                Some(delivery) => {
                    let (id, body) = (delivery.id(), delivery.write().body.to_vec());
                    assert!(model.may_be_taken().contains(&&(id, body)), "{id:?} may not be delivered now");
                    model.under_way.insert(id);
                    held.push(delivery);
                }
                None => assert_eq!(model.may_be_taken(), Vec::<&(Id, Vec<u8>)>::new()),
            },
            Step::Delivered(pick) => {
                if let Some(delivery) = one(pick) {
                    model.settle(delivery.id());
                    delivery.delivered();
                }
            }
            Step::SetAside(pick) => {
                if let Some(delivery) = one(pick) {
                    model.settle(delivery.id());
                    model.refused.push(delivery.id().0);
                    delivery.set_aside("no");
                }
            }
            Step::Failed(pick) => {
                if let Some(delivery) = one(pick) {
                    model.under_way.remove(&delivery.id());
                    delivery.failed(Moment(0));
                }
            }
            Step::Forgotten(pick) => {
                if let Some(delivery) = one(pick) {
                    model.under_way.remove(&delivery.id());
                }
            }
            Step::Reopen => {
                held.clear();
                drop(journal);
                journal = Journal::open(&options).unwrap();
                model.under_way.clear();
                assert_eq!(journal.stats().damaged, 0);
            }
        }
        model.agrees(&journal);
    }
    held.clear();
    drop(journal);
    let refused: Vec<_> = scratch.refused().iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(refused, model.refused);
    let disk: u64 = scratch.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(disk <= 2 * LIMIT + 6 * SEGMENT, "{disk} bytes on disk");
    let journal = Journal::open(&options).unwrap();
    model.under_way.clear();
    model.agrees(&journal);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        run(steps);
    }
}
