//! What is asked of the system for each connection.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Settings of the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Sends small frames at once rather than wait for more (`TCP_NODELAY`). On unless set.
    pub nodelay: bool,
    /// Asks a peer that is silent for so long whether it is there (`SO_KEEPALIVE`), and then again each sixth of that
    /// time, to the second: a host that is gone without a word is found so, on Linux after nine questions. 60 s unless
    /// set, which is two and a half minutes in all; `None` never asks.
    pub keepalive: Option<Duration>,
    /// Bytes that may be on their way out (`SO_SNDBUF`). The system's choice unless set.
    pub send_buffer: Option<usize>,
    /// Bytes that may have come and not been read (`SO_RCVBUF`). The system's choice unless set.
    pub receive_buffer: Option<usize>,
    /// How long a server gathers what a channel's writer flushes again while its last flush is being sent. Of flushes
    /// in quick succession each is then no message of its own, with calls to the system on both sides. The first one
    /// after a pause goes out at once, and so does each that waits for an answer to the one before; one that is
    /// gathered comes that much later, and so may a full segment or an event behind it. [`Duration::ZERO`] has none
    /// wait. 200 µs unless set: of 200,000 flushes in a second the network threads then have a fifth of the work (at
    /// 100 µs, a third), and a round trip between threads may well take as long. Linux has a timer for it; elsewhere
    /// nothing is gathered.
    pub gather: Duration,
    /// Has a server write what is flushed on the thread that flushes, if the connection sleeps and nobody else is at it
    /// just then. That spares a round trip between threads the waking of two network threads, which was about half of
    /// its time, or more. On unless set.
    ///
    /// The flush then is one write that does not block, where otherwise it is one call to wake a thread; under TLS it
    /// encrypts too. Whatever the socket does not take is the network thread's, and so is what is flushed within 10 µs
    /// of the last turn: a stream. In exchange the connection, with all its channels, is held up for as long as that
    /// thread is not run in the middle of its write; and if segments go home by it, the wakers of who waits for them
    /// run there. Off, none of this is the flushing thread's business, [`FlushTimer`](crate::partition::FlushTimer)'s
    /// included: for threads of low priority, or with deadlines.
    pub inline_flush: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            send_buffer: None,
            receive_buffer: None,
            gather: Duration::from_micros(200),
            inline_flush: true,
        }
    }
}

impl TcpOptions {
    /// Sets them on `stream`.
    pub(super) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(time) = self.keepalive {
            socket.set_tcp_keepalive(&keepalive(time))?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }
}

fn keepalive(time: Duration) -> TcpKeepalive {
    let asking = TcpKeepalive::new().with_time(time);
    // The system's own interval is more than a minute.
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
    let asking = asking.with_interval((time / 6).max(Duration::from_secs(1)));
    asking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_the_socket_has() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let applied = |options: TcpOptions| {
            let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = TcpStream::from_std(stream).unwrap();
            options.apply(&stream).unwrap();
            stream
        };
        let stream = applied(TcpOptions::default());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));

        let stream = applied(TcpOptions { keepalive: None, ..TcpOptions::default() });
        assert!(!SockRef::from(&stream).keepalive().unwrap());
        let (send_buffer, receive_buffer) = (Some(30_000), Some(20_000));
        let stream = applied(TcpOptions { nodelay: false, send_buffer, receive_buffer, ..TcpOptions::default() });
        let socket = SockRef::from(&stream);
        assert!(!socket.tcp_nodelay().unwrap());
        // Linux says twice what it was asked for.
        assert!([30_000, 60_000].contains(&socket.send_buffer_size().unwrap()));
        assert!([20_000, 40_000].contains(&socket.recv_buffer_size().unwrap()));
    }
}
