//! The dashboard in a real browser: what it shows is what happens, on any screen, and nothing leaves its origin.
//!
//! With `POINTSMAN_SCREENSHOTS` set to a folder, two minutes of traffic are shown and pictures are put there.

mod actions;
mod many;
mod numbers;
mod pictures;

use crate::{
    collapse::{cached, metric},
    support::{
        Client, Origin, Proxy, Reply,
        browser::{Browser, is_there},
        client::token_of,
        eventually,
        proxy::{config, folder},
    },
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// What takes a backend out soon, and does not let it in again.
const OUTLIER: &str = "[upstream.outlier]\nconsecutive_failures = 3\nbase_ejection = \"300s\"\n";

/// A configuration with the admin endpoint, and without an access log, which would bury a failure's output.
fn quiet(backends: &[SocketAddr], more: &str) -> String {
    let text = config(backends, &format!("{more}{ADMIN}"));
    text.replace("[log]\n", "[log]\naccess = \"off\"\n")
}

fn page(proxy: &Proxy) -> String {
    format!("http://{}/", proxy.address("admin"))
}

/// Opens the dashboard, as somebody who has given the token.
fn show(browser: &Browser, proxy: &Proxy) {
    let token = token_of(proxy.address("admin")).unwrap();
    browser.open(&format!("{}healthz", page(proxy)));
    browser.run(&format!("sessionStorage.setItem('pointsman-token', '{token}')"));
    browser.open(&page(proxy));
}

/// The row of the backend with this number, of the only upstream.
fn backend(number: usize, cell: &str) -> String {
    format!("#upstream-list tbody tr:nth-child({}) {cell}", number + 1)
}

/// Whether a share is this, but for a few requests that fell into another second.
fn is_about(text: &str, percent: i32) -> bool {
    let share = text.split_once(" %").and_then(|(share, _)| share.parse::<i32>().ok());
    share.is_some_and(|share| (share - percent).abs() <= 5)
}

/// Clients that ask again and again until this is dropped.
struct Load(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Load {
    /// Asks for these in turn, with a pause that depends on the seconds since the start.
    fn start(proxy: &Proxy, targets: &'static [&'static str], pause: fn(f32) -> u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, address, begun) = (is_over.clone(), proxy.address("web"), Instant::now());
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            for target in targets.iter().cycle() {
                if over.load(SeqCst) {
                    return;
                }
                client.get(target);
                std::thread::sleep(Duration::from_millis(pause(begun.elapsed().as_secs_f32())));
            }
        });
        Self(is_over, Some(thread))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

/// What must hold of every page at its end.
fn check_silence(browser: &Browser, origin: &str) {
    assert_eq!(browser.console(), Vec::<String>::new(), "nothing is complained about");
    let asked = browser.asked();
    assert!(asked.iter().any(|address| address.ends_with("/api/v1/traffic")), "{asked:?}");
    let is_inside = |address: &&String| address.starts_with(origin) || address.starts_with("data:");
    let outside: Vec<&String> = asked.iter().filter(|it| !is_inside(it)).collect();
    assert!(outside.is_empty(), "left the origin: {outside:?}");
}
