//! The end of an attempt, which cannot fail: a generation becomes the current one, and the one before it
//! is freed when nobody holds it any more.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::task::spawn_blocking;

use super::{
    engine::{Engine, Event},
    prepare::Prepared,
    state::InForce,
    watch,
};
use crate::{
    account,
    backend::Admin,
    cache::store::{Cache, Change, Store},
    listen::{admin_sockets::Each, bind::Bound, listener_sockets::Acquired, mailbox::Message},
    moment::Moment,
    runtime::{ListenerId, Snapshot, registry::Live},
    telemetry::program_log,
    upstream::conf::BackendState,
};

impl Engine {
    /// Makes a generation the current one. Cannot fail.
    pub(super) fn publish(
        &mut self,
        prepared: Prepared,
        acquired: Acquired,
        admin: Each<Option<Bound>>,
        before: &Arc<Snapshot>,
    ) {
        let Prepared { text, included, file, overrides, names, snapshot, folders, hashes, .. } = prepared;
        let snapshot = Arc::new(snapshot);
        settle_states(&snapshot, Some(before));
        self.shared.registry.note_caches(&snapshot.caches);
        self.folders.begin(apply_caches(&snapshot, folders, before));
        account::set_limit(snapshot.config.runtime.memory.0);
        // One that an administrator set stays until the file says another.
        if before.config.log.level != snapshot.config.log.level {
            program_log::set_level(snapshot.config.log.level.filter());
        }
        let closing: Vec<ListenerId> = before
            .listeners
            .iter()
            .map(|listener| listener.slot)
            .filter(|slot| snapshot.listener(*slot).is_none())
            .collect();
        for listener in &snapshot.listeners {
            self.shared.registry.note_listener(&listener.conf, (listener.slot, &listener.shared));
        }
        self.shared.snapshot.store(snapshot.clone());
        let changes = self.sockets.commit(acquired, self.mailboxes.workers());
        self.sockets.apply(&snapshot);
        for (worker, change) in changes.into_iter().enumerate() {
            // A worker ends only with the program.
            let _ = self.mailboxes.send(worker, Message::Published(change));
        }
        self.endings.leave_alone(|slot| snapshot.listener(slot).is_some());
        self.endings.begin(closing, snapshot.config.runtime.drain_timeout, &self.mailboxes);
        let (path, store) = self.state.in_force.load().place();
        let in_force = InForce {
            path,
            store,
            text,
            included,
            file: Arc::new(file),
            overrides,
            names,
            addresses: self.sockets.addresses(),
            hash: watch::fingerprint(&hashes),
            hashes,
        };
        let old = self.state.in_force.swap(Arc::new(in_force));
        // Ten thousand routes are not freed on the loop.
        drop(spawn_blocking(move || drop(old)));
        self.retired.push(before.clone());
        // The control side ends before the engine only when the program does.
        let _ = self.events.send(Event::Published(snapshot, admin));
    }

    /// Frees the generations that nobody holds any more, off the loop: ten thousand routes take their time.
    pub(super) async fn retire(&mut self) {
        let (free, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retired).into_iter().partition(|old| Arc::strong_count(old) == 1);
        self.retired = held;
        if free.is_empty() {
            return;
        }
        let current = self.shared.snapshot.load_full();
        let (live, shared): (Vec<_>, _) = (self.retired.clone(), self.shared.clone());
        // Waited for, so that no generation is built while names are forgotten.
        let freed = spawn_blocking(move || {
            drop(free);
            let mut kept = Live::default();
            for snapshot in live.iter().chain([&current]) {
                let backends = snapshot.upstreams.iter().flat_map(|upstream| &upstream.backends);
                kept.backends.extend(backends.map(|backend| Arc::as_ptr(&backend.shared) as usize));
                kept.routes.extend(snapshot.routes.iter().map(|route| route.name.clone()));
                let caches = snapshot.caches.iter().chain(snapshot.routes.iter().flat_map(|it| &it.cache));
                kept.caches.extend(caches.map(|cache| Arc::as_ptr(&cache.store) as usize));
            }
            shared.registry.keep_only(&kept);
        });
        if freed.await.is_err() {
            tracing::error!("freeing old configurations panicked, which is a bug");
        }
    }
}

/// Gives each cache the limits that it has now, and its folders, when it is called: what has no room any more is freed, and
/// folders are closed, off the loop. Those of caches that are left out are for others from here on, however long exchanges
/// still have such a cache.
fn apply_caches(
    snapshot: &Snapshot,
    folders: Vec<Change>,
    before: &Snapshot,
) -> impl FnOnce() + Send + 'static {
    let caches = snapshot.caches.clone();
    let kept: HashSet<*const Store> = caches.iter().map(|cache| Arc::as_ptr(&cache.store)).collect();
    let all_before = before.caches.iter().map(|cache| &cache.store);
    let left_out: Vec<_> = all_before.filter(|it| !kept.contains(&Arc::as_ptr(it))).cloned().collect();
    move || {
        left_out.iter().for_each(|store| store.take_out());
        for (cache, change) in caches.iter().zip(folders) {
            cache.store.apply(Some(Cache::shape(&cache.conf)), Some(change));
        }
    }
}

/// Applies what each backend's state is to be, and how many may wait for one. `before` is the generation
/// that held so far.
pub(super) fn settle_states(snapshot: &Snapshot, before: Option<&Snapshot>) {
    let old: HashMap<_, _> = before
        .iter()
        .flat_map(|before| &before.upstreams)
        .map(|upstream| (upstream.name, upstream))
        .collect();
    let now = Moment::now();
    for upstream in &snapshot.upstreams {
        // An upstream that is new as a whole has nothing to ramp up against.
        let old = old.get(&upstream.name);
        if old.is_some_and(|old| Arc::ptr_eq(old, upstream)) {
            continue;
        }
        upstream.queue.set_most(upstream.conf.queue.size as usize);
        for (backend, conf) in upstream.backends.iter().zip(&upstream.conf.backend) {
            let state = match conf.state {
                BackendState::Enabled => Admin::Enabled,
                BackendState::Draining => Admin::Draining,
                BackendState::Disabled => Admin::Disabled,
            };
            let was = backend.shared.admin.swap(state as u8, Relaxed);
            let comes_back = state == Admin::Enabled && was != Admin::Enabled as u8;
            // What stood there in another form, as a name or as its addresses, is known too.
            let is_added = old.is_some() && !backend.shared.is_known.load(Relaxed);
            if comes_back || is_added {
                // It may be cold. One that is ejected for longer has a later beginning.
                backend.shared.up_since.fetch_max(now.0, Relaxed);
            }
            backend.set_limit();
        }
        upstream.queue.set_when_all_down(upstream.conf.when_all_down);
        // There may be room for those who wait, or nothing to wait for.
        upstream.queue.call_if_free(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path, process};

    use super::*;
    use crate::{
        cache::{
            date::Date,
            freshness::Times,
            key::{Key, KeySettings},
            policy::Policy,
            stored_head::StoredHead,
            stored_response::{Body, StoredResponse},
        },
        config,
        fields::Fields,
        h1::{RequestHead, ResponseHead},
        runtime::{build, cache_key::CacheKey, registry::Registry},
        tls::tickets::Tickets,
    };

    const CONFIG: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\n\
        backend = [{ address = \"127.0.0.1:1\" }]\n[[route]]\nname = \"all\"\nupstream = \"app\"\n";

    /// A generation of this configuration.
    fn snapshot(text: &str, registry: &Registry) -> Snapshot {
        let config = config::parse(text, Path::new("test.toml")).unwrap();
        build::build(config, 1, registry, &Tickets::new(Moment::now()).unwrap()).unwrap()
    }

    /// Has it store something.
    fn put(cache: &Cache) {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.fields.push("cache-control", b"max-age=86400");
        let times = Times { requested: Date(1_795_000_000), received: Date(1_795_000_000) };
        let entry = StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times).unwrap();
        let key = Key::of("http", "a", None, "/", &Fields::default(), &KeySettings::default());
        let object = StoredResponse::new(key, &Fields::default(), entry, Body::of([])).unwrap();
        cache.put(Arc::new(object)).unwrap();
    }

    /// Its folder is open in this program, and could not be opened a second time; what is in it is as good as before.
    #[test]
    fn a_cache_with_another_name_keeps_its_folder() {
        let folder = env::temp_dir().join(format!("pointsman-renamed-{}", process::id()));
        let registry = Registry::new(1);
        let disk = format!("disk = {{ path = {folder:?}, size = \"64MiB\" }}\n");
        let of_one = |name: &str| format!("{CONFIG}cache = \"{name}\"\n[[cache]]\nname = \"{name}\"\n{disk}");
        let of_both = format!(
            "{CONFIG}cache = \"d\"\n[[route]]\nname = \"other\"\npaths = [\"/other\"]\nupstream = \"app\"\n\
             cache = \"c\"\n[[cache]]\nname = \"c\"\n[[cache]]\nname = \"d\"\n{disk}"
        );
        let first = snapshot(&of_one("c"), &registry);
        let prepare = |cache: &Cache| cache.store.prepare(&cache.conf).unwrap();
        apply_caches(&first, vec![prepare(&first.caches[0])], &first)();
        put(&first.caches[0]);
        let second = snapshot_after(&of_one("d"), &registry, &first);
        let cache = &second.caches[0];
        let change = prepare(cache);
        // Were it refused still, the two would be two.
        assert!(!Arc::ptr_eq(&registry.cache(CacheKey::Named("d".into()), None), &cache.store));
        registry.note_caches(&second.caches);
        apply_caches(&second, vec![change], &first)();
        assert!(cache.store.disk.is_open());
        assert_eq!(cache.store.memory.as_ref().unwrap().stats().objects, 1);
        let third = snapshot_after(&of_both, &registry, &second);
        assert!(Arc::ptr_eq(&third.caches[1].store, &cache.store));
        assert!(!Arc::ptr_eq(&third.caches[0].store, &cache.store), "the older name is another's");
        assert!(Arc::ptr_eq(&registry.cache(CacheKey::Named("d".into()), None), &cache.store));
        drop((first, second, third, registry));
        fs::remove_dir_all(folder).unwrap();
    }

    /// The generation after another.
    fn snapshot_after(text: &str, registry: &Registry, before: &Snapshot) -> Snapshot {
        let config = config::parse(text, Path::new("test.toml")).unwrap();
        let tickets = Tickets::new(Moment::now()).unwrap();
        let before = Some(before);
        build::Builder { generation: 2, registry, tickets: &tickets, before }.build(config).unwrap()
    }

    /// However long exchanges of an older generation still have the cache; and should it come back, it has not heard of
    /// what was written to meanwhile.
    #[test]
    fn a_cache_that_is_left_out_keeps_nothing() {
        let folder = env::temp_dir().join(format!("pointsman-publish-{}", process::id()));
        let registry = Registry::new(1);
        let disk = format!("disk = {{ path = {folder:?}, size = \"64MiB\" }}\n");
        let with = format!("{CONFIG}cache = \"c\"\n[[cache]]\nname = \"c\"\n{disk}");
        let [with, without] = [with.as_str(), CONFIG].map(|text| snapshot(text, &registry));
        let cache = &with.caches[0];
        apply_caches(&with, vec![cache.store.prepare(&cache.conf).unwrap()], &without)();
        put(cache);
        let objects = || cache.store.memory.as_ref().unwrap().stats().objects;
        assert_eq!((cache.store.disk.is_open(), objects()), (true, 1));
        apply_caches(&without, Vec::new(), &with)();
        assert_eq!((cache.store.disk.is_open(), objects()), (false, 0));
        let mut names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.any(|name| name.to_string_lossy().starts_with("missed-")));
        drop((with, registry));
        fs::remove_dir_all(folder).unwrap();
    }
}

#[cfg(test)]
mod ramp_tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config,
        runtime::{addresses::Addresses, build, registry::Registry},
        tls::tickets::Tickets,
        upstream::discover::Discovered,
    };

    struct Generations {
        registry: Registry,
        tickets: Arc<Tickets>,
        addresses: Addresses,
        current: Option<Snapshot>,
    }

    impl Default for Generations {
        fn default() -> Self {
            let tickets = Tickets::new(Moment::now()).unwrap();
            Self { registry: Registry::new(1), tickets, addresses: Addresses::default(), current: None }
        }
    }

    impl Generations {
        /// Another generation, with these backends of `app` and this more.
        fn publish(&mut self, backends: &str, more: &str) {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\n\
                 upstream = \"app\"\n[[upstream]]\nname = \"app\"\nslow_start = \"30s\"\nbackend = [{backends}]\n{more}"
            );
            let mut config = config::parse(&text, "test.toml".as_ref()).unwrap();
            self.addresses.expand(&mut config.upstream[0]);
            let before = self.current.as_ref();
            let generation = before.map_or(1, |before| before.generation + 1);
            let builder =
                build::Builder { generation, registry: &self.registry, tickets: &self.tickets, before };
            let snapshot = builder.build(config).unwrap();
            settle_states(&snapshot, before);
            self.current = Some(snapshot);
        }

        /// For each backend of an upstream the beginning of its ramp.
        fn ramps(&self, upstream: usize) -> Vec<u64> {
            let backends = &self.current.as_ref().unwrap().upstreams[upstream].backends;
            backends.iter().map(|backend| backend.shared.up_since.load(Relaxed)).collect()
        }
    }

    #[test]
    fn only_what_is_added_to_a_running_upstream_ramps_up() {
        let mut generations = Generations::default();
        let (a, b) = ("{ address = \"127.0.0.1:1\" }", "{ address = \"127.0.0.1:2\" }");
        generations.publish(a, "");
        assert_eq!(generations.ramps(0), [0], "a fleet that starts has nothing to ramp up against");
        let other = format!("[[upstream]]\nname = \"other\"\nbackend = [{a}]\n");
        generations.publish(&format!("{a}, {b}"), &other);
        assert_eq!(generations.ramps(1), [0], "the same of an upstream that is new");
        let ramps = generations.ramps(0);
        assert!(ramps[0] == 0 && ramps[1] > 0, "{ramps:?}");
        // Whatever else changes of it.
        generations.publish(&format!("{b}, {}", a.replace(" }", ", weight = 2 }")), &other);
        assert_eq!(generations.ramps(0), [ramps[1], 0]);
    }

    #[test]
    fn name_that_becomes_several_does_not_ramp_up() {
        let mut generations = Generations::default();
        let name = "{ address = \"app.test:80\" }";
        generations.publish(name, "");
        let mut found = |servers: &[&str]| {
            let (upstream, address) = ("app".into(), "app.test:80".into());
            let servers = servers.iter().map(|it| it.parse().unwrap()).collect();
            let found = Discovered { upstream, address, servers, left_out: 0 };
            generations.addresses.note(found, Moment::now());
            generations.publish(name, "");
            generations.ramps(0)
        };
        assert_eq!(found(&["10.0.0.1:80", "10.0.0.2:80"]), [0, 0]);
        assert_eq!(found(&[]), [0]);
        assert_eq!(found(&["10.0.0.1:80", "10.0.0.2:80"]), [0, 0]);
        let joined = found(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert!(joined[..2] == [0, 0] && joined[2] > 0, "{joined:?}");
    }

    #[test]
    fn enabled_while_it_is_ejected_it_ramps_up_behind_that() {
        let mut generations = Generations::default();
        let disabled = "{ address = \"127.0.0.1:1\", state = \"disabled\" }";
        generations.publish(disabled, "");
        let later = Moment::now().plus(Duration::from_secs(300)).0;
        let shared = generations.current.as_ref().unwrap().upstreams[0].backends[0].shared.clone();
        shared.ejected_until.store(later, Relaxed);
        shared.up_since.store(later, Relaxed);
        generations.publish(&disabled.replace("disabled", "enabled"), "");
        assert_eq!(shared.admin.load(Relaxed), Admin::Enabled as u8);
        assert_eq!(generations.ramps(0), [later]);
    }
}
