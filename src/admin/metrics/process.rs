//! What the operating system says of this process, under the names that dashboards know (`process_*`).

use std::fs;

use super::text::{Kind, Labels, Text};

/// Processor time, memory, descriptors, threads and start of the process. What cannot be read is left out.
pub(super) fn process(text: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut gauge = |name, kind, help, value: Option<f64>| {
        if let Some(value) = value {
            text.plain_family(name, kind, help);
            text.plain_sample(name, &Labels::default(), value);
        }
    };
    let help = "User and system CPU time in seconds.";
    gauge("process_cpu_seconds_total", Kind::Counter, help, cpu_seconds(&stat));
    gauge("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", bytes_of(&status, "VmRSS:"));
    gauge("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", bytes_of(&status, "VmSize:"));
    let threads = value_of(&status, "Threads:").and_then(|value| value.parse().ok());
    gauge("process_threads", Kind::Gauge, "Threads.", threads);
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    gauge("process_open_fds", Kind::Gauge, "Open file descriptors.", open);
    gauge("process_max_fds", Kind::Gauge, "Limit of open file descriptors.", most_descriptors());
    let help = "Start time of the process, as Unix time in seconds.";
    gauge("process_start_time_seconds", Kind::Gauge, help, started(&stat));
}

/// The fields of `/proc/self/stat` behind the name, which may have blanks: the third of the file comes first.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default()
}

fn ticks() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields = fields(stat);
    let field = |number: usize| fields.get(number).and_then(|it| it.parse::<f64>().ok());
    // utime and stime, the 14th and 15th.
    Some((field(11)? + field(12)?) / ticks())
}

fn started(stat: &str) -> Option<f64> {
    let since_boot = fields(stat).get(19)?.parse::<f64>().ok()? / ticks();
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + since_boot)
}

fn value_of<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next())
}

fn bytes_of(status: &str, name: &str) -> Option<f64> {
    Some(value_of(status, name)?.parse::<f64>().ok()? * 1024.0)
}

fn most_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_misleads_nobody() {
        let stat = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 250 50 0 0 20 0 8 0 1234 5 6";
        assert_eq!(cpu_seconds(stat), Some(300.0 / ticks()));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_is_described() {
        let mut text = Text::new();
        process(&mut text);
        let text = text.finish();
        for name in
            ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"]
        {
            let line = text.lines().find(|line| line.starts_with(&format!("process_{name} ")));
            let value: f64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
            assert!(value >= 0.0, "{name}");
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - started(&stat).unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age} seconds");
    }
}
