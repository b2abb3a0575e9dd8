//! What is on its way out: headers and, behind each, bytes that stay in their segment.

use std::{collections::VecDeque, io::IoSlice};

use crate::{buffer::Buffer, wire::BUFFER_HEADER_BYTES};

/// Frames in one write; two pieces of memory each. 1024 pieces is what a system takes at least.
const MOST_FRAMES: usize = 32;
/// Once so much waits, no more frames are made: more would only hold segments, and make a late credit later.
const ENOUGH_BYTES: usize = 512 * 1024;
/// Once so much of answers waits, nothing more is read that would be answered too.
const ENOUGH_OWED: usize = 1024 * 1024;

/// What follows a header.
#[derive(Debug)]
enum Body {
    /// Nothing: the header is a whole message.
    None,
    Segment(Buffer),
    Bytes(Box<[u8]>),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Segment(buffer) => buffer,
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Frame {
    /// Empty for a message that is all body.
    head: [u8; BUFFER_HEADER_BYTES],
    head_len: usize,
    body: Body,
}

impl Frame {
    fn len(&self) -> usize {
        self.head_len + self.body.bytes().len()
    }

    /// Whether it is a message without a header and a body.
    fn is_message(&self) -> bool {
        self.head_len == 0 || matches!(self.body, Body::None)
    }
}

/// Frames that are not written yet, the first perhaps in part.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written.
    written: usize,
    /// Bytes that are not written.
    waiting: usize,
    /// Bytes of messages without a header and a body, which no credit bounds, in frames that are not written whole.
    owed: usize,
}

impl Outbox {
    /// Adds a header with the segment behind it.
    pub(super) fn push_buffer(&mut self, head: [u8; BUFFER_HEADER_BYTES], buffer: Buffer) {
        self.push(head, BUFFER_HEADER_BYTES, Body::Segment(buffer));
    }

    /// Adds a header with an event behind it.
    pub(super) fn push_event(&mut self, head: [u8; BUFFER_HEADER_BYTES], event: Box<[u8]>) {
        self.push(head, BUFFER_HEADER_BYTES, Body::Bytes(event));
    }

    /// Adds a message that is whole. One that is no longer than a header, as those that go with data are, allocates
    /// nothing (M2).
    pub(super) fn push_message(&mut self, message: &[u8]) {
        self.owed += message.len();
        let mut head = [0; BUFFER_HEADER_BYTES];
        if let Some(place) = head.get_mut(..message.len()) {
            place.copy_from_slice(message);
            self.push(head, message.len(), Body::None);
        } else {
            self.push(head, 0, Body::Bytes(message.into()));
        }
    }

    fn push(&mut self, head: [u8; BUFFER_HEADER_BYTES], head_len: usize, body: Body) {
        let frame = Frame { head, head_len, body };
        self.waiting += frame.len();
        self.frames.push_back(frame);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether as much waits as is worth one write.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= MOST_FRAMES || self.waiting >= ENOUGH_BYTES
    }

    /// Whether so many answers wait that the peer is to take some before it asks for more.
    pub(super) fn owes_enough(&self) -> bool {
        self.owed >= ENOUGH_OWED
    }

    /// Hands the pieces of memory that are to be written next to `write`.
    pub(super) fn with_parts<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut parts = [IoSlice::new(&[]); 2 * MOST_FRAMES];
        let mut skip = self.written;
        let mut len = 0;
        for frame in self.frames.iter().take(MOST_FRAMES) {
            for piece in [&frame.head[..frame.head_len], frame.body.bytes()] {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                if skipped < piece.len() {
                    parts[len] = IoSlice::new(&piece[skipped..]);
                    len += 1;
                }
            }
        }
        write(&parts[..len])
    }

    /// Says that `bytes` were written: the segments of whole frames go home.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.waiting -= bytes;
        self.written += bytes;
        while let Some(frame) = self.frames.front() {
            let len = frame.len();
            if self.written < len {
                return;
            }
            self.written -= len;
            if frame.is_message() {
                self.owed -= len;
            }
            self.frames.pop_front();
        }
    }
}
