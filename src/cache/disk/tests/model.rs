//! Random calls, compared with a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Call {
    Write { key: u128, length: u64, replaces: bool },
    Abort { key: u128, length: u64 },
    Update { key: u128, note: String },
    Remove { key: u128 },
    RemoveKey { key: u128 },
    Touch { key: u128 },
    Visit { part: u64 },
    Evict { policy: usize },
    Clear,
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    let key = 0..12_u128;
    prop_oneof![
        8 => (key.clone(), 0..6000_u64, any::<bool>())
            .prop_map(|(key, length, replaces)| Call::Write { key, length, replaces }),
        1 => (key.clone(), 0..6000_u64).prop_map(|(key, length)| Call::Abort { key, length }),
        4 => (key.clone(), "[a-z]{0,300}").prop_map(|(key, note)| Call::Update { key, note }),
        1 => key.clone().prop_map(|key| Call::Remove { key }),
        1 => key.clone().prop_map(|key| Call::RemoveKey { key }),
        1 => key.prop_map(|key| Call::Touch { key }),
        1 => (0..5_u64).prop_map(|part| Call::Visit { part }),
        1 => (0..Eviction::ALL.len()).prop_map(|policy| Call::Evict { policy }),
        1 => Just(Call::Clear),
        1 => Just(Call::Reopen),
    ]
}

/// What should be there: key → seed → length and note. A larger seed is newer.
type Model = HashMap<u128, HashMap<u64, (u64, String)>>;

struct Run {
    folder: Temporary,
    limit: u64,
    eviction: Eviction,
    disk: Arc<Disk>,
    model: Model,
    seed: u64,
}

impl Run {
    fn new(limit: u64, eviction: Eviction) -> Self {
        let folder = Temporary::new();
        let disk = open_with(&Options { eviction, ..options(folder.path(), limit) });
        Self { folder, limit, eviction, disk, model: Model::new(), seed: 0 }
    }

    /// The newest object under a key, with its seed.
    fn newest(&self, key: u128) -> Option<(Id, u64)> {
        let id = self.disk.find(key).first()?.id;
        Some((id, read_meta(&wait(self.disk.head(id))?).0))
    }

    fn call(&mut self, call: Call) {
        self.seed += 1;
        let seed = self.seed;
        match call {
            Call::Write { key, length, replaces } => {
                let ids: Vec<_> = self.disk.find(key).iter().map(|found| found.id).collect();
                assert!(write(&self.disk, key, seed, length, if replaces { &ids } else { &[] }));
                let there = self.model.entry(key).or_default();
                if replaces {
                    there.clear();
                }
                there.insert(seed, (length, "-".to_owned()));
            }
            Call::Abort { key, length } => {
                let mut writing = self.disk.begin(key, meta(seed, length, "-"), None).unwrap();
                writing.push(Bytes::from(body(seed, length)));
            }
            Call::Update { key, note } => {
                if let Some((id, seed)) = self.newest(key) {
                    let known = self.model.get_mut(&key).and_then(|there| there.get_mut(&seed)).unwrap();
                    known.1.clone_from(&note);
                    self.disk.update(id, meta(seed, known.0, &note));
                }
            }
            Call::Remove { key } => {
                if let Some((id, seed)) = self.newest(key) {
                    self.disk.remove(id);
                    self.model.get_mut(&key).unwrap().remove(&seed);
                }
            }
            Call::RemoveKey { key } => {
                self.disk.remove_key(key);
                self.model.remove(&key);
            }
            Call::Touch { key } => self.disk.find(key).iter().for_each(|found| self.disk.touch(found.id)),
            Call::Visit { part } => {
                self.disk.visit(&mut |meta| {
                    if read_meta(meta).0 % 5 == part { Visit::Remove } else { Visit::Keep }
                });
                self.model.values_mut().for_each(|there| there.retain(|seed, _| seed % 5 != part));
            }
            Call::Evict { policy } => {
                self.eviction = Eviction::ALL[policy].0;
                self.disk.set_eviction(self.eviction);
            }
            Call::Clear => {
                self.disk.clear();
                self.model.clear();
            }
            Call::Reopen => {
                let options = Options { eviction: self.eviction, ..options(self.folder.path(), self.limit) };
                self.disk.close();
                self.disk = open_with(&options);
            }
        }
        // Before what was given up, removed or cleared is deleted, there may be no room for the next.
        balance(&self.disk, self.folder.path());
    }

    /// Everything that is there is as the model has it; gives how many there are.
    fn compare(&self) -> usize {
        let mut there = 0;
        for key in 0..12 {
            let mut last = u64::MAX;
            for found in self.disk.find(key) {
                let (seed, length, note) = check(&self.disk, found.id).expect("what is found is whole");
                assert!(seed < last, "the newest first");
                last = seed;
                assert_eq!(self.model[&key].get(&seed), Some(&(length, note)));
                there += 1;
            }
        }
        let stats = self.disk.stats();
        assert_eq!((stats.damaged, stats.io_errors), (0, 0));
        there
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn with_room_for_all_it_is_a_map(calls in prop::collection::vec(call(), 1..60)) {
        let mut run = Run::new(1 << 30, Eviction::Lru);
        calls.into_iter().for_each(|call| run.call(call));
        let there = run.compare();
        prop_assert_eq!(there, run.model.values().map(HashMap::len).sum::<usize>());
    }

    #[test]
    fn with_little_room_it_is_part_of_a_map(
        calls in prop::collection::vec(call(), 1..60),
        policy in 0..Eviction::ALL.len(),
    ) {
        let mut run = Run::new(24 << 10, Eviction::ALL[policy].0);
        for call in calls {
            run.call(call);
            let stats = run.disk.stats();
            prop_assert!(stats.bytes <= stats.limit && cost(run.folder.path()) <= stats.limit);
        }
        run.compare();
    }
}
