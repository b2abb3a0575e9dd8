//! The line that says where a partition is served, and as what.

use anyhow::{Context, Result};
use forebay::wire::{
    ExecutionAttemptId, ExecutionGraphId, ExecutionVertexId, FLINK_VERSION, IntermediateDataSetId,
    IntermediateResultPartitionId, JobVertexId, ResultPartitionId,
};
use serde_json::{Value as Json, json};

use crate::content::{Type, mix};

/// What a consumer needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) id: ResultPartitionId,
    pub(crate) is_blocking: bool,
    pub(crate) subpartitions: u32,
    pub(crate) r#type: Type,
    /// A codec by its name, or `none`.
    pub(crate) compression: Option<String>,
    pub(crate) segment_size: usize,
}

/// The ids that go with a seed.
pub(crate) fn ids(seed: u64) -> ResultPartitionId {
    let id = |first: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(seed.wrapping_add(first)).to_be_bytes());
        bytes[8..].copy_from_slice(&mix(seed.wrapping_add(first + 1)).to_be_bytes());
        bytes
    };
    ResultPartitionId {
        partition: IntermediateResultPartitionId {
            data_set: IntermediateDataSetId(id(1)),
            partition: (seed & 7) as i32,
        },
        producer: ExecutionAttemptId {
            execution_graph: ExecutionGraphId(id(3)),
            vertex: ExecutionVertexId { job_vertex: JobVertexId(id(5)), subtask: (seed & 15) as i32 },
            attempt: (seed & 3) as i32,
        },
    }
}

impl Ready {
    /// From the line, or from the file behind an `@`. What is missing is as Flink's peer has it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let read;
        let text = if let Some(path) = text.strip_prefix('@') {
            read = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            &read
        } else {
            text
        };
        let line: Json = serde_json::from_str(text).context("--ids is the line of JSON that `serve` has printed")?;
        let text = |name: &str| line[name].as_str();
        let number = |name: &str, otherwise: u64| line[name].as_u64().unwrap_or(otherwise);
        let part = |name: &str| text(name).with_context(|| format!("--ids has no {name}"));
        Ok(Self {
            host: text("host").unwrap_or("127.0.0.1").into(),
            port: u16::try_from(number("port", 0)).context("--ids has a port over 65535")?,
            id: ResultPartitionId {
                partition: part("partition_id")?.parse().context("partition_id")?,
                producer: part("producer_id")?.parse().context("producer_id")?,
            },
            is_blocking: text("partition_type").is_some_and(|name| name.starts_with("BLOCKING")),
            subpartitions: u32::try_from(number("subpartitions", 1)).context("--ids has too many subpartitions")?,
            r#type: match text("type") {
                Some("long") => Type::Long,
                Some("string") => Type::String,
                _ => Type::Bytes,
            },
            compression: text("compression").map(Into::into),
            segment_size: number("segment_size", 32768) as usize,
        })
    }

    pub(crate) fn to_json(&self) -> Json {
        let (partition, producer) = (self.id.partition, self.id.producer);
        json!({
            "event": "ready",
            "flink": FLINK_VERSION,
            "host": self.host,
            "port": self.port,
            "partition_id": partition.to_string(),
            "producer_id": producer.to_string(),
            "intermediate_data_set_id": partition.data_set.to_string(),
            "partition_number": partition.partition,
            "execution_graph_id": producer.execution_graph.to_string(),
            "job_vertex_id": producer.vertex.job_vertex.to_string(),
            "subtask_index": producer.vertex.subtask,
            "attempt_number": producer.attempt,
            "partition_type": if self.is_blocking { "BLOCKING" } else { "PIPELINED_BOUNDED" },
            "subpartitions": self.subpartitions,
            "type": self.r#type.name(),
            "compression": self.compression.as_deref().unwrap_or("none"),
            "segment_size": self.segment_size,
        })
    }
}
