//! CSV rows as the raw bytes they are: found, checked and handed out without copying or rewriting any.
//!
//! ```text
//!  source ──read ≥ 64 KiB──▶ [ handed out │ row │ row │ row │ begun ]──▶ Row { bytes, key }
//!                                           one own buffer
//! ```
//!
//! # What a row is
//! * A row ends with `\n`; a `\r` right before it belongs to the line ending. The ending is part of [`Row::bytes`].
//! * Quotes are RFC 4180's, as csv-core reads them: a field that *starts* with `"` runs to the closing quote, over
//!   delimiters and newlines, and `""` inside stands for one quote. A quote further inside a field is just a byte.
//! * A last row without a line ending gets that of the row before it (`\n` if there is none), so that rows of two
//!   files never join.
//! * A blank line is no row, except in a file of one column, where it is an empty value. Blank lines are counted.
//! * A UTF-8 byte-order mark belongs to the first row's bytes, and to no field.
//!
//! # How it is fast
//! One `memchr2` looks for a newline or a quote. If the newline comes first, the row holds no quote at all, and its
//! fields are where its delimiters are: counted and found with SIMD. Only a row with a quote goes through csv-core.
//! That both ways see the same rows is what the property test below is for.
//!
//! # Memory
//! The buffer holds at most [`Format::max_record`] + [`CHUNK`] bytes (rounded up by what a `Vec` rounds), also when a
//! quote is never closed.

use std::io::{self, Read};

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use forebay::record::SerializeRecord;
use memchr::{memchr, memchr_iter, memchr2};

use super::header::Header;

#[cfg(test)]
mod tests;

/// The buffer's size while no row needs more. A read is never smaller than half of it, unless the source gives less.
pub(crate) const CHUNK: usize = 128 << 10;

/// U+FEFF in UTF-8, which some programs put at the start of a file.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// How the files are written, and the largest row worth holding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// Between two fields. None of `\r`, `\n`, `"`.
    pub(crate) delimiter: u8,
    /// Bytes of the largest row allowed, its line ending included.
    pub(crate) max_record: usize,
}

/// One row, borrowed from the scanner until the next is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// As in the file, line ending included.
    pub(crate) bytes: &'a [u8],
    /// The key field without its quotes; empty if no key was asked for.
    pub(crate) key: &'a [u8],
}

/// The row's bytes are the record.
impl SerializeRecord for Row<'_> {
    #[inline]
    fn serialized_len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        dst.copy_from_slice(self.bytes);
    }

    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self.bytes)
    }
}

/// Why there is no next row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The system refused to read.
    #[error("cannot read {file}")]
    Read { file: String, source: io::Error },
    /// Nothing but, at most, blank lines.
    #[error("{file} is empty: it has no rows{}", if *.header { ", not even a header" } else { "" })]
    Empty { file: String, header: bool },
    /// The fields of a row are not as many as the columns.
    #[error("{file}:{line}: row has {}, {reference} has {columns}", fields(*.found))]
    Ragged { file: String, line: u64, found: usize, reference: String, columns: usize },
    /// The row is longer than allowed, and its end may not even have been seen: `open` if it has not, and there is a
    /// quote in the row, which may be the reason.
    #[error(
        "{file}:{line}: row is too large: {size} bytes so far, and --max-record allows {limit}{}",
        if *.open { " (is a quote in it never closed?)" } else { "" }
    )]
    TooLarge { file: String, line: u64, size: usize, limit: usize, open: bool },
    /// The file ended inside quotes.
    #[error("{file}:{line}: a quote opened in the row that starts here is never closed")]
    Unclosed { file: String, line: u64 },
}

/// Reads rows out of `source`.
pub(crate) struct Scanner<R> {
    source: R,
    file: String,
    format: Format,
    /// All of it initialised; what is read and not handed out stands in `start..end`.
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes before `start` that must survive too: see [`peek_columns`](Self::peek_columns).
    held: usize,
    at_file_start: bool,
    source_ended: bool,
    /// The line the row at `start` begins on.
    line: u64,
    /// The line ending seen last, to complete a last row with.
    crlf: bool,
    expected: Expected,
    key: Option<usize>,
    blank_lines: u64,
    quoted: QuotedRow,
}

/// What every row is measured against.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Fields in each row.
    pub(crate) columns: usize,
    /// What says so, for the error: "the header".
    pub(crate) reference: String,
}

/// A row's place in the buffer, from `start` on.
struct Located {
    /// Its bytes, line ending included.
    len: usize,
    newlines: u64,
    /// 0 for a blank line.
    fields: usize,
    key: Key,
}

/// Where a row's key field is.
enum Key {
    /// In the row, from `.0` to `.1`.
    Raw(usize, usize),
    /// In [`QuotedRow::key`], unescaped.
    Unescaped,
}

impl<R: Read> Scanner<R> {
    /// Reads rows of `source`, which errors call `file`. Nothing is read yet.
    pub(crate) fn new(source: R, file: impl Into<String>, format: Format) -> Self {
        debug_assert!(!matches!(format.delimiter, b'\r' | b'\n' | b'"'));
        Self {
            source,
            file: file.into(),
            format,
            buf: vec![0; CHUNK],
            start: 0,
            end: 0,
            held: 0,
            at_file_start: true,
            source_ended: false,
            line: 1,
            crlf: false,
            expected: Expected { columns: 0, reference: String::new() },
            key: None,
            blank_lines: 0,
            quoted: QuotedRow::new(format.delimiter),
        }
    }

    /// Takes the first row, which is no row but the names of the columns.
    ///
    /// # Errors
    /// [`RowError::Empty`] if there is none, and as [`next_row`](Self::next_row).
    pub(crate) fn header(&mut self) -> Result<Header, RowError> {
        while let Some(row) = self.locate()? {
            let from = self.consume(&row);
            if row.fields > 0 {
                return Ok(Header::new(&self.buf[from..self.start], self.format.delimiter));
            }
            self.blank_lines += 1;
        }
        Err(RowError::Empty { file: self.file.clone(), header: true })
    }

    /// The number of fields in the first row that is not blank, without taking any row.
    ///
    /// Blank lines before it are kept, for if that row has one field, they were values.
    ///
    /// # Errors
    /// [`RowError::Empty`] if there is none, and as [`next_row`](Self::next_row).
    pub(crate) fn peek_columns(&mut self) -> Result<usize, RowError> {
        debug_assert!(self.at_file_start);
        while let Some(row) = self.locate()? {
            if row.fields > 0 {
                self.start -= self.held;
                self.held = 0;
                self.line = 1;
                self.at_file_start = true;
                return Ok(row.fields);
            }
            self.held += row.len;
            self.consume(&row);
        }
        Err(RowError::Empty { file: self.file.clone(), header: false })
    }

    /// Says how many fields each row must have, and which of them is the key.
    pub(crate) fn expect(&mut self, expected: Expected, key: Option<usize>) {
        debug_assert!(key.is_none_or(|key| key < expected.columns));
        self.expected = expected;
        self.key = key;
    }

    /// The next row, or `None` at the end of the file. To be called after [`expect`](Self::expect).
    ///
    /// # Errors
    /// See [`RowError`]. After an error there is nothing more to get.
    #[inline]
    pub(crate) fn next_row(&mut self) -> Result<Option<Row<'_>>, RowError> {
        loop {
            let Some(mut row) = self.locate()? else { return Ok(None) };
            if row.fields == 0 {
                if self.expected.columns != 1 {
                    self.consume(&row);
                    self.blank_lines += 1;
                    continue;
                }
                row.fields = 1;
            }
            if row.fields != self.expected.columns {
                return Err(self.ragged(row.fields));
            }
            let from = self.consume(&row);
            let bytes = &self.buf[from..self.start];
            let key = match row.key {
                Key::Raw(from, to) => &bytes[from..to],
                Key::Unescaped => &self.quoted.key,
            };
            return Ok(Some(Row { bytes, key }));
        }
    }

    /// Blank lines passed over so far.
    pub(crate) fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    /// Finds the row at `start`, reading on as long as its end is not there. `None`: the file has ended before it.
    #[inline]
    fn locate(&mut self) -> Result<Option<Located>, RowError> {
        let mut searched = 0;
        loop {
            let unread = &self.buf[self.start..self.end];
            match memchr2(b'\n', b'"', &unread[searched..]) {
                Some(at) if unread[searched + at] == b'\n' => return self.plain(searched + at + 1).map(Some),
                Some(_) => return self.with_quotes().map(Some),
                None => searched = unread.len(),
            }
            if !self.read_on(false)? {
                return Ok(None);
            }
        }
    }

    /// Measures a row of `len` bytes without any quote.
    #[inline]
    fn plain(&mut self, len: usize) -> Result<Located, RowError> {
        if len > self.format.max_record {
            return Err(self.too_large(len, false));
        }
        let row = &self.buf[self.start..self.start + len];
        let from = bom(self.at_file_start, row);
        self.crlf = row.ends_with(b"\r\n");
        let content = &row[from..len - 1 - usize::from(self.crlf)];
        let delimiter = self.format.delimiter;
        let fields = if content.is_empty() { 0 } else { memchr_iter(delimiter, content).count() + 1 };
        let (key_from, key_to) = match self.key {
            Some(key) if key < fields => nth_field(content, delimiter, key),
            _ => (0, 0),
        };
        Ok(Located { len, newlines: 1, fields, key: Key::Raw(from + key_from, from + key_to) })
    }

    /// Has csv-core parse the row at `start`, which holds a quote, reading on until its end is there.
    #[cold]
    fn with_quotes(&mut self) -> Result<Located, RowError> {
        let mut len = bom(self.at_file_start, &self.buf[self.start..self.end]);
        self.quoted.begin(self.key);
        loop {
            let unread = &self.buf[self.start + len..self.end];
            // csv-core takes empty input for the end of the file.
            if unread.is_empty() {
                if !self.read_on(true)? {
                    return Err(RowError::Unclosed { file: self.file.clone(), line: self.line });
                }
                continue;
            }
            let (used, ended) = self.quoted.parse(unread);
            len += used;
            if ended {
                break;
            }
        }
        if len > self.format.max_record {
            // Its end has been seen, so whatever was opened in it is closed.
            return Err(self.too_large(len, false));
        }
        let row = &self.buf[self.start..self.start + len];
        self.crlf = row.ends_with(b"\r\n");
        self.quoted.finish(self.crlf);
        let newlines = memchr_iter(b'\n', row).count() as u64;
        Ok(Located { len, newlines, fields: self.quoted.fields, key: Key::Unescaped })
    }

    /// Gets more bytes behind those of the row at `start`, which may move. `false`: there are none.
    ///
    /// When the file ends inside a row, the missing line ending is what comes.
    fn read_on(&mut self, open: bool) -> Result<bool, RowError> {
        let begun = self.end - self.start + self.held;
        if begun > self.format.max_record {
            return Err(self.too_large(begun, open));
        }
        if !self.source_ended {
            self.make_room();
            let read = loop {
                match self.source.read(&mut self.buf[self.end..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let read = read.map_err(|source| RowError::Read { file: self.file.clone(), source })?;
            self.end += read;
            self.source_ended = read == 0;
            if read > 0 {
                return Ok(true);
            }
        }
        let begun = &self.buf[self.start..self.end];
        let ending: &[u8] = match begun.last() {
            None | Some(b'\n') => return Ok(false),
            Some(b'\r') if self.crlf => b"\n",
            Some(_) if self.crlf => b"\r\n",
            Some(_) => b"\n",
        };
        self.buf[self.end..self.end + ending.len()].copy_from_slice(ending);
        self.end += ending.len();
        Ok(true)
    }

    /// Makes half a chunk free behind `end`: moves what is still needed to the front, and grows if that is not enough.
    fn make_room(&mut self) {
        let keep = self.start - self.held;
        self.buf.copy_within(keep..self.end, 0);
        self.start -= keep;
        self.end -= keep;
        if self.buf.len() - self.end < CHUNK / 2 {
            // `end` is at most `max_record` here, so the smaller of the two leaves half a chunk.
            let target = (2 * self.buf.len()).min(self.format.max_record + CHUNK);
            self.buf.reserve_exact(target - self.buf.len());
            self.buf.resize(target, 0);
        }
    }

    /// Passes over `row` and returns where it stands.
    #[inline]
    fn consume(&mut self, row: &Located) -> usize {
        let from = self.start;
        self.start += row.len;
        self.line += row.newlines;
        self.at_file_start = false;
        from
    }

    #[cold]
    fn ragged(&self, found: usize) -> RowError {
        let Expected { columns, reference } = self.expected.clone();
        RowError::Ragged { file: self.file.clone(), line: self.line, found, reference, columns }
    }

    #[cold]
    fn too_large(&self, size: usize, open: bool) -> RowError {
        RowError::TooLarge { file: self.file.clone(), line: self.line, size, limit: self.format.max_record, open }
    }
}

/// csv-core at work on one row: counts the fields, and keeps nothing of them but the key.
struct QuotedRow {
    parser: csv_core::Reader,
    /// What csv-core unescapes goes here, to be overwritten by the next call.
    output: Box<[u8; 4096]>,
    ends: Box<[usize; 64]>,
    /// Fields that have ended.
    fields: usize,
    /// Bytes unescaped in this row's earlier calls; csv-core counts the ends of fields from the row's start.
    base: usize,
    wanted: Option<usize>,
    key: Vec<u8>,
}

impl QuotedRow {
    fn new(delimiter: u8) -> Self {
        let mut parser = ReaderBuilder::new().delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        // A parser that has read does not look for a byte-order mark: where it belongs the scanner takes it off.
        parser.read_record(&[], &mut [], &mut [0]);
        Self {
            parser,
            output: Box::new([0; 4096]),
            ends: Box::new([0; 64]),
            fields: 0,
            base: 0,
            wanted: None,
            key: Vec::new(),
        }
    }

    fn begin(&mut self, wanted: Option<usize>) {
        (self.fields, self.base, self.wanted) = (0, 0, wanted);
        self.key.clear();
    }

    /// Parses on in `input`, which is not empty. Returns how much of it belongs to the row, and whether the row ended.
    fn parse(&mut self, input: &[u8]) -> (usize, bool) {
        let (result, used, written, ended) = self.parser.read_record(input, &mut self.output[..], &mut self.ends[..]);
        // The key is in this output if it is not over yet and the field before it is.
        if let Some(ahead) = self.wanted.and_then(|wanted| wanted.checked_sub(self.fields)).filter(|n| *n <= ended) {
            let from = if ahead == 0 { 0 } else { self.ends[ahead - 1] - self.base };
            let to = if ahead < ended { self.ends[ahead] - self.base } else { written };
            self.key.extend_from_slice(&self.output[from..to]);
        }
        self.fields += ended;
        self.base += written;
        (used, result == ReadRecordResult::Record)
    }

    /// Takes the `\r` of a line ending off the key, if the key is the last field: to csv-core it is a byte of it.
    fn finish(&mut self, crlf: bool) {
        if crlf && self.wanted.is_some_and(|wanted| wanted + 1 == self.fields) {
            self.key.pop();
        }
    }
}

/// Where field `n` of `content` begins and ends; there are more than `n` delimiters, or `n` and the end.
#[inline]
fn nth_field(content: &[u8], delimiter: u8, n: usize) -> (usize, usize) {
    let from = if n == 0 { 0 } else { nth(content, delimiter, n - 1).map_or(content.len(), |at| at + 1) };
    (from, memchr(delimiter, &content[from..]).map_or(content.len(), |len| from + len))
}

/// Where `byte` stands for the `n`th time, counted from 0.
///
/// Eight bytes at a step, since fields are too short for a search from each to the next.
#[inline]
fn nth(content: &[u8], byte: u8, mut n: usize) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let wanted = ONES * u64::from(byte);
    let (words, rest) = content.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ wanted;
        // The high bit of each byte that is 0 in `other`; no sum carries into the next byte.
        let mut found = !(((other & LOW) + LOW) | other | LOW);
        let count = ((found >> 7).wrapping_mul(ONES) >> 56) as usize;
        if n < count {
            for _ in 0..n {
                found &= found - 1;
            }
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
        n -= count;
    }
    memchr_iter(byte, rest).nth(n).map(|at| words.len() * 8 + at)
}

/// The length of the byte-order mark at the start of `row`.
#[inline]
fn bom(at_file_start: bool, row: &[u8]) -> usize {
    if at_file_start && row.starts_with(BOM) { BOM.len() } else { 0 }
}

/// "1 field", "2 fields".
fn fields(count: usize) -> String {
    format!("{count} field{}", if count == 1 { "" } else { "s" })
}
