//! `[trace]`: sending traces elsewhere.

use std::time::Duration;

use super::collector::{Headers, Otlp};
use crate::{
    schema::{Table, section},
    tls::conf::UpstreamTlsConf,
};

section! {
    /// OpenTelemetry traces.
    pub struct TraceConf {
        /// URL of a collector that accepts OTLP over HTTP, such as `http://collector:4318`; empty = off.
        pub otlp: Otlp = "";
        /// Fraction of requests to trace, unless a trusted client has already decided.
        pub sample: f64 = 0.01, in 0 to 1;
        /// Name to report to the collector (`service.name`).
        pub service_name: String = "pointsman";
        /// Header fields to send to the collector; values can come from a file or the environment.
        pub headers: Headers = {};
        /// Time limit for the collector's answer.
        pub timeout: Duration = "10s", in "100ms" to "60s";
        /// TLS settings for an `https://` collector; by default the system's CA certificates are trusted.
        pub tls: Option<UpstreamTlsConf>;
    }
    check Self::check;
}

impl TraceConf {
    /// Whether requests have a place in a trace.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.otlp.0.is_some()
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        let is_plain = self.otlp.0.as_ref().is_some_and(|endpoint| !endpoint.is_https);
        if is_plain && self.tls.is_some() {
            let message = "`tls` has no effect for a collector at `http://`";
            table.reader.problem_with(table.place_of("tls"), message, "use `https://`, or leave it out");
        }
        if self.service_name.trim().is_empty() {
            let message = "`service_name` is empty";
            let hint = "leave it out for the default, \"pointsman\"";
            table.reader.problem_with(table.place_of("service_name"), message, hint);
        }
    }
}
