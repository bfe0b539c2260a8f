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
        /// The collector, such as `http://collector:4318`, which takes OTLP over HTTP; empty = off.
        pub otlp: Otlp = "";
        /// Share of the requests that are traced, where no trusted client has decided.
        pub sample: f64 = 0.01, in 0 to 1;
        /// What the collector knows this Pointsman as (`service.name`).
        pub service_name: String = "pointsman";
        /// Header fields that the collector asks for; a value may be kept elsewhere.
        pub headers: Headers = {};
        /// How long the collector may take to answer.
        pub timeout: Duration = "10s", in "100ms" to "60s";
        /// TLS to a collector at `https://`; without it the system's authorities are trusted.
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
