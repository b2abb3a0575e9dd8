//! The command line: what can be asked for, and what is refused before anything is touched (exit status 2).

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use forebay::memory::{MAX_SEGMENT_SIZE, page_size};
use forebay::record::MAX_RECORD_BYTES;

use super::remote::args::{Fetch, Serve, TlsArgs};

/// Bounded, back-pressured record exchange: the program.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Shuffle(Shuffle),
    Serve(Serve),
    Fetch(Fetch),
}

/// Distribute the rows of CSV files over N files, by key or in turn
///
/// Rows go from producer tasks to one consumer task per part, through segments of one fixed memory pool: a slow disk
/// slows the reading down, and memory stays within the pool plus 24 MiB however large the input is (for some hundred
/// parts, and rows that fit a segment; what is larger is put together again for each part and producer). Every row
/// arrives once, byte for byte, and the rows of one FILE keep their order within each part.
///
/// Parts get their names only when all of them are complete. An error, Ctrl-C, SIGTERM or SIGHUP leaves none.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = MORE)]
pub(crate) struct Shuffle {
    #[command(flatten)]
    pub(crate) rows: Rows,

    /// Folder for part-00000.csv and so on; made if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// How rows get from the producers to the parts: by reference in memory, or over TCP on the loopback interface
    #[arg(long, value_enum, default_value_t = Transport::Memory)]
    pub(crate) transport: Transport,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    /// Write to a DIR that is not empty: replace the parts in it, none of which may be a FILE, and leave other files
    /// alone
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the summary as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is read and how it is distributed.
#[derive(Debug, Args)]
pub(crate) struct Rows {
    /// Column whose value decides the part: its name, or its number from 1 if no column has that name
    ///
    /// Needed for --strategy hash, and not used by the others. Quotes make no difference: "UA" and UA are one key. With
    /// --no-header it is a number.
    #[arg(short, long, value_name = "COLUMN")]
    pub(crate) key: Option<String>,

    /// How many parts to write, each by a task of its own; at most 10000
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_PARTITIONS))]
    pub(crate) partitions: u32,

    /// How many tasks read, at most one for each FILE [default: one for each FILE, up to the number of cores]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) producers: Option<u32>,

    /// How rows are distributed
    #[arg(long, value_enum, default_value_t = Strategy::Hash)]
    pub(crate) strategy: Strategy,

    /// Segments in the pool [default: twice the smallest number that works, at least 64]
    ///
    /// The smallest number that works is producers x partitions, for each producer fills one segment for each
    /// partition; with --strategy broadcast it is the number of producers.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) segments: Option<u32>,

    /// Size of a segment, a multiple of the page size and at most 1G; 32K and 32KiB are 32768
    #[arg(long, value_name = "B", default_value = "32K", value_parser = segment_size)]
    pub(crate) segment_size: usize,

    /// Hand a segment that is not full on after so many milliseconds; 0: after each row; none: never
    #[arg(long, value_name = "MS|0|none", default_value = "100", value_parser = timeout)]
    pub(crate) buffer_timeout: BufferTimeout,

    /// Largest row allowed, its line ending included
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = size)]
    pub(crate) max_record: usize,

    /// The files have no header: their first row is a row like any other
    #[arg(long)]
    pub(crate) no_header: bool,

    /// The byte between two fields; \t is a tab
    #[arg(short, long, value_name = "C", default_value = ",", value_parser = delimiter)]
    pub(crate) delimiter: u8,

    /// CSV files, all with the same columns; - is stdin
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Each partition is a thread, and a system's limits on those can end a process without a word.
const MOST_PARTITIONS: i64 = 10_000;

const EXAMPLE: &str = "\
Example:
  forebay shuffle --key carrier --partitions 4 --out by-carrier flights.csv
  zcat *.csv.gz | forebay shuffle --no-header --key 10 --partitions 16 --out parts -";

const MORE: &str = "\
Example:
  forebay shuffle --key carrier --partitions 4 --out by-carrier flights.csv
  zcat *.csv.gz | forebay shuffle --no-header --key 10 --partitions 16 --out parts -

Rows:
  A row ends with a newline (a carriage return before it belongs to the line
  ending), except inside a field in quotes, as in RFC 4180. A last row without a
  line ending gets that of the row before it. Each row must have as many fields
  as the header. Blank lines are passed over and counted, but in a file of one
  column they are empty values. With several FILEs the headers must be the same;
  each part starts with the first FILE's.

JSON:
  strategy, partitions, producers
  rows, bytes             read, headers aside
  seconds, rows_per_second, bytes_per_second
  parts                   a list of {file, rows, bytes}
  segments, segment_size, segments_most_in_use
  back_pressured_seconds  summed over the producers
  idle_seconds            summed over the consumers
  blank_lines             passed over

Exit status:
  0        all parts are complete
  1        failed: there is no part of this run in DIR; also if nobody reads the
           summary (a broken pipe), of which nothing is said: the parts are there
  2        the command line is wrong; nothing was touched
  128 + n  ended by signal n: there is no part of this run in DIR";

/// How the part of a row is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// Rows with the same key go to the same part
    Hash,
    /// Each producer deals its rows out in turn
    RoundRobin,
    /// Every row goes to every part
    Broadcast,
}

/// What the rows go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// The consumer reads the segment that the producer filled
    Memory,
    /// As between two hosts, over one connection of this one to itself
    Tcp,
}

/// When a segment that is not full is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BufferTimeout {
    EveryRow,
    After(Duration),
    WhenFull,
}

impl Strategy {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::RoundRobin => "round-robin",
            Self::Broadcast => "broadcast",
        }
    }
}

impl Cli {
    /// The checks that go over more than one argument.
    ///
    /// # Errors
    /// One that prints itself as clap's own do.
    pub(crate) fn check(self) -> Result<Self, clap::Error> {
        let (name, mistake) = match &self.command {
            Command::Shuffle(shuffle) => ("shuffle", shuffle.mistake()),
            Command::Serve(serve) => ("serve", serve.mistake()),
            Command::Fetch(fetch) => ("fetch", fetch.mistake()),
        };
        match mistake {
            None => Ok(self),
            Some((kind, message)) => {
                let mut program = Self::command();
                program.build();
                let subcommand = program.find_subcommand_mut(name).expect("it is one of the above");
                Err(subcommand.error(kind, message))
            }
        }
    }
}

impl Shuffle {
    fn mistake(&self) -> Option<(ErrorKind, String)> {
        if self.transport == Transport::Memory && self.tls.is_used() {
            return Some((
                ErrorKind::ArgumentConflict,
                "--tls-cert, --tls-key and --tls-ca need --transport tcp".into(),
            ));
        }
        self.rows.mistake().or_else(|| self.tls.mistake())
    }
}

impl Rows {
    pub(super) fn mistake(&self) -> Option<(ErrorKind, String)> {
        if self.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            return Some((ErrorKind::ArgumentConflict, "- can stand only once: there is one stdin".into()));
        }
        if self.strategy != Strategy::Hash {
            return None;
        }
        match &self.key {
            None => Some((
                ErrorKind::MissingRequiredArgument,
                "--strategy hash, the default, needs --key COLUMN; --strategy round-robin does without".into(),
            )),
            Some(key) if self.no_header && !key.parse().is_ok_and(|number: usize| number > 0) => Some((
                ErrorKind::InvalidValue,
                format!("with --no-header, --key is the number of a column, counted from 1; `{key}` is none"),
            )),
            Some(_) => None,
        }
    }
}

/// A record's length is a signed 32-bit number on Flink's wire.
pub(super) fn size(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        0 => Err("must not be 0".into()),
        bytes if bytes > MAX_RECORD_BYTES => Err("at most 2 GiB - 1".into()),
        bytes => Ok(bytes),
    }
}

/// What the library would refuse too, but only once the pool is built: here it is a wrong command line.
pub(super) fn segment_size(text: &str) -> Result<usize, String> {
    let (bytes, page) = (bytes(text)?, page_size());
    if bytes > MAX_SEGMENT_SIZE {
        return Err(format!(
            "at most {MAX_SEGMENT_SIZE} bytes (1 GiB), which is the nearest valid size; a page is {page} bytes"
        ));
    }
    if bytes > 0 && bytes.is_multiple_of(page) {
        return Ok(bytes);
    }
    let smaller = bytes / page * page;
    let nearest = if smaller == 0 { page.to_string() } else { format!("{smaller} and {}", smaller + page) };
    let verb = if smaller == 0 { "size is" } else { "sizes are" };
    Err(format!("not a non-zero multiple of the page size, {page} bytes; the nearest valid {verb} {nearest}"))
}

/// Bytes, plainly or with a suffix that stands for a power of 1024; what no number can say is the largest there is.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("expected bytes, as 65536, 64K, 64KiB, 1M or 1G".into()),
    };
    let number: usize = number.parse().map_err(|_| "expected bytes, as 65536, 64K, 64KiB, 1M or 1G")?;
    Ok(number.saturating_mul(1 << shift))
}

fn timeout(text: &str) -> Result<BufferTimeout, String> {
    match text {
        "none" => Ok(BufferTimeout::WhenFull),
        "0" => Ok(BufferTimeout::EveryRow),
        _ => match text.parse::<u32>() {
            Ok(milliseconds) => Ok(BufferTimeout::After(Duration::from_millis(milliseconds.into()))),
            Err(_) => Err("expected milliseconds, 0 or none".into()),
        },
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        br"\t" => Ok(b'\t'),
        [b'"' | b'\r' | b'\n'] => Err("that byte has a meaning of its own in CSV".into()),
        &[byte] => Ok(byte),
        _ => Err(r"expected one byte, or \t".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Shuffle, clap::Error> {
        let all = ["forebay", "shuffle", "--out", "o", "f"].iter().chain(args);
        let Command::Shuffle(shuffle) = Cli::try_parse_from(all)?.check()?.command else { unreachable!() };
        Ok(shuffle)
    }

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_in_the_help() {
        let shuffle = parse(&["-n", "4", "-k", "a"]).unwrap();
        assert_eq!(
            (shuffle.rows.segment_size, shuffle.rows.max_record, shuffle.rows.delimiter),
            (32 << 10, 1 << 20, b',')
        );
        assert_eq!(shuffle.rows.strategy, Strategy::Hash);
        assert_eq!(shuffle.rows.buffer_timeout, BufferTimeout::After(Duration::from_millis(100)));
        assert_eq!((shuffle.rows.producers, shuffle.rows.segments), (None, None));
    }

    #[test]
    fn sizes_have_suffixes_and_limits() {
        for (text, bytes) in [("1", 1), ("4K", 4096), ("4k", 4096), ("4KiB", 4096), ("1M", 1 << 20), ("1g", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "0", "-1", "1.5K", "4KB", "2G", "99999999999999999999", "18014398509481985K", "1 K"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn segments_are_whole_pages() {
        let page = page_size();
        for bytes in [page, 3 * page, MAX_SEGMENT_SIZE - page, MAX_SEGMENT_SIZE] {
            assert_eq!(segment_size(&bytes.to_string()), Ok(bytes));
        }
        for (bytes, nearest) in [
            (0, format!("size is {page}")),
            (1, format!("size is {page}")),
            (page - 1, format!("size is {page}")),
            (page + 1, format!("sizes are {page} and {}", 2 * page)),
            (MAX_SEGMENT_SIZE - 1, format!("sizes are {} and {MAX_SEGMENT_SIZE}", MAX_SEGMENT_SIZE - page)),
        ] {
            let said = segment_size(&bytes.to_string()).unwrap_err();
            assert!(said.ends_with(&nearest) && said.contains(&format!("page size, {page} bytes")), "{bytes}: {said}");
        }
        for text in [(MAX_SEGMENT_SIZE + page).to_string().as_str(), "1025M", "2G", "18014398509481985K"] {
            let said = segment_size(text).unwrap_err();
            assert!(said.starts_with("at most 1073741824 bytes") && said.ends_with("bytes"), "{text}: {said}");
        }
        let said = parse(&["-n", "4", "-k", "a", "--segment-size", "1"]).unwrap_err();
        assert_eq!((said.kind(), said.exit_code()), (ErrorKind::ValueValidation, 2));
    }

    #[test]
    fn delimiters_are_one_byte() {
        assert_eq!(delimiter(r"\t"), Ok(b'\t'));
        assert_eq!(delimiter(";"), Ok(b';'));
        for text in ["", ",,", "\"", "\n", "\r", "ä"] {
            assert!(delimiter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn timeouts_are_milliseconds_or_words() {
        let shuffle = |text| parse(&["-n", "4", "-k", "a", "--buffer-timeout", text]).map(|it| it.rows.buffer_timeout);
        assert_eq!(shuffle("0").unwrap(), BufferTimeout::EveryRow);
        assert_eq!(shuffle("none").unwrap(), BufferTimeout::WhenFull);
        assert_eq!(shuffle("7").unwrap(), BufferTimeout::After(Duration::from_millis(7)));
        assert!(shuffle("never").is_err());
    }

    #[test]
    fn mistakes_are_told_apart() {
        let mistake = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert!(mistake(&["-n", "4"]).contains("--key"));
        assert!(mistake(&["-n", "0", "-k", "a"]).contains("--partitions"));
        assert!(mistake(&["-k", "a"]).contains("--partitions"));
        assert!(mistake(&["-n", "4", "-k", "a", "-", "-"]).contains("stdin"));
        assert!(mistake(&["-n", "4", "-k", "a", "--no-header"]).contains("`a`"));
        assert!(parse(&["-n", "4", "-k", "2", "--no-header"]).is_ok());
        assert!(parse(&["-n", "4", "--strategy", "round-robin"]).is_ok());
    }
}
