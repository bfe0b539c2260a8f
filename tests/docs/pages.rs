//! What pages contain: configurations that are good, links, paths and scripts that are there, verbs that exist.

use std::{fs, path::PathBuf};

use clap::CommandFactory;
use pointsman::{cli::Arguments, config, tls::demo::demo_certificates};

use super::files::{files, read, root};

/// The pages that people write, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "certs/README.md"];
    let mut paths: Vec<PathBuf> = pages.iter().map(|page| root().join(page)).collect();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()));
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_configuration_in_the_documentation_is_good() {
    let folder = std::env::temp_dir().join(format!("pointsman-docs-{}", std::process::id()));
    let certificates = folder.join("certs");
    demo_certificates(&certificates).unwrap();
    fs::write(folder.join("metrics.token"), "a long random text").unwrap();
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "toml") {
            count += 1;
            let config = config::parse(&whole(block), &folder.join("my.toml"));
            assert!(config.is_ok(), "{}:\n{}", page.display(), config.unwrap_err());
        }
    }
    fs::remove_dir_all(folder).unwrap();
    assert!(count >= 2, "found {count} configurations: is the test looking in the right place?");
}

/// A block that is about `[cluster]` alone, or about what is shared, as a whole file on this machine; any other as it is.
fn whole(block: &str) -> String {
    let is_shared = ["include = ", "[defaults", "[[policy]]"].iter().any(|it| block.starts_with(it));
    if is_shared && !block.contains("[[listener]]") {
        return format!(
            "{block}\n[[listener]]\nname = \"web\"\naddress = \"0.0.0.0:8080\"\n\
             [[upstream]]\nname = \"app\"\nbackend = [{{ address = \"127.0.0.1:9000\" }}]\n"
        );
    }
    if block.contains("[[listener]]") || !block.contains("[cluster") {
        return block.to_owned();
    }
    let block = block.replace("\"eth0\"", "\"lo\"").replace("/etc/pointsman/", "certs/");
    // What is said of one table stands beside a node that moves something.
    let is_part = !block.contains("virtual_ip") && !block.contains("[cluster.peers]");
    let address = "[[cluster.virtual_ip]]\naddress = \"10.0.0.100/24\"\ninterface = \"lo\"\n";
    let peers = "[cluster.peers]\nlisten = \"10.0.0.1:1\"\nmembers = [\"10.0.0.2:1\"]\nca = \"certs/peers-ca.pem\"\n\
                 certificate = { chain = \"certs/peer.pem\", key = \"certs/peer.key\" }\n";
    let more = format!(
        "{}{}",
        if is_part { address } else { "" },
        if block.contains("rollout") { peers } else { "" }
    );
    format!(
        "{block}\n{more}[[listener]]\nname = \"web\"\naddress = \"0.0.0.0:8080\"\n\
         [[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n"
    )
}

#[test]
fn every_linked_file_is_there() {
    let mut count = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            if link.is_empty() || link.starts_with("http") {
                continue;
            }
            count += 1;
            assert!(page.parent().unwrap().join(link).exists(), "{} links {link}", page.display());
        }
    }
    assert!(count > 10, "found {count} links");
}

#[test]
fn every_linked_heading_is_there() {
    let pages = pages();
    let mut count = 0;
    for (page, text) in &pages {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let Some((file, anchor)) = link.split_once('#').filter(|_| !link.starts_with("http")) else {
                continue;
            };
            let linked = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let linked = linked.canonicalize().unwrap();
            let Some((_, text)) = pages.iter().find(|(page, _)| page.canonicalize().unwrap() == linked)
            else {
                continue;
            };
            count += 1;
            let is_there = text.lines().any(|line| anchor_of(line).as_deref() == Some(anchor));
            assert!(is_there, "{} links {link}", page.display());
        }
    }
    assert!(count > 10, "found {count} links to headings");
}

/// What a link to a heading has behind its `#`, as GitHub makes it; `None` where a line is no heading.
fn anchor_of(line: &str) -> Option<String> {
    let text = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    Some(text.to_lowercase().chars().filter(is_kept).collect::<String>().replace(' ', "-"))
}

#[test]
fn every_path_in_backticks_is_there() {
    for (page, text) in pages() {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "docs/", "config/", "benches/", "tests/"].iter().any(|it| word.starts_with(it))
                    && !word.contains(char::is_whitespace);
            assert!(!is_path || root().join(word).exists(), "{} names {word}", page.display());
        }
    }
}

#[test]
fn every_script_that_is_to_be_run_is_there() {
    let pages = pages();
    let lines =
        pages.iter().flat_map(|(page, text)| blocks(text, "sh").into_iter().map(move |it| (page, it)));
    for (page, block) in lines {
        for word in block.lines().filter_map(|line| line.split_whitespace().next()) {
            let is_ours = word.starts_with("tests/") || word.starts_with("benches/");
            assert!(!is_ours || root().join(word).exists(), "{} runs {word}", page.display());
        }
    }
}

#[test]
fn verbs_that_are_named_exist_and_the_readme_has_all() {
    let command = Arguments::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let mut texts = pages();
    let examples = files("config").into_iter().filter(|file| file.ends_with(".toml"));
    texts.extend(examples.map(|file| (PathBuf::from(&file), read(&file))));
    for (page, text) in &texts {
        for named in text.split("pointsman ").skip(1) {
            let word: String = named.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let word = word.trim_matches('-');
            let is_command =
                ["`", "\n"].iter().any(|before| text.contains(&format!("{before}pointsman {word}")));
            assert!(
                word.is_empty() || !is_command || verbs.contains(&word),
                "{} names `pointsman {word}`",
                page.display()
            );
        }
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    // What no user types is hidden.
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in shown.map(clap::Command::get_name) {
        assert!(readme.contains(&format!("`pointsman {verb}")), "the README does not name {verb}");
    }
}
