//! A rewrite of a request's target, ready to be made.

use super::{
    conf::{QueryEditConf, RewriteConf},
    spelling::spelled,
};
use crate::{
    filter::Translate,
    schema::form::{decoded, encode},
    template::{Context, Scope, Template, Use},
};

/// How host and path change on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Removed from the beginning of the path; may be empty. As [`spelled`].
    pub strip_prefix: String,
    /// Put before what is left; without a `/` at its end, and may be empty.
    pub add_prefix: String,
    /// The whole new path.
    pub path: Option<Template>,
    /// The new host.
    pub host: Option<Template>,
    /// How the query changes.
    pub query: Option<QueryEdits>,
    /// The way back: what a backend names, as clients see it.
    pub places: Translate,
    /// Whether responses are told so; else clients see what the backend says.
    pub tells_places: bool,
    /// Those of its templates that may come out differently for requests for one URL; nearly always none.
    telling: Box<[Template]>,
    /// Those, and those that have something of the query, which a key may be without.
    apart: Box<[Template]>,
}

impl Rewrite {
    /// The rewrite that is configured so.
    pub fn of(conf: &RewriteConf) -> Self {
        let template =
            |text: &str, context| (!text.is_empty()).then(|| Template::of(text, Use::Rewrite, context));
        let path = template(&conf.path, Context::Path);
        let host = template(&conf.host, Context::Host);
        let query = conf.query.as_ref().map(QueryEdits::of);
        let of_query = query.iter().flat_map(QueryEdits::templates);
        let all: Vec<&Template> = path.iter().chain(&host).chain(of_query).collect();
        let those =
            |is: fn(&Template) -> bool| all.iter().filter(|it| is(it)).map(|it| (*it).clone()).collect();
        let telling = those(Template::tells_clients_apart);
        let apart = those(|template| template.tells_clients_apart() || template.is_of_query());
        Self {
            strip_prefix: spelled(&conf.strip_prefix),
            add_prefix: conf.add_prefix.trim_end_matches('/').to_owned(),
            path,
            host,
            query,
            places: Translate::of(&conf.strip_prefix, &conf.add_prefix, &conf.host),
            tells_places: conf.responses,
            telling,
            apart,
        }
    }

    /// Whether what the backend is asked for is known only to the node that has the client's connection.
    pub fn is_of_connection(&self) -> bool {
        self.telling.iter().any(Template::is_of_connection)
    }

    /// Whether what the backend is asked for depends on when it is asked.
    pub fn is_of_moment(&self) -> bool {
        let of_query = self.query.iter().flat_map(QueryEdits::templates);
        self.path.iter().chain(&self.host).chain(of_query).any(Template::is_of_moment)
    }

    /// The header fields that say what the backend is asked for.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.telling.iter().flat_map(Template::headers)
    }

    /// What the backend is asked for by something else than what a key has of the URL, in one text; `None` where there is no
    /// such thing. `lacks` says whether keys are without a parameter of this name, or without any.
    pub fn apart_of_key(&self, scope: &Scope<'_>, lacks: &dyn Fn(Option<&str>) -> bool) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.apart.iter().for_each(|template| template.write_apart(scope, lacks, &mut text));
        // Of each value there is its length at least.
        (!text.is_empty()).then_some(text)
    }
}

/// Edits of a query: removed, then renamed, then set, then added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryEdits {
    remove: Box<[String]>,
    rename: Box<[(String, String)]>,
    set: Box<[(String, Template)]>,
    add: Box<[(String, Template)]>,
}

impl QueryEdits {
    fn of(conf: &QueryEditConf) -> Self {
        let templates = |list: &[(String, String)]| {
            // Names and values are encoded as a whole.
            let template = |text: &str| Template::of(text, Use::Rewrite, Context::Plain);
            list.iter().map(|(name, value)| (name.clone(), template(value))).collect()
        };
        Self {
            remove: conf.remove.as_slice().into(),
            rename: conf.rename.as_slice().into(),
            set: templates(&conf.set),
            add: templates(&conf.add),
        }
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.set.iter().chain(&self.add).map(|(_, template)| template)
    }

    /// A query, without its `?`, after these edits; parameters that none of them names stay as they are written. Some
    /// backends part them at a `;` too, and what is removed reaches those no more than others.
    pub fn apply(&self, query: &str, scope: &Scope<'_>) -> String {
        let mut out = String::with_capacity(query.len());
        for pairs in query.split('&').filter(|pairs| !pairs.is_empty()) {
            let mut is_begun = false;
            for pair in pairs.split(';') {
                is_begun |= self.take(pair, is_begun, &mut out);
            }
        }
        for (name, template) in self.set.iter().chain(&self.add) {
            let mut value = Vec::new();
            template.write(scope, &mut value);
            if value.is_empty() && template.fixed().is_none() {
                continue;
            }
            separate(&mut out);
            encode(name.as_bytes(), &mut out);
            out.push('=');
            encode(&value, &mut out);
        }
        out
    }

    /// Writes a parameter as it is after these edits, behind others between two `&` or as the first of those. Whether
    /// anything is left of it.
    fn take(&self, pair: &str, is_behind: bool, out: &mut String) -> bool {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let is = |other: &str| !pair.is_empty() && decoded(name).eq(other.bytes());
        if self.remove.iter().any(|other| is(other)) {
            return false;
        }
        let renamed = self.rename.iter().find(|(from, _)| is(from)).map(|(_, to)| to.as_str());
        let is_set = match renamed {
            Some(to) => self.set.iter().any(|(other, _)| other == to),
            None => self.set.iter().any(|(other, _)| is(other)),
        };
        if is_set {
            return false;
        }
        if is_behind {
            out.push(';');
        } else {
            separate(out);
        }
        match renamed {
            Some(to) => encode(to.as_bytes(), out),
            None => out.push_str(name),
        }
        if let Some(value) = value {
            out.push('=');
            out.push_str(value);
        }
        true
    }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exchange::Exchange, template::Place};

    #[test]
    fn parameters_are_removed_renamed_set_and_added() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let edits = QueryEdits::of(&QueryEditConf {
            remove: vec!["utm source".to_owned()],
            rename: pairs(&[("q", "search"), ("old", "token")]),
            set: pairs(&[("token", "a&b=c"), ("who", "{header.x-who}")]),
            add: pairs(&[("by", "{method} us")]),
        });
        let mut exchange = Exchange::default();
        let mut applied = |query: &str, who: &str| {
            exchange.request.fields.set("x-who", who.as_bytes());
            edits.apply(query, &Scope { exchange: &exchange, place: Place::default() })
        };
        assert_eq!(
            applied("a=%41+b&utm+source=x&&q=1&q&%71=2&token=forged&old=forged&c", "ann"),
            "a=%41+b&search=1&search&search=2&c&token=a%26b%3Dc&who=ann&by=GET%20us"
        );
        // Some backends part them at a `;` too.
        assert_eq!(
            applied("a=1;utm+source=x;q=2;c&old=1;b=;&x=;", ""),
            "a=1;search=2;c&b=;&x=;&token=a%26b%3Dc&by=GET%20us"
        );
        // What a client says stands for nothing that is not there.
        assert_eq!(applied("who=admin", ""), "token=a%26b%3Dc&by=GET%20us");
    }
}
