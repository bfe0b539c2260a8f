//! What is asked to be written of a backend that the file does not have.

use crate::{
    config::Config,
    runtime::{
        addresses::Addresses,
        overrides::{Change, Overrides, Reason, Refusal, position},
    },
};

/// Refuses what is asked of one address of a name, and of a backend that was added for the running program alone. What
/// nobody knows is left to who changes the file.
pub(super) fn refuse(
    changes: &[Change],
    file: &Config,
    (overrides, names): (&Overrides, &Addresses),
) -> Result<(), Refusal> {
    let mut listed = file.clone();
    overrides.apply(&mut listed);
    let mut whole = file.clone();
    overrides.apply_with(&mut whole, names);
    let has = |config: &Config, upstream: &str, backend: &str| {
        let upstream = config.upstream.iter().find(|it| it.name == upstream);
        upstream.is_some_and(|it| position(&it.backend, backend).is_some())
    };
    for change in changes {
        let (Change::Weight { upstream, backend, .. }
        | Change::State { upstream, backend, .. }
        | Change::Remove { upstream, backend }) = change
        else {
            continue;
        };
        if has(file, upstream, backend) {
            continue;
        }
        if has(&listed, upstream, backend) {
            let message = format!("`{backend}` is not in the file: it was added without `persist`");
            let hint = "add it once more, with `persist`; or leave `persist` out";
            return Err(conflict("not_in_file", message, hint));
        }
        if has(&whole, upstream, backend) {
            let message = format!("`{backend}` is a resolved address, not a backend in the file");
            let hint = "leave `persist` out, or use the backend in the file";
            return Err(conflict("address_of_name", message, hint));
        }
    }
    Ok(())
}

fn conflict(code: &'static str, message: String, hint: &str) -> Refusal {
    Refusal { reason: Reason::Conflict, code, message, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::{
        config::parse,
        upstream::conf::{BackendConf, BackendState},
    };

    #[test]
    fn backends_of_the_running_program_alone_are_called_that() {
        let path = Path::new("x.toml");
        let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                    [[route]]\nname = \"all\"\nupstream = \"u\"\n\
                    [[upstream]]\nname = \"u\"\nbackend = [{ name = \"a\", address = \"127.0.0.1:2\" }]\n";
        let file = parse(text, path).unwrap_or_else(|problems| panic!("{problems}"));
        let names = Addresses::default();
        let backend = BackendConf::from_json(&json!({"name": "x", "address": "127.0.0.1:3"}), path).unwrap();
        let add = Change::Add { upstream: "u".into(), backend };
        let overrides = Overrides::default().with(&add, &file, &names).unwrap();
        let said = |change: Change| refuse(&[change], &file, (&overrides, &names)).map_err(|it| it.code);
        let weight =
            |backend: &str| Change::Weight { upstream: "u".into(), backend: backend.into(), weight: 2 };
        let (upstream, backend, state) = ("u".to_owned(), "x".to_owned(), BackendState::Draining);
        assert_eq!(said(Change::State { upstream, backend, state }), Err("not_in_file"));
        assert_eq!(said(Change::Remove { upstream: "u".into(), backend: "x".into() }), Err("not_in_file"));
        for (called, expected) in [
            ("x", Err("not_in_file")),
            ("127.0.0.1:3", Err("not_in_file")),
            ("a", Ok(())),
            // Who changes the file says that there is none.
            ("none", Ok(())),
        ] {
            assert_eq!(said(weight(called)), expected, "{called}");
        }
        assert_eq!(said(add), Ok(()), "so it comes into the file");
    }
}
