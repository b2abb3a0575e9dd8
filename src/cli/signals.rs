//! Ctrl-C and its like: the unfinished parts go, then the process.
//!
//! A thread of its own waits for signals, so that a program blocked in `read` on a silent stdin ends as promptly as a
//! busy one. It does not ask the other threads for anything: it takes the output folder away from them
//! ([`Handle::abandon`]) and ends the process while they stand. A second signal finds the first one at work and changes
//! nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{fs, io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::staging::Handle;

/// From now on SIGINT, SIGTERM and SIGHUP abandon what `staging` holds and end the process with status 128 + signal,
/// except those that whoever started us had ignored (`nohup` does). A file-size limit becomes an error of the write
/// that meets it, instead of a signal.
///
/// # Errors
/// As the system says, if it cannot install a handler or start a thread.
pub(crate) fn watch(staging: Handle) -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let ignored = ignored();
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP].iter().filter(|signal| ignored & (1 << (*signal - 1)) == 0))?;
    thread::Builder::new().name("signals".into()).stack_size(128 << 10).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _nobody_else_gets_on = staging.abandon();
            signal_hook::low_level::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// The signals ignored in this process, signal 1 as the lowest bit; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
