//! What the operating system reports about this process, under the names that all Prometheus clients use.
//! Linux only; elsewhere the values stay 0.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::registry::MetricRegistry;

/// Clock ticks per second in `/proc/self/stat`. Linux reports this value on every architecture that gantryd
/// supports.
const TICKS: f64 = 100.0;

/// Values that are read again at every scrape.
pub(super) struct ProcessMetrics {
    memory: Gauge,
    files: Gauge,
    threads: Gauge,
    cpu: Counter<f64, AtomicU64>,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    pub(super) fn new(registry: &mut MetricRegistry) -> Self {
        let started = registry.add(
            "process_start_time_seconds",
            &[],
            "Start of the process, in seconds since 1970",
            Gauge::<f64, AtomicU64>::default(),
        );
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        started.set(since.as_secs_f64());
        Self {
            memory: registry.add("process_resident_memory_bytes", &[], "Memory in use", Gauge::default()),
            files: registry.add("process_open_fds", &[], "Open file descriptors", Gauge::default()),
            threads: registry.add("process_threads", &[], "Threads", Gauge::default()),
            cpu: registry.add("process_cpu_seconds_total", &[], "Processor time used", Counter::default()),
        }
    }

    pub(super) fn refresh(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.memory.set(number(&status, "VmRSS:").saturating_mul(1024));
        self.threads.set(number(&status, "Threads:"));
        let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(files).unwrap_or(i64::MAX));
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        self.cpu.inner().store(cpu_seconds(&stat).to_bits(), Ordering::Relaxed);
    }
}

/// Returns the number after a name in `/proc/self/status`.
fn number(status: &str, name: &str) -> i64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Returns the user and system time from `/proc/self/stat`: the 12th and 13th field after the name, which may
/// contain spaces.
fn cpu_seconds(stat: &str) -> f64 {
    let Some((_, behind)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_is_read() {
        assert_eq!(number("Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t7\n", "VmRSS:"), 1234);
        let stat = "1 (a b) c) S 2 3 4 5 6 7 8 9 10 11 250 150 0 0 20";
        assert!((cpu_seconds(stat) - 4.0).abs() < 1e-9, "{}", cpu_seconds(stat));
        assert!(cpu_seconds("nonsense").abs() < 1e-9);
    }
}
