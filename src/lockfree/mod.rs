//! The lock-free structures that everything above is made of, and the one way to wait.
//!
//! | structure | from | to | used by |
//! |---|---|---|---|
//! | [`Inbox`](inbox::Inbox) | many threads | one owner | segments coming home to a local pool; channels that became readable at a gate |
//! | [`Lanes`](lanes::Lanes) | many threads, a ring each | one owner that is awake | segments coming home, without a read-modify-write |
//! | [`Baton`](baton::Baton) | who holds it | the next | a connection, which its task and who flushes drive |
//! | [`WakerCell`](waker::WakerCell) | many threads | one waiter | every wait |
//! | [`spsc`] | one thread | one thread | buffers of a subpartition |
//!
//! [`barrier`] and [`number`] serve the lanes: a fence of which one side pays nothing, and a small number for a thread.
//! Each is small enough to be model-checked alone (`loom-tests/tests/lockfree.rs`). None knows what it carries.

pub(crate) mod barrier;
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "connections alone use it"))]
pub(crate) mod baton;
pub(crate) mod inbox;
pub(crate) mod lanes;
pub(crate) mod number;
pub(crate) mod spsc;
pub(crate) mod wait;
pub(crate) mod waker;
