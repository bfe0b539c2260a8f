//! `pointsman man`: the manual page, one for all verbs, from the same definitions as `--help`.

use std::{io, process::ExitCode};

use clap::Command;
use clap_mangen::Man;

use super::{Failure, Status, print};

/// Prints the page in roff; `command` has the definitions.
pub(super) fn man(command: Command) -> Status {
    let page = page(command).map_err(Failure::new)?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::SUCCESS)
}

fn page(mut command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // Fills in the usage lines of the verbs.
    command.build();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let parts: Vec<_> = verb.get_subcommands().filter(|part| part.get_name() != "help").collect();
        if parts.is_empty() {
            section(verb, verb.get_name(), &mut page)?;
        }
        for part in parts {
            section(part, &format!("{} {}", verb.get_name(), part.get_name()), &mut page)?;
        }
    }
    page.extend_from_slice(
        b".SH \"SEE ALSO\"\nEvery key of the configuration file: docs/configuration.md.\n",
    );
    Ok(page)
}

/// A verb as a section of the page; its own sections are subsections.
fn section(verb: &Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    page.extend_from_slice(format!(".SH {}\n", name.to_uppercase()).as_bytes());
    let man = Man::new(verb.clone());
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    page.extend_from_slice(String::from_utf8_lossy(&parts).replace(".SH ", ".SS ").as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cli::command;

    #[test]
    fn every_verb_is_in_the_manual() {
        let page = String::from_utf8(super::page(command()).unwrap()).unwrap();
        for verb in command().get_subcommands() {
            assert!(page.contains(&format!(".SH {}", verb.get_name().to_uppercase())), "{}", verb.get_name());
        }
    }
}
