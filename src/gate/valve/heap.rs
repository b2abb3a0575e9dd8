//! A heap of channels by their watermarks, from whose middle one can be taken.

/// Nobody's place.
const NOWHERE: u32 = u32::MAX;

/// Channels, the one with the least key on top. Each is in it once or not at all. A key may be changed, and any channel
/// removed, in O(log n). Nothing allocates after [`new`](Self::new).
///
/// # Source
/// Williams, Algorithm 232: Heapsort (1964); Flink's `HeapPriorityQueue`, which keeps each element's place in it, too.
#[derive(Debug, Clone)]
pub(super) struct Heap {
    /// Key and channel; the children of `n` are `2n + 1` and `2n + 2`.
    items: Vec<(i64, u32)>,
    /// Where in `items` a channel is.
    places: Box<[u32]>,
}

impl Heap {
    /// An empty one for channels 0 to `channels - 1`.
    pub(super) fn new(channels: usize) -> Self {
        Self { items: Vec::with_capacity(channels), places: vec![NOWHERE; channels].into() }
    }

    /// The least key.
    pub(super) fn least(&self) -> Option<i64> {
        self.items.first().map(|&(key, _)| key)
    }

    /// Puts a channel in, or gives it another key.
    pub(super) fn set(&mut self, channel: usize, key: i64) {
        let item = (key, channel as u32);
        let place = match self.places[channel] {
            NOWHERE => {
                self.items.push(item);
                self.items.len() - 1
            }
            place => place as usize,
        };
        self.settle(place, item);
    }

    /// Takes a channel out, if it is in.
    pub(super) fn remove(&mut self, channel: usize) {
        let place = std::mem::replace(&mut self.places[channel], NOWHERE) as usize;
        if place == NOWHERE as usize {
            return;
        }
        let last = self.items.pop().expect("the channel is in it");
        if place < self.items.len() {
            self.settle(place, last);
        }
    }

    /// Finds the place of `item`, from `place` on, which is free.
    fn settle(&mut self, mut place: usize, item: (i64, u32)) {
        while place > 0 && item < self.items[(place - 1) / 2] {
            self.put(place, self.items[(place - 1) / 2]);
            place = (place - 1) / 2;
        }
        loop {
            let left = 2 * place + 1;
            let child =
                if self.items.get(left + 1).is_some_and(|right| *right < self.items[left]) { left + 1 } else { left };
            match self.items.get(child) {
                Some(&least) if least < item => self.put(place, least),
                _ => break,
            }
            place = child;
        }
        self.put(place, item);
    }

    fn put(&mut self, place: usize, item: (i64, u32)) {
        self.items[place] = item;
        self.places[item.1 as usize] = place as u32;
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

        #[test]
        fn the_least_is_on_top_whatever_is_set_and_removed(
            steps in prop::collection::vec((0_usize..9, prop::option::of(-5_i64..5)), 0..60),
        ) {
            let (mut heap, mut model) = (Heap::new(9), [None; 9]);
            for (channel, key) in steps {
                match key {
                    Some(key) => heap.set(channel, key),
                    None => heap.remove(channel),
                }
                model[channel] = key;
                prop_assert_eq!(heap.least(), model.iter().flatten().min().copied());
                for (place, &(key, channel)) in heap.items.iter().enumerate() {
                    prop_assert_eq!(heap.places[channel as usize] as usize, place);
                    prop_assert_eq!(model[channel as usize], Some(key));
                }
            }
        }
    }
}
