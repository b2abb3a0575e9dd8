//! Which way long pieces of records go to a segment: into the cache, or past it.
//!
//! A reader that has read a segment has its lines; on some machines, and on the same machine at some times, a writer
//! waits 30 ns for each to be given up, one after the other, and the reader as long to get it back (see
//! `memory/stream.rs`). Past the cache it is 4 ns a line, whoever has it. But where the reader has left the lines
//! alone, as one does that passes a record on, or looks at its head, they are the writer's own, and into the cache is
//! twice as fast. Only a clock tells the one from the other: 2 ns a line, or 30.

use std::time::{Duration, Instant};

use crate::{buffer::StagedBuilder, memory::LINE};

/// Bytes that are worth looking at the clock twice.
pub(super) const LONG: usize = 4096;
/// A line that takes longer was in another core's cache.
const SLOW_LINE: Duration = Duration::from_nanos(16);
/// Pieces that go past the cache before it is tried how fast the other way is.
const WHILE_SLOW: u8 = 63;
/// Pieces that go into the cache before it is timed again, for the clock is not free.
const WHILE_FAST: u8 = 7;

/// What the last trial said. One for all readers of a partition, which mostly do the same with it.
#[derive(Debug, Default)]
pub(super) struct LongPieces {
    slow: bool,
    /// Pieces before the next.
    left: u8,
}

impl LongPieces {
    /// As [`StagedBuilder::append`], the faster way.
    pub(super) fn append(&mut self, builder: &mut StagedBuilder, src: &[u8]) -> usize {
        if src.len().min(builder.remaining()) < LONG {
            return builder.append(src);
        }
        if self.left > 0 {
            self.left -= 1;
            return if self.slow { builder.append_past_cache(src) } else { builder.append_into_cache(src) };
        }
        let start = Instant::now();
        let n = builder.append_into_cache(src);
        self.took(n, start.elapsed());
        n
    }

    fn took(&mut self, bytes: usize, time: Duration) {
        self.slow = time > SLOW_LINE * (bytes / LINE) as u32;
        self.left = if self.slow { WHILE_SLOW } else { WHILE_FAST };
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;
    use crate::pool::{LocalBufferPool, NetworkBufferPool};

    const SEGMENT: usize = 8192;

    /// `src` in a segment of its own: 9 bytes, and the rest, as far as it fits.
    fn fill(long: &mut LongPieces, local: &mut LocalBufferPool, src: &[u8]) {
        let (builder, consumer) = local.try_request().unwrap().into_builder_and_consumer();
        let mut staged = StagedBuilder::default();
        staged.open(builder, false);
        let left = long.left;
        assert_eq!((long.append(&mut staged, &src[..9]), long.left), (9, left), "short: neither counted nor tried");
        assert_eq!(long.append(&mut staged, &src[9..]), SEGMENT - 9, "as much as fits");
        staged.finish();
        assert_eq!(*consumer.into_last().unwrap(), src[..SEGMENT], "all of it is there");
    }

    #[test]
    fn one_slow_piece_sends_the_next_past_the_cache_and_then_it_is_tried_again() {
        let mut long = LongPieces::default();
        long.took(SEGMENT, Duration::from_micros(2));
        assert_eq!((long.slow, long.left), (false, WHILE_FAST), "16 ns a line is not slow");
        long.took(SEGMENT, Duration::from_micros(3));
        assert_eq!((long.slow, long.left), (true, WHILE_SLOW));
        let pool = NetworkBufferPool::builder().segments(1).segment_size(SEGMENT).build().unwrap();
        let mut local = pool.local_pool("test").required(1).build().unwrap();
        let src: Vec<u8> = (0..SEGMENT + 9).map(|n| (n % 251) as u8).collect();
        for left in (0..WHILE_SLOW).rev() {
            fill(&mut long, &mut local, &src);
            assert_eq!((long.slow, long.left), (true, left));
        }
        fill(&mut long, &mut local, &src);
        let expected = if long.slow { WHILE_SLOW } else { WHILE_FAST };
        assert_eq!(long.left, expected, "tried, whatever the clock said");
    }
}
