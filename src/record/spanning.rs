//! Finding the records in a sequence of buffers.

use std::ops::Range;

use super::{LENGTH_BYTES, MAX_RECORD_BYTES};
use crate::memory::append_copy;

/// Cuts the contents of a channel's buffers into records.
///
/// Feed it one buffer after the other. A record that lies in one buffer is handed out in place; one that spans buffers
/// is copied into a buffer of the reader's own, which is reused for the next. That buffer grows as bytes arrive, never
/// ahead of them, and never over the limit given: a length is untrusted input.
///
/// Sans-io: knows neither channels nor pools. [`RecordReader`](crate::gate::RecordReader) has one for each channel. All
/// operations are wait-free but for the allocator, which is asked when a record that spans is longer than any before.
///
/// # Examples
/// ```
/// use forebay::record::{Found, SpanningReader};
/// let mut reader = SpanningReader::new(1024);
/// let (first, second) = (b"\0\0\0\x02hi\0\0\0\x05wo", b"rld");
/// let mut at = 0;
/// assert_eq!(reader.next(first, &mut at)?, Some(Found::InPlace(4..6)));
/// assert_eq!(reader.next(first, &mut at)?, None); // the rest of `first` is taken over
/// let mut at = 0;
/// assert_eq!(reader.next(second, &mut at)?, Some(Found::Spanning));
/// assert_eq!(reader.spanning(), b"world");
/// # Ok::<(), forebay::record::RecordError>(())
/// ```
///
/// # Source
/// Flink's `SpillingAdaptiveSpanningRecordDeserializer`, without the spilling: a limit stands in its place.
#[derive(Debug)]
pub struct SpanningReader {
    max_record: usize,
    /// The record that spans buffers, as far as it has come; behind a cut length too.
    spanning: Vec<u8>,
    /// The length bytes seen so far of the open record.
    length: [u8; LENGTH_BYTES],
    length_seen: usize,
    /// `spanning` was handed out, and is to be cleared.
    handed_out: bool,
    /// Bytes of the open record that were handed out in pieces, or skipped. While there are any, nothing more is
    /// gathered.
    passed: usize,
    /// What is left of the open record is not wanted.
    skips: bool,
    /// The capacity of `spanning` that is kept from one record to the next.
    keep: usize,
    /// Bytes of the stream before the input at hand; for errors.
    position: u64,
    /// Where the length of the open record begins in the stream; for errors.
    start: u64,
}

/// Where [`SpanningReader::next`] found a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In this range of the input.
    InPlace(Range<usize>),
    /// In [`SpanningReader::spanning`].
    Spanning,
}

/// Where [`SpanningReader::next_piece`] found a piece of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPiece {
    /// Where its bytes are.
    pub place: Found,
    /// Where in the record it begins, in bytes.
    pub offset: usize,
    /// Bytes of the whole record.
    pub record_len: usize,
}

/// Why the bytes of a channel are no stream of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The announced length is over the limit. The stream cannot be read on: raise the limit on the reading side if the
    /// writer is right, else see what was connected to what.
    #[error("the record at byte {offset} of the stream is announced with {len} bytes, over the limit of {limit}")]
    TooLarge {
        /// Where its length stands, in bytes from the start of the stream.
        offset: u64,
        /// Announced, bytes.
        len: u32,
        /// Allowed, bytes.
        limit: usize,
    },
    /// The stream ended inside a record: the writer did not end it as it should.
    #[error("the stream ended inside a record: {missing} bytes are missing from byte {offset} on")]
    CutShort {
        /// Where the stream ended, in bytes from its start.
        offset: u64,
        /// Bytes that should have followed at least: of the record, or of its length.
        missing: usize,
    },
}

/// Where the record lies whose length stands at `at`, if all of it lies in `input` and it is not over `max_record`.
/// Keeps nothing: where there is none, the [`SpanningReader`] says why.
///
/// # Panics
/// If `at` lies beyond the input.
#[inline]
pub(crate) fn whole_record(input: &[u8], at: usize, max_record: usize) -> Option<Range<usize>> {
    let (length, rest) = input[at..].split_first_chunk::<LENGTH_BYTES>()?;
    let len = u32::from_be_bytes(*length) as usize;
    let start = at + LENGTH_BYTES;
    (len <= rest.len() && len <= max_record).then_some(start..start + len)
}

impl SpanningReader {
    /// A reader at the start of a stream that refuses records of more than `max_record` bytes. Allocates nothing until
    /// a record spans buffers.
    ///
    /// A limit above [`MAX_RECORD_BYTES`] means that one.
    #[must_use]
    pub fn new(max_record: usize) -> Self {
        Self {
            max_record: max_record.min(MAX_RECORD_BYTES),
            spanning: Vec::new(),
            length: [0; LENGTH_BYTES],
            length_seen: 0,
            handed_out: false,
            passed: 0,
            skips: false,
            keep: usize::MAX,
            position: 0,
            start: 0,
        }
    }

    /// Gives the memory of a record that spanned buffers back when it took more than `bytes`, at the latest when the
    /// buffer in which it ended is used up. Unless told so, the reader keeps what its largest record took.
    #[must_use]
    pub fn keep_at_most(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Looks for the next record in `input` from `*at` on, and moves `*at` behind it. `None` says that the input is
    /// used up: what was left of it has been taken over, and the next call is with the next buffer, from 0 on.
    ///
    /// Of a record of which [`next_piece`](Self::next_piece) has handed out a part the rest is skipped.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`]. The reader stays at the record, so the error repeats.
    ///
    /// # Panics
    /// If `*at` lies beyond the input.
    #[inline]
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Found>, RecordError> {
        if self.is_between_records() {
            if let Some(range) = whole_record(input, *at, self.max_record) {
                *at = range.end;
                return Ok(Some(Found::InPlace(range)));
            }
            if *at == input.len() && !self.handed_out {
                return Ok(self.used_up(input)); // nothing of a record is left, here or from before
            }
        }
        self.next_spanning(input, at)
    }

    /// Whether the next byte begins a record. While it does, [`whole_record`] may stand in for [`next`](Self::next).
    #[inline]
    pub(crate) fn is_between_records(&self) -> bool {
        self.length_seen == 0
    }

    /// The bytes of the record that was found last, if it was [`Found::Spanning`]; else unspecified.
    #[must_use]
    pub fn spanning(&self) -> &[u8] {
        &self.spanning
    }

    /// What has come of a record that is not whole yet: of its length, and of its bytes. Empty between records. Bytes
    /// that were handed out in pieces are not among them.
    #[must_use]
    pub fn open_record(&self) -> (&[u8], &[u8]) {
        let bytes = if self.handed_out { &[] } else { &self.spanning[..] };
        (&self.length[..self.length_seen], bytes)
    }

    /// The bytes of the record found last, which was found in `input`.
    ///
    /// # Panics
    /// If `input` is another, shorter one.
    #[must_use]
    #[inline]
    pub fn bytes<'a>(&'a self, input: &'a [u8], found: &Found) -> &'a [u8] {
        match found {
            Found::InPlace(range) => &input[range.clone()],
            Found::Spanning => &self.spanning,
        }
    }

    /// A record that is cut by the start or the end of the input, or whose length is refused.
    #[cold]
    fn next_spanning(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Found>, RecordError> {
        self.skip_rest();
        let Some(len) = self.open(input, at)? else { return Ok(None) };
        let rest = &input[*at..];
        let missing = len - self.spanning.len();
        if self.spanning.is_empty() && missing <= rest.len() {
            // Only the length was cut: the record itself lies in place.
            let start = *at;
            *at += len;
            self.length_seen = 0;
            return Ok(Some(Found::InPlace(start..start + len)));
        }
        let n = missing.min(rest.len());
        self.make_room(n, len);
        append_copy(&mut self.spanning, &rest[..n]);
        *at += n;
        if n < missing {
            return Ok(self.used_up(input));
        }
        self.length_seen = 0;
        self.handed_out = true;
        Ok(Some(Found::Spanning))
    }

    /// As [`next`](Self::next), but of a record that spans buffers finds one piece after the other, each in the buffer
    /// it lies in: nothing is copied, and nothing allocated. A record that lies in one buffer is one piece. No piece is
    /// empty, but that of an empty record.
    ///
    /// The two may be mixed: of a record that [`next`](Self::next) has begun to gather, what is there is the first
    /// piece.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Panics
    /// If `*at` lies beyond the input.
    ///
    /// # Examples
    /// ```
    /// use forebay::record::{Found, FoundPiece, SpanningReader};
    /// let mut reader = SpanningReader::new(1024);
    /// let (first, second) = (b"\0\0\0\x05wo", b"rld");
    /// let piece = FoundPiece { place: Found::InPlace(4..6), offset: 0, record_len: 5 };
    /// assert_eq!(reader.next_piece(first, &mut 0)?, Some(piece));
    /// assert_eq!(reader.next_piece(first, &mut 6)?, None);
    /// let piece = FoundPiece { place: Found::InPlace(0..3), offset: 2, record_len: 5 };
    /// assert_eq!(reader.next_piece(second, &mut 0)?, Some(piece));
    /// # Ok::<(), forebay::record::RecordError>(())
    /// ```
    pub fn next_piece(&mut self, input: &[u8], at: &mut usize) -> Result<Option<FoundPiece>, RecordError> {
        let Some(record_len) = self.open(input, at)? else { return Ok(None) };
        let offset = self.passed;
        if !self.spanning.is_empty() {
            self.passed = self.spanning.len();
            self.handed_out = true;
            return Ok(Some(FoundPiece { place: Found::Spanning, offset, record_len }));
        }
        let start = *at;
        let n = self.pass(input, at, record_len);
        if n == 0 && record_len > 0 {
            return Ok(self.used_up(input));
        }
        Ok(Some(FoundPiece { place: Found::InPlace(start..start + n), offset, record_len }))
    }

    /// Leaves out what is left of a record of which a piece was handed out; nothing if there is none.
    pub fn skip_rest(&mut self) {
        self.skips |= self.passed > 0;
    }

    /// The length of the open record, which it begins if there is none; `None` says that the input is used up. Skips
    /// before what is not wanted.
    fn open(&mut self, input: &[u8], at: &mut usize) -> Result<Option<usize>, RecordError> {
        if self.handed_out {
            self.spanning.clear();
            self.handed_out = false;
            if self.spanning.capacity() > self.keep {
                self.spanning = Vec::new();
            }
        }
        if self.skips {
            self.pass(input, at, u32::from_be_bytes(self.length) as usize);
        }
        while self.length_seen < LENGTH_BYTES {
            let Some(&byte) = input.get(*at) else { return Ok(self.used_up(input)) };
            if self.length_seen == 0 {
                self.start = self.position + *at as u64;
            }
            self.length[self.length_seen] = byte;
            self.length_seen += 1;
            *at += 1;
        }
        if self.skips {
            return Ok(self.used_up(input)); // all of it
        }
        let announced = u32::from_be_bytes(self.length);
        let len = announced as usize;
        if len > self.max_record {
            return Err(RecordError::TooLarge { offset: self.start, len: announced, limit: self.max_record });
        }
        Ok(Some(len))
    }

    /// Moves `at` over what `input` has of the open record, which has `len` bytes in all, and gives how many that was.
    fn pass(&mut self, input: &[u8], at: &mut usize, len: usize) -> usize {
        let n = (len - self.passed).min(input.len() - *at);
        *at += n;
        self.passed += n;
        if self.passed == len {
            (self.length_seen, self.passed, self.skips) = (0, 0, false);
        }
        n
    }

    /// Room for `n` more bytes of a record of `len`: at least doubled, so that growing costs little, but no further
    /// than the record goes.
    fn make_room(&mut self, n: usize, len: usize) {
        let needed = self.spanning.len() + n;
        if needed > self.spanning.capacity() {
            let target = needed.max(2 * self.spanning.capacity()).min(len);
            self.spanning.reserve_exact(target - self.spanning.len());
        }
    }

    fn used_up<T>(&mut self, input: &[u8]) -> Option<T> {
        self.position += input.len() as u64;
        None
    }

    /// To be asked at the end of the stream.
    ///
    /// # Errors
    /// [`RecordError::CutShort`]: it ended inside a record.
    pub fn finish(&self) -> Result<(), RecordError> {
        let missing = match self.length_seen {
            0 => return Ok(()),
            LENGTH_BYTES => u32::from_be_bytes(self.length) as usize - self.passed.max(self.spanning.len()),
            seen => LENGTH_BYTES - seen,
        };
        Err(RecordError::CutShort { offset: self.position, missing })
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(records: &[Vec<u8>]) -> Vec<u8> {
        records.iter().flat_map(|r| (r.len() as u32).to_be_bytes().into_iter().chain(r.iter().copied())).collect()
    }

    fn read_all(reader: &mut SpanningReader, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, RecordError> {
        let mut records = Vec::new();
        for piece in pieces {
            let mut at = 0;
            while let Some(found) = reader.next(piece, &mut at)? {
                records.push(reader.bytes(piece, &found).to_vec());
            }
            assert_eq!(at, piece.len(), "the piece was used up");
        }
        reader.finish()?;
        Ok(records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 512 }))]

        #[test]
        fn any_cut_gives_the_same_records(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(0_usize..400, 0..20),
        ) {
            let bytes = stream(&records);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(read_all(&mut SpanningReader::new(40), &pieces), Ok(records));
        }
    }

    #[test]
    fn records_of_every_length_up_to_the_limit_are_found_wherever_they_are_cut() {
        const LIMIT: usize = 6;
        let records: Vec<Vec<u8>> = (0..=LIMIT).map(|len| vec![len as u8; len]).collect();
        let bytes = stream(&records);
        let step = if cfg!(miri) { 7 } else { 1 };
        for first in (0..=bytes.len()).step_by(step) {
            for second in (first..=bytes.len()).step_by(step) {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(
                    read_all(&mut SpanningReader::new(LIMIT), &pieces),
                    Ok(records.clone()),
                    "{first}, {second}"
                );
            }
            let pieces = [&bytes[..first], &bytes[first..]];
            let error = read_all(&mut SpanningReader::new(LIMIT - 1), &pieces).unwrap_err();
            let offset = (bytes.len() - LIMIT - LENGTH_BYTES) as u64;
            assert_eq!(error, RecordError::TooLarge { offset, len: LIMIT as u32, limit: LIMIT - 1 }, "cut at {first}");
        }
    }

    #[test]
    fn a_record_over_the_limit_is_refused_before_it_is_held() {
        let mut reader = SpanningReader::new(8);
        let mut at = 0;
        let input = b"\0\0\0\x01x\x7F\xFF\xFF\xFFabc";
        assert_eq!(reader.next(input, &mut at), Ok(Some(Found::InPlace(4..5))));
        let error = RecordError::TooLarge { offset: 5, len: 0x7FFF_FFFF, limit: 8 };
        assert_eq!(reader.next(input, &mut at), Err(error));
        assert_eq!(reader.next(input, &mut at), Err(error), "and again");
        assert_eq!(reader.next(b"next", &mut 0), Err(error), "whatever follows");
        assert_eq!(reader.spanning.capacity(), 0);
    }

    #[test]
    fn the_offset_of_a_refused_record_counts_earlier_buffers_and_a_cut_length() {
        let mut reader = SpanningReader::new(8);
        let mut at = 0;
        assert_eq!(reader.next(b"\0\0\0\0\0\0", &mut at), Ok(Some(Found::InPlace(4..4))));
        assert_eq!(reader.next(b"\0\0\0\0\0\0", &mut at), Ok(None));
        let mut at = 0;
        assert_eq!(reader.next(b"\0\x09", &mut at), Err(RecordError::TooLarge { offset: 4, len: 9, limit: 8 }));
    }

    #[test]
    fn a_stream_that_ends_inside_a_record_says_how_much_is_missing() {
        for (bytes, missing) in [(&b"\0\0"[..], 2), (b"\0\0\0\x05", 5), (b"\0\0\0\x05abc", 2)] {
            let error = read_all(&mut SpanningReader::new(8), &[bytes]).unwrap_err();
            assert_eq!(error, RecordError::CutShort { offset: bytes.len() as u64, missing });
        }
    }

    #[test]
    fn a_stream_that_ends_behind_a_piece_says_how_much_is_missing() {
        let mut reader = SpanningReader::new(8);
        assert_eq!(reader.next(b"\0\0\0\x08ab", &mut 0), Ok(None), "gathered");
        let gathered = FoundPiece { place: Found::Spanning, offset: 0, record_len: 8 };
        assert_eq!(reader.next_piece(b"cd", &mut 0), Ok(Some(gathered)), "what is there comes first");
        assert_eq!(reader.open_record(), (&b"\0\0\0\x08"[..], &b""[..]), "handed out");
        assert_eq!(reader.finish(), Err(RecordError::CutShort { offset: 6, missing: 6 }));
        let mut at = 0;
        let piece = FoundPiece { place: Found::InPlace(0..2), offset: 2, record_len: 8 };
        assert_eq!(reader.next_piece(b"cd", &mut at), Ok(Some(piece)));
        assert_eq!(reader.next_piece(b"cd", &mut at), Ok(None));
        assert_eq!(reader.finish(), Err(RecordError::CutShort { offset: 8, missing: 4 }));
        reader.skip_rest();
        assert_eq!(reader.next_piece(b"e", &mut 0), Ok(None), "left out");
        assert_eq!(reader.finish(), Err(RecordError::CutShort { offset: 9, missing: 3 }));
    }

    #[test]
    fn the_memory_of_a_large_record_is_given_back_if_asked_for() {
        for (keep, kept) in [(usize::MAX, true), (8, true), (7, false)] {
            let mut reader = SpanningReader::new(8).keep_at_most(keep);
            assert_eq!(reader.next(b"\0\0\0\x08abcd", &mut 0), Ok(None));
            let (last, mut at) = (b"efgh\0\0\0\0", 0);
            assert_eq!(reader.next(last, &mut at), Ok(Some(Found::Spanning)));
            assert_eq!(reader.spanning(), b"abcdefgh");
            assert_eq!(reader.next(last, &mut at), Ok(Some(Found::InPlace(8..8))));
            assert_eq!(reader.next(last, &mut at), Ok(None), "used up");
            assert_eq!(reader.spanning.capacity() > 0, kept, "asked to keep {keep}");
        }
    }

    #[test]
    fn the_spanning_buffer_does_not_grow_ahead_of_the_bytes() {
        let mut reader = SpanningReader::new(usize::MAX);
        let mut at = 0;
        assert_eq!(reader.next(b"\x7F\xFF\xFF\xFFab", &mut at), Ok(None));
        assert!(reader.spanning.capacity() <= 64, "announced 2 GiB, received 2 bytes");
    }
}
