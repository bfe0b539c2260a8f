//! Texts of the configuration with placeholders, such as `{client_ip}`: read once, when the configuration is, and written
//! for each request that needs one.
//!
//! A text without a placeholder stays a text and costs what a text costs ([`Template::fixed`]). What comes out fits where
//! it goes ([`Context`]): no control character into a header, no markup into HTML, nothing into a URL that would be another
//! URL. A value is at most as long as the head that it is taken from, and one that is not there is empty.
//!
//! Used by `route` (edits), `http::edit` (redirects, rewrites), `http::handle` (own bodies) and `runtime` (the log).

mod escape;
mod filter;
mod foreign;
mod parse;
mod scope;
mod variable;
mod whole;

pub use self::{
    escape::Context,
    parse::{Fault, Use},
    scope::{Place, Scope},
    whole::Template,
};

#[cfg(test)]
mod tests;
