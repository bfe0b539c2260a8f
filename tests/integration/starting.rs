//! What comes while the program starts.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{eventually, proxy::folder};

/// As of `killall -USR1`, by which a rotation of logs reaches a program that is there only just.
#[test]
fn signals_that_ask_for_something_do_not_end_a_start() {
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    store.set_nonblocking(true).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["run", "--config", &format!("etcd://{}/pointsman/config", store.local_addr().unwrap())])
        .env("STATE_DIRECTORY", folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It reads its configuration for as long as the store says nothing.
    let mut asked = None;
    eventually("it asks the store", || {
        asked = store.accept().ok();
        asked.is_some()
    });
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    drop(store);
    drop(asked);
    let mut ended = None;
    eventually("it ends", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    // By itself, since there is no configuration; by a signal there is no status.
    assert_eq!(ended.unwrap().code(), Some(1));
}
