//! Each selector chooses the channels it should.

use proptest::prelude::*;

use super::{super::JavaHash, *};

fn chosen<R: ?Sized>(selector: &mut impl ChannelSelector<R>, record: &R, channels: usize) -> usize {
    let Target::One(chosen) = selector.select(record, channels) else { panic!("to all") };
    assert!(chosen < channels.max(1));
    chosen
}

#[test]
fn round_robin_visits_all_in_turn() {
    let mut selector = RoundRobin::default();
    let first: Vec<_> = (0..5).map(|_| chosen(&mut selector, &(), 3)).collect();
    assert_eq!(first, [0, 1, 2, 0, 1]);
    assert_eq!(chosen(&mut RoundRobin::starting_at(2), &(), 3), 2);
    assert_eq!(chosen(&mut RoundRobin::starting_at(3), &(), 3), 0, "beyond the last");
}

#[test]
fn a_key_has_one_channel() {
    let mut selector = HashByKey::new(|key: &str| key.as_bytes());
    for channels in [1, 4, 200] {
        assert_eq!(selector.select("AA", channels), selector.select("AA", channels));
    }
    assert_eq!(selector.select("AA", 4), Target::One(3));
    assert_eq!(selector.with_max_parallelism(32_768).select("AA", 100), Target::One(76));
}

#[test]
fn the_shares_of_rescale_are_flinks() {
    // As computeVertexInputInfoForPointwise connects them.
    let shares =
        |writers: usize, readers| (0..writers).map(|w| Rescale::new(w, writers).share(readers)).collect::<Vec<_>>();
    assert_eq!(shares(2, 3), [0..2, 2..3]);
    assert_eq!(shares(3, 2), [0..1, 1..2, 1..2]);
    assert_eq!(shares(4, 2), [0..1, 0..1, 1..2, 1..2]);
    assert_eq!(Rescale::new(0, 1).share(4), 0..4);
    assert_eq!(shares(3, 7), [0..3, 3..5, 5..7]);
}

#[test]
fn without_channels_nobody_is_chosen_and_nothing_panics() {
    fn none<S: ChannelSelector<str>>(mut selector: S) {
        assert_eq!(selector.select("", 0), Target::One(0));
        assert_eq!(selector.select_among("", &[]), Target::One(0));
    }
    none(RoundRobin::default());
    none(Random::new());
    none(LeastLoaded::default());
    none(Global);
    none(HashByKey::new(|key: &str| key.as_bytes()));
    assert_eq!(ChannelSelector::<str>::select(&mut Rescale::new(1, 3), "", 0), Target::One(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

    #[test]
    fn every_reader_is_in_a_share_and_shares_are_even(writers in 1_usize..40, readers in 1_usize..40) {
        let mut writers_of = vec![0; readers];
        let shares: Vec<_> = (0..writers).map(|writer| Rescale::new(writer, writers).share(readers)).collect();
        shares.iter().cloned().flatten().for_each(|reader| writers_of[reader] += 1);
        let span = |counts: &[usize]| counts.iter().max().unwrap() - counts.iter().min().unwrap();
        prop_assert!(*writers_of.iter().min().unwrap() > 0);
        prop_assert!(span(&writers_of) <= 1, "{:?}", writers_of);
        let lengths: Vec<_> = shares.iter().map(ExactSizeIterator::len).collect();
        prop_assert!(span(&lengths) <= 1, "{:?}", lengths);
        if writers <= readers {
            prop_assert!(writers_of.iter().all(|&writers| writers == 1));
        } else {
            prop_assert!(lengths.iter().all(|&readers| readers == 1));
        }
    }

    #[test]
    fn rescale_visits_its_share_in_turn(writers in 1_usize..10, readers in 1_usize..10, writer in 0_usize..10) {
        let mut selector = Rescale::new(writer % writers, writers);
        let expected = selector.share(readers).cycle();
        for expected in expected.take(3 * readers) {
            prop_assert_eq!(chosen(&mut selector, &(), readers), expected);
        }
    }

    #[test]
    fn random_finds_every_channel_about_as_often(seed in any::<u64>(), channels in 1_usize..9) {
        let (mut selector, mut hits) = (Random::seeded(seed), vec![0_u32; channels]);
        let each = if cfg!(miri) { 100 } else { 1000 };
        (0..channels * each).for_each(|_| hits[chosen(&mut selector, &(), channels)] += 1);
        // Six standard deviations of a binomial distribution, and a bit.
        let most_off = 6.0 * (each as f64).sqrt() + 5.0;
        prop_assert!(hits.iter().all(|&hits| (f64::from(hits) - each as f64).abs() < most_off), "{:?}", hits);
    }

    #[test]
    fn the_least_loaded_of_those_looked_at_is_chosen(
        rounds in prop::collection::vec(prop::collection::vec(0_usize..4, 5), 1..20),
        most in 1_usize..8,
    ) {
        let mut selector = LeastLoaded::new(most.try_into().unwrap());
        let mut next = 0;
        for backlogs in rounds {
            let Target::One(chosen) = selector.select_among("", &backlogs[..]) else { panic!("to all") };
            let looked_at: Vec<_> = (0..most.min(5)).map(|step| (next + step) % 5).collect();
            let least = looked_at.iter().map(|&channel| backlogs[channel]).min().unwrap();
            let expected = *looked_at.iter().find(|&&channel| backlogs[channel] == least).unwrap();
            prop_assert_eq!(chosen, expected, "{:?} from {}", backlogs, next);
            next = (chosen + 1) % 5;
        }
    }

    #[test]
    fn a_key_goes_where_its_hash_code_goes(key in any::<String>(), channels in 1_usize..300) {
        let by_key = chosen(&mut HashByKey::new(|key: &str| key.as_bytes()), &key[..], channels);
        let by_code = chosen(&mut HashByCode::new(|key: &str| key.java_hash_code()), &key[..], channels);
        prop_assert_eq!(by_key, by_code);
    }
}
