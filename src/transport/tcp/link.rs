//! What a connection reads from and writes to: a socket, TLS over one, or in tests a pipe in memory.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

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

    /// Whether every byte is copied in user space on its way.
    fn copies(&self) -> bool {
        false
    }
}

/// A connection as configured.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link for Socket {
    fn poll_read(&mut self, context: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read(context, parts),
            Self::Tls(stream) => stream.poll_read(context, parts),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_write(context, parts),
            Self::Tls(stream) => stream.poll_write(context, parts),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Link::poll_flush(stream, context),
            Self::Tls(stream) => Link::poll_flush(&mut **stream, context),
        }
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_close(context),
            Self::Tls(stream) => stream.poll_close(context),
        }
    }

    fn copies(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link for TlsStream<S> {
    fn poll_read(&mut self, context: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let mut read = 0;
        for part in parts {
            let mut buffer = ReadBuf::new(part);
            while buffer.remaining() > 0 {
                let before = buffer.filled().len();
                match AsyncRead::poll_read(Pin::new(self), context, &mut buffer) {
                    Poll::Ready(Ok(())) if buffer.filled().len() > before => {}
                    // What was read is told first; an end or an error comes again.
                    _ if read + before > 0 => return Poll::Ready(Ok(read + before)),
                    ended => return ended.map_ok(|()| 0),
                }
            }
            read += buffer.filled().len();
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(context, parts)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(context)
    }
}

/// A call that moves less than it was given room for has emptied the socket, or filled it: the next one would move
/// nothing. So the readiness is let go of at once, and what comes later sets it anew. An end that was signalled stays
/// signalled.
impl Link for TcpStream {
    fn poll_read(&mut self, context: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let room = parts.iter().map(|part| part.len()).sum();
        loop {
            ready!(self.poll_read_ready(context))?;
            let socket = SockRef::from(&*self);
            let read = || match &mut *parts {
                [part] => (&*socket).read(part), // less for the system to look at
                parts => (&*socket).read_vectored(parts),
            };
            match moved(self, Interest::READABLE, room, read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let room = parts.iter().map(|part| part.len()).sum();
        loop {
            ready!(self.poll_write_ready(context))?;
            let socket = SockRef::from(&*self);
            let write = || match parts {
                [part] => (&*socket).write(part),
                parts => (&*socket).write_vectored(parts),
            };
            match moved(self, Interest::WRITABLE, room, write) {
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

/// Calls the system, if the socket is ready as far as is known; see [`Link for TcpStream`](TcpStream).
fn moved(
    stream: &TcpStream,
    interest: Interest,
    room: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut short = None;
    let done = stream.try_io(interest, || match call() {
        Ok(bytes @ 1..) if bytes < room => {
            short = Some(bytes);
            Err(io::ErrorKind::WouldBlock.into())
        }
        done => done,
    });
    short.map_or(done, Ok)
}
