//! `pointsman reload`: has a running Pointsman read its configuration file again.

use std::time::Duration;

use serde_json::Value;

use super::{
    Status,
    admin::{Question, Running},
};

/// A large configuration takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for it and prints how it went.
pub(super) fn reload(running: &Running) -> Status {
    running.print_answer(&Question::post("/api/v1/reload").patient(PATIENCE), text)
}

fn text(answer: &Value) -> String {
    let generation = answer.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let mut text = match answer.get("changed").and_then(Value::as_bool) {
        Some(false) => format!("nothing changed: generation {generation} stays in force\n"),
        Some(true) | None => format!("reloaded: generation {generation}\n"),
    };
    for note in answer.get("notes").and_then(Value::as_array).into_iter().flatten() {
        text += &format!("note: {}\n", note.as_str().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unchanged_file_is_reported_as_such() {
        let answer = json!({"generation": 2, "changed": true, "notes": ["`runtime.workers` waits"]});
        assert_eq!(text(&answer), "reloaded: generation 2\nnote: `runtime.workers` waits\n");
        let answer = json!({"generation": 2, "changed": false, "notes": []});
        assert_eq!(text(&answer), "nothing changed: generation 2 stays in force\n");
    }
}
