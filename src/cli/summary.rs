//! What was done, for people and for programs.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Strategy;
use super::parts::PartFacts;

/// Up to so many parts get a line each.
const LISTED_PARTS: usize = 16;

/// The facts of a finished run.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) strategy: Strategy,
    pub(crate) producers: usize,
    /// Read, headers aside.
    pub(crate) rows: u64,
    /// Of these rows, with their line endings.
    pub(crate) bytes: u64,
    pub(crate) blank_lines: u64,
    pub(crate) elapsed: Duration,
    /// Each with its file, by number.
    pub(crate) parts: Vec<(PathBuf, PartFacts)>,
    pub(crate) segments: u32,
    pub(crate) segment_size: usize,
    pub(crate) most_in_use: u32,
    /// Summed over the producers.
    pub(crate) back_pressured: Duration,
    /// Summed over the consumers.
    pub(crate) idle: Duration,
}

impl Summary {
    /// One object, its keys as the long help lists them.
    pub(crate) fn json(&self) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|(file, part)| json!({ "file": file.to_string_lossy(), "rows": part.rows, "bytes": part.bytes }))
            .collect();
        json!({
            "strategy": self.strategy.name(),
            "partitions": self.parts.len(),
            "producers": self.producers,
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "rows_per_second": self.per_second(self.rows),
            "bytes_per_second": self.per_second(self.bytes),
            "parts": parts,
            "segments": self.segments,
            "segment_size": self.segment_size,
            "segments_most_in_use": self.most_in_use,
            "back_pressured_seconds": self.back_pressured.as_secs_f64(),
            "idle_seconds": self.idle.as_secs_f64(),
            "blank_lines": self.blank_lines,
        })
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn write_parts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |index: usize| {
            let (file, _) = &self.parts[index];
            file.file_name().unwrap_or(file.as_os_str()).to_string_lossy()
        };
        if self.parts.len() <= LISTED_PARTS {
            let width = self.parts.iter().map(|(_, part)| thousands(part.rows).len()).max().unwrap_or(0);
            for (index, (_, part)) in self.parts.iter().enumerate() {
                let (rows, noun) = (thousands(part.rows), plural(part.rows, "row"));
                writeln!(f, "  {}  {rows:>width$} {noun:<4}  {:>9}", name(index), megabytes(part.bytes))?;
            }
            return Ok(());
        }
        let mut by_rows: Vec<usize> = (0..self.parts.len()).collect();
        by_rows.sort_by_key(|&index| self.parts[index].1.rows);
        for (rank, index) in
            [("fewest", by_rows[0]), ("median", by_rows[by_rows.len() / 2]), ("most", by_rows[by_rows.len() - 1])]
        {
            writeln!(f, "  {rank:<6}  {}, in {}", counted(self.parts[index].1.rows, "row"), name(index))?;
        }
        match self.parts.iter().filter(|(_, part)| part.rows == 0).count() as u64 {
            0 => Ok(()),
            empty => writeln!(
                f,
                "  {} no row",
                if empty == 1 { "1 part has".into() } else { thousands(empty) + " parts have" }
            ),
        }
    }
}

/// Lines for a person, the last one without a newline.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, bytes) = (counted(self.rows, "row"), megabytes(self.bytes));
        let (row_rate, byte_rate) = (thousands(self.per_second(self.rows) as u64), self.per_second(self.bytes) as u64);
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "{rows}, {bytes} in {seconds:.2} s: {row_rate} rows/s, {}/s", megabytes(byte_rate))?;
        let parts = counted(self.parts.len() as u64, "part");
        let dir = self.parts.first().and_then(|(file, _)| file.parent()).map(|dir| dir.display().to_string());
        writeln!(f, "{parts} in {}, by {}:", dir.unwrap_or_default(), self.strategy.name())?;
        self.write_parts(f)?;
        if self.blank_lines > 0 {
            writeln!(f, "{} passed over", counted(self.blank_lines, "blank line"))?;
        }
        let (most, all) = (thousands(self.most_in_use.into()), thousands(self.segments.into()));
        writeln!(
            f,
            "segments: at most {most} in use, of {all} with {} bytes each",
            thousands(self.segment_size as u64)
        )?;
        let (producers, consumers) = (self.producers as u64, self.parts.len() as u64);
        write!(
            f,
            "waiting, in sum: {} back-pressured {:.2} s, {} idle {:.2} s",
            counted(producers, "producer"),
            self.back_pressured.as_secs_f64(),
            counted(consumers, "consumer"),
            self.idle.as_secs_f64(),
        )
    }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.into() } else { format!("{noun}s") }
}

/// "1 row", "2,000 rows".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {}", thousands(count), plural(count, noun))
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        let _ = out.write_char(digit);
    }
    out
}

/// In units of 1,000,000 bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(rows: &[u64]) -> Summary {
        Summary {
            strategy: Strategy::Hash,
            producers: 1,
            rows: rows.iter().sum(),
            bytes: 5_500_000,
            blank_lines: 0,
            elapsed: Duration::from_millis(500),
            parts: rows
                .iter()
                .enumerate()
                .map(|(index, &rows)| {
                    (format!("out/part-{index:05}.csv").into(), PartFacts { rows, bytes: rows * 1000 })
                })
                .collect(),
            segments: 64,
            segment_size: 32768,
            most_in_use: 9,
            back_pressured: Duration::from_millis(120),
            idle: Duration::from_millis(1500),
        }
    }

    #[test]
    fn few_parts_are_listed() {
        let text = summary(&[4000, 1, 0]).to_string();
        let expected = "\
4,001 rows, 5.5 MB in 0.50 s: 8,002 rows/s, 11.0 MB/s
3 parts in out, by hash:
  part-00000.csv  4,000 rows     4.0 MB
  part-00001.csv      1 row      0.0 MB
  part-00002.csv      0 rows     0.0 MB
segments: at most 9 in use, of 64 with 32,768 bytes each
waiting, in sum: 1 producer back-pressured 0.12 s, 3 consumers idle 1.50 s";
        assert_eq!(text, expected);
    }

    #[test]
    fn many_parts_are_told_by_their_extremes() {
        let mut summary = summary(&(0..100).collect::<Vec<_>>());
        summary.blank_lines = 1;
        let text = summary.to_string();
        for line in [
            "  fewest  0 rows, in part-00000.csv\n",
            "  median  50 rows, in part-00050.csv\n",
            "  most    99 rows, in part-00099.csv\n",
            "  1 part has no row\n",
            "1 blank line passed over\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.lines().count() < 12, "{text}");
    }

    #[test]
    fn an_instant_run_has_finite_rates() {
        let mut summary = summary(&[0]);
        summary.elapsed = Duration::ZERO;
        assert!(summary.json()["bytes_per_second"].is_f64());
    }
}
