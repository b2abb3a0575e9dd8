//! What each local pool's fair share is: its required part, and a part of the rest in proportion to what it could use.
//!
//! The rest is what nobody is guaranteed. A pool could use `maximum - required` of it, and no more than there is.
//! Shares are cut from a running total rather than one by one, so rounding errors never add up: the sum is exact, and
//! no pool is further than one segment from its proportion.
//!
//! # Source
//! Flink's `NetworkBufferPool.redistributeBuffers`. There the share is what a pool may have at most. Here it is what a
//! pool is held to while another one waits that has less than its own ([`Pressure`](super::pressure::Pressure)).

/// Calls `set(nth, share)` for each of `pools`, given as `(required, maximum)`, `required <= maximum`. `rest` is what
/// nobody is guaranteed.
pub(crate) fn redistribute(
    rest: u32,
    pools: impl Iterator<Item = (u32, u32)> + Clone,
    mut set: impl FnMut(usize, u32),
) {
    let usable = |(required, maximum): (u32, u32)| u128::from((maximum - required).min(rest));
    let wanted: u128 = pools.clone().map(usable).sum();
    let shared = wanted.min(u128::from(rest));
    let (mut so_far, mut given) = (0, 0);
    for (nth, pool) in pools.enumerate() {
        so_far += usable(pool);
        // What all pools up to this one should have together, less what those before it got.
        let extra = (shared * so_far).checked_div(wanted).unwrap_or(0) - given; // nobody wants any: 0
        given += extra;
        set(nth, pool.0 + extra as u32); // `extra <= rest`
    }
    debug_assert_eq!(given, shared);
}

/// The shares as a list.
#[cfg(all(test, not(forebay_loom)))]
fn shares(rest: u32, pools: &[(u32, u32)]) -> Vec<u32> {
    let mut shares = vec![0; pools.len()];
    redistribute(rest, pools.iter().copied(), |nth, share| shares[nth] = share);
    shares
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Flink's loop as it describes itself, in the widest numbers and with no sharing of code.
    fn as_flink(rest: u32, pools: &[(u32, u32)]) -> Vec<u32> {
        let excess = |&(required, maximum): &(u32, u32)| u128::from(maximum) - u128::from(required);
        let capacity: u128 = pools.iter().map(|pool| excess(pool).min(u128::from(rest))).sum();
        let to_distribute = capacity.min(u128::from(rest));
        let (mut parts_used, mut distributed) = (0, 0);
        pools
            .iter()
            .map(|pool| {
                if excess(pool) == 0 || rest == 0 {
                    return pool.0;
                }
                parts_used += excess(pool).min(u128::from(rest));
                let mine = to_distribute * parts_used / capacity - distributed;
                distributed += mine;
                pool.0 + mine as u32
            })
            .collect()
    }

    fn pools() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let one = (0_u32..40, prop_oneof![0_u32..5, 0_u32..60, Just(u32::MAX)])
            .prop_map(|(required, excess)| (required, required.saturating_add(excess)));
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 2048 }))]

        #[test]
        fn shares_are_flinks(rest in prop_oneof![0_u32..10, 0_u32..2000, any::<u32>()], pools in pools()) {
            prop_assert_eq!(shares(rest, &pools), as_flink(rest, &pools));
        }

        #[test]
        fn nothing_is_left_over_and_nobody_is_cut_short(rest in 0_u32..2000, pools in pools()) {
            let shares = shares(rest, &pools);
            let wanted: u128 = pools.iter().map(|&(required, maximum)| u128::from((maximum - required).min(rest))).sum();
            let extra: u128 = shares.iter().zip(&pools).map(|(&share, &(required, _))| u128::from(share - required)).sum();
            prop_assert_eq!(extra, wanted.min(rest.into()), "the sum is exact");
            for (&share, &(required, maximum)) in shares.iter().zip(&pools) {
                prop_assert!(required <= share && share <= maximum);
                // Within one segment of the exact proportion.
                let (extra, usable) = (u128::from(share - required), u128::from((maximum - required).min(rest)));
                if wanted > 0 {
                    let exact = wanted.min(rest.into()) * usable;
                    prop_assert!(extra * wanted < exact + wanted && exact < (extra + 1) * wanted);
                }
            }
        }

        /// A pool that could use more gets no less, but for the one segment that rounding moves.
        #[test]
        fn who_can_use_more_gets_more(rest in 0_u32..500, pools in pools()) {
            let shares = shares(rest, &pools);
            for (a, &(required_a, maximum_a)) in pools.iter().enumerate() {
                for (b, &(required_b, maximum_b)) in pools.iter().enumerate() {
                    if maximum_a - required_a >= maximum_b - required_b {
                        prop_assert!(shares[a] - required_a + 1 >= shares[b] - required_b);
                    }
                }
            }
        }
    }

    #[test]
    fn an_example_worked_by_hand() {
        // 10 left; they could use 3, 10 (of 10 and more) and 7: 20 in all, so half each, cut at 1.5, 6.5 and 10.
        assert_eq!(shares(10, &[(1, 4), (0, u32::MAX), (2, 9)]), [2, 5, 6]);
        assert_eq!(shares(10, &[(1, 1), (5, 6)]), [1, 6], "who can use little gets all of it");
        assert_eq!(shares(0, &[(1, 4), (2, 2)]), [1, 2]);
        assert_eq!(shares(u32::MAX, &[(0, u32::MAX), (0, u32::MAX)]), [u32::MAX / 2, u32::MAX / 2 + 1]);
    }
}
