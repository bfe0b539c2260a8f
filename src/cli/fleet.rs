//! A configuration that a store has for many nodes: read at the start, and kept in a file for when the store is gone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::{Builder, LocalOptions};
use xxhash_rust::xxh3::xxh3_64;

use super::Failure;
use crate::{
    cluster::store::{
        document::{Document, Mark, Source},
        stopped,
    },
    config::{self, Beside, KeptCopy, Loaded, Problems},
};

/// How long the store may take at the start, where there is a copy to go on with.
const PATIENCE: Duration = Duration::from_secs(5);

/// The source that an argument names; none where it names a file.
pub(super) fn source(config: Option<&Path>) -> Result<Option<Source>, Failure> {
    let text = config.and_then(Path::to_str).and_then(Source::parse);
    text.transpose().map_err(Failure::usage)
}

/// Where the last good copy of what a source has is kept: in the folder that the service manager gives, or in its usual
/// place.
pub(super) fn copy_of(source: &Source) -> PathBuf {
    let folder = std::env::var("STATE_DIRECTORY").ok().filter(|folders| !folders.is_empty());
    let folder = folder.as_deref().map_or("/var/lib/pointsman", |it| it.split(':').next().unwrap_or(it));
    Path::new(folder).join(format!("fleet-{:016x}.toml", xxh3_64(source.url.as_bytes())))
}

/// Reads the configuration to run with, as [`look`] does; the copy is written once the program serves. Where the copy says
/// that nodes take turns, it is begun with: a program that begins takes its turn as one that runs does.
pub(super) fn load(source: Source) -> Result<Loaded, Failure> {
    let (copy, document) = (copy_of(&source), document(&source));
    begun_with(source, copy, document)
}

fn begun_with(source: Source, copy: PathBuf, document: Result<Document, Failure>) -> Result<Loaded, Failure> {
    if let Ok(document) = &document
        && let Some(mut loaded) = copy_with_turns(&copy, document)
    {
        let problem = stopped::find(&copy, document);
        let seen = if problem.is_some() { document.mark() } else { Mark::default() };
        loaded.fleet = Some(Arc::new(config::Fleet { source, in_force: Mark::default(), seen, problem }));
        return Ok(loaded);
    }
    let loaded = checked(source, copy, document)?;
    // Before anything is tried: without a place for the copy there is no use in that.
    KeptCopy::of(&loaded).map_or(Ok(()), |copy| copy.prepare()).map_err(Failure::new)?;
    Ok(loaded)
}

/// The copy in the place of what the store has, where nobody could serve with that now, for what `rehearse` says: a port is
/// taken, an address is not there. What is newer is tried again from there, as by a program that runs.
pub(super) fn servable(loaded: Loaded, rehearse: impl FnOnce(&Loaded) -> Result<(), String>) -> Loaded {
    let Some(fleet) = loaded.fleet.clone().filter(|fleet| fleet.in_force.revision > 0) else { return loaded };
    let copy = read_copy(&loaded.path).ok().filter(|copy| copy.text != loaded.text);
    // With nothing to go back to, the start itself says what is missing.
    let Some(mut copy) = copy else { return loaded };
    let Err(why) = rehearse(&loaded) else { return loaded };
    let problem = Some(format!("revision {} cannot be applied yet: {why}", fleet.in_force.revision));
    let source = fleet.source.clone();
    copy.fleet = Some(Arc::new(older(source, problem)));
    copy
}

/// Reads the configuration: from the store where it is there and good, else the copy. Changes nothing: a program may run
/// with that copy, and takes what is in it for its own.
pub(super) fn look(source: Source) -> Result<Loaded, Failure> {
    let (copy, document) = (copy_of(&source), document(&source));
    checked(source, copy, document)
}

fn checked(source: Source, copy: PathBuf, document: Result<Document, Failure>) -> Result<Loaded, Failure> {
    let (problem, failure) = match document {
        Ok(document) => match config::parse_with(&document.text, &copy, Beside::Nothing) {
            Ok((config, included)) => {
                let (mark, text) = (document.mark(), document.text);
                let fleet = config::Fleet { source, in_force: mark, seen: mark, problem: None };
                let fleet = Some(Arc::new(fleet));
                return Ok(Loaded { path: copy, text: text.into(), included, config, fleet });
            }
            Err(problems) => (
                format!("the configuration in {} is not valid: {problems}", source.url),
                Failure::usage(problems),
            ),
        },
        Err(failure) => (failure.text.clone(), failure),
    };
    if !copy.exists() {
        return Err(failure);
    }
    let mut loaded = read_copy(&copy).map_err(Failure::usage)?;
    loaded.fleet = Some(Arc::new(older(source, Some(problem))));
    Ok(loaded)
}

/// With a copy of what the store had before.
fn older(source: Source, problem: Option<String>) -> config::Fleet {
    config::Fleet { source, in_force: Mark::default(), seen: Mark::default(), problem }
}

/// What the store has.
pub(super) fn document(source: &Source) -> Result<Document, Failure> {
    match read(source) {
        Ok(Some(document)) => Ok(document),
        Ok(None) => Err(Failure::usage(format!("there is no {}; put the configuration there", source.url))),
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", source.url))),
    }
}

/// The copy, where it is good, is another text than the store's, and says that nodes take turns.
fn copy_with_turns(path: &Path, document: &Document) -> Option<Loaded> {
    let loaded = read_copy(path).ok()?;
    let has_turns = loaded.config.cluster.as_ref().is_some_and(|cluster| cluster.rollout.is_some());
    (has_turns && *loaded.text != *document.text).then_some(loaded)
}

/// Reads the copy, which may include no files, whoever edited it: it is checked as what the store has.
fn read_copy(path: &Path) -> Result<Loaded, Problems> {
    let text = config::read_text(path)?;
    let (config, included) = config::parse_with(&text, path, Beside::Nothing)?;
    Ok(Loaded { path: path.to_owned(), text: text.into(), included, config, fleet: None })
}

/// Asks the store.
fn read(source: &Source) -> Result<Option<Document>, String> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let mut reader = source.open();
        let all = async {
            loop {
                // Each failure goes on to the next server.
                match reader.read().await {
                    Ok(document) => return Ok(document),
                    Err(error) if source.servers() == 1 => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await
    });
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        os::unix::fs::MetadataExt,
        thread,
    };

    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;

    const TEXT: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                        [[route]]\nname = \"new\"\nrespond = { status = 200 }\n";

    /// A server of etcd that has this at every key.
    fn store(text: &str) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("etcd://{}/pointsman/config", listener.local_addr().unwrap());
        let entry = json!({"value": STANDARD.encode(text), "mod_revision": "7"});
        let body = json!({"header": {"revision": "7"}, "kvs": [entry]}).to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let Some((name, value)) = line.split_once(':') else {
                        if line.trim().is_empty() { break } else { continue }
                    };
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().unwrap();
                    }
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                let head = format!("Content-Length: {}\r\nConnection: close", body.len());
                write!(reader.get_mut(), "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").unwrap();
            }
        });
        Source::parse(&url).unwrap().unwrap()
    }

    /// As `look` does, with this copy.
    fn looked(source: Source, copy: &Path) -> Result<Loaded, Failure> {
        let document = document(&source);
        checked(source, copy.to_owned(), document)
    }

    /// A copy beside nothing else, of an older text.
    fn older(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pointsman-fleet-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let copy = folder.join("fleet-1.toml");
        fs::write(&copy, TEXT.replace("new", "older")).unwrap();
        copy
    }

    /// What could not be served with took the place of what could: the next start had nothing to begin with.
    #[test]
    fn copy_is_replaced_by_what_is_served_with() {
        let copy = older("begun");
        let source = store(TEXT);
        let document = document(&source);
        let loaded = begun_with(source, copy.clone(), document).unwrap();
        assert_eq!((&*loaded.text, loaded.fleet.as_ref().unwrap().in_force.revision), (TEXT, 7));
        assert!(fs::read_to_string(&copy).unwrap().contains("older"));
        KeptCopy::of(&loaded).unwrap().write().unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), TEXT);
        // Nothing comes of the copy itself.
        assert!(KeptCopy::of(&looked(store("[[nonsense]]\n"), &copy).unwrap()).is_none());
        fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }

    /// A port that was taken while the program was away: it did not start, though it had what it had served with.
    #[test]
    fn what_cannot_be_served_with_gives_way_to_the_copy() {
        let copy = older("given-way");
        let source = store(TEXT);
        let begun = || begun_with(source.clone(), copy.clone(), document(&source)).unwrap();
        let what = |loaded: Loaded| {
            let fleet = loaded.fleet.unwrap();
            (
                loaded.text.contains("older"),
                fleet.in_force.revision,
                fleet.seen.revision,
                fleet.problem.clone(),
            )
        };
        let taken = |_: &Loaded| Err("the port is taken".to_owned());
        assert_eq!(what(servable(begun(), |_| Ok(()))), (false, 7, 7, None));
        let problem = "revision 7 cannot be applied yet: the port is taken".to_owned();
        assert_eq!(what(servable(begun(), taken)), (true, 0, 0, Some(problem)));
        // What is no better to begin with.
        for text in [TEXT, "[[nonsense]]\n"] {
            fs::write(&copy, text).unwrap();
            let same = servable(begun(), |_| panic!("it is tried for nothing"));
            assert_eq!(what(same), (false, 7, 7, None));
        }
        fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }

    /// `explain` wrote over the copy, which a program ran with.
    #[test]
    fn who_only_looks_leaves_the_copy_as_it_is() {
        let copy = older("look");
        let before = (fs::read(&copy).unwrap(), fs::metadata(&copy).unwrap().ino());
        let loaded = looked(store(TEXT), &copy).unwrap();
        assert_eq!((&*loaded.text, &loaded.path), (TEXT, &copy));
        let fleet = loaded.fleet.unwrap();
        assert_eq!((fleet.in_force.revision, &fleet.problem), (7, &None));
        assert_eq!((fs::read(&copy).unwrap(), fs::metadata(&copy).unwrap().ino()), before);
        // Nor does it need a place for one.
        let nowhere = copy.with_file_name("nowhere").join("fleet-1.toml");
        assert!(looked(store(TEXT), &nowhere).is_ok() && !nowhere.parent().unwrap().exists());
        fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }

    /// It would be another configuration on each node, and one that no store can give.
    #[test]
    fn copy_that_includes_files_is_not_begun_with() {
        let copy = older("included");
        let included = "[[route]]\nname = \"included\"\nrespond = { status = 200 }\n";
        fs::write(copy.with_file_name("a.toml"), included).unwrap();
        let own = rcgen::generate_simple_self_signed(["pointsman".to_owned()]).unwrap();
        let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        for (name, text) in [("ca.pem", &chain), ("a.pem", &chain), ("a-key.pem", &key)] {
            fs::write(copy.with_file_name(name), text).unwrap();
        }
        let turns = "[cluster]\nnode = \"a\"\nrollout = { first = 1, wait = \"30s\" }\n[cluster.peers]\n\
                     listen = \"127.0.0.1:3\"\nmembers = [\"127.0.0.1:2\"]\nca = \"ca.pem\"\n\
                     certificate = { chain = \"a.pem\", key = \"a-key.pem\" }\n";
        let document = Document { text: TEXT.into(), revision: 7 };
        for (include, is_good) in [("", true), ("include = [\"a.toml\"]\n", false)] {
            fs::write(&copy, format!("{include}{TEXT}{turns}")).unwrap();
            assert_eq!(copy_with_turns(&copy, &document).is_some(), is_good, "{include}");
            match looked(store("[[nonsense]]\n"), &copy) {
                Ok(_) => assert!(is_good),
                Err(failure) => {
                    assert!(!is_good && failure.text.contains("cannot include files"), "{}", failure.text);
                }
            }
        }
        fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_a_store_has_wrong_is_told_with_the_copy() {
        let copy = older("broken");
        let loaded = looked(store("include = [\"a.toml\"]\n"), &copy).unwrap();
        assert!(loaded.text.contains("older"));
        let problem = loaded.fleet.unwrap().problem.clone();
        assert!(problem.as_ref().is_some_and(|it| it.contains("cannot include files")), "{problem:?}");
        fs::remove_dir_all(copy.parent().unwrap()).unwrap();
        let failure = looked(store("[[nonsense]]\n"), &copy).unwrap_err();
        assert!(failure.status == 2 && failure.text.contains("nonsense"), "{}", failure.text);
    }
}
