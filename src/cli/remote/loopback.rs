//! Both halves in one process, over TCP.

use anyhow::{Context, Result};
use forebay::gate::InputGate;
use forebay::partition::ResultPartition;
use forebay::pool::{LocalBufferPool, NetworkBufferPool};
use forebay::transport::tcp::{Client, GateOptions, RemotePartition, Server};

use super::args::TlsArgs;
use super::serve::partition_id;
use crate::cli::tasks::EXCLUSIVE;

/// A server, and a client of it. Ends both when it is dropped.
#[derive(Debug)]
pub(crate) struct Loopback {
    client: Client,
    server: Server,
}

impl Loopback {
    pub(crate) fn start(tls: &TlsArgs) -> Result<Self> {
        let (mut server, mut client) = (Server::builder(), Client::builder());
        if let Some(config) = tls.config()? {
            server = server.tls(config.clone());
            client = client.tls(config.any_server_name()); // it is this very process
        }
        let server = server.start("127.0.0.1:0").context("cannot serve on the loopback interface")?;
        Ok(Self { client: client.start().context("cannot start the client")?, server })
    }

    /// A partition for each pool, and `parts` gates, joined all to all.
    pub(crate) fn join(
        &self,
        producers: Vec<LocalBufferPool>,
        parts: usize,
        pool: &NetworkBufferPool,
    ) -> Result<(Vec<ResultPartition>, Vec<InputGate>)> {
        let address = self.server.local_addr().to_string();
        let (mut partitions, mut ids) = (Vec::new(), Vec::new());
        for (index, producer) in (0..).zip(producers) {
            let id = partition_id(index);
            partitions.push(self.server.serve(id, producer, parts)?.0);
            ids.push(id);
        }
        let gate = |part: u32| {
            let remotes: Vec<_> = ids.iter().map(|id| RemotePartition::new(address.clone(), *id, part)).collect();
            let options = GateOptions::default().name(format!("consumer {part}")).exclusive(EXCLUSIVE);
            self.client.gate(pool, &options, &remotes)
        };
        let gates = (0..parts as u32).map(gate).collect::<Result<_, _>>()?;
        Ok((partitions, gates))
    }
}
