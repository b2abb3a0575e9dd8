//! Credit: granting and spending, and waiting for a grant.
#![cfg(forebay_loom)]

use std::{
    sync::Arc,
    task::{Context, Poll, Wake},
};

use forebay::credit::{CreditSpender, PeerGone, credit};
use loom::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
};

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn until_ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Arc::new(Unpark(thread::current())).into();
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

fn wait(spender: &mut CreditSpender) -> Result<u64, PeerGone> {
    until_ready(|context| spender.poll_available(context))
}

/// 2 threads, 2 grants; the spender waits twice. No grant is overlooked (M4), none is spent twice (C1).
/// The spender is the spawned thread: loom takes a late unpark of a thread that joins for a fault.
/// Mutants: F3, F4, the wake.
#[test]
fn a_waiting_spender_is_woken_by_a_grant() {
    loom::model(|| {
        let (mut granter, mut spender) = credit();
        let spending = thread::spawn(move || {
            for _ in 0..2 {
                assert!(wait(&mut spender).unwrap() >= 1);
                assert!(spender.try_spend(1));
            }
            assert_eq!((spender.spent(), spender.available()), (2, 0));
            assert!(!spender.try_spend(1), "spent, all of it");
        });
        granter.grant(1);
        granter.grant_total(2);
        spending.join().unwrap();
    });
}

/// Who spends a credit sees what the receiver did to set its segment aside. Mutants: G1, G2.
#[test]
fn what_was_done_before_the_grant_is_seen() {
    loom::model(|| {
        let (mut granter, mut spender) = credit();
        let segment = loom::sync::Arc::new(AtomicU32::new(0));
        let there = segment.clone();
        let granting = thread::spawn(move || {
            there.store(7, Relaxed);
            granter.grant(1);
        });
        if spender.try_spend(1) {
            assert_eq!(segment.load(Relaxed), 7);
        }
        granting.join().unwrap();
    });
}

/// The receiver grants one and goes away: the spender has the credit, then the news (M4). Mutants: the wake, the order
/// of the looks.
#[test]
fn a_receiver_that_goes_away_wakes_the_spender() {
    loom::model(|| {
        let (mut granter, mut spender) = credit();
        let spending = thread::spawn(move || {
            assert_eq!(wait(&mut spender), Ok(1), "what was granted before it went");
            assert!(spender.try_spend(1));
            assert_eq!(wait(&mut spender), Err(PeerGone));
        });
        granter.grant(1);
        drop(granter);
        spending.join().unwrap();
    });
}

/// Who sees that the other side is gone sees the last it said. Mutant: G3.
#[test]
fn the_last_word_is_seen_before_the_silence() {
    loom::model(|| {
        let (mut granter, mut spender) = credit();
        let granting = thread::spawn(move || {
            granter.grant(1);
        });
        if spender.is_peer_gone() {
            assert!(spender.try_spend(1));
        }
        granting.join().unwrap();
    });
}

/// The receiver waits for a backlog, and the sender announces one (M4). Mutant: the wake.
#[test]
fn a_waiting_granter_is_woken_by_a_backlog() {
    loom::model(|| {
        let (mut granter, mut spender) = credit();
        let granting = thread::spawn(move || {
            assert_eq!(until_ready(|context| granter.poll_backlog(context)), Ok(3));
        });
        spender.announce_backlog(3);
        granting.join().unwrap();
    });
}
