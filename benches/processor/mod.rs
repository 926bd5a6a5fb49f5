//! How long a processor was worked on: what else goes on on the machine counts less there than in the time that passes.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use std::time::Duration;

/// Returns how long this thread has had a processor, if the system tells.
pub fn of_thread() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Returns how long the threads of this process have had a processor, those that have ended included, if the system
/// tells.
pub fn of_process() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold spaces; ticks are hundredths of a second on every Linux.
    let fields: Vec<&str> = told.rsplit(')').next()?.split_whitespace().collect();
    let [user, system] = [fields.get(11)?, fields.get(12)?].map(|ticks| ticks.parse::<u64>().ok());
    Some(Duration::from_millis((user? + system?) * 10))
}
