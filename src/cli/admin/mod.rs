//! A running Pointsman's admin endpoint, for the verbs that talk to one: where it is, with which token, and
//! what an answer or the lack of one means to people.
//!
//! Previous stop: a verb's file; next stop: `http_client`.

mod configured;
pub(super) mod http_client;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::Value;

pub(super) use self::configured::default_place;
use self::{
    configured::{configured, configured_place, configured_token, token_of, variable},
    http_client::{Answer, Place, Request},
};
use super::{Failure, File, Status, print, tell};
use crate::{
    admin::own_token,
    schema::{Problem, Problems},
};

/// Which running Pointsman.
#[derive(Clone, Debug, Default, Args)]
pub struct Ask {
    /// Its admin endpoint: http://ADDRESS:PORT, or unix:PATH [default: $POINTSMAN_ADMIN, else what the
    /// configuration says, else unix:/run/pointsman/admin.sock where that exists, else http://127.0.0.1:9900].
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// File with the endpoint's token [default: $POINTSMAN_TOKEN is the token, else the configuration's file, else the
    /// one that a program of this user made].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Which running Pointsman, and how to print.
#[derive(Debug, Args)]
pub struct Running {
    #[command(flatten)]
    #[doc(hidden)]
    pub ask: Ask,
    #[command(flatten)]
    #[doc(hidden)]
    pub file: File,
    /// Print the answer as JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// How long each step of an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An admin endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    place: Place,
    token: Option<String>,
    /// The place as it was written.
    name: String,
    /// Who said so.
    said_by: String,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody answers.
    Away(io::Error),
    /// It answers, with something else than asked for.
    Refused(u16, Value),
    /// What answers is no admin endpoint.
    Stranger(u16),
}

impl Running {
    /// The endpoint that is meant.
    pub(super) fn endpoint(&self) -> Result<Endpoint, Failure> {
        Endpoint::find(&self.ask, &self.file)
    }

    /// Asks, and prints the answer: as JSON, or as `text` has it.
    pub(super) fn print_answer(
        &self,
        question: &Question<'_>,
        text: impl FnOnce(&Value) -> String,
    ) -> Status {
        let endpoint = self.endpoint()?;
        match endpoint.ask(question) {
            Ok(answer) if self.json => print(&format!("{answer:#}\n"))?,
            Ok(answer) => print(&text(&answer))?,
            Err(trouble) => return Err(endpoint.failure(&trouble, self.json)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the endpoint is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    method: &'q str,
    path: &'q str,
    body: Option<(&'q str, &'q str)>,
    patience: Duration,
}

impl<'q> Question<'q> {
    pub(super) fn get(path: &'q str) -> Self {
        Self { method: "GET", path, body: None, patience: PATIENCE }
    }

    pub(super) fn post(path: &'q str) -> Self {
        Self { method: "POST", ..Self::get(path) }
    }

    pub(super) fn patch(path: &'q str, json: &'q str) -> Self {
        Self { method: "PATCH", ..Self::get(path) }.with_json(json)
    }

    /// With JSON.
    pub(super) fn with_json(self, json: &'q str) -> Self {
        Self { body: Some(("application/json", json)), ..self }
    }

    /// With a configuration's text.
    pub(super) fn with_toml(self, text: &'q str) -> Self {
        Self { body: Some(("application/toml", text)), ..self }
    }

    /// Waits for so long.
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

impl Endpoint {
    /// The endpoint that options, environment and configuration lead to, in this order.
    pub(super) fn find(ask: &Ask, file: &File) -> Result<Self, Failure> {
        let given = ask.admin.clone().map(|name| (name, "--admin".to_owned()));
        let given = given.or_else(|| Some((variable("POINTSMAN_ADMIN")?, "$POINTSMAN_ADMIN".to_owned())));
        let token = match &ask.token_file {
            Some(path) => Some(token_of(path)?),
            None => variable("POINTSMAN_TOKEN"),
        };
        // With an endpoint that is named, a token of another's configuration is not sent to it, unless that
        // configuration is named too.
        let reach = match given.is_some() && (token.is_some() || file.config.is_none()) {
            true => None,
            false => configured(file)?,
        };
        let token = token.or_else(|| reach.as_ref().and_then(|(_, reach)| configured_token(reach)));
        let (name, said_by) =
            given.or_else(|| reach.as_ref().and_then(configured_place)).unwrap_or_else(|| {
                let none = "the default, because no configuration sets another";
                (default_place(), none.to_owned())
            });
        let place = Place::parse(&name).ok_or_else(|| {
            Failure::usage(format!("`{name}` is not an admin endpoint: use http://ADDRESS:PORT or unix:PATH"))
        })?;
        // The one that a program at this address made for itself; where there is none, none is needed or it is refused.
        let token = token.or_else(|| place.authority().and_then(own_token::find));
        if token.as_ref().is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic())) {
            return Err(Failure::usage("the token contains spaces or line breaks: check the file"));
        }
        Ok(Self { place, token, name, said_by })
    }

    /// The answer, as it came.
    pub(super) fn raw(&self, question: &Question<'_>) -> io::Result<Answer> {
        let Question { method, path, body, patience } = *question;
        self.place.ask(Request { method, path, body, token: self.token.as_deref(), patience })
    }

    /// The answer, if it is what was asked for.
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<Value, Trouble> {
        let answer = self.raw(question).map_err(Trouble::Away)?;
        let json = serde_json::from_slice::<Value>(&answer.body).ok();
        match (answer.status, json) {
            (200..300, Some(json)) => Ok(json),
            (status, Some(json)) if json.get("error").is_some() => Err(Trouble::Refused(status, json)),
            (status, _) => Err(Trouble::Stranger(status)),
        }
    }

    /// Asks what another version may not have: nothing then.
    pub(super) fn ask_if_there(&self, question: &Question<'_>) -> Result<Value, Trouble> {
        match self.ask(question) {
            Err(Trouble::Refused(404, _)) => Ok(Value::Null),
            answer => answer,
        }
    }

    /// What a verb ends with: 2 for a configuration that is not good, and otherwise 1. With `is_json` the
    /// refusal itself is printed for the script.
    pub(super) fn failure(&self, trouble: &Trouble, is_json: bool) -> Failure {
        if let (Trouble::Refused(_, json), true) = (trouble, is_json) {
            // It fails anyway.
            tell(&format!("{json:#}\n"));
        }
        Failure::new(self.explain(trouble))
    }

    /// What went wrong, for people.
    pub(super) fn explain(&self, trouble: &Trouble) -> String {
        let Self { name, said_by, token, .. } = self;
        match trouble {
            Trouble::Away(error) => format!(
                "{name} does not answer: {}\n  hint: {}; {name} is from {said_by}",
                reason(error),
                away_hint(error)
            ),
            Trouble::Stranger(status) => format!(
                "{name} answers with {status} but no JSON: is it the admin endpoint?\n  hint: {name} is \
                 from {said_by}"
            ),
            Trouble::Refused(401, json) => {
                let hint = match token {
                    Some(_) => "the token that was sent is not accepted",
                    None => {
                        "give the token's file with `--token-file`, or set POINTSMAN_TOKEN; for a token \
                         made by the program, run this as its user"
                    }
                };
                format!("{name} refused: {}\n  hint: {hint}", reason_of(json, "message"))
            }
            Trouble::Refused(_, json) => match problems(json) {
                Some(problems) => {
                    format!("{problems}\n{}", counted(problems.0.len(), "problem"))
                }
                None => {
                    format!("refused: {}\n  hint: {}", reason_of(json, "message"), reason_of(json, "hint"))
                }
            },
        }
    }
}

/// The problems of a configuration in a refusal.
fn problems(json: &Value) -> Option<Problems> {
    let all: Vec<Problem> = json.get("problems")?.as_array()?.iter().filter_map(Problem::from_json).collect();
    (!all.is_empty()).then_some(Problems(all))
}

fn reason_of<'j>(json: &'j Value, key: &str) -> &'j str {
    json.get("error").and_then(|error| error.get(key)?.as_str()).unwrap_or("it gives no details")
}

/// "1 problem", "2 problems".
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not connect to it".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "its answer is incomplete".to_owned(),
        _ => error.to_string(),
    }
}

fn away_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as the user that Pointsman runs as",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the request may still take effect",
        _ => "is Pointsman running with `[admin]`? use `--admin URL` for another endpoint",
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn problems_of_another_program_look_as_those_of_check() {
        let broken = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
        let mut count = 0;
        for entry in std::fs::read_dir(broken).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let Err(own) = crate::config::load(&path) else { continue };
            let theirs = problems(&serde_json::json!({"problems": own.to_json()})).unwrap();
            for (theirs, own) in theirs.0.iter().zip(&own.0) {
                // Where something is missing, one character is meant, whatever is there.
                if !own.message.contains("is not closed") {
                    assert_eq!(theirs.to_string(), own.to_string());
                    count += 1;
                }
            }
        }
        assert!(count > 50, "found only {count} problems");
    }
}
