//! Overrides line by line, for people and programs, and as JSON for the next process.

use std::{fmt, path::Path};

use serde_json::{Value, json};

use super::{Overridden, Override, Overrides, What};
use crate::upstream::conf::{BackendConf, BackendState, written_alike};

/// One key that is overridden.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The upstream's name.
    pub upstream: String,
    /// The backend's name.
    pub backend: String,
    /// Its address.
    pub address: String,
    /// Where it is an address of a name: the name's address, as it is configured.
    pub of: Option<String>,
    /// `weight`, `state`, `added` or `removed`.
    pub key: &'static str,
    /// What the file says; null of an added backend.
    pub base: Value,
    /// What holds instead; null of a removed backend.
    pub value: Value,
}

impl Line {
    /// The line as answers of the admin API have it.
    pub fn to_json(&self) -> Value {
        json!({
            "upstream": self.upstream,
            "backend": self.backend,
            "address": self.address,
            "of": self.of,
            "key": self.key,
            "base": self.base,
            "value": self.value,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(f, "{}/{}: ", self.upstream, self.backend)?;
        if self.base.is_null() || self.value.is_null() {
            return f.write_str(self.key);
        }
        write!(f, "{} {} instead of {}", self.key, plain(&self.value), plain(&self.base))
    }
}

impl Overrides {
    /// Every overridden key, in the order in which they were made.
    pub fn lines(&self) -> Vec<Line> {
        self.list.iter().flat_map(Override::lines).collect()
    }

    /// The overridden keys of one backend.
    pub fn lines_of(&self, upstream: &str, address: &str) -> Vec<Line> {
        let of_backend = |it: &&Override| it.upstream == upstream && it.address == address;
        self.list.iter().filter(of_backend).flat_map(Override::lines).collect()
    }

    /// An array of [`Line::to_json`]; [`Overrides::from_json`] reads it.
    pub fn to_json(&self) -> Value {
        self.lines().iter().map(Line::to_json).collect()
    }

    /// The overrides that another process wrote with [`Overrides::to_json`]. The error is for people.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let lines = json.as_array().ok_or("overrides are an array")?;
        let mut all = Self::default();
        for line in lines {
            all.read(line).map_err(|why| format!("{why} in the override {line}"))?;
        }
        Ok(all)
    }

    fn read(&mut self, line: &Value) -> Result<(), String> {
        let text = |key: &str| {
            let text = line.get(key).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| format!("missing `{key}`"))
        };
        let conf = |key: &str| {
            let json = line.get(key).unwrap_or(&Value::Null);
            BackendConf::from_json(json, Path::new("")).map_err(|problems| problems.to_string())
        };
        let (upstream, address, name) = (text("upstream")?, text("address")?, text("backend")?);
        // A program before this one may have written it as the file does.
        let address = written_alike(&address).into_owned();
        let what = match text("key")?.as_str() {
            "added" => What::Added(conf("value")?),
            "removed" => What::Removed(conf("base")?),
            "weight" => What::Set { weight: Some(pair(line, weight)?), state: None },
            "state" => What::Set { weight: None, state: Some(pair(line, state)?) },
            other => return Err(format!("unknown key `{other}`")),
        };
        // A weight and a state of one backend are one override on two lines.
        if let (What::Set { weight, state }, Some(last)) = (&what, self.list.last_mut())
            && last.upstream == upstream
            && last.address == address
            && let What::Set { weight: last_weight, state: last_state } = &mut last.what
        {
            *last_weight = weight.or(*last_weight);
            *last_state = state.or(*last_state);
            return Ok(());
        }
        let of = line.get("of").and_then(Value::as_str).map(str::to_owned);
        if of.is_some() && !matches!(what, What::Set { .. }) {
            return Err("a resolved address cannot be added or removed".to_owned());
        }
        self.list.push(Override { upstream, address, name, of, what });
        Ok(())
    }
}

impl Override {
    fn lines(&self) -> Vec<Line> {
        let line = |key, base, value| Line {
            upstream: self.upstream.clone(),
            backend: self.name.clone(),
            address: self.address.clone(),
            of: self.of.clone(),
            key,
            base,
            value,
        };
        match &self.what {
            What::Added(conf) => vec![line("added", Value::Null, conf.to_json())],
            What::Removed(conf) => vec![line("removed", conf.to_json(), Value::Null)],
            What::Set { weight, state } => {
                let weight = weight.map(|it| line("weight", json!(it.base), json!(it.value)));
                let state = state.map(|it| line("state", json!(it.base.name()), json!(it.value.name())));
                weight.into_iter().chain(state).collect()
            }
        }
    }
}

fn pair<T>(line: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Overridden<T>, String> {
    let one = |key: &str| line.get(key).and_then(&read).ok_or_else(|| format!("invalid `{key}`"));
    Ok(Overridden { base: one("base")?, value: one("value")? })
}

fn weight(json: &Value) -> Option<u32> {
    let weight = json.as_u64().and_then(|weight| u32::try_from(weight).ok());
    weight.filter(|weight| *weight <= BackendConf::GREATEST_WEIGHT)
}

fn state(json: &Value) -> Option<BackendState> {
    let name = json.as_str()?;
    BackendState::ALL.iter().find(|(_, known, _)| *known == name).map(|(state, ..)| *state)
}
