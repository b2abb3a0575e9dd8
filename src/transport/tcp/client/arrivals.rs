//! What arrives, on its way to the gates.

use std::task::{Context, Poll};

use super::{
    error::Failure,
    inlet::{Arrivals, Landing},
    session::State,
    unpack::Piece,
};
use crate::{
    buffer::{Buffer, DataType},
    channel::{Event, Released},
    transport::tcp::events,
    wire::{BufferResponse, Message},
};

impl Arrivals for State {
    fn header(&mut self, header: &BufferResponse, _: &[u32]) -> Landing {
        let Some(index) = self.find(header.receiver) else {
            self.disown(header.receiver);
            return Landing::Nowhere;
        };
        let Some(channel) = self.channels.get(index) else { return Landing::Nowhere };
        if header.sequence_number != channel.sequence {
            self.fail(index, Failure::Sequence { found: header.sequence_number });
            return Landing::Nowhere;
        }
        if !header.data_type.is_data() {
            return Landing::Event;
        }
        let Some(gate) = &mut self.gates[channel.gate as usize] else { return Landing::Nowhere };
        let (size, segment) = (header.size as usize, gate.segment_size);
        if size > segment {
            self.fail(index, Failure::TooLarge { size, segment });
            return Landing::Nowhere;
        }
        let Some(segment) = gate.segments.use_credit(&mut channel.credit) else {
            self.fail(index, Failure::NoCredit);
            return Landing::Nowhere;
        };
        Landing::Segment(segment)
    }

    fn content(&mut self, header: &BufferResponse, sizes: &[u32], content: Buffer) {
        let Some(index) = self.find(header.receiver) else { return };
        let Some(channel) = self.channels.get(index) else { return };
        channel.sequence = channel.sequence.wrapping_add(header.partials.max(1));
        let content = content.with_data_type(header.data_type).with_compressed(header.compressed);
        if sizes.len() < 2 {
            self.piece(index, Piece::Data(content));
        } else {
            let mut at = 0;
            for &size in sizes {
                self.piece(index, Piece::Data(content.slice(at..at + size as usize)));
                at += size as usize;
            }
        }
        self.backlog(index, header.backlog);
    }

    fn event(&mut self, header: &BufferResponse, sizes: &[u32], content: &[u8]) {
        let Some(index) = self.find(header.receiver) else { return };
        if let Some(channel) = self.channels.get(index) {
            channel.sequence = channel.sequence.wrapping_add(header.partials.max(1));
        }
        self.backlog(index, header.backlog);
        let whole = [content.len() as u32];
        let sizes = if sizes.is_empty() { &whole } else { sizes };
        let mut at = 0;
        for &size in sizes {
            let event = &content[at..at + size as usize];
            at += size as usize;
            match events::decode(header.data_type, event) {
                Ok(event) => self.piece(index, Piece::Event(header.data_type, event)),
                Err(error) => return self.fail(index, Failure::Event(error)),
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::ErrorResponse(error) => self.failed_remotely(&error),
            Message::BacklogAnnouncement { backlog, receiver } => match self.find(receiver) {
                Some(index) => self.backlog(index, backlog),
                None => self.disown(receiver),
            },
            _ => {} // the decoder lets no message of a consumer pass, and buffers come by another way
        }
    }
}

/// What events may hold that wait for the reader of one channel, in kibibytes begun. They need no credit, so nothing
/// else bounds what a peer can make this side keep. Of a producer that means well there is a handful: barriers, and the
/// ends.
pub(crate) const MOST_EVENTS: u16 = 4096;

impl State {
    /// Hands a piece to its gate, behind those that wait for being unpacked.
    fn piece(&mut self, index: u32, piece: Piece) {
        let generation = self.channels.generation(index);
        let Some(channel) = self.channels.get(index) else { return };
        if let Piece::Event(_, event) = &piece {
            let events = channel.events.wrapping_add(event.weight());
            if events.wrapping_sub(channel.sender.events_taken()) > MOST_EVENTS {
                return self.fail(index, Failure::TooManyEvents { limit: MOST_EVENTS });
            }
            channel.events = events;
        }
        let unpack = self.gates[channel.gate as usize].as_mut().and_then(|gate| gate.unpack.as_mut());
        match (unpack, piece) {
            (Some(unpack), piece) => unpack.waiting.push_back((index, generation, piece)),
            (None, Piece::Data(data)) if data.is_compressed() => self.fail(index, Failure::Compressed),
            (None, Piece::Data(data)) => self.data(index, data),
            (None, Piece::Event(data_type, event)) => self.one_event(index, data_type, event),
        }
    }

    fn data(&mut self, index: u32, data: Buffer) {
        if let Some(channel) = self.channels.get(index) {
            channel.sender.add_whole(data);
            self.mark_dirty(index);
        }
    }

    /// Hands on what waits for being unpacked, as far as segments allow. Leaves the waker where one is short.
    pub(super) fn unpack(&mut self, context: &mut Context<'_>) {
        for gate in 0..self.gates.len() {
            while let Some((index, done)) = self.unpack_one(gate, context) {
                match done {
                    Ok(Piece::Data(data)) => self.data(index, data),
                    Ok(Piece::Event(data_type, event)) => self.one_event(index, data_type, event),
                    Err(failure) => self.fail(index, failure),
                }
            }
        }
        self.tell_gates();
    }

    fn unpack_one(&mut self, gate: usize, context: &mut Context<'_>) -> Option<(u32, Result<Piece, Failure>)> {
        let unpack = self.gates[gate].as_mut()?.unpack.as_mut()?;
        loop {
            let (index, generation, piece) = unpack.waiting.front()?;
            let index = *index;
            if self.channels.generation(index) != *generation {
                unpack.waiting.pop_front(); // its channel has failed meanwhile
                continue;
            }
            let done = match piece {
                Piece::Event(data_type, event) => Ok(Piece::Event(*data_type, event.clone())),
                Piece::Data(data) => {
                    let data = data.clone();
                    match unpack.poll_unpack(context, &data) {
                        Poll::Pending => return None,
                        Poll::Ready(done) => done.map(Piece::Data),
                    }
                }
            };
            unpack.waiting.pop_front();
            return Some((index, done));
        }
    }

    fn one_event(&mut self, index: u32, data_type: DataType, event: Event) {
        if data_type.blocks() {
            self.rest(index);
            if !event.data_type().blocks() {
                self.resume(index); // nobody will say so: the reader goes by the event, the writer by the type
            }
        }
        if !self.is_the_last(index, &event) {
            if let Some(channel) = self.channels.get(index) {
                channel.events = channel.events.wrapping_sub(event.weight()); // it does not come to the reader
            }
            return;
        }
        if matches!(event, Event::EndOfPartition) {
            if let Some(mut channel) = self.close(index) {
                let _ = channel.sender.send(event); // gone already is as good
            }
            return;
        }
        let Some(channel) = self.channels.get(index) else { return };
        let sent = if data_type == DataType::PRIORITIZED_EVENT_BUFFER {
            let before = channel.sender.added();
            channel.sender.overtake(event, before)
        } else {
            channel.sender.send(event)
        };
        if sent == Err(Released) {
            self.close(index);
        }
    }
}
