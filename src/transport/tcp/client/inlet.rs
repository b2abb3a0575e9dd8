//! Bytes from the link to where they belong: content straight into its segment, everything else by way of a small
//! stage.
//!
//! ```text
//!  one readv:  │ rest of the content ──▶ its segment │ next header ──▶ stage │
//! ```
//!
//! While contents are large, no more than the next header is read behind one, so not a byte of a full segment is
//! copied. While they are small, the whole stage is read, many messages at once, and each content is copied out of it:
//! that costs less than a call to the system for each.

use std::io::IoSliceMut;

use crate::{
    buffer::{Buffer, BufferMut},
    transport::tcp::traffic::Traffic,
    wire::{BUFFER_HEADER_BYTES, BufferResponse, DecodeError, Decoder, Limits, Message, Role},
};

/// What is read at once while contents are small.
const STAGE: usize = 32 * 1024;
/// From here on a content is large.
const LARGE: usize = 4 * 1024;

/// Where the content behind a header goes.
#[derive(Debug)]
pub(crate) enum Landing {
    /// Into a segment, which is at least as large.
    Segment(BufferMut),
    /// An event, which is looked at as a whole.
    Event,
    /// Nowhere.
    Nowhere,
}

/// Who takes what arrives.
pub(crate) trait Arrivals {
    /// A header; says where its content goes.
    fn header(&mut self, header: &BufferResponse, partial_sizes: &[u32]) -> Landing;
    /// The content of a message with data.
    fn content(&mut self, header: &BufferResponse, partial_sizes: &[u32], content: Buffer);
    /// The content of a message with events.
    fn event(&mut self, header: &BufferResponse, partial_sizes: &[u32], content: &[u8]);
    /// Any other message.
    fn message(&mut self, message: Message);
}

/// What is being read.
#[derive(Debug)]
enum State {
    Message,
    Segment(BufferResponse, BufferMut, usize),
    Event(BufferResponse, Vec<u8>),
    Nowhere(usize),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Inlet {
    decoder: Decoder,
    state: State,
    stage: Box<[u8]>,
    /// Bytes of the message at hand that the decoder has.
    given: usize,
    /// The last content was large.
    large: bool,
    pub(crate) traffic: Traffic,
}

impl Inlet {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(Role::Producer, limits),
            state: State::Message,
            stage: vec![0; STAGE].into_boxed_slice(),
            given: 0,
            large: true,
            traffic: Traffic::default(),
        }
    }

    /// Hands the memory that the next bytes go to to `read`.
    pub(crate) fn with_parts<R>(&mut self, read: impl FnOnce(&mut [IoSliceMut<'_>]) -> R) -> R {
        let given = if let State::Message = self.state { self.given } else { 0 };
        let staged = match BUFFER_HEADER_BYTES.checked_sub(given) {
            Some(header @ 1..) if self.large => header,
            _ => self.stage.len(),
        };
        let stage = IoSliceMut::new(&mut self.stage[..staged]);
        match &mut self.state {
            State::Segment(header, segment, at) => {
                read(&mut [IoSliceMut::new(&mut segment[*at..header.size as usize]), stage])
            }
            _ => read(&mut [stage]),
        }
    }

    /// Says that `bytes` came to that memory.
    ///
    /// # Errors
    /// [`DecodeError`]: the stream can not be read on.
    pub(crate) fn arrived(&mut self, mut bytes: usize, to: &mut impl Arrivals) -> Result<(), DecodeError> {
        self.traffic.calls += 1;
        if let State::Segment(header, _, at) = &mut self.state {
            let straight = bytes.min(header.size as usize - *at);
            *at += straight;
            bytes -= straight;
        }
        let stage = std::mem::take(&mut self.stage);
        let taken = self.take(&stage[..bytes], to);
        self.stage = stage;
        taken
    }

    /// Takes up all of `staged`, and what became whole before it.
    fn take(&mut self, staged: &[u8], to: &mut impl Arrivals) -> Result<(), DecodeError> {
        let mut at = 0;
        loop {
            let rest = &staged[at..];
            match &mut self.state {
                State::Message => {
                    let before = at;
                    let message = self.decoder.next(staged, &mut at)?;
                    self.given += at - before;
                    let Some(message) = message else { return Ok(()) };
                    self.given = 0;
                    self.begin(message, to);
                }
                State::Segment(header, segment, filled) => {
                    let n = rest.len().min(header.size as usize - *filled);
                    segment[*filled..*filled + n].copy_from_slice(&rest[..n]);
                    self.traffic.copied += n as u64;
                    *filled += n;
                    at += n;
                    if *filled < header.size as usize {
                        return Ok(());
                    }
                    if let State::Segment(header, segment, filled) = std::mem::replace(&mut self.state, State::Message)
                    {
                        self.large = filled >= LARGE;
                        self.traffic.buffers += 1;
                        self.traffic.bytes += filled as u64;
                        to.content(&header, self.decoder.partial_sizes(), segment.freeze(filled));
                    }
                }
                State::Event(header, event) => {
                    let n = rest.len().min(header.size as usize - event.len());
                    event.extend_from_slice(&rest[..n]); // grows behind the bytes, up to the decoder's limit
                    at += n;
                    if event.len() < header.size as usize {
                        return Ok(());
                    }
                    if let State::Event(header, event) = std::mem::replace(&mut self.state, State::Message) {
                        to.event(&header, self.decoder.partial_sizes(), &event);
                    }
                }
                State::Nowhere(left) => {
                    let n = rest.len().min(*left);
                    *left -= n;
                    at += n;
                    if *left > 0 {
                        return Ok(());
                    }
                    self.state = State::Message;
                }
            }
        }
    }

    fn begin(&mut self, message: Message, to: &mut impl Arrivals) {
        let Message::BufferResponse(header) = message else { return to.message(message) };
        self.state = match to.header(&header, self.decoder.partial_sizes()) {
            Landing::Segment(segment) => State::Segment(header, segment, 0),
            Landing::Event => State::Event(header, Vec::new()),
            Landing::Nowhere => State::Nowhere(header.size as usize),
        };
    }

    /// Whether all that ever came is the beginning of an alert of TLS: too little for a message, and told apart so.
    pub(crate) fn looks_like_tls(&self) -> bool {
        self.traffic.calls == 1 && self.given > 1 && self.stage[..2] == [0x15, 0x03]
    }

    /// Drops the content that is being read: its segment goes home.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Message;
    }
}
