//! CPU time and memory of a process group, from `/proc`.

use std::fs;

use rustix::process::Pid;

/// Resident memory of a group of processes, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// A page that several processes share is divided among them (`Pss`), so that none counts twice.
    pub(crate) resident: f64,
    /// The part of it that no file backs: heap and stacks (`Pss_Anon`).
    pub(crate) anonymous: f64,
    /// A page counts for each process that has it (`VmRSS`), as tools such as `ps` show it.
    pub(crate) summed: f64,
}

/// CPU seconds of the processes in `group` and of their children that were waited for.
pub(crate) fn cpu_seconds(group: Pid) -> f64 {
    let ticks: u64 = processes(group).map(|stat| stat.cpu_ticks).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks are hundredths of seconds")]
    let (ticks, per_second) = (ticks as f64, rustix::param::clock_ticks_per_second() as f64);
    ticks / per_second
}

/// Memory of the processes in `group`.
pub(crate) fn memory(group: Pid) -> Memory {
    processes(group).fold(Memory::default(), |sum, stat| {
        let status = fs::read_to_string(format!("/proc/{}/status", stat.id)).unwrap_or_default();
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.id)).unwrap_or_default();
        Memory {
            resident: sum.resident + kib(&rollup, "Pss:"),
            anonymous: sum.anonymous + kib(&rollup, "Pss_Anon:"),
            summed: sum.summed + kib(&status, "VmRSS:"),
        }
    })
}

struct Stat {
    id: u32,
    group: i32,
    cpu_ticks: u64,
}

fn processes(group: Pid) -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Stat::parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .filter(move |stat| stat.group == group.as_raw_nonzero().get())
}

impl Stat {
    /// Reads `/proc/PID/stat` (`man 5 proc_pid_stat`); the program's name in it may hold spaces and brackets.
    fn parse(id: u32, text: &str) -> Option<Self> {
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // utime, stime, cutime and cstime
        let cpu_ticks = ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?;
        Some(Self { id, group: fields.get(2)?.parse().ok()?, cpu_ticks })
    }
}

fn kib(text: &str, field: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!((stat.group, stat.cpu_ticks), (42, 110));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert!((kib("Pss_Anon:  9 kB\nPss:   12 kB\n", "Pss:") - 12.0).abs() < f64::EPSILON);
    }
}
