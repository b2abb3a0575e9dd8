//! The blocks that a blocking partition has compressed.
//!
//! ```text
//!   a piece:  │ i32 LE: length of the block │ i32 LE: length of what it holds │ the codec's block │
//! ```
//!
//! Each piece of data is compressed on its own, and holds the next slice of the record stream. The codec is not on the
//! wire: both sides must be told the same.
//!
//! # Source
//! Flink's `BufferDecompressor` and `BlockDecompressor`s.

use std::str::FromStr;

/// How the buffers of a partition are compressed. The names are those of Flink's
/// `taskmanager.network.compression.codec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Raw LZ4 blocks; Flink's default.
    Lz4,
    /// LZO1X blocks.
    Lzo,
    /// Zstandard frames.
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lz4, Self::Lzo, Self::Zstd];

    /// Flink's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "LZ4",
            Self::Lzo => "LZO",
            Self::Zstd => "ZSTD",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of Flink's codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such codec; there are LZ4, LZO and ZSTD")]
pub struct UnknownCodec;

impl FromStr for Codec {
    type Err = UnknownCodec;

    /// From Flink's name, in capitals or not.
    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name)).ok_or(UnknownCodec)
    }
}

/// Why a piece was not decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// This build decompresses nothing: build it with the feature `compression`, or have the producer send plain
    /// buffers.
    #[error("{codec} needs the feature `compression`, and this build is without it")]
    NotBuilt {
        /// What was asked for.
        codec: Codec,
    },
    /// No more than the two lengths, or not even those. Fail the channel.
    #[error("a compressed buffer of {len} bytes: the two lengths take 8, and a block at least 1")]
    CutShort {
        /// Bytes of the piece.
        len: usize,
    },
    /// The length at byte 0 is not that of the block. Fail the channel.
    #[error("byte 0: a block of {announced} bytes is announced, and {here} are here")]
    BlockLength {
        /// What stands there.
        announced: i32,
        /// What is left of the piece.
        here: usize,
    },
    /// The length at byte 4 is not positive, or over what there is room for: the segments of the two sides differ in
    /// size, or somebody means harm. Fail the channel.
    #[error("byte 4: {announced} bytes are announced, and must be 1 to {room}")]
    ContentLength {
        /// What stands there.
        announced: i32,
        /// Bytes of the segment.
        room: usize,
    },
    /// The block does not decompress to what was announced: a fault on the way, or another codec. Check that both sides
    /// name the same one, then fail the channel.
    #[error("byte 8: no {codec} block of {announced} bytes")]
    Block {
        /// What this side was told.
        codec: Codec,
        /// What the piece should hold.
        announced: usize,
    },
}

/// Bytes of the two lengths.
#[cfg(feature = "compression")]
const LENGTHS: usize = 8;

/// Decompresses pieces, one after the other, into the caller's memory and no further.
///
/// # Examples
/// ```
/// use forebay::wire::{Codec, Decompressor};
/// # #[cfg(feature = "compression")] {
/// let piece = b"\x03\0\0\0\x02\0\0\0\x20hi"; // an LZ4 block of literals
/// let mut segment = [0; 32 * 1024];
/// let mut decompressor = Decompressor::new(Codec::Lz4)?;
/// let len = decompressor.decompress(piece, &mut segment)?;
/// assert_eq!(&segment[..len], b"hi");
/// # }
/// # Ok::<(), forebay::wire::DecompressError>(())
/// ```
pub struct Decompressor {
    codec: Codec,
    /// Its context, of about a hundred kilobytes, is kept from one piece to the next.
    #[cfg(feature = "compression")]
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Decompressor {
    /// A decompressor of what `codec` has compressed.
    ///
    /// # Errors
    /// [`DecompressError::NotBuilt`] without the feature `compression`.
    #[cfg_attr(not(feature = "compression"), allow(clippy::unnecessary_wraps))]
    pub fn new(codec: Codec) -> Result<Self, DecompressError> {
        #[cfg(not(feature = "compression"))]
        return Err(DecompressError::NotBuilt { codec });
        #[cfg(feature = "compression")]
        Ok(Self { codec, zstd: (codec == Codec::Zstd).then(zstd::bulk::Decompressor::default) })
    }

    /// What it decompresses.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Decompresses `piece` into the start of `out`, a segment, and returns how many bytes it held. It never holds more
    /// than `out` has room for, whatever it announces. Wait-free; the allocator is asked at most for the codec's own
    /// state.
    ///
    /// # Errors
    /// [`DecompressError`]: see there. What `out` holds then is unspecified.
    pub fn decompress(&mut self, piece: &[u8], out: &mut [u8]) -> Result<usize, DecompressError> {
        #[cfg(not(feature = "compression"))]
        {
            let (_, _) = (piece, out);
            Err(DecompressError::NotBuilt { codec: self.codec })
        }
        #[cfg(feature = "compression")]
        self.decompress_block(piece, out)
    }

    #[cfg(feature = "compression")]
    fn decompress_block(&mut self, piece: &[u8], out: &mut [u8]) -> Result<usize, DecompressError> {
        let len = piece.len();
        let Some((lengths, block)) = piece.split_first_chunk::<LENGTHS>().filter(|(_, block)| !block.is_empty()) else {
            return Err(DecompressError::CutShort { len });
        };
        let length = |at: usize| i32::from_le_bytes([lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]]);
        let announced = length(0);
        if usize::try_from(announced).ok() != Some(block.len()) {
            return Err(DecompressError::BlockLength { announced, here: block.len() });
        }
        let (announced, room) = (length(4), out.len());
        let Some(out) = usize::try_from(announced).ok().filter(|len| *len > 0).and_then(|len| out.get_mut(..len))
        else {
            return Err(DecompressError::ContentLength { announced, room });
        };
        let written = match (self.codec, &mut self.zstd) {
            (Codec::Zstd, Some(zstd)) => zstd.decompress_to_buffer(block, out).ok(),
            (Codec::Lzo, _) => lzokay::decompress::decompress(block, out).ok(),
            _ => lz4_flex::block::decompress_into(block, out).ok(),
        };
        if written != Some(out.len()) {
            return Err(DecompressError::Block { codec: self.codec, announced: out.len() });
        }
        Ok(out.len())
    }
}

#[cfg(all(test, feature = "compression", not(forebay_loom)))]
mod tests {
    use super::*;

    fn piece(block: &[u8], announced: i32) -> Vec<u8> {
        [&(block.len() as i32).to_le_bytes()[..], &announced.to_le_bytes(), block].concat()
    }

    /// 1000 zeros.
    fn block(codec: Codec) -> Vec<u8> {
        match codec {
            Codec::Lz4 => lz4_flex::block::compress(&[0; 1000]),
            Codec::Lzo => lzokay::compress::compress(&[0; 1000]).unwrap(),
            Codec::Zstd => zstd::bulk::compress(&[0; 1000], 1).unwrap(),
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for codec in Codec::ALL {
            let mut out = [7; 1024];
            let len = Decompressor::new(codec).unwrap().decompress(&piece(&block(codec), 1000), &mut out).unwrap();
            assert!(len == 1000 && out[..1000] == [0; 1000] && out[1000..] == [7; 24], "{codec}");
        }
    }

    #[test]
    fn a_block_that_holds_more_or_less_than_announced_is_refused() {
        for codec in Codec::ALL {
            let mut decompressor = Decompressor::new(codec).unwrap();
            for announced in [1, 999, 1001] {
                let refused = decompressor.decompress(&piece(&block(codec), announced), &mut [0; 1024]);
                assert_eq!(refused, Err(DecompressError::Block { codec, announced: announced as usize }));
            }
            for announced in [0, -1, i32::MIN, 1025, i32::MAX] {
                let refused = decompressor.decompress(&piece(&block(codec), announced), &mut [0; 1024]);
                assert_eq!(refused, Err(DecompressError::ContentLength { announced, room: 1024 }));
            }
        }
    }

    #[test]
    fn a_piece_of_another_length_than_announced_is_refused() {
        let mut decompressor = Decompressor::new(Codec::Lz4).unwrap();
        for len in 0..=8 {
            assert_eq!(decompressor.decompress(&[0; 9][..len], &mut [0; 8]), Err(DecompressError::CutShort { len }));
        }
        let refused = DecompressError::BlockLength { announced: 0, here: 1 };
        assert_eq!(decompressor.decompress(&[0; 9], &mut [0; 8]), Err(refused));
        let refused = DecompressError::BlockLength { announced: -1, here: 1 };
        assert_eq!(decompressor.decompress(&[255; 9], &mut [0; 8]), Err(refused));
    }

    #[test]
    fn a_block_of_another_codec_is_refused_or_at_least_no_harm() {
        for codec in Codec::ALL {
            for other in Codec::ALL {
                let mut out = [7; 1024];
                let done = Decompressor::new(codec).unwrap().decompress(&piece(&block(other), 1000), &mut out);
                assert_eq!(done.is_ok(), codec == other, "{codec} of {other}");
            }
        }
    }
}
