//! How much memory this process may use: as much as every control group that it is in lets it, else that of the machine.

use std::fs;

/// Bytes of memory that this process may use.
pub(super) fn available() -> u64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let groups = least(&read("/proc/self/cgroup").unwrap_or_default(), read);
    let machine = read("/proc/meminfo").and_then(|text| machine(&text));
    groups.into_iter().chain(machine).min().unwrap_or(u64::MAX)
}

/// A hierarchy of control groups: where it is, and the file in each group that bounds its memory.
type Hierarchy = (&'static str, &'static str);

const V2: Hierarchy = ("/sys/fs/cgroup", "memory.max");
const V1: Hierarchy = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");

/// The least bound of all groups that a process is in, by `/proc/self/cgroup` (cgroups(7)); a group is bounded by those
/// that it is in, too.
fn least(own: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let bound = |(mount, file): Hierarchy, group: &str| {
        read(&format!("{mount}{group}/{file}"))?.trim().parse::<u64>().ok()
    };
    // In a container the group that is named may not be among what is mounted there, and the root is the container's.
    let roots = [V2, V1].map(|hierarchy| bound(hierarchy, ""));
    let nested = own.lines().filter_map(group).flat_map(|(hierarchy, group)| {
        let ends = group.char_indices().filter(|(at, sign)| *at > 0 && *sign == '/').map(|(at, _)| at);
        ends.chain([group.len()]).map(move |end| bound(hierarchy, group.get(..end).unwrap_or_default()))
    });
    roots.into_iter().chain(nested).flatten().min()
}

/// The group in a line of `/proc/self/cgroup`, where it is one of those that bound memory.
fn group(line: &str) -> Option<(Hierarchy, &str)> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    let hierarchy = match (number, controllers) {
        ("0", "") => V2,
        _ if controllers.split(',').any(|controller| controller == "memory") => V1,
        _ => return None,
    };
    // What is outside of this namespace (cgroup_namespaces(7)) is found under no path.
    let is_outside = group.split('/').any(|segment| segment == "..");
    (group.starts_with('/') && !is_outside).then_some((hierarchy, group.trim_end_matches('/')))
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(machine("MemTotal:       16316412 kB\nMemFree: 1 kB\n"), Some(16_316_412 * 1024));
        assert_eq!(machine("MemFree: 1 kB\n"), None);
        assert!(available() > 1 << 20);
    }

    #[test]
    fn every_group_that_a_process_is_in_bounds_it() {
        let (v2, v1) = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory");
        let service = "0::/system.slice/pointsman.service\n";
        for (own, files, expected) in [
            (
                service,
                vec![(v2, "/system.slice/pointsman.service/memory.max", "1073741824\n")],
                Some(1 << 30),
            ),
            (
                service,
                vec![
                    (v2, "/system.slice/pointsman.service/memory.max", "max\n"),
                    (v2, "/system.slice/memory.max", "2000000\n"),
                    (v2, "/memory.max", "3000000\n"),
                ],
                Some(2_000_000),
            ),
            (service, vec![(v2, "/system.slice/other.service/memory.max", "1000\n")], None),
            // In a container, with a namespace of its own and without.
            ("0::/\n", vec![(v2, "/memory.max", "5000000\n")], Some(5_000_000)),
            ("0::/docker/a\n", vec![(v2, "/memory.max", "5000000\n")], Some(5_000_000)),
            ("0::/../b\n", vec![(v2, "/../b/memory.max", "1000\n")], None),
            ("", vec![(v1, "/memory.limit_in_bytes", "7000000\n")], Some(7_000_000)),
            (
                "7:cpu,memory:/user/a\n3:cpuset:/b\n1:name=systemd:/c\n0::/d\n",
                vec![
                    (v1, "/user/a/memory.limit_in_bytes", "9223372036854771712\n"),
                    (v1, "/user/memory.limit_in_bytes", "4000000\n"),
                    (v1, "/b/memory.limit_in_bytes", "1000\n"),
                ],
                Some(4_000_000),
            ),
            ("none", vec![], None),
        ] {
            let read = |path: &str| {
                let file = files.iter().find(|(mount, name, _)| format!("{mount}{name}") == path);
                file.map(|(_, _, text)| (*text).to_owned())
            };
            assert_eq!(least(own, read), expected, "{own}");
        }
    }
}
