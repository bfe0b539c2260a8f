//! Each policy again, as plainly as it can be said: one vector, searched from its beginning.

use super::{Eviction, Key, Victim};

#[derive(Clone, Copy, Debug)]
struct Object {
    key: Key,
    size: u64,
    count: u32,
    is_main: bool,
}

/// A policy and its objects, from the oldest to the newest.
#[derive(Debug)]
pub(crate) struct Naive {
    policy: Eviction,
    limit: u64,
    objects: Vec<Object>,
    ghosts: Vec<(Key, u64)>,
    requests: usize,
    random: u64,
}

impl Naive {
    pub(crate) fn new(policy: Eviction, limit: u64, seed: u64) -> Self {
        Self { policy, limit, objects: Vec::new(), ghosts: Vec::new(), requests: 0, random: seed }
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    pub(crate) fn size(&self, key: Key) -> Option<u64> {
        self.find(key).map(|at| self.objects[at].size)
    }

    pub(crate) fn admit(&mut self, key: Key, size: u64) -> Option<Vec<Victim>> {
        if size > self.limit {
            return None;
        }
        let before = self.find(key).map(|at| self.take(at));
        let mut victims = Vec::new();
        while self.bytes() > self.limit - size {
            let at = self.victim();
            let Object { key, size, .. } = self.take(at);
            victims.push(Victim { key, size });
        }
        let mut object = match before {
            Some(object) if self.policy == Eviction::S3Fifo => {
                Object { count: 3.min(object.count + 1), ..object }
            }
            Some(object) => object,
            None => Object { key, size, count: 0, is_main: false },
        };
        if before.is_none() && self.ghosts.iter().any(|ghost| ghost.0 == key) {
            self.ghosts.retain(|ghost| ghost.0 != key);
            object.is_main = true;
        }
        self.objects.push(Object { size, ..object });
        self.count_newest();
        Some(victims)
    }

    pub(crate) fn touch(&mut self, key: Key) -> bool {
        let Some(at) = self.find(key) else { return false };
        match self.policy {
            Eviction::Lru | Eviction::Mru | Eviction::Lfu => {
                let object = self.objects.remove(at);
                self.objects.push(object);
                self.count_newest();
            }
            Eviction::S3Fifo => self.objects[at].count = 3.min(self.objects[at].count + 1),
            Eviction::Fifo | Eviction::Lifo | Eviction::Random => {}
        }
        true
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<u64> {
        self.find(key).map(|at| self.take(at).size)
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.objects.iter().position(|object| object.key == key)
    }

    fn take(&mut self, at: usize) -> Object {
        match self.policy {
            Eviction::Random => self.objects.swap_remove(at),
            _ => self.objects.remove(at),
        }
    }

    /// The count of lfu, and its ageing.
    fn count_newest(&mut self) {
        if self.policy != Eviction::Lfu {
            return;
        }
        let newest = self.objects.last_mut().unwrap();
        newest.count = 255.min(newest.count + 1);
        self.requests += 1;
        if self.requests >= 40 * self.objects.len().max(32) {
            self.requests = 0;
            self.objects.sort_by_key(|object| object.count);
            self.objects.iter_mut().for_each(|object| object.count /= 2);
        }
    }

    fn victim(&mut self) -> usize {
        match self.policy {
            Eviction::Fifo | Eviction::Lru => 0,
            Eviction::Lifo | Eviction::Mru => self.objects.len() - 1,
            Eviction::Random => ((u128::from(self.random()) * self.objects.len() as u128) >> 64) as usize,
            Eviction::Lfu => {
                let least = self.objects.iter().map(|object| object.count).min().unwrap();
                self.objects.iter().position(|object| object.count == least).unwrap()
            }
            Eviction::S3Fifo => self.s3_fifo_victim(),
        }
    }

    fn s3_fifo_victim(&mut self) -> usize {
        let in_small: u64 = self.objects.iter().filter(|it| !it.is_main).map(|it| it.size).sum();
        if in_small >= self.limit / 10 || !self.objects.iter().any(|it| it.is_main) {
            while let Some(at) = self.objects.iter().position(|it| !it.is_main) {
                let object = self.objects[at];
                if object.count < 2 {
                    self.ghosts.push((object.key, object.size.max(1)));
                    let most = self.limit - self.limit / 10;
                    while self.ghosts.iter().map(|ghost| ghost.1).sum::<u64>() > most {
                        self.ghosts.remove(0);
                    }
                    return at;
                }
                self.objects.remove(at);
                self.objects.push(Object { count: 0, is_main: true, ..object });
            }
        }
        loop {
            let at = self.objects.iter().position(|it| it.is_main).unwrap();
            let object = self.objects[at];
            if object.count == 0 {
                return at;
            }
            self.objects.remove(at);
            self.objects.push(Object { count: object.count - 1, ..object });
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
