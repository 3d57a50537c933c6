//! The result of a run: tables for people, every figure for machines, and the machine and commit that they
//! come from.

use std::{env, fmt::Write as _, fs, path::PathBuf, process::Command, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Size,
    place::Memory,
    stats::{Table, Unit, percentile, spread},
};

/// The measurements so far.
pub struct Report {
    size: Size,
    begun: Timestamp,
    load: String,
    tables: Vec<Table>,
    memory: Vec<(String, Memory)>,
}

// === impl Report ===

impl Report {
    pub fn begin(size: Size) -> Self {
        Self { size, begun: Timestamp::now(), load: load(), tables: Vec::new(), memory: Vec::new() }
    }

    pub fn add(&mut self, table: Table) {
        println!("{}", markdown(&table));
        self.tables.push(table);
    }

    pub fn memory(&mut self, state: &str, memory: Memory) {
        println!("{state}: {} KiB", memory.resident);
        self.memory.push((state.to_owned(), memory));
    }

    /// Writes the tables and the figures into files, and prints their paths.
    pub fn end(&self, took: Duration) {
        let (load_after, commit, machine) = (load(), commit(), machine());
        let size = self.size;
        let pods = size.pods();
        let mut text = format!(
            "The {} run. Commit {commit}, {}. {machine}. Load average {} before, {load_after} after. {pods} simulated pods in {} apps, {} rounds, \
             {} s in all.\n\n",
            size.name,
            self.begun.strftime("%Y-%m-%d %H:%M UTC"),
            self.load,
            size.apps,
            size.rounds,
            took.as_secs(),
        );
        for table in &self.tables {
            text += &markdown(table);
            text.push('\n');
        }
        text += &self.memory_table(pods);

        let raw = json!({
            "run": size.name, "commit": commit, "machine": machine, "begun": self.begun.to_string(), "rounds": size.rounds,
            "load_before": self.load, "load_after": load_after, "pods": pods,
            "tables": self.tables.iter().map(Table::raw).collect::<Value>(),
            "memory_kib": self.memory.iter().map(|(state, memory)| {
                json!({"state": state, "resident": memory.resident, "proportional": memory.proportional, "heap": memory.heap})
            }).collect::<Value>(),
        });
        let directory = PathBuf::from(env::var("GANTRY_BENCH_OUT").unwrap_or_else(|_| "target/bench".into()));
        fs::create_dir_all(&directory).unwrap();
        let stem = directory.join(self.begun.strftime("%Y%m%dT%H%M%SZ").to_string());
        fs::write(stem.with_extension("json"), serde_json::to_string(&raw).unwrap()).unwrap();
        fs::write(stem.with_extension("md"), &text).unwrap();
        println!("{text}\nfigures: {}", stem.with_extension("json").display());
    }

    fn memory_table(&self, pods: usize) -> String {
        let mut text = format!(
            "### Memory of the daemon\n\nEach line continues from the line above, except after a restart, with {pods} pods. The heap is \
             counted at every allocation. The rest of the RSS is memory that the allocator retains.\n\n"
        );
        text += "| state | RSS | PSS | heap |\n|---|---:|---:|---:|\n";
        for (state, memory) in &self.memory {
            let heap = memory.heap.map_or_else(|| "-".to_owned(), mib);
            let (resident, proportional) = (mib(memory.resident), mib(memory.proportional));
            let _ = writeln!(text, "| {state} | {resident} | {proportional} | {heap} |");
        }
        text
    }
}

#[allow(clippy::cast_precision_loss)] // one decimal is shown
fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Micros if value.abs() >= 1e6 => format!("{:.2} s", value / 1e6),
        Unit::Micros if value.abs() >= 1000.0 => format!("{:.2} ms", value / 1000.0),
        Unit::Micros => format!("{value:.0} µs"),
        Unit::PerSecond => format!("{value:.0}/s"),
        Unit::Bytes => format!("{value:.0} B"),
    }
}

fn markdown(table: &Table) -> String {
    let unit = table.unit;
    let show = |value| figure(unit, value);
    let mut text = format!("### {}\n\n{}\n\n", table.title, table.about);
    text += "| | median | medians of the rounds | p99 | figures |\n|---|---:|---:|---:|---:|\n";
    for series in &table.series {
        let (all, rounds) = (series.all(), spread(&series.medians()));
        // A 99th percentile means nothing with fewer than 100 figures.
        let p99 = match all.len() {
            0..100 => format!("most {}", show(spread(&all).most)),
            _ => show(percentile(&all, 99)),
        };
        let (median, least, most) = (show(rounds.median), show(rounds.least), show(rounds.most));
        let _ = writeln!(text, "| {} | {median} | {least} to {most} | {p99} | {} |", series.name, all.len());
    }
    if table.ratios.is_empty() {
        return text;
    }
    text += "\n| ratio | median | rounds | goal | |\n|---|---:|---:|---|---|\n";
    for ratio in &table.ratios {
        let by = spread(&table.ratio(ratio));
        let show = |value: f64| match ratio.to {
            Some(_) => format!("{value:.2}"),
            None => figure(unit, value),
        };
        let goal = ratio.goal.map_or_else(|| "-".to_owned(), |goal| goal.text(show));
        let verdict = match ratio.goal.map(|goal| goal.is_met(by.median)) {
            Some(true) => "met",
            Some(false) => "**lost**",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} to {} | {goal} | {verdict} |",
            ratio.what,
            show(by.median),
            show(by.least),
            show(by.most),
        );
    }
    text
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed =
        git(&["status", "--porcelain", "--", "src", "Cargo.lock"]).is_some_and(|text| !text.is_empty());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    if changed { format!("{commit} with changes") } else { commit }
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = of(&read("/proc/cpuinfo"), "model name");
    let memory: u64 =
        of(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({cpu}), {} GiB, Linux {}", memory / (1024 * 1024), kernel.trim())
}
