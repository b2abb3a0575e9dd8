//! One `RecordAttributes` out of many.

use crate::record::RecordAttributes;

/// Merges the record attributes of several channels: they are backlog while any channel's are.
///
/// Says nothing before it is certain: while no channel has said that it is backlog, and some have said nothing yet.
///
/// # Source
/// Flink's `RecordAttributesCombiner`.
#[derive(Debug, Clone)]
pub(super) struct RecordAttributesCombiner {
    channels: Box<[Option<RecordAttributes>]>,
    /// Channels that have said nothing yet.
    undefined: usize,
    /// Channels that are backlog.
    backlog: usize,
    last: Option<RecordAttributes>,
}

impl RecordAttributesCombiner {
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: vec![None; channels].into(), undefined: channels, backlog: 0, last: None }
    }

    /// Takes what a channel says; gives what holds for all, if that has changed.
    pub(super) fn input(&mut self, channel: usize, attributes: RecordAttributes) -> Option<RecordAttributes> {
        match self.channels[channel].replace(attributes) {
            None => self.undefined -= 1,
            Some(before) => self.backlog -= usize::from(before.is_backlog),
        }
        self.backlog += usize::from(attributes.is_backlog);
        if self.backlog == 0 && self.undefined > 0 {
            return None;
        }
        let merged = RecordAttributes { is_backlog: self.backlog > 0 };
        (self.last.replace(merged) != Some(merged)).then_some(merged)
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_are_backlog_while_any_is_and_not_before_each_has_spoken() {
        let mut combiner = RecordAttributesCombiner::new(3);
        let mut input = |channel, is_backlog| {
            combiner.input(channel, RecordAttributes { is_backlog }).map(|merged| merged.is_backlog)
        };
        assert_eq!(input(0, false), None, "the others may be backlog");
        assert_eq!(input(1, true), Some(true));
        assert_eq!(input(2, true), None, "nothing new");
        assert_eq!(input(2, true), None);
        assert_eq!(input(1, false), None);
        assert_eq!(input(2, false), Some(false));
        assert_eq!(input(0, true), Some(true));
    }

    #[test]
    fn a_channel_that_takes_it_back_before_the_others_have_spoken_changes_nothing() {
        let mut combiner = RecordAttributesCombiner::new(2);
        let [yes, no] = [true, false].map(|is_backlog| RecordAttributes { is_backlog });
        assert_eq!(combiner.input(0, yes), Some(yes));
        assert_eq!(combiner.input(0, no), None, "the other may be backlog");
        assert_eq!(combiner.input(1, no), Some(no));
    }
}
