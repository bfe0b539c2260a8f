//! A rewrite of a request's target, ready to be made.

use super::conf::RewriteConf;
use crate::template::{Context, Template, Use};

/// How host and path change on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Removed from the beginning of the path; may be empty.
    pub strip_prefix: String,
    /// The whole new path.
    pub path: Option<Template>,
    /// The new host.
    pub host: Option<Template>,
}

impl Rewrite {
    /// The rewrite that is configured so.
    pub fn of(conf: &RewriteConf) -> Self {
        let template =
            |text: &str, context| (!text.is_empty()).then(|| Template::of(text, Use::Rewrite, context));
        Self {
            strip_prefix: conf.strip_prefix.clone(),
            path: template(&conf.path, Context::Path),
            host: template(&conf.host, Context::Host),
        }
    }

    /// Everything in it that may name a group of a path's regular expression.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.path.iter().chain(&self.host)
    }
}
