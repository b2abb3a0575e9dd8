//! Options of both ends.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Args;
use forebay::transport::tcp::TlsConfig;
use serde_json::json;

#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Bytes of a segment, the same on both sides: a power of two
    #[arg(long, value_name = "BYTES")]
    pub(crate) segment_size: Option<usize>,
    /// Ends the process with status 3 after so many seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout_s: u64,
    /// Says on the standard error how many records went in a second
    #[arg(long)]
    pub(crate) rate: bool,
    /// Leaves the checksums at 0: to measure what is not the making of checksums
    #[arg(long)]
    pub(crate) count_only: bool,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of the options")]
pub(crate) struct Tls {
    /// This side's certificate and what it needs up to the authority, in PEM: turns TLS on, with mutual authentication
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The authority that must have signed the other side's certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_ca: Option<PathBuf>,
}

impl Tls {
    /// What the options say, if they say something.
    pub(crate) fn config(&self) -> Result<Option<TlsConfig>> {
        let (Some(certificate), Some(key), Some(authority)) = (&self.tls_cert, &self.tls_key, &self.tls_ca) else {
            return Ok(None);
        };
        Ok(Some(TlsConfig::from_pem_files(certificate, key, authority)?))
    }
}

/// Ends the process when the time is over, whatever it waits for.
pub(crate) fn limit_time(seconds: u64) -> Result<()> {
    std::thread::Builder::new().name("time-limit".into()).spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        println!("{}", json!({ "event": "error", "error": format!("not done after {seconds} s") }));
        std::process::exit(3);
    })?;
    Ok(())
}

/// Says how fast it went.
pub(crate) fn print_rate(records: u64, bytes: u64, time: Duration) {
    let seconds = time.as_secs_f64().max(1e-9);
    eprintln!(
        "rate: {:.0} records/s, {:.1} MB/s ({records} records, {bytes} bytes in {:.3} s)",
        records as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        seconds
    );
}
