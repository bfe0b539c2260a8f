//! Origins that answer before they have read a write of the journal.

use std::sync::mpsc;

use super::*;
use crate::support::PATIENCE;

#[test]
fn write_goes_whole_to_an_origin_that_answers_early() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let (came, all) = mpsc::channel();
    let came = Mutex::new(came);
    let origin = Origin::start(move |request| {
        let (mut request, came) = (request.clone(), came.lock().unwrap().clone());
        Reply::Take(Box::new(move |connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let is_whole = connection.read_body(&mut request);
            let _ = came.send((is_whole, request.body.len()));
        }))
    });
    let folder = proxy::folder();
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let body = "x".repeat(LENGTH);
    assert_eq!(write(&mut proxy.connect(), "PUT", "/large", "", &body).status, 202);
    assert_eq!(all.recv_timeout(PATIENCE).unwrap(), (true, LENGTH));
    eventually("it is delivered", || waiting(&proxy) == 0);
    assert!(all.try_recv().is_err(), "it is delivered once");
}
