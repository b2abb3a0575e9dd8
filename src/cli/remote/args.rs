//! The command line of the two halves.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, error::ErrorKind};
use forebay::transport::tcp::TlsConfig;

use crate::cli::args::Rows;

/// Read CSV files and serve their rows to other hosts, by key or in turn
///
/// The half of `shuffle` that reads: its producers. Writes a ticket, with which `forebay fetch`, here or on other
/// hosts, gets the parts; ends when every part was fetched, or with an error when one was begun and given up: a part is
/// fetched once.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLE)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) rows: Rows,

    /// Address and port to listen on; port 0 is any
    #[arg(short, long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = listen)]
    pub(crate) listen: String,

    /// The host name or address that the ticket gives, with a port if it is not the one that is listened on [default:
    /// the address that is listened on]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,

    /// Where the ticket goes; - is stdout. It is written once everything is ready
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) ticket: PathBuf,

    /// Print the summary as a JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

const SERVE_EXAMPLE: &str = "\
Example:
  forebay serve --listen 0.0.0.0:6121 --advertise host1 --key carrier --partitions 4 --ticket t.json flights.csv
  forebay fetch t.json --partition 0-3 --out by-carrier

The summary goes to stderr if the ticket goes to stdout, else to stdout. Exit
statuses are those of `forebay shuffle`.";

/// Fetch partitions that another host serves, and write each to a file
///
/// The half of `shuffle` that writes: its consumers. Parts get their names only when all of them are complete; an
/// error, Ctrl-C, SIGTERM or SIGHUP leaves none. Where nobody listens any more it is tried for some seconds; a ticket
/// of `forebay serve` whose address serves something else by now is refused at once.
#[derive(Debug, Args)]
#[command(after_help = FETCH_EXAMPLE)]
pub(crate) struct Fetch {
    /// The ticket that `forebay serve` wrote, or one for a partition of a task manager of Flink; - is stdin
    #[arg(value_name = "TICKET")]
    pub(crate) ticket: PathBuf,

    /// Which partitions: a number from 0, or the first and the last of several [default: all]
    #[arg(short, long, value_name = "I|A-B", value_parser = range)]
    pub(crate) partition: Option<(u32, u32)>,

    /// Folder for part-00000.csv and so on; made if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Write to a DIR that is not empty: replace these parts in it, and leave other files alone
    #[arg(long)]
    pub(crate) force: bool,

    /// Segments in the pool [default: twice the smallest number that works, at least 64]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) segments: Option<u32>,

    /// Print the summary as a JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

const FETCH_EXAMPLE: &str = "\
Example:
  forebay fetch ticket.json --partition 2 --out parts
  ssh host1 cat ticket.json | forebay fetch - --partition 0-1 --out parts

A ticket for Flink, with framing elements:string, elements:long or
elements:bytes, and what its TaskManager logs as ids, in hex:
  {\"forebay_ticket\": 1, \"address\": \"taskmanager:40001\", \"partitions\": [\"...\"],
   \"subpartitions\": 1, \"framing\": \"elements:string\"}";

/// Who this side is, and whom it trusts.
#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of the options")]
pub(crate) struct TlsArgs {
    /// This side's certificate, and those between it and the authority, in PEM form
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key of --tls-cert, in PEM form
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// The authorities that sign the certificates of the other side, in PEM form: speak TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
}

impl TlsArgs {
    pub(crate) fn is_used(&self) -> bool {
        self.tls_cert.is_some() || self.tls_key.is_some() || self.tls_ca.is_some()
    }

    pub(crate) fn mistake(&self) -> Option<(ErrorKind, String)> {
        match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (None, None, _) | (Some(_), Some(_), Some(_)) => None,
            (_, _, None) => Some((ErrorKind::MissingRequiredArgument, "TLS needs --tls-ca FILE".into())),
            _ => Some((ErrorKind::MissingRequiredArgument, "--tls-cert and --tls-key go together".into())),
        }
    }

    /// The configuration, if TLS is to be spoken.
    pub(crate) fn config(&self) -> Result<Option<TlsConfig>> {
        Ok(match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (Some(certificate), Some(key), Some(authorities)) => {
                Some(TlsConfig::from_pem_files(certificate, key, authorities)?)
            }
            (_, _, Some(authorities)) => Some(TlsConfig::authorities_file(authorities)?),
            _ => None,
        })
    }
}

impl Serve {
    pub(crate) fn mistake(&self) -> Option<(ErrorKind, String)> {
        let missing = |text: &str| Some((ErrorKind::MissingRequiredArgument, text.into()));
        if self.tls.tls_ca.is_some() && self.tls.tls_cert.is_none() {
            return missing("serving by TLS needs --tls-cert and --tls-key too");
        }
        let unspecified = self.listen.parse().is_ok_and(|at: std::net::SocketAddr| at.ip().is_unspecified());
        if unspecified && self.advertise.is_none() {
            return missing("--listen on all addresses needs --advertise HOST, for the ticket to name one");
        }
        self.rows.mistake().or_else(|| self.tls.mistake())
    }
}

impl Fetch {
    pub(crate) fn mistake(&self) -> Option<(ErrorKind, String)> {
        self.tls.mistake()
    }
}

/// A host and a port, as in `host1:6121` or `[::1]:6121`.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok()
    })
}

/// `host` as it stands before a port: an IPv6 address in brackets.
pub(crate) fn before_a_port(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

fn listen(text: &str) -> Result<String, String> {
    let expected = "expected an address or a host, and a port, as 0.0.0.0:6121 or [::]:6121";
    is_host_and_port(text).then(|| text.to_owned()).ok_or_else(|| expected.to_owned())
}

/// `3` or `0-7`.
fn range(text: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("expected a number from 0, as 3, or two of them, as 0-7".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_in_brackets_before_its_port() {
        for right in ["host1:6121", "10.0.0.1:0", "[::1]:6121", "[2001:db8::1]:6121"] {
            assert!(is_host_and_port(right), "{right}");
        }
        for wrong in ["host1", ":6121", "::1", "::1:6121", "2001:db8::1", "[::1]", "host1:", "host1:65536"] {
            assert!(!is_host_and_port(wrong), "{wrong}");
        }
        assert_eq!((before_a_port("::1").as_str(), before_a_port("host1").as_str()), ("[::1]", "host1"));
        assert_eq!(before_a_port("[::1]"), "[::1]");
    }

    #[test]
    fn a_range_is_one_number_or_two_in_order() {
        assert_eq!((range("3"), range("0-7")), (Ok((3, 3)), Ok((0, 7))));
        for wrong in ["", "-", "3-", "-3", "7-0", "a", "1-2-3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
