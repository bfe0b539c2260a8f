//! The live view where there is no terminal: a line at each look.

use super::{
    frame::{latency, per_second},
    view::View,
};
use crate::cli::{
    answers::{list, text},
    table::bytes,
};

/// The figures of a view in one line.
pub(super) fn one_line(view: &View) -> String {
    let all = || list(&view.upstreams, "upstreams").iter().flat_map(|it| list(it, "backends"));
    let up = all().filter(|it| text(it, "state") == "up").count();
    let rest = format!("{} connections, {up} of {} backends up", view.sample.connections, all().count());
    match (&view.trouble, &view.rates) {
        (Some(trouble), _) => trouble.replace('\n', "; "),
        (None, None) => format!("process {}, generation {}, {rest}", view.sample.pid, view.sample.generation),
        (None, Some(rates)) => {
            let [p50, p90, p99] = rates.percentiles.map(latency);
            format!(
                "{} requests/s, {} errors/s, p50 {p50}, p90 {p90}, p99 {p99}, in {}/s, out {}/s, {rest}",
                per_second(rates.requests),
                per_second(rates.errors()),
                bytes(rates.bytes_in),
                bytes(rates.bytes_out),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::watch::view::example_of_view as view;

    #[test]
    fn a_line_has_the_figures() {
        let expected = "1234 requests/s, 2.4 errors/s, p50 1.2 ms, p90 12 ms, p99 >10.0 s, in 1.0 KiB/s, \
                        out 2.0 KiB/s, 3 connections, 1 of 2 backends up";
        assert_eq!(one_line(&view()), expected);
        let gone = View { trouble: Some("nothing listens there".into()), ..view() };
        assert_eq!(one_line(&gone), "nothing listens there");
        let first = View { rates: None, ..view() };
        assert_eq!(one_line(&first), "process 4711, generation 3, 3 connections, 1 of 2 backends up");
    }
}
