//! Writing records without blocking.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    pieces::Wait,
    record_writer::RecordWriter,
    selector::{ChannelSelector, Target},
    write_error::WriteError,
};
use crate::record::SerializeRecord;

/// Where a record was to go that found no segment, from [`TryEmitError::Full`](super::TryEmitError::Full).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub(super) Target);

/// Writes one record, waiting for a segment if need be: from [`RecordWriter::emit_async`].
///
/// The selector is asked once. The record is either written whole or not at all: dropping the future before it is ready
/// leaves nothing of it behind.
#[must_use = "nothing is written before it is polled"]
pub struct Emit<'a, S, R: ?Sized> {
    pub(super) writer: &'a mut RecordWriter<S>,
    pub(super) record: &'a R,
    pub(super) target: Option<Target>,
}

impl<S, R> Future for Emit<'_, S, R>
where
    S: ChannelSelector<R>,
    R: SerializeRecord + ?Sized,
{
    type Output = Result<(), WriteError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let target = match this.target {
            Some(target) => target,
            None => *this.target.insert(this.writer.select(this.record)),
        };
        this.writer.emit_to(this.record, target, &mut Wait::Poll(context))
    }
}

impl<S, R: ?Sized> fmt::Debug for Emit<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit").field("target", &self.target).finish_non_exhaustive()
    }
}
