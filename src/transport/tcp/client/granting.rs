//! Credit, from the gates' segments to the senders.

use std::task::Context;

use super::{
    credit::Tell,
    session::{MOST_OUT, State},
};
use crate::wire::Message;

/// Credits that are worth a message of their own, to senders that have some left.
pub(crate) const LOT: usize = 16;

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

    /// Tells the senders that are to know now, and if this side is idle those too that are to know then: of channels
    /// that have no credit ahead once there are [`LOT`] credits to tell. Where some are told, all that are to know when
    /// it is idle go with them.
    pub(super) fn tell(&mut self, idle: bool) {
        if self.out.len() - self.written > MOST_OUT {
            return; // the credits wait, and become one
        }
        let lot = self.untold.len() >= LOT; // one for each credit
        if self.tell_some(idle, lot) {
            self.tell_some(true, true);
        }
    }

    /// Of the senders that are to know when this side is idle, those without credit ahead are told only of a `lot`.
    /// Whether any was told.
    fn tell_some(&mut self, idle: bool, lot: bool) -> bool {
        self.tells_when_idle = false;
        let (mut untold, before) = (std::mem::take(&mut self.untold), self.out.len());
        untold.retain(|&index| {
            let Some(channel) = self.channels.get(index) else { return false };
            let segments = self.gates[channel.gate as usize].as_ref().map(|gate| &gate.segments);
            let (few, ahead) = segments.map_or((1, true), |segments| (segments.exclusive(), segments.has_ahead()));
            match channel.credit.when_to_tell(few, ahead) {
                Tell::Nothing => return false,
                Tell::Later => return true,
                Tell::WhenIdle if !ahead && !lot => return true,
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
        self.out.len() > before
    }
}
