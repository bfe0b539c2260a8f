//! keepalived and FRR as the other node.
