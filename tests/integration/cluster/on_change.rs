//! The program that is told of roles, as it is mended.

use super::lab::{Lab, config};
use crate::support::eventually;

#[test]
fn mended_program_is_told_the_present_role() {
    let Some(lab) = Lab::new() else { return };
    let folder = crate::support::proxy::folder();
    let file = folder.join("roles");
    let a = lab.start("a", 150, "on_change = { command = [\"/bin/false\"], retries = 0 }\n");
    a.until("primary", 1);
    // One for each family.
    a.proxy.until_logged("`on_change` for primary", 2);
    let script = format!("echo $POINTSMAN_ROLE {{router}} >> {}", file.display());
    let mended = format!("on_change = {{ command = [\"/bin/sh\", \"-c\", \"{script}\"] }}\n");
    a.proxy.edit(&config("a", 150, &mended));
    let lines = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    eventually("both are told", || lines().len() == 2);
    assert_eq!(lines(), ["primary eth0/51/ipv4", "primary eth0/51/ipv6"]);
    // It is the same one, and has nothing new to hear.
    a.proxy.edit(&config("a", 151, &mended));
    a.proxy.until_logged("\"generation\":3", 1);
    a.proxy.signal("TERM");
    eventually("both are told", || lines().len() == 4);
    assert_eq!(lines()[2..], ["standby eth0/51/ipv4", "standby eth0/51/ipv6"]);
    std::fs::remove_dir_all(folder).unwrap();
}
