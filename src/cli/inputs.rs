//! The input files: opened, found to belong together, and dealt to the producers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::header::{ColumnError, Header, numbered};
use super::rows::{Expected, Format, RowError, Scanner};

/// Why the files cannot be shuffled together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot open {0}")]
    Open(String, #[source] io::Error),
    #[error("{0} is a folder, not a file")]
    Folder(String),
    #[error("the headers of {first} and {other} are not the same: {difference}")]
    Headers { first: String, other: String, difference: String },
    #[error("{first} has {columns} columns, the first row of {other} has {found}")]
    Columns { first: String, columns: usize, other: String, found: usize },
    #[error(transparent)]
    Column(#[from] ColumnError),
    #[error(transparent)]
    Row(#[from] RowError),
}

/// What the files have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    format: Format,
    /// The first file's, if files have headers.
    header: Option<Header>,
    /// The first file's name.
    first: String,
    expected: Expected,
    key: Option<usize>,
}

/// A file that has been looked at, and not read yet.
pub(crate) struct Input {
    path: PathBuf,
    /// Unless it is a pipe, or the like.
    size: Option<u64>,
    /// If it cannot be opened a second time, or what was read of it would be gone.
    opened: Option<Scanner<Source>>,
}

/// Bytes read so far, by everybody.
pub(crate) type BytesRead = Arc<AtomicU64>;

/// Where a scanner's bytes come from.
pub(crate) struct Source {
    kind: SourceKind,
    read: BytesRead,
}

enum SourceKind {
    File(File),
    Stdin(io::Stdin),
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.kind {
            SourceKind::File(file) => file.read(buf),
            SourceKind::Stdin(stdin) => stdin.read(buf),
        }?;
        // A count for the progress bar to show: nothing else is read by it.
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Looks at the start of each of `paths`: can it be read, has it rows, are its columns the others'? `key` is the column
/// wanted, if any.
///
/// # Errors
/// See [`InputError`].
pub(crate) fn inspect(
    paths: &[PathBuf],
    format: Format,
    headers: bool,
    key: Option<&str>,
    read: &BytesRead,
) -> Result<(Shape, Vec<Input>), InputError> {
    let mut shape = None;
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let read_before = read.load(Ordering::Relaxed);
        let (size, mut scanner) = open(path, format, read)?;
        if shape.is_none() {
            shape = Some(Shape::of(&mut scanner, name(path), format, headers, key)?);
        } else if let Some(shape) = &shape {
            shape.check(&mut scanner, path)?;
        }
        // What can be read again is closed, so that a thousand files need neither descriptors nor buffers.
        let opened = if size.is_some() {
            read.store(read_before, Ordering::Relaxed);
            None
        } else {
            Some(scanner)
        };
        inputs.push(Input { path: path.clone(), size, opened });
    }
    Ok((shape.expect("the command line asks for at least one file"), inputs))
}

/// Deals the files to `producers`, each to the one with the least to read so far.
pub(crate) fn deal(inputs: Vec<Input>, producers: usize) -> Vec<Vec<Input>> {
    let mut hands: Vec<(u64, Vec<Input>)> = (0..producers).map(|_| (0, Vec::new())).collect();
    for input in inputs {
        let next = hands.iter_mut().min_by_key(|(bytes, files)| (*bytes, files.len()));
        let (bytes, files) = next.expect("there is at least one producer");
        *bytes += input.size.unwrap_or(0);
        files.push(input);
    }
    hands.into_iter().map(|(_, files)| files).collect()
}

/// How many bytes there are to read, if that is known.
pub(crate) fn total_size(inputs: &[Input]) -> Option<u64> {
    inputs.iter().map(|input| input.size).sum()
}

impl Shape {
    fn of(
        scanner: &mut Scanner<Source>,
        first: String,
        format: Format,
        headers: bool,
        key: Option<&str>,
    ) -> Result<Self, InputError> {
        if headers {
            let header = scanner.header()?;
            let key = key.map(|key| header.find(key)).transpose()?;
            let expected = Expected { columns: header.columns(), reference: "the header".into() };
            return Ok(Self { format, header: Some(header), first, expected, key });
        }
        let columns = scanner.peek_columns()?;
        let key = key.map(|key| numbered(key, columns)).transpose()?;
        let expected = Expected { columns, reference: format!("the first row of {first}") };
        Ok(Self { format, header: None, first, expected, key })
    }

    /// The bytes each part starts with.
    pub(crate) fn header(&self) -> &[u8] {
        self.header.as_ref().map_or(b"", Header::raw)
    }

    /// Puts `scanner` to the first row, if its file's columns are these.
    fn check(&self, scanner: &mut Scanner<Source>, path: &std::path::Path) -> Result<(), InputError> {
        let first = || self.first.clone();
        if let Some(header) = &self.header {
            if let Some(difference) = header.difference(&scanner.header()?) {
                return Err(InputError::Headers { first: first(), other: name(path), difference });
            }
            return Ok(());
        }
        let (columns, found) = (self.expected.columns, scanner.peek_columns()?);
        if columns == found {
            Ok(())
        } else {
            Err(InputError::Columns { first: first(), columns, other: name(path), found })
        }
    }
}

impl Input {
    /// The file's rows, from the first.
    ///
    /// # Errors
    /// If the file cannot be opened again, or its columns are not what they were.
    pub(crate) fn rows(self, shape: &Shape, read: &BytesRead) -> Result<Scanner<Source>, InputError> {
        let mut scanner = if let Some(scanner) = self.opened {
            scanner
        } else {
            let (_, mut scanner) = open(&self.path, shape.format, read)?;
            shape.check(&mut scanner, &self.path)?;
            scanner
        };
        scanner.expect(shape.expected.clone(), shape.key);
        Ok(scanner)
    }
}

/// The size of a regular file, and its bytes.
fn open(path: &PathBuf, format: Format, read: &BytesRead) -> Result<(Option<u64>, Scanner<Source>), InputError> {
    let name = name(path);
    let (size, kind) = if path.as_os_str() == "-" {
        (None, SourceKind::Stdin(io::stdin()))
    } else {
        let refused = |error| InputError::Open(name.clone(), error);
        // Asked before it is opened: opening a pipe waits for its writer.
        let found = fs::metadata(path).map_err(refused)?;
        if found.is_dir() {
            return Err(InputError::Folder(name));
        }
        (found.is_file().then_some(found.len()), SourceKind::File(File::open(path).map_err(refused)?))
    };
    Ok((size, Scanner::new(Source { kind, read: Arc::clone(read) }, name, format)))
}

/// What errors call the file.
fn name(path: &std::path::Path) -> String {
    if path.as_os_str() == "-" { "stdin".into() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(size: Option<u64>) -> Input {
        Input { path: PathBuf::new(), size, opened: None }
    }

    fn sizes(hands: &[Vec<Input>]) -> Vec<Vec<Option<u64>>> {
        hands.iter().map(|files| files.iter().map(|file| file.size).collect()).collect()
    }

    #[test]
    fn files_are_dealt_by_size() {
        let files = [5, 1, 2, 3, 4].map(|size| input(Some(size)));
        let dealt = sizes(&deal(files.into(), 2));
        assert_eq!(dealt, [vec![Some(5), Some(4)], vec![Some(1), Some(2), Some(3)]]);
        let pipes = deal((0..3).map(|_| input(None)).collect(), 2);
        assert_eq!(sizes(&pipes), [vec![None, None], vec![None]]);
    }

    #[test]
    fn total_is_known_only_if_all_sizes_are() {
        assert_eq!(total_size(&[input(Some(2)), input(Some(3))]), Some(5));
        assert_eq!(total_size(&[input(Some(2)), input(None)]), None);
    }
}
