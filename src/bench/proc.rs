//! What the system says of processes: `/proc`. Elsewhere nothing is known, and nothing reported.

use std::collections::BTreeMap;
use std::fs;

/// Linux counts processor time in hundredths of a second, whatever its own tick.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of `/proc/PID/stat`, counted from the one behind the name.
const PARENT: usize = 1;
const OWN_TIME: [usize; 2] = [11, 12];
const CHILDREN_TIME: [usize; 2] = [13, 14];

/// One process, as `/proc/PID/stat` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stat {
    parent: u32,
    /// Processor time in seconds.
    own: f64,
    /// That of children which have ended.
    ended: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name stands in parentheses, and may have some of its own.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |at: [usize; 2]| {
        let ticks = at.map(|at| fields.get(at)?.parse::<f64>().ok());
        Some((ticks[0]? + ticks[1]?) / TICKS_PER_SECOND)
    };
    let parent = fields.get(PARENT)?.parse().ok()?;
    Some(Stat { parent, own: seconds(OWN_TIME)?, ended: seconds(CHILDREN_TIME)? })
}

/// Processor time of a process in seconds; none if it is gone.
pub fn cpu(pid: u32) -> Option<f64> {
    stat(pid).map(|stat| stat.own)
}

/// Processor time of a server and all its processes, those that ended included.
pub fn cpu_of_tree(server: u32) -> Option<f64> {
    let stats: BTreeMap<u32, Stat> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let children = stats.values().filter(|stat| stat.parent == server);
    let root = stats.get(&server)?;
    Some(root.own + root.ended + children.map(|stat| stat.own).sum::<f64>())
}

/// The most memory that a process has had resident, in bytes.
pub fn peak_resident(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_behind_the_name() {
        let line = "7 (a) b) S 42 7 7 0 -1 4194560 1 2 3 4 150 50 20 5 20 0 1 0 5 6 7";
        assert_eq!(parse(line), Some(Stat { parent: 42, own: 2.0, ended: 0.25 }));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_a_parent() {
        let us = std::process::id();
        assert!(peak_resident(us).expect("a size") > 100_000.0);
        let parent = stat(us).expect("a line").parent;
        assert!(cpu_of_tree(parent).expect("a time") >= cpu(us).expect("a time"));
    }
}
