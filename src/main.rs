//! The program: arguments → telemetry → config → run → exit status.

fn main() {}
