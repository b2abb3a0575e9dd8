//! Who holds what: one snapshot for people and metrics.

use std::fmt;

/// A pool, what it was promised, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name it was given.
    pub name: String,
    /// The label it was given, if any: the job, the tenant.
    pub label: Option<String>,
    /// Segments that are its own.
    pub required: u32,
    /// Segments it may have lent out at most; `u32::MAX` for no limit.
    pub maximum: u32,
    /// What it is held to while a pool waits that has less than its own share: `required`, and a part of the rest in
    /// proportion to `maximum - required`.
    pub fair_share: u32,
    /// Segments away from the depot on its account: lent, or kept for its next request.
    pub held: u32,
}

impl Holder {
    /// Those who have no local pool, as one.
    pub(super) fn direct(name: &str, required: u32, held: u32) -> Self {
        Self { name: name.into(), label: None, required, maximum: u32::MAX, fair_share: required, held }
    }
}

impl fmt::Display for Holder {
    /// `"sorter" [job 7] requires 6 of at most 9, holds 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if let Some(label) = &self.label {
            write!(f, " [{label}]")?;
        }
        write!(f, " requires {}", self.required)?;
        if self.maximum < u32::MAX {
            write!(f, " of at most {}", self.maximum)?;
        }
        write!(f, ", holds {}", self.held)
    }
}

/// What [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage) saw. Displays as a few lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// All segments.
    pub segments: u32,
    /// Bytes in each.
    pub segment_size: usize,
    /// Segments away from the depot: [`NetworkBufferPool::in_use`](super::NetworkBufferPool::in_use).
    pub in_use: u32,
    /// The most there were: [`NetworkBufferPool::most_in_use`](super::NetworkBufferPool::most_in_use).
    pub most_in_use: u32,
    /// Segments that may be borrowed by any pool; below zero while pools that have borrowed owe them to others.
    pub surplus: i64,
    /// Exclusive segments that were asked for and are not back.
    pub exclusive: u32,
    /// Segments lent without a local pool, exclusive ones apart.
    pub direct: u32,
    /// The local pools, oldest first.
    pub pools: Vec<Holder>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, segment_size, in_use, most_in_use, surplus, exclusive, direct, pools } = self;
        writeln!(f, "{in_use} of {segments} segments of {segment_size} bytes in use, {most_in_use} at most so far")?;
        match surplus {
            0.. => writeln!(f, "{surplus} may be borrowed by any pool")?,
            _ => writeln!(f, "{} are lent that pools are guaranteed, who get them as they come back", -surplus)?,
        }
        if *exclusive + *direct > 0 {
            writeln!(f, "{exclusive} are exclusive, {direct} are lent without a pool")?;
        }
        for pool in pools {
            writeln!(f, "  {pool}, fair share {}", pool.fair_share)?;
        }
        Ok(())
    }
}

/// A pool was guaranteed segments that others have at the moment. It gets them as they come back, and nobody can borrow
/// until then; see [`on_overcommit`](super::NetworkBufferPoolBuilder::on_overcommit).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overcommitment {
    /// The pool that was made or grew; `None` for exclusive segments.
    pub pool: Option<String>,
    /// Segments that are lent, and guaranteed to somebody else.
    pub owed: u64,
}

impl fmt::Display for Overcommitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.pool.as_deref().unwrap_or("exclusive segments");
        write!(f, "after {who:?} got its guarantee, {} segments are owed by those who borrowed them", self.owed)
    }
}
