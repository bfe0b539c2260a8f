//! Some cases of the Autobahn test suite through the program; all of them are a soak (`tests/soak/websockets`).

use std::process::Command;

use crate::support::skipped;

#[test]
fn cases_of_autobahn_pass_through_every_pair_of_versions() {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(format!("{root}/tests/soak/websockets"))
        .args([
            "--binary",
            env!("CARGO_BIN_EXE_pointsman"),
            "--installed",
            "1.1.*",
            "2.*",
            "5.*",
            "7.1.*",
            "7.7.*",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(77) {
        return skipped("the Autobahn test suite");
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(" 0 not strict, 0 failed").count(), 3, "{said}");
}
