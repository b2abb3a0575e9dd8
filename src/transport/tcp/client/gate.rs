//! What a gate is made of, and how it is dealt out to connections.

use std::{
    collections::HashMap,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    commands::Command,
    credit::Segments,
    error::{Failure, OpenError},
    session::{OpenChannel, OpenGate},
    unpack::Unpack,
};
use crate::{
    channel::{Said, Signal, Upstream, channel},
    gate::InputGate,
    pool::NetworkBufferPool,
    sync::Arc,
    wire::{Codec, Decompressor, ResultPartitionId, ResultSubpartitionIndexSet},
};

/// A subpartition of a partition on another host, or several that are read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemotePartition {
    /// Where it is served: host and port.
    pub address: String,
    /// Which partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions; of several, the first.
    pub subpartition: u32,
    /// The last of them; the same, unless several are read as one.
    pub last_subpartition: u32,
}

impl RemotePartition {
    /// Subpartition `subpartition` of `partition`, served at `address`: host and port, as `10.0.0.1:6121`.
    pub fn new(address: impl Into<String>, partition: ResultPartitionId, subpartition: u32) -> Self {
        Self { address: address.into(), partition, subpartition, last_subpartition: subpartition }
    }

    /// Several subpartitions as one channel: what is in them comes in the producer's order, and ends when the last of
    /// them has ended. For Flink's blocking partitions, as its adaptive batch scheduler reads them. A pipelined
    /// partition is to be read by a channel for each: a [`Server`](crate::transport::tcp::Server) refuses its range,
    /// and Flink stops in the middle.
    ///
    /// # Examples
    /// ```
    /// use forebay::{transport::tcp::RemotePartition, wire::ResultPartitionId};
    /// let id = ResultPartitionId::from_bytes([7; 60]);
    /// let several = RemotePartition::range("taskmanager:6121", id, 0..=3);
    /// assert_eq!((several.subpartition, several.last_subpartition), (0, 3));
    /// ```
    pub fn range(
        address: impl Into<String>,
        partition: ResultPartitionId,
        subpartitions: std::ops::RangeInclusive<u32>,
    ) -> Self {
        let (subpartition, last_subpartition) = subpartitions.into_inner();
        Self { address: address.into(), partition, subpartition, last_subpartition }
    }

    fn subpartitions(&self) -> ResultSubpartitionIndexSet {
        ResultSubpartitionIndexSet { first: self.subpartition, last: self.last_subpartition }
    }
}

/// Settings of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateOptions {
    /// What its pools are called in errors and in [`NetworkBufferPool::usage`].
    pub name: String,
    /// Segments that each channel has for itself, set aside before it is requested: the data it may be sent at any
    /// moment. 0 is allowed; then data are announced before they are sent. 2 unless set, as Flink's.
    pub exclusive: u32,
    /// Segments beyond those, of the whole gate, for channels with more data. Its connections, one for each peer and
    /// stripe, get a part each, by their channels; without exclusive segments each gets one at least. Up to half of
    /// them are set aside, in equal parts, for channels that data have come for, whether more wait there or not. 8
    /// unless set, as Flink's.
    pub floating: u32,
    /// What the peers compress data with, if they do: the wire does not say. None unless set. Takes up to 8 segments
    /// more for each peer.
    pub compression: Option<Codec>,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { name: "gate".into(), exclusive: 2, floating: 8, compression: None }
    }
}

impl GateOptions {
    /// The same, with this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same, with so many segments for each channel.
    #[must_use]
    pub fn exclusive(mut self, segments: u32) -> Self {
        self.exclusive = segments;
        self
    }

    /// The same, for data compressed with `codec`. Needs the feature `compression`.
    #[must_use]
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression = Some(codec);
        self
    }

    /// The same, with so many segments beyond those.
    #[must_use]
    pub fn floating(mut self, segments: u32) -> Self {
        self.floating = segments;
        self
    }
}

impl GateOptions {
    /// The part of the floating segments of those channels among so many. The parts of all come to all of them, and
    /// each to a number beside what is fair.
    fn part(&self, channels: Range<usize>, of: usize) -> u32 {
        let below = |channel: usize| (u64::from(self.floating) * channel as u64 / of as u64) as u32;
        let part = below(channels.end) - below(channels.start);
        if self.exclusive == 0 { part.max(1) } else { part }
    }
}

/// A gate over `partitions`; `connection` finds the connection to a peer and stripe. See
/// [`Client::gate`](super::Client::gate).
pub(crate) fn open(
    pool: &NetworkBufferPool,
    options: &GateOptions,
    partitions: &[RemotePartition],
    stripes: usize,
    next_gate: &AtomicU64,
    mut connection: impl FnMut((&str, usize)) -> UnboundedSender<Command>,
) -> Result<InputGate, OpenError> {
    if partitions.is_empty() {
        return Err(OpenError::NoChannels);
    }
    if options.exclusive == 0 && options.floating == 0 {
        return Err(OpenError::NoSegments);
    }
    if let Some(empty) = partitions.iter().find(|remote| remote.last_subpartition < remote.subpartition) {
        return Err(OpenError::EmptyRange { first: empty.subpartition, last: empty.last_subpartition });
    }
    let channels = u32::try_from(partitions.len()).map_err(|_| OpenError::NoChannels)?;
    let mut peers: Vec<Peer<'_>> = Vec::new();
    let mut places: HashMap<(&str, usize), usize> = HashMap::new();
    let mut routes = Vec::with_capacity(partitions.len());
    for (index, remote) in partitions.iter().enumerate() {
        let key = (remote.address.as_str(), index % stripes);
        let place = *places.entry(key).or_insert_with(|| {
            peers.push(Peer { key, ids: Vec::new(), channels: Vec::new() });
            peers.len() - 1
        });
        routes.push((place as u32, peers[place].channels.len() as u32));
        peers[place].channel(remote);
    }
    let mut gates = Vec::with_capacity(peers.len());
    let mut before = 0;
    for peer in &peers {
        let after = before + peer.channels.len();
        let token = next_gate.fetch_add(1, Ordering::Relaxed); // only counted here
        gates.push(peer.gate(pool, options, options.part(before..after, partitions.len()), token)?);
        before = after;
    }
    // One that has ended as it began has no runtime any more to run on.
    let connections = peers.iter().map(|peer| connection(peer.key));
    let connections: Vec<_> = connections.map(|connection| (connection.is_closed(), connection)).collect();
    let to = connections.iter().zip(&gates).map(|((_, connection), gate)| (connection.clone(), gate.token)).collect();
    let signal = Arc::new(Signal::new(channels).with_upstream(Box::new(Routes { to, routes: routes.clone() })));
    let mut receivers = Vec::with_capacity(partitions.len());
    for (index, (peer, nth)) in (0..).zip(routes) {
        let (sender, receiver) = channel(signal.clone(), index);
        receivers.push(receiver);
        let (partition, subpartitions) = peers[peer as usize].channels[nth as usize];
        gates[peer as usize].channels.push(OpenChannel { sender, partition, subpartitions });
    }
    for (((no_runtime, connection), peer), gate) in connections.into_iter().zip(&peers).zip(gates) {
        if let Err(lost) = connection.send(Command::Open(Box::new(gate)))
            && let Command::Open(gate) = lost.0
        {
            // Or it has ended meanwhile.
            let failure = if no_runtime { Failure::ShutDown } else { Failure::Closed };
            gate.fail(peer.key.0.into(), &failure);
        }
    }
    Ok(InputGate::new(signal, receivers))
}

/// The channels of a gate that go over one connection.
struct Peer<'a> {
    key: (&'a str, usize),
    ids: Vec<ResultPartitionId>,
    /// Place of the partition in `ids`, and which of its subpartitions.
    channels: Vec<(u32, ResultSubpartitionIndexSet)>,
}

impl Peer<'_> {
    fn channel(&mut self, remote: &RemotePartition) {
        // Channels of one partition mostly come one after the other.
        if self.ids.last() != Some(&remote.partition) {
            self.ids.push(remote.partition);
        }
        self.channels.push((self.ids.len() as u32 - 1, remote.subpartitions()));
    }

    /// The gate for it, with its pools and no channels yet.
    fn gate(
        &self,
        pool: &NetworkBufferPool,
        options: &GateOptions,
        floating: u32,
        token: u64,
    ) -> Result<OpenGate, OpenError> {
        let name = format!("{} from {}", options.name, self.key.0);
        let required = options.exclusive.saturating_mul(self.channels.len() as u32);
        let maximum = required.saturating_add(floating);
        let local = pool.local_pool(name.clone()).required(required).maximum(maximum).build()?;
        let unpack = match options.compression {
            None => None,
            Some(codec) => {
                let decompressor = Decompressor::new(codec)?;
                let pool = pool.local_pool(format!("{name}, decompressed")).required(1).maximum(UNPACKED).build()?;
                Some(Unpack::new(pool, decompressor))
            }
        };
        Ok(OpenGate {
            token,
            segment_size: local.segment_size(),
            segments: Segments::new(local, options.exclusive, floating, self.channels.len()),
            unpack,
            partitions: self.ids.clone(),
            channels: Vec::with_capacity(self.channels.len()),
        })
    }
}

/// Decompressed segments of a gate that nobody has read, at most.
const UNPACKED: u32 = 8;

/// The way from a gate to its connections.
#[derive(Debug)]
struct Routes {
    /// The connections, and what the gate is called there.
    to: Vec<(UnboundedSender<Command>, u64)>,
    /// For each channel, which of them, and which channel there.
    routes: Vec<(u32, u32)>,
}

impl Upstream for Routes {
    fn say(&self, channel: u32, said: Said) {
        let (to, nth) = self.routes[channel as usize];
        let (connection, gate) = &self.to[to as usize];
        let _ = connection.send(Command::Said(*gate, nth, said)); // without a connection there is nobody to hear it
    }

    fn gone(&self) {
        for (connection, gate) in &self.to {
            let _ = connection.send(Command::Gone(*gate)); // as above
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Segments that a gate over so many channels of each peer may take in all.
    fn most(options: &GateOptions, channels: &[u32]) -> u32 {
        let pool = NetworkBufferPool::builder().segments(1000).segment_size(4096).build().unwrap();
        let id = ResultPartitionId::from_bytes([1; 60]);
        let remotes: Vec<_> = (0..)
            .zip(channels)
            .flat_map(|(peer, &channels)| (0..channels).map(move |n| RemotePartition::new(format!("{peer}"), id, n)))
            .collect();
        let (connection, _commands) = unbounded_channel();
        let _gate = open(&pool, options, &remotes, 1, &AtomicU64::new(0), |_| connection.clone()).unwrap();
        pool.usage().pools.iter().map(|pool| pool.fair_share).sum()
    }

    #[test]
    fn floating_segments_are_the_gates_however_many_peers_it_has() {
        let options = GateOptions::default();
        for channels in [&[1][..], &[1, 1, 1], &[7, 2], &[1; 20], &[100, 1]] {
            let exclusive = 2 * channels.iter().sum::<u32>();
            assert_eq!(most(&options, channels), exclusive + 8, "{channels:?}");
        }
        assert_eq!(most(&options.clone().exclusive(0), &[1; 4]), 8);
        assert_eq!(most(&options.exclusive(0), &[1; 20]), 20, "each must have one to go on");
    }
}
