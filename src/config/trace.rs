//! `[trace]`: sending traces elsewhere.

use crate::settings::section;

section! {
    /// OpenTelemetry traces.
    pub struct TraceConf {
        /// Share of the requests that are traced.
        pub sample: f64 = 0.01, in 0 to 1;
    }
    later {
        /// The collector, such as `http://collector:4318`; empty = off.
        otlp: String = "";
    }
}
