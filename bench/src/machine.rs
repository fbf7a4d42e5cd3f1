//! What the figures were taken on: the machine in words, and this process' memory from `/proc/self`.

use std::fs;

/// Resident memory of this process, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resident {
    /// Now.
    pub now_mib: f64,
    /// The most since the process began, or since [`reset_peak`].
    pub peak_mib: f64,
}

/// `2 × AMD EPYC, 23 GiB, Linux 6.1`.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown processor").to_owned();
    let memory = kib(&read("/proc/meminfo"), "MemTotal").map_or(0.0, |mib| (mib / 1024.0).round());
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split('-').next().unwrap_or("?").trim();
    format!("{cores} × {cpu}, {memory} GiB, Linux {kernel}")
}

/// How this binary was built: only `release` figures mean anything.
pub const fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// This process' memory; zero where there is no `/proc`.
pub fn resident() -> Resident {
    resident_of(std::process::id())
}

/// Another process' memory; zero where there is no `/proc`, or no such process.
pub fn resident_of(pid: u32) -> Resident {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mib = |name| kib(&status, name).unwrap_or(0.0);
    Resident { now_mib: mib("VmRSS"), peak_mib: mib("VmHWM") }
}

/// Lets the peak begin anew, so that it is the measured part's and not the preparation's. False: the system refused.
pub fn reset_peak() -> bool {
    reset_peak_of(std::process::id())
}

/// The same for another process.
pub fn reset_peak_of(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A `… kB` line, in MiB.
fn kib(text: &str, name: &str) -> Option<f64> {
    field(text, name)?.strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "VmRSSx:\t 1 kB\nVmHWM:\t  2048 kB\nVmRSS:\t    1536 kB\n";
        assert_eq!((kib(text, "VmRSS"), kib(text, "VmHWM"), kib(text, "Vm")), (Some(1.5), Some(2.0), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_that_is_touched_shows() {
        let before = resident();
        let touched = vec![1_u8; 64 << 20];
        let with = resident();
        assert!(with.now_mib > before.now_mib + 48.0, "{before:?} then {with:?}, holding {}", touched.len());
        assert!(machine().contains("Linux"), "{}", machine());
    }
}
