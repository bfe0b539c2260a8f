//! Workloads that are made up, to compare policies by: the same requests for the same seed
//! (where the mathematics library rounds alike).
//!
//! Objects are numbers; each request picks one by a [`Workload`], and an object's size follows from its number, by
//! [`Sizes`]. Popularity is Zipf's law: the object of rank `r` is asked for in proportion to `1 / r^alpha`.

use std::{f64::consts::TAU, str::FromStr};

use crate::{
    rng::{Rng, scramble},
    schema::Size,
};

/// Which objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// By Zipf's law alone.
    Zipf,
    /// By Zipf's law, and after every `between` of such requests a sweep over `sweep` other objects in order, the same
    /// at each sweep: a crawler, a backup. With `between` 0 it is a loop.
    Scan {
        /// Requests from sweep to sweep.
        between: u64,
        /// Objects of a sweep.
        sweep: u64,
    },
    /// By Zipf's law, where after every `every` requests a tenth of the ranks move on to other objects: news.
    Shift {
        /// Requests from shift to shift.
        every: u64,
    },
}

/// How large objects are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// All alike.
    Fixed(u64),
    /// Lognormal: half of them below the median; the larger sigma, the further apart.
    Lognormal {
        /// In bytes.
        median: u64,
        /// Of the logarithm to the base e.
        sigma: f64,
    },
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither `fixed:BYTES` nor `lognormal:MEDIAN:SIGMA`");
        let size = |text: &str| text.parse::<Size>().map(|size| size.0).map_err(|_| wrong());
        let mut parts = text.split(':');
        let sizes = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("fixed"), Some(bytes), None, None) => Self::Fixed(size(bytes)?),
            (Some("lognormal"), Some(median), Some(sigma), None) => {
                let sigma = sigma.parse().map_err(|_| wrong())?;
                Self::Lognormal { median: size(median)?, sigma }
            }
            _ => return Err(wrong()),
        };
        match sizes {
            Self::Lognormal { sigma, .. } if !(0.0..=10.0).contains(&sigma) => {
                Err(format!("sigma must be between 0 and 10, not {sigma}"))
            }
            sizes => Ok(sizes),
        }
    }
}

impl Sizes {
    /// The size of an object.
    fn of(self, object: u64, seed: u64) -> u64 {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Lognormal { median, sigma } => {
                let mut chance = Rng::new(scramble(seed ^ scramble(object)));
                // Box and Muller: two even numbers make a normal one.
                let radius = (-2.0 * (1.0 - chance.fraction()).ln()).sqrt();
                let normal = radius * (TAU * chance.fraction()).cos();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float beyond the range becomes its end"
                )]
                let bytes = (median as f64 * (sigma * normal).exp()).round() as u64;
                bytes.clamp(1, LARGEST)
            }
        }
    }
}

/// The largest object, 1 PiB; sums stay far from the end of 64 bits.
const LARGEST: u64 = 1 << 50;

/// An endless sequence of requests: object and size.
#[derive(Debug)]
pub struct Generator {
    workload: Workload,
    sizes: Sizes,
    seed: u64,
    chance: Rng,
    /// Up to each rank, the sum of the weights.
    sums: Vec<f64>,
    /// Requests so far.
    count: u64,
}

impl Generator {
    /// A generator with `objects` objects by Zipf's law with the exponent `alpha`; 0 asks for all alike.
    pub fn new(workload: Workload, objects: u64, alpha: f64, sizes: Sizes, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=objects)
            .map(|rank| {
                sum += (rank as f64).powf(-alpha);
                sum
            })
            .collect();
        Self { workload, sizes, seed, chance: Rng::new(seed), sums, count: 0 }
    }

    /// A rank from 0 by Zipf's law.
    fn rank(&mut self) -> u64 {
        let at = self.chance.fraction() * self.sums.last().copied().unwrap_or_default();
        let rank = self.sums.partition_point(|&sum| sum <= at);
        rank.min(self.sums.len().saturating_sub(1)) as u64
    }

    fn object(&mut self) -> u64 {
        let objects = self.sums.len() as u64;
        let count = self.count;
        match self.workload {
            Workload::Zipf => self.rank(),
            Workload::Scan { between, sweep } => {
                let at = count % (between + sweep).max(1);
                if at < between { self.rank() } else { objects + at - between }
            }
            Workload::Shift { every } => {
                let moved = (count / every.max(1)).wrapping_mul((objects / 10).max(1));
                (self.rank() + moved % objects.max(1)) % objects.max(1)
            }
        }
    }
}

impl Iterator for Generator {
    /// Object and size.
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let object = self.object();
        self.count += 1;
        Some((object, self.sizes.of(object, self.seed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_asks_the_same_and_another_does_not() {
        let some = |seed| {
            let sizes = Sizes::Lognormal { median: 1000, sigma: 1.0 };
            Generator::new(Workload::Zipf, 1000, 0.9, sizes, seed).take(100).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn ranks_follow_the_law() {
        let mut times = vec![0_u32; 100];
        Generator::new(Workload::Zipf, 100, 1.0, Sizes::Fixed(1), 3)
            .take(500_000)
            .for_each(|(object, _)| times[object as usize] += 1);
        let whole: f64 = (1..=100).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = 500_000.0 / f64::from(rank) / whole;
            let got = f64::from(times[rank as usize - 1]);
            assert!((got - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {got}, not {expected}");
        }
    }

    #[test]
    fn a_loop_sweeps_in_order_and_a_shift_moves_on() {
        let looped = Workload::Scan { between: 0, sweep: 3 };
        let objects: Vec<u64> =
            Generator::new(looped, 10, 1.0, Sizes::Fixed(1), 1).take(7).map(|(object, _)| object).collect();
        assert_eq!(objects, [10, 11, 12, 10, 11, 12, 10]);
        // With this exponent all ask for the first rank.
        let shift = Workload::Shift { every: 2 };
        let objects: Vec<u64> =
            Generator::new(shift, 20, 60.0, Sizes::Fixed(1), 1).take(6).map(|(object, _)| object).collect();
        assert_eq!(objects, [0, 0, 2, 2, 4, 4]);
    }

    #[test]
    fn sizes_are_an_objects_own_and_lognormal() {
        let sizes: Sizes = "lognormal:8KiB:1.5".parse().unwrap();
        let mut drawn: Vec<u64> = (0..10_001).map(|object| sizes.of(object, 9)).collect();
        assert_eq!(drawn[7], sizes.of(7, 9));
        drawn.sort_unstable();
        assert!((7600..8800).contains(&drawn[5000]), "median {}", drawn[5000]);
        // One in 6.3 is a sigma above: e^1.5 times the median.
        let above = drawn.iter().filter(|&&size| size as f64 > 8192.0 * 1.5_f64.exp()).count();
        assert!((1480..1700).contains(&above), "{above}");
        for wrong in ["", "fixed", "fixed:x", "fixed:1:2", "lognormal:5", "lognormal:5:-1", "lognormal:5:NaN"]
        {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
