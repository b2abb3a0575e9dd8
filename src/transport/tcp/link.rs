//! What a connection reads from and writes to: a socket, TLS over one, or in tests a pipe in memory.

use std::{
    io::{self, IoSlice, IoSliceMut},
    task::{Context, Poll, ready},
};

use tokio::net::TcpStream;

/// A stream of bytes in both directions, by vectors: several pieces of memory in one call to the system.
///
/// As tokio's `AsyncRead` and `AsyncWrite`, of which the one has no vectored read.
pub(super) trait Link {
    /// Reads into `parts` in turn; 0 says that the peer has closed its side. Pending leaves the waker.
    fn poll_read(&mut self, context: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>>;

    /// Writes from `parts` in turn. Pending leaves the waker.
    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Pushes what is buffered on the way, if anything is.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more will be written.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Link for TcpStream {
    fn poll_read(&mut self, context: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(context))?;
            match self.try_read_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(context))?;
            match self.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(std::pin::Pin::new(self), context)
    }
}
