//! Every policy in a simulated world: a clock of events, backends with service times, several workers.
