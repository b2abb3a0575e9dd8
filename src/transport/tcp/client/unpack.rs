//! Compressed pieces on their way to the gate: each is decompressed into a segment of its own.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use super::error::Failure;
use crate::{
    buffer::{Buffer, DataType},
    channel::Event,
    pool::LocalBufferPool,
    wire::Decompressor,
};

/// What waits for its turn.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Buffer),
    Event(DataType, Event),
}

/// The pieces of one gate that have arrived, in order; and what decompresses them.
///
/// The segments come from a pool of its own: one that shared them with credit could give its last to a credit, and have
/// none left to get what is here on its way.
#[derive(Debug)]
pub(crate) struct Unpack {
    pub(super) pool: LocalBufferPool,
    pub(super) decompressor: Decompressor,
    /// Each with its channel, and that channel's generation.
    pub(super) waiting: VecDeque<(u32, u32, Piece)>,
}

impl Unpack {
    pub(super) fn new(pool: LocalBufferPool, decompressor: Decompressor) -> Self {
        Self { pool, decompressor, waiting: VecDeque::new() }
    }

    /// The data of a piece as they are read. Pending leaves the waker: no segment is free.
    ///
    /// # Errors
    /// [`Failure`]: the piece is damaged, or of another codec; or the pool has failed.
    pub(super) fn poll_unpack(&mut self, context: &mut Context<'_>, piece: &Buffer) -> Poll<Result<Buffer, Failure>> {
        if !piece.is_compressed() {
            return Poll::Ready(Ok(piece.clone()));
        }
        let mut segment = match ready!(self.pool.poll_request(context)) {
            Ok(segment) => segment,
            Err(error) => return Poll::Ready(Err(Failure::of_pool(&self.pool, error))),
        };
        let unpacked = self.decompressor.decompress(piece, &mut segment).map_err(Failure::Decompress);
        Poll::Ready(unpacked.map(|len| segment.freeze(len).with_data_type(piece.data_type())))
    }
}
