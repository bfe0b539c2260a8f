//! The answers as JSON, for `explain --format json`.

use serde_json::{Value, json};

use super::{
    Answer, CacheAnswer, Candidate, Choice, Decision, Destination, FileAnswer, Outcome, Routed, Stored,
};

impl Answer {
    /// The answer as a JSON object.
    pub fn to_json(&self) -> Value {
        let considered: Value = self
            .considered
            .iter()
            .map(|(route, verdict)| json!({"route": route, "verdict": verdict}))
            .collect();
        let mut answer = json!({
            "listener": self.listener,
            "address": self.address,
            "client": self.client.to_string(),
            "considered": considered,
        });
        let outcome = match &self.outcome {
            Outcome::NotAdmitted => json!({"outcome": "not-admitted"}),
            Outcome::Refused(status, why) => json!({"outcome": "refused", "status": status, "why": why}),
            Outcome::NoPassage(why) => json!({"outcome": "no-route", "why": why}),
            Outcome::NoRoute => json!({"outcome": "no-route", "status": 404}),
            Outcome::Routed(routed) => routed.to_json(),
        };
        if let (Value::Object(answer), Value::Object(outcome)) = (&mut answer, outcome) {
            answer.extend(outcome);
        }
        answer
    }
}

impl FileAnswer {
    fn to_json(&self) -> Value {
        match self {
            Self::File { name, encoding, content_type, bytes } => {
                json!({"status": 200, "name": name, "encoding": encoding, "content_type": content_type, "bytes": bytes})
            }
            Self::Folder => json!({"status": 308}),
            Self::Nothing(status) => json!({"status": status}),
        }
    }
}

impl Routed {
    fn to_json(&self) -> Value {
        let action = match &self.action {
            Decision::Redirect { status, location } => {
                json!({"redirect": {"status": status, "location": location}})
            }
            Decision::Respond { status, content_type, bytes } => {
                json!({"respond": {"status": status, "content_type": content_type, "bytes": bytes}})
            }
            Decision::Files { names, found } => {
                json!({"files": {"names": names, "found": found.as_ref().map(FileAnswer::to_json)}})
            }
            Decision::Forward { files, head, destinations, cache } => {
                let upstreams: Value = destinations.iter().map(Destination::to_json).collect();
                let cache = cache.as_deref().map(CacheAnswer::to_json);
                json!({"forward": {"files": files, "head": head, "upstreams": upstreams, "cache": cache}})
            }
            Decision::Pass { destinations } => {
                let upstreams: Value = destinations.iter().map(Destination::to_json).collect();
                json!({"pass": {"upstreams": upstreams}})
            }
        };
        json!({
            "outcome": "routed",
            "route": self.route,
            "action": action,
            "response_headers": self.response_edits,
            "filters": self.filters,
            "mirror": self.mirror.as_ref().map(|(upstream, percent)| json!({"upstream": upstream, "percent": percent})),
        })
    }
}

impl CacheAnswer {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "kind": if self.is_storing { "cache" } else { "route" },
            "use": self.usage,
            "why": self.why,
            "key": self.key,
            "collapse": {"may": self.apart.is_none(), "why": self.apart},
            "stored": self.stored.map(Stored::to_json),
        })
    }
}

impl Stored {
    fn to_json(self) -> Value {
        json!({
            "result": self.result,
            "forward": self.forward,
            "why": self.why,
            "ttl": self.times.map(|(ttl, _)| ttl),
            "age": self.times.map(|(_, age)| age),
            "variants": self.variants,
        })
    }
}

impl Destination {
    fn to_json(&self) -> Value {
        let backends: Value = self.backends.iter().map(Candidate::to_json).collect();
        json!({
            "upstream": self.upstream,
            "percent": self.percent,
            "balance": self.balance,
            "backends": backends,
            "pick": self.pick.as_ref().map(Choice::to_json),
            "queued": self.is_queued,
        })
    }
}

impl Candidate {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "address": self.address,
            "weight": self.weight,
            "candidate": self.is_candidate,
            "why": self.why,
        })
    }
}

impl Choice {
    fn to_json(&self) -> Value {
        json!({"backend": self.backend, "why": self.why})
    }
}
