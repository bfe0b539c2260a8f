//! Types that are std's outside of a [`model`] and the checker's inside, so that the tests of a file need not all be
//! models, nor be built a second time.

use std::{
    cell::{Cell, RefCell},
    ops::{Deref, DerefMut},
    sync::{LockResult, PoisonError, atomic::Ordering},
};

use loom::model::Builder;

thread_local! {
    /// Whether this thread runs a model. The checker's threads are coroutines of the one that began the model.
    static IS_MODEL: Cell<bool> = const { Cell::new(false) };
    /// What decides in a [`simulate`]d model which thread goes on.
    static ORDER: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// Runs `threads` in every order in which they change places at most `preemptions` times without having to.
pub(crate) fn model(preemptions: usize, threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    check(builder, threads);
}

/// Runs `threads` once, in an order that `seed` decides: for many seeds in the place of all orders, where there are too
/// many of these.
pub(crate) fn simulate(seed: u64, threads: impl Fn() + Send + Sync + 'static) {
    ORDER.set(Some(fastrand::Rng::with_seed(seed)));
    let mut builder = Builder::new();
    // It looks before each run, the first included.
    (builder.checkpoint_interval, builder.max_permutations) = (1, Some(2));
    check(builder, threads);
}

fn check(mut builder: Builder, threads: impl Fn() + Send + Sync + 'static) {
    struct Within;
    impl Drop for Within {
        fn drop(&mut self) {
            IS_MODEL.set(false);
            ORDER.set(None);
        }
    }
    let _within = Within;
    IS_MODEL.set(true);
    builder.max_branches = 10_000;
    builder.check(threads);
}

/// Where a thread may be followed by another.
fn step() {
    let is_over = ORDER.with_borrow_mut(|order| order.as_mut().is_some_and(fastrand::Rng::bool));
    if is_over && !std::thread::panicking() {
        loom::thread::yield_now();
    }
}

/// A fence of std's or of the checker's.
pub(crate) fn fence(order: Ordering) {
    match IS_MODEL.get() {
        true => loom::sync::atomic::fence(order),
        false => std::sync::atomic::fence(order),
    }
}

#[derive(Debug)]
pub(crate) enum Mutex<T> {
    Std(std::sync::Mutex<T>),
    Model(loom::sync::Mutex<T>),
}

#[derive(Debug)]
pub(crate) enum MutexGuard<'a, T> {
    Std(std::sync::MutexGuard<'a, T>),
    Model(loom::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        match IS_MODEL.get() {
            true => Self::Model(loom::sync::Mutex::new(value)),
            false => Self::Std(std::sync::Mutex::new(value)),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self {
            Self::Std(lock) => match lock.lock() {
                Ok(guard) => Ok(MutexGuard::Std(guard)),
                Err(poison) => Err(PoisonError::new(MutexGuard::Std(poison.into_inner()))),
            },
            Self::Model(lock) => {
                step();
                Ok(MutexGuard::Model(lock.lock().unwrap_or_else(PoisonError::into_inner)))
            }
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Std(guard) => guard,
            Self::Model(guard) => guard,
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Std(guard) => guard,
            Self::Model(guard) => guard,
        }
    }
}

/// The thread ends, and what it had of its own is gone.
#[derive(Debug)]
pub(crate) struct Ended;

/// What each thread has its own of; inside a model, each of the model's.
pub(crate) struct LocalKey<T: 'static> {
    pub(crate) std: &'static std::thread::LocalKey<RefCell<T>>,
    pub(crate) model: &'static loom::thread::LocalKey<RefCell<T>>,
}

impl<T> LocalKey<T> {
    pub(crate) fn try_with<R>(&'static self, with: impl FnOnce(&RefCell<T>) -> R) -> Result<R, Ended> {
        match IS_MODEL.get() {
            true => self.model.try_with(with).map_err(|_| Ended),
            false => self.std.try_with(with).map_err(|_| Ended),
        }
    }

    pub(crate) fn with_borrow<R>(&'static self, with: impl FnOnce(&T) -> R) -> R {
        self.try_with(|value| with(&value.borrow())).unwrap()
    }

    pub(crate) fn with_borrow_mut<R>(&'static self, with: impl FnOnce(&mut T) -> R) -> R {
        self.try_with(|value| with(&mut value.borrow_mut())).unwrap()
    }
}

/// As std's `thread_local`, of a `RefCell`.
macro_rules! local {
    (static $name:ident: RefCell<$type:ty> = $init:expr;) => {
        static $name: $crate::sync::checked::LocalKey<$type> = {
            std::thread_local! { static STD: RefCell<$type> = $init; }
            loom::thread_local! { static MODEL: RefCell<$type> = $init; }
            $crate::sync::checked::LocalKey { std: &STD, model: &MODEL }
        };
    };
}
pub(crate) use local;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) enum $name {
            Std(std::sync::atomic::$name),
            Model(loom::sync::atomic::$name),
        }

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                match IS_MODEL.get() {
                    true => Self::Model(loom::sync::atomic::$name::new(value)),
                    false => Self::Std(std::sync::atomic::$name::new(value)),
                }
            }

            #[allow(dead_code, reason = "each type has the same, whatever the code needs of it today")]
            pub(crate) fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match self {
                    Self::Std(atomic) => atomic.compare_exchange(from, to, order, failure),
                    Self::Model(atomic) => {
                        step();
                        atomic.compare_exchange(from, to, order, failure)
                    }
                }
            }

            atomic!(load() -> $value);
            atomic!(store(value: $value) -> ());
            atomic!(swap(value: $value) -> $value);
            atomic!(fetch_add(value: $value) -> $value);
            atomic!(fetch_sub(value: $value) -> $value);
        }
    };
    ($method:ident($($argument:ident: $type:ty)?) -> $result:ty) => {
        #[allow(dead_code, reason = "each type has the same, whatever the code needs of it today")]
        pub(crate) fn $method(&self, $($argument: $type,)? order: Ordering) -> $result {
            match self {
                Self::Std(atomic) => atomic.$method($($argument,)? order),
                Self::Model(atomic) => {
                    step();
                    atomic.$method($($argument,)? order)
                }
            }
        }
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicUsize, usize);
