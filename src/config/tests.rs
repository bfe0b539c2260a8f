//! Example files are good, broken files get exactly the diagnosis that stands beside them.

use std::path::Path;

use super::*;

#[test]
fn the_default_file_is_good() {
    let config =
        load(Path::new("config/pointsman.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.route[0].listeners, ["web"]);
    assert_eq!(config.upstream[0].backend.len(), 2);
}
