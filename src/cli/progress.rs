//! How far the reading is, on a terminal.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::inputs::BytesRead;

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar on stderr, or nothing; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    read: BytesRead,
}

impl Progress {
    /// Shows `read` of `total` bytes, if stderr is a terminal and `wanted`. Without a total there is no bar, but a
    /// count.
    pub(crate) fn new(wanted: bool, total: Option<u64>, read: BytesRead) -> Self {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| match total {
            Some(total) => styled(
                ProgressBar::new(total),
                "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
            ),
            None => styled(ProgressBar::no_length(), "{spinner} {decimal_bytes}, {decimal_bytes_per_sec}"),
        });
        Self { bar, read }
    }

    /// How long to wait for other things before the next [`draw`](Self::draw); `None` if there is nothing to draw.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.bar.is_some().then_some(INTERVAL)
    }

    /// Brings the bar up to date.
    pub(crate) fn draw(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.read.load(Ordering::Relaxed));
            bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.with_style(ProgressStyle::with_template(template).expect("the templates are constants"))
}
