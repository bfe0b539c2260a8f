//! Whether a request is traced, and in which trace. Stop 4 of the path, beside the request's id.

use crate::{
    config::trace::TraceConf,
    exchange::Exchange,
    fields::Known,
    telemetry::trace::{Context, Parent, Recording},
};

/// Finds the request's place in a trace; with tracing off it is a branch and nothing more.
#[inline]
pub(super) fn start(exchange: &mut Exchange, conf: &TraceConf) {
    if conf.is_on() {
        begin(exchange, conf.sample);
    }
}

fn begin(exchange: &mut Exchange, sample: f64) {
    // Also when it is not sampled: the handshake belongs to the first request, not to the first sampled.
    let handshake = exchange.facts.peer.tls.as_ref().and_then(|tls| tls.handshake.take());
    let fields = &mut exchange.request.fields;
    let mut parents = fields.all_known(Known::Traceparent);
    let (first, second) = (parents.next(), parents.next());
    let parent = first.filter(|_| second.is_none()).and_then(Parent::parse);
    drop(parents);
    if parent.is_none() {
        // It is of a trace that does not go on (W3C Trace Context §3.3).
        fields.remove_known(Known::Tracestate);
    }
    let context = Context::begin(parent, exchange.facts.is_trusted(), sample, &mut || fastrand::u64(..));
    exchange.facts.trace = Some(context);
    exchange.facts.recording =
        context.is_sampled().then(|| Box::new(Recording { handshake, ..Recording::default() }));
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{exchange::Peer, moment::Moment};

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn begun(parents: &[&[u8]], is_trusted: bool, sample: f64) -> Exchange {
        let mut exchange = Exchange::default();
        exchange.reset(&Rc::new(Peer { is_trusted, ..Peer::default() }), Moment(1));
        for parent in parents {
            exchange.request.fields.push("TraceParent", parent);
        }
        exchange.request.fields.push("tracestate", b"a=b");
        begin(&mut exchange, sample);
        exchange
    }

    #[test]
    fn a_clients_trace_goes_on_with_its_state() {
        let exchange = begun(&[PARENT], true, 0.0);
        assert_eq!(exchange.facts.trace.unwrap().trace, Parent::parse(PARENT).unwrap().trace);
        assert!(exchange.facts.recording.is_some());
        assert!(exchange.request.fields.has(Known::Tracestate));
    }

    #[test]
    fn a_malformed_or_duplicate_traceparent_begins_a_new_trace() {
        for parents in [&[&b"nonsense"[..]][..], &[PARENT, PARENT], &[]] {
            let exchange = begun(parents, true, 0.0);
            let context = exchange.facts.trace.unwrap();
            assert_ne!(context.trace, Parent::parse(PARENT).unwrap().trace);
            assert_eq!(context.parent, None);
            assert!(exchange.facts.recording.is_none() && !exchange.request.fields.has(Known::Tracestate));
        }
    }

    #[test]
    fn an_exchange_that_is_used_again_has_no_trace() {
        let mut exchange = begun(&[], true, 1.0);
        assert!(exchange.facts.recording.is_some());
        exchange.reset(&Rc::default(), Moment(2));
        assert!(exchange.facts.trace.is_none() && exchange.facts.recording.is_none());
    }
}
