//! Which route a request takes. Pure: a [`table::Table`] per listener, [`matcher::Facts`] of a request in,
//! a route out.
//!
//! Previous stop: `http::normalize`; next stop: `http::edit`. The precedence is that of the Kubernetes
//! Gateway API: exact host, longest wildcard host (`*.a` before `a.*`), regular expression, any host; then exact path, longest prefix, regular
//! expression, any path; then a rule that names methods; then more headers; then more query
//! parameters; then more other conditions; then file order. A request that fails a rule's conditions falls through to the next.

pub mod condition;
pub mod conf;
pub mod host;
pub mod matcher;
pub mod names;
pub mod rewrite;
pub mod spelling;
pub mod table;
