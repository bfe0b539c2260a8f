//! A case: requests one after the other, with what comes of each.

use std::fmt::Write;

use pointsman::cache::date::Date;

use super::stage::{Said, Stage};
use crate::support::{Request, client::Response};

/// A request, what the origin answers, and what the client must get.
#[derive(Clone, Debug)]
pub struct Step {
    method: &'static str,
    /// What is behind the path of the case.
    target: String,
    headers: String,
    host: String,
    body: String,
    /// What the origin says; without it, it must not be asked.
    answers: Vec<Answer>,
    status: Option<u16>,
    text: Option<String>,
    is_broken: bool,
    is_down: bool,
    has: Vec<(String, Option<String>)>,
    asks: Vec<(String, Option<String>)>,
}

/// What the origin says.
#[derive(Clone, Debug)]
pub struct Answer {
    status: String,
    headers: String,
    body: String,
    /// All of it, byte by byte, in the place of the above.
    raw: Option<(String, bool)>,
}

/// An answer of 200. Header lines end with a line feed; `@-10` is the date ten seconds before the case began.
pub fn ok(headers: impl Into<String>) -> Answer {
    response("200 OK", headers)
}

/// An answer of this status.
pub fn response(status: &str, headers: impl Into<String>) -> Answer {
    Answer { status: status.to_owned(), headers: headers.into(), body: String::new(), raw: None }
}

impl Answer {
    pub fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    /// These bytes, of which the body must be given too; then the connection ends or does not.
    pub fn raw(bytes: &str, closes: bool) -> Self {
        Self { raw: Some((bytes.replace('\n', "\r\n"), closes)), ..ok("") }
    }
}

/// A GET.
pub fn get() -> Step {
    request("GET")
}

/// A request of any method.
pub fn request(method: &'static str) -> Step {
    Step {
        method,
        target: String::new(),
        headers: String::new(),
        host: "test".into(),
        body: String::new(),
        answers: Vec::new(),
        status: None,
        text: None,
        is_broken: false,
        is_down: false,
        has: Vec::new(),
        asks: Vec::new(),
    }
}

impl Step {
    /// With a header line.
    pub fn with(mut self, line: &str) -> Self {
        self.headers.push_str(line);
        self.headers.push('\n');
        self
    }

    /// For what is behind the path of the case.
    pub fn at(self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self }
    }

    pub fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    pub fn sends(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    /// The origin must be asked, and says this.
    pub fn origin(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// The origin is asked, and ends the connection without an answer, however often.
    pub fn down(mut self) -> Self {
        self.answers = vec![Answer::raw("", true); 4];
        Self { is_down: true, ..self }
    }

    /// The status that the client must get, where it is not that of the representation.
    pub fn gets(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The body that the client must get, where it is not the whole representation.
    pub fn reads(self, text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..self }
    }

    /// The client must see that the body is not whole.
    pub fn broken(self) -> Self {
        Self { is_broken: true, ..self }
    }

    /// A field that the client must get. A value that ends with `*` may go on, and `~60` is about 60.
    pub fn has(mut self, name: &str, value: &str) -> Self {
        self.has.push((name.into(), Some(value.into())));
        self
    }

    /// A field that the client must not get.
    pub fn lacks(mut self, name: &str) -> Self {
        self.has.push((name.into(), None));
        self
    }

    /// A field that the origin must be asked with.
    pub fn asks(mut self, name: &str, value: &str) -> Self {
        self.asks.push((name.into(), Some(value.into())));
        self
    }

    /// A field that the origin must not be asked with.
    pub fn asks_without(mut self, name: &str) -> Self {
        self.asks.push((name.into(), None));
        self
    }
}

/// Plays a case, and takes down what went wrong, with the clause.
pub fn case(stage: &Stage, clause: &str, what: &str, steps: &[Step]) {
    let path = stage.path();
    let mut play =
        Play { stage, path: &path, now: now(), status: 200, text: String::new(), seen: 0, said: 0 };
    for (number, step) in steps.iter().enumerate() {
        let wrong = play.step(step);
        if !wrong.is_empty() {
            let step = number + 1;
            stage.fail(format!("{clause}: {what}\n  in step {step}: {wrong}"));
            break;
        }
    }
    stage.unsaid(&path);
}

/// The present, in seconds.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

struct Play<'a> {
    stage: &'a Stage,
    path: &'a str,
    now: u64,
    /// Status and body of what there is.
    status: u16,
    text: String,
    /// How often the origin was asked so far.
    seen: usize,
    said: usize,
}

impl Play<'_> {
    /// What went wrong; empty when nothing did.
    fn step(&mut self, step: &Step) -> String {
        let (mut status, mut text) = (self.status, self.text.clone());
        for answer in &step.answers {
            self.said += 1;
            let body =
                if answer.body.is_empty() { format!("answer {}", self.said) } else { answer.body.clone() };
            let (code, bytes) = self.bytes(answer, step.method, &body);
            self.stage.say(self.path, bytes);
            if code != 304 && !step.is_down {
                (status, text) = (code, body);
                if step.method == "GET" {
                    (self.status, self.text) = (status, text.clone());
                }
            }
        }
        let mut client = self.stage.connect();
        client.send(self.request(step));
        let response = client.response(step.method);
        let requests = self.stage.asked(self.path).split_off(self.seen);
        self.seen += requests.len();
        if step.is_down {
            self.stage.unsaid(self.path);
        }
        let status = step.status.unwrap_or(status);
        if let Some(own) = &step.text {
            text.clone_from(own);
        } else if step.method == "HEAD"
            || matches!(status, 204 | 205 | 304)
            || step.status.is_some_and(|it| it >= 400)
        {
            text.clear();
        }
        let mut wrong = String::new();
        self.judge(step, (status, &text), &response, &mut wrong);
        judge_asked(step, &requests, self, &mut wrong);
        if !wrong.is_empty() {
            let asked: Vec<_> = requests.iter().map(|request| request.head.as_str()).collect();
            let _ = write!(
                wrong,
                "\n  client: {}\n  origin was asked: {asked:?}\n  response: {response:?}",
                self.request(step).replace("\r\n", " | ")
            );
        }
        wrong
    }

    fn judge(&self, step: &Step, (status, text): (u16, &str), response: &Response, wrong: &mut String) {
        if response.status != status {
            let _ = write!(wrong, "status {} instead of {status}; ", response.status);
        }
        let is_error_of_ours = step.status.is_some_and(|it| it >= 400) && step.text.is_none();
        if response.text() != text && !is_error_of_ours && !step.is_broken {
            let _ = write!(wrong, "body {:?} instead of {text:?}; ", response.text());
        }
        if response.is_whole == step.is_broken {
            let _ = write!(wrong, "body is whole: {}; ", response.is_whole);
        }
        for (name, value) in &step.has {
            let own: Vec<_> = response
                .headers
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, it)| it.as_str())
                .collect();
            compare("response", name, &own, value.as_deref().map(|it| self.dated(it)), wrong);
        }
    }

    fn request(&self, step: &Step) -> String {
        let headers = self.dated(&step.headers).replace('\n', "\r\n");
        let length = match step.body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let target = match step.target.strip_prefix('^') {
            Some(target) => target.replace("{path}", self.path),
            None => format!("{}{}", self.path, step.target),
        };
        format!(
            "{} {target} HTTP/1.1\r\nHost: {}\r\n{length}{headers}\r\n{}",
            step.method, step.host, step.body
        )
    }

    fn bytes(&self, answer: &Answer, method: &str, body: &str) -> (u16, Said) {
        let status = &answer.status;
        let code = status.split(' ').next().unwrap().parse().unwrap();
        if let Some((bytes, closes)) = &answer.raw {
            return (code, Said { bytes: self.dated(bytes).into_bytes(), closes: *closes });
        }
        let mut headers = self.dated(&answer.headers);
        if !headers.is_empty() && !headers.ends_with('\n') {
            headers.push('\n');
        }
        let headers = headers.replace('\n', "\r\n");
        let has_none = matches!(code, 204 | 304);
        let length = if has_none { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let body = if has_none || method == "HEAD" { "" } else { body };
        (
            code,
            Said {
                bytes: format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n{body}").into_bytes(),
                closes: false,
            },
        )
    }

    /// With dates in the places of `@-10` and such.
    fn dated(&self, text: &str) -> String {
        let mut parts = text.split('@');
        let mut dated = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end =
                part.bytes().skip(1).position(|byte| !byte.is_ascii_digit()).map_or(part.len(), |at| at + 1);
            match part[..end].parse::<i64>() {
                Ok(seconds) => {
                    let _ =
                        write!(dated, "{}{}", Date(self.now.saturating_add_signed(seconds)), &part[end..]);
                }
                Err(_) => {
                    let _ = write!(dated, "@{part}");
                }
            }
        }
        dated.replace("{path}", self.path)
    }
}

fn judge_asked(step: &Step, requests: &[Request], play: &Play<'_>, wrong: &mut String) {
    if step.is_down {
        if requests.is_empty() {
            wrong.push_str("the origin was not asked; ");
        }
        return;
    }
    if requests.len() != step.answers.len() {
        let _ = write!(
            wrong,
            "the origin was asked {} times instead of {}; ",
            requests.len(),
            step.answers.len()
        );
        return;
    }
    for (name, value) in &step.asks {
        let own = requests.last().map(|request| request.all(name)).unwrap_or_default();
        compare("request", name, &own, value.as_deref().map(|it| play.dated(it)), wrong);
    }
}

fn compare(of: &str, name: &str, own: &[&str], wanted: Option<String>, wrong: &mut String) {
    let is_right = match &wanted {
        None => own.is_empty(),
        Some(wanted) if wanted.contains('~') => is_near(&own.join(", "), wanted),
        Some(wanted) => match wanted.strip_suffix('*') {
            Some(start) => own.iter().any(|own| own.starts_with(start)),
            None => own.join(", ") == *wanted,
        },
    };
    if !is_right {
        let _ = write!(wrong, "{of} has {name}: {own:?} instead of {wanted:?}; ");
    }
}

/// Whether a value ends with about this number of seconds, as `ttl=~60` has it: the machine may be busy.
fn is_near(own: &str, wanted: &str) -> bool {
    let (start, number) = wanted.split_once('~').unwrap();
    let own = own.strip_prefix(start).and_then(|own| own.parse::<i64>().ok());
    own.is_some_and(|own| own.abs_diff(number.parse().unwrap()) < 10)
}
