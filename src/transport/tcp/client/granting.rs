//! Credit, from the gates' segments to the senders.

use std::task::Context;

use super::{
    credit::Tell,
    session::{MOST_OUT, State},
};
use crate::wire::Message;

impl State {
    /// Grants what segments allow.
    pub(super) fn grant(&mut self, context: &mut Context<'_>) {
        for place in 0..self.gates.len() {
            let Some(gate) = &mut self.gates[place] else { continue };
            if let Err(failure) = gate.segments.grant(context, &mut self.channels, &mut self.untold) {
                gate.places.clone().into_iter().for_each(|index| self.fail(index, failure.clone()));
            }
        }
    }

    /// Tells the senders that are to know now, and if this side is idle those too that are to know then.
    pub(super) fn tell(&mut self, idle: bool) {
        if self.out.len() - self.written > MOST_OUT {
            return; // the credits wait, and become one
        }
        self.tells_when_idle = false;
        let mut untold = std::mem::take(&mut self.untold);
        untold.retain(|&index| {
            let Some(channel) = self.channels.get(index) else { return false };
            let few = self.gates[channel.gate as usize].as_ref().map_or(1, |gate| gate.segments.exclusive());
            match channel.credit.when_to_tell(few) {
                Tell::Nothing => return false,
                Tell::Later => return true,
                Tell::WhenIdle if !idle => {
                    self.tells_when_idle = true;
                    return true;
                }
                Tell::WhenIdle | Tell::Now => {}
            }
            let credit = channel.credit.tell();
            let receiver = self.id(index);
            self.send(&Message::AddCredit { credit, receiver });
            false
        });
        self.untold = untold;
    }
}
