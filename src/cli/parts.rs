//! One part being written: the header, then rows, through a buffer of its own.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The bytes that all parts' buffers take together, as long as none is below [`SMALLEST_BUFFER`].
const ALL_BUFFERS: usize = 8 << 20;
const SMALLEST_BUFFER: usize = 4 << 10;
const LARGEST_BUFFER: usize = 64 << 10;

/// The system refused to take what was written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {cause}{}", path.display(), hint(.cause))]
pub(crate) struct WritePartError {
    /// The part's final name, although its bytes go to a hidden file beside it.
    path: PathBuf,
    cause: io::Error,
}

/// Writes one part.
#[derive(Debug)]
pub(crate) struct PartWriter {
    file: File,
    path: PathBuf,
    /// Its capacity is never outgrown.
    buffer: Vec<u8>,
    facts: PartFacts,
}

/// What is in a part, its header aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartFacts {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// The buffer size for each of `parts` parts.
pub(crate) fn buffer_size(parts: usize) -> usize {
    (ALL_BUFFERS / parts.max(1)).clamp(SMALLEST_BUFFER, LARGEST_BUFFER)
}

impl PartWriter {
    /// Writes to `file`, which errors call `path`, in pieces of `buffer` bytes or whole rows larger than that.
    pub(crate) fn new(file: File, path: PathBuf, buffer: usize) -> Self {
        Self { file, path, buffer: Vec::with_capacity(buffer), facts: PartFacts::default() }
    }

    /// Puts down bytes that are no row.
    ///
    /// # Errors
    /// [`WritePartError`]; the part is lost then.
    pub(crate) fn header(&mut self, header: &[u8]) -> Result<(), WritePartError> {
        self.put(header)
    }

    /// Puts down a row.
    ///
    /// # Errors
    /// [`WritePartError`]; the part is lost then.
    #[inline]
    pub(crate) fn row(&mut self, row: &[u8]) -> Result<(), WritePartError> {
        self.facts.rows += 1;
        self.facts.bytes += row.len() as u64;
        self.put(row)
    }

    /// Writes what is left, closes the file and tells what is in it.
    ///
    /// # Errors
    /// [`WritePartError`]; the part is lost then.
    pub(crate) fn finish(mut self) -> Result<PartFacts, WritePartError> {
        self.flush()?;
        Ok(self.facts)
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), WritePartError> {
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.flush()?;
            if bytes.len() >= self.buffer.capacity() {
                return self.file.write_all(bytes).map_err(|cause| failed(&self.path, cause));
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WritePartError> {
        self.file.write_all(&self.buffer).map_err(|cause| failed(&self.path, cause))?;
        self.buffer.clear();
        Ok(())
    }
}

#[cold]
fn failed(path: &Path, cause: io::Error) -> WritePartError {
    WritePartError { path: path.into(), cause }
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; no part was kept: free some space, or give an --out on another disk"
        }
        io::ErrorKind::FileTooLarge => "; no part was kept: take more --partitions, or raise `ulimit -f`",
        _ => "; no part was kept",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_size_come_out_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut part = PartWriter::new(file.reopen().unwrap(), file.path().into(), 8);
        part.header(b"h\n").unwrap();
        let rows: Vec<String> = (0..30).map(|len| format!("{}\n", "x".repeat(len * 7 % 19))).collect();
        for row in &rows {
            part.row(row.as_bytes()).unwrap();
            assert_eq!(part.buffer.capacity(), 8);
        }
        let bytes = rows.concat().len() as u64;
        assert_eq!(part.finish().unwrap(), PartFacts { rows: 30, bytes });
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "h\n".to_owned() + &rows.concat());
    }

    #[test]
    fn full_disk_names_the_part_and_what_to_do() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut part = PartWriter::new(full(), "out/part-00002.csv".into(), 8);
        let error = part.row(b"more than eight").unwrap_err().to_string();
        assert!(error.starts_with("cannot write out/part-00002.csv: No space left on device"), "{error}");
        assert!(error.ends_with("; no part was kept: free some space, or give an --out on another disk"), "{error}");
        let mut part = PartWriter::new(full(), "out/part-00002.csv".into(), 8);
        part.row(b"12").unwrap();
        assert!(part.finish().is_err(), "what was still in the buffer counts");
    }

    #[test]
    fn buffers_shrink_with_the_number_of_parts() {
        assert_eq!(buffer_size(1), 64 << 10);
        assert_eq!(buffer_size(200), (8 << 20) / 200);
        assert_eq!(buffer_size(1 << 20), 4 << 10);
    }
}
