//! On which terms a segment is lent: what is to be done with it when it comes back.

/// See the [module](self). Most segments are lent as [`OWN`](Self::OWN): they go to their lender, and nothing else is
/// to be done, so that is one comparison with zero. Everything else is a bit away from it, and off the short way home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms(u32);

const BORROWED: u32 = 1;
const ZEROED: u32 = 1 << 1;
const POISONED: u32 = 1 << 2;
/// Above this: the channel it was lent for, plus one.
const CHANNEL: u32 = 3;

/// What poisoned segments are filled with: odd, large in any width, and no text.
pub(crate) const POISON: u8 = 0xDB;

impl Terms {
    /// Goes to its lender.
    pub(crate) const OWN: Self = Self(0);
    /// The highest channel that can be named.
    pub(crate) const MAX_CHANNEL: u32 = (u32::MAX >> CHANNEL) - 1;

    /// Filled with zeros when it comes back.
    pub(crate) const fn zeroed(self) -> Self {
        Self(self.0 | ZEROED)
    }

    /// Filled with [`POISON`] when it comes back.
    pub(crate) const fn poisoned(self) -> Self {
        Self(self.0 | POISONED)
    }

    /// Goes to the recycler, not to its lender.
    pub(crate) const fn on_loan(self) -> Self {
        Self(self.0 | BORROWED)
    }

    /// Counted for `channel`.
    pub(crate) const fn for_channel(self, channel: u32) -> Self {
        assert!(channel <= Self::MAX_CHANNEL, "the pool's builder refuses more channels than can be named");
        Self(self.0 | (channel + 1) << CHANNEL)
    }

    /// The same, counted for none.
    pub(crate) const fn for_no_channel(self) -> Self {
        Self(self.0 & ((1 << CHANNEL) - 1))
    }

    pub(crate) const fn borrowed(self) -> bool {
        self.0 & BORROWED != 0
    }

    /// What the bytes are to be filled with. Poison goes before zeros: it is asked for to find something.
    pub(crate) const fn wiped_with(self) -> Option<u8> {
        match self.0 & (ZEROED | POISONED) {
            0 => None,
            ZEROED => Some(0),
            _ => Some(POISON),
        }
    }

    pub(crate) const fn channel(self) -> Option<u32> {
        (self.0 >> CHANNEL).checked_sub(1)
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_term_is_told_from_the_others() {
        let most = Terms::OWN.zeroed().on_loan().for_channel(Terms::MAX_CHANNEL);
        assert_eq!((most.borrowed(), most.wiped_with(), most.channel()), (true, Some(0), Some(Terms::MAX_CHANNEL)));
        let some = Terms::OWN.poisoned().for_channel(0);
        assert_eq!((some.borrowed(), some.wiped_with(), some.channel()), (false, Some(POISON), Some(0)));
        assert_eq!((Terms::OWN.wiped_with(), Terms::OWN.channel()), (None, None));
        assert_eq!(Terms::OWN.zeroed().poisoned().wiped_with(), Some(POISON));
    }
}
