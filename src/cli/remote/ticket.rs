//! A ticket: what a consumer has to know of partitions on another host, as a small JSON document.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use forebay::wire::{Codec, FLINK_VERSION, ResultPartitionId};
use serde_json::{Value, json};

use super::args::is_host_and_port;
use super::framing::Framing;

/// The form of tickets that this program writes and reads.
const FORM: u64 = 1;
/// No ticket is larger.
const MOST_BYTES: u64 = 64 << 20;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Host and port.
    pub(crate) address: String,
    /// One for each producer.
    pub(crate) partitions: Vec<ResultPartitionId>,
    /// Of each of them.
    pub(crate) subpartitions: u32,
    pub(crate) framing: Framing,
    /// What each part begins with.
    pub(crate) header: String,
    pub(crate) segment_size: usize,
    pub(crate) max_record: usize,
    /// What data are compressed with.
    pub(crate) compression: Option<Codec>,
}

impl Ticket {
    pub(crate) fn json(&self) -> Value {
        let partitions: Vec<String> = self.partitions.iter().map(ToString::to_string).collect();
        let mut value = json!({
            "forebay_ticket": FORM,
            "protocol": format!("flink-{FLINK_VERSION}"),
            "address": self.address,
            "partitions": partitions,
            "subpartitions": self.subpartitions,
            "framing": self.framing.name(),
            "header": self.header,
            "segment_size": self.segment_size,
            "max_record": self.max_record,
        });
        if let Some(codec) = self.compression {
            value["compression"] = codec.to_string().into();
        }
        value
    }

    /// Reads the ticket in `file`; `-` is stdin.
    ///
    /// # Errors
    /// What is wrong with it, by the name of the field.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = file.display();
        let mut text = String::new();
        let read = if file.as_os_str() == "-" {
            io::stdin().take(MOST_BYTES).read_to_string(&mut text)
        } else {
            fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
        };
        read.with_context(|| format!("cannot read the ticket {name}"))?;
        Self::parse(&text).with_context(|| format!("{name} is no ticket"))
    }

    fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let field = |name: &str| value.get(name).with_context(|| format!("it has no `{name}`"));
        let wrong = |name: &str, expected: &str| anyhow!("`{name}` must be {expected}");
        let text = |name: &str| field(name)?.as_str().ok_or_else(|| wrong(name, "a string"));
        let number = |name: &str, default: Option<u64>, most: u64| match (value.get(name), default) {
            (None, Some(default)) => Ok(default),
            _ => field(name)?
                .as_u64()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| wrong(name, &format!("a number from 1 to {most}"))),
        };
        let form = field("forebay_ticket")?;
        ensure!(form.as_u64() == Some(FORM), "it is of form {form}, and this program reads form {FORM}");
        let ids = field("partitions")?.as_array().ok_or_else(|| wrong("partitions", "a list"))?;
        ensure!(!ids.is_empty(), "`partitions` is empty");
        let id = |id: &Value| match id.as_str().map(str::parse) {
            Some(Ok(id)) => Ok(id),
            Some(Err(error)) => bail!("`partitions`: {error}"),
            None => bail!("`partitions` must be a list of strings"),
        };
        let (framing, address) = (text("framing")?, text("address")?);
        ensure!(is_host_and_port(address), "`address` must be a host and a port, as host1:6121, and is `{address}`");
        let compression = match value.get("compression") {
            None | Some(Value::Null) => None,
            Some(name) => {
                let name = name.as_str().ok_or_else(|| wrong("compression", "a string"))?;
                Some(name.parse::<Codec>().context("`compression`")?)
            }
        };
        Ok(Self {
            address: address.to_owned(),
            partitions: ids.iter().map(id).collect::<Result<_>>()?,
            subpartitions: number("subpartitions", None, i32::MAX as u64)? as u32,
            framing: Framing::from_name(framing).with_context(|| format!("it has the unknown framing `{framing}`"))?,
            header: value.get("header").map_or(Ok(""), |_| text("header"))?.to_owned(),
            segment_size: number("segment_size", Some(32 << 10), 1 << 30)? as usize,
            max_record: number("max_record", Some(1 << 20), i32::MAX as u64)? as usize,
            compression,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            address: "host:6121".into(),
            partitions: vec![ResultPartitionId::from_bytes([7; 60])],
            subpartitions: 4,
            framing: Framing::Rows,
            header: "a,b\r\n".into(),
            segment_size: 4096,
            max_record: 100,
            compression: Some(Codec::Lz4),
        }
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written() {
        assert_eq!(Ticket::parse(&ticket().json().to_string()).unwrap(), ticket());
    }

    /// As somebody writes it by hand for a partition of Flink's.
    #[test]
    fn what_can_be_left_out_is_as_flink_has_it() {
        let id = "07".repeat(60);
        let text = format!(
            r#"{{"forebay_ticket": 1, "address": "tm:40001", "partitions": ["{id}"], "subpartitions": 1,
                "framing": "elements:string"}}"#
        );
        let ticket = Ticket::parse(&text).unwrap();
        assert_eq!((ticket.segment_size, &*ticket.header, ticket.compression), (32 << 10, "", None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let broken = |field: &str, value: Value| {
            let mut json = ticket().json();
            json[field] = value;
            format!("{:#}", Ticket::parse(&json.to_string()).unwrap_err())
        };
        assert!(broken("forebay_ticket", 2.into()).contains("of form 2"));
        assert!(broken("partitions", json!(["00"])).contains("120 hex digits"));
        assert!(broken("partitions", json!([])).contains("empty"));
        assert!(broken("subpartitions", 0.into()).contains("`subpartitions` must be a number from 1"));
        for address in ["host", ":1", "host:", "host:65536"] {
            assert!(broken("address", address.into()).contains("`address` must be a host and a port"), "{address}");
        }
        assert!(broken("framing", "lines".into()).contains("unknown framing `lines`"));
        assert!(broken("compression", "gzip".into()).contains("`compression`"));
        assert!(Ticket::parse("{}").unwrap_err().to_string().contains("`forebay_ticket`"));
        assert!(Ticket::parse("nonsense").is_err());
    }
}
