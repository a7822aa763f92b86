//! Metrics: a registry that is a value, and its text.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a program counts. Each of its metrics has the program's name in front; those of the process
/// (`process_resident_memory_bytes`, `process_open_fds`) have the names that they have everywhere.
#[derive(Debug)]
pub struct Metrics {
    program: &'static str,
    registry: Registry,
}

impl Metrics {
    /// Only those of the process yet.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        Self { program, registry }
    }

    /// Adds a metric, a clone of which counts from then on. The name has neither the program's in front nor
    /// `_total` behind.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.registry.register(format!("{}_{name}", self.program), help, metric);
    }

    /// The current values in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes all that is written");
        text
    }
}

/// Reads the process's own figures when they are asked for.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = [
            ("process_resident_memory_bytes", "Resident memory size in bytes", resident_bytes()),
            ("process_open_fds", "Number of open file descriptors", open_descriptors()),
        ];
        for (name, help, value) in figures {
            // Where /proc is not to be seen the figure is left out.
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_descriptors() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn counts_under_the_programs_name() {
        let mut metrics = Metrics::new("relayd");
        let counter: Counter = Counter::default();
        metrics.register("chunks", "Chunks that were stored", counter.clone());
        counter.inc_by(3);
        let text = metrics.encode();
        assert!(text.contains("# HELP relayd_chunks Chunks that were stored.\n"), "{text}");
        assert!(text.contains("relayd_chunks_total 3\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("process_open_fds "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
