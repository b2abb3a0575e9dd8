//! What is exchanged, and what must come of it.

use super::Pair;

/// One exchange, in the words of the command line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What is sent, and to how many subpartitions: for both producers, and for `expect`.
    pub(super) content: &'static str,
    /// More for both producers.
    pub(super) serve: &'static str,
    pub(super) forebay_serve: &'static str,
    pub(super) flink_serve: &'static str,
    /// For both consumers.
    pub(super) consume: &'static str,
    pub(super) forebay_fetch: &'static str,
    pub(super) flink_consume: &'static str,
    pub(super) pairs: &'static [Pair],
    pub(super) outcome: Outcome,
    /// Both ends have TLS.
    pub(super) tls: bool,
    /// A consumer without it comes first, and is refused.
    pub(super) plain_is_refused: bool,
    /// Bytes of memory that forebay's ends may take in all, the program included.
    pub(super) most_memory: Option<u64>,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All arrives.
    Equal,
    /// The consumer says why.
    ProducerFails,
    /// The consumer says that it is gone.
    ProducerIsKilled,
    /// The producer hears of it.
    ConsumerIsKilled,
    /// The consumer stops, and the producer hears of it.
    ConsumerCancels,
}

const PLAIN: Case = Case {
    name: "",
    content: "",
    serve: "",
    forebay_serve: "",
    flink_serve: "",
    consume: "",
    forebay_fetch: "",
    flink_consume: "",
    pairs: &Pair::ALL,
    outcome: Outcome::Equal,
    tls: false,
    plain_is_refused: false,
    most_memory: None,
};

impl Case {
    /// What `expect` needs to know of the producer's other options.
    pub(super) fn shape(&self) -> Vec<&'static str> {
        let words: Vec<_> = self.serve.split_whitespace().collect();
        words.windows(2).filter(|w| w[0] == "--end-of-data").flat_map(|w| [w[0], w[1]]).collect()
    }
}

const FROM_FLINK: &[Pair] = &[Pair::FlinkToForebay];
const TO_FLINK: &[Pair] = &[Pair::ForebayToFlink];

pub(super) fn cases() -> Vec<Case> {
    [pipelined(), blocking()].concat()
}

fn pipelined() -> Vec<Case> {
    let equal = |name, content| Case { name, content, ..PLAIN };
    let barriers = |name, content| Case { name, content, consume: "--align-ms 1", ..PLAIN };
    vec![
        equal("bytes", "--records 20000"),
        equal("longs", "--type long --records 50000 --seed 2"),
        equal("strings with timestamps", "--type string --sizes uniform:0-300 --records 3000 --timestamps --seed 3"),
        equal("sizes from 0 to 200 KB", "--sizes mix --records 700 --timestamps --seed 11"),
        equal("several MiB", "--sizes uniform:0-7000000 --records 12 --seed 5"),
        equal("empty values", "--sizes fixed:0 --records 5000"),
        equal("watermarks", "--records 3000 --timestamps --watermarks-every 7 --seed 6"),
        equal("all elements", "--records 2000 --timestamps --watermarks-every 5 --extras-every 3 --seed 7"),
        equal("64 subpartitions", "--subpartitions 64 --records 150 --sizes uniform:0-3000 --seed 8"),
        Case {
            consume: "--max-required-buffers 1",
            ..equal("zero initial credit", "--records 20000 --sizes fixed:200")
        },
        Case {
            serve: "--register-delay-ms 1200 --request-timeout-ms 5000",
            ..equal("registered late", "--records 100")
        },
        Case {
            serve: "--register-delay-ms 2500 --request-timeout-ms 500",
            ..equal("registered after it was refused", "--records 100")
        },
        Case {
            serve: "--segment-size 4096",
            consume: "--segment-size 4096",
            ..equal("4 KiB segments", "--sizes uniform:0-9000 --records 2000 --seed 9")
        },
        Case {
            consume: "--slow-us 2000",
            most_memory: Some(64 << 20),
            ..equal("slow consumer", "--sizes fixed:32000 --records 700")
        },
        Case { serve: "--buffer-timeout 0", ..equal("flushed each time", "--records 3000") },
        Case { serve: "--buffer-timeout -1", ..equal("never flushed", "--records 3000") },
        Case {
            serve: "--partition pipelined --compression none --segment-size 8192 --buffer-timeout 1",
            consume: "--segment-size 8192 --align-ms 1",
            ..equal(
                "strings, elements and barriers in 7 subpartitions",
                "--type string --sizes uniform:1-900 --records 300 --subpartitions 7 --timestamps --watermarks-every 3 \
                 --extras-every 4 --barriers-every 37 --barrier-kind at-least-once --seed 77",
            )
        },
        Case { serve: "--end-of-data none", ..equal("without end of data", "--records 300") },
        Case { serve: "--end-of-data nowait", ..equal("end of data not waited for", "--records 300") },
        Case {
            flink_consume: "--announce-buffer-size 1000 --no-connection-reuse",
            pairs: TO_FLINK,
            ..equal("buffer size announced, connection closed", "--records 30000 --subpartitions 2")
        },
        Case {
            serve: "--end-of-data nowait",
            flink_consume: "--ack no",
            pairs: TO_FLINK,
            ..equal("end of data not acknowledged", "--records 300")
        },
        barriers("aligned barriers", "--records 2000 --barriers-every 100 --subpartitions 2 --cancel-marker"),
        barriers(
            "barriers that may time out",
            "--records 2000 --barriers-every 100 --subpartitions 2 --barrier-kind aligned-timeout",
        ),
        barriers(
            "unaligned barriers",
            "--records 2000 --barriers-every 100 --subpartitions 2 --barrier-kind unaligned",
        ),
        barriers("at-least-once barriers", "--records 2000 --barriers-every 100 --barrier-kind at-least-once"),
        Case {
            consume: "--align-ms 1 --max-required-buffers 1",
            ..equal("barriers without initial credit", "--records 2000 --barriers-every 100 --subpartitions 2")
        },
        Case { tls: true, ..equal("TLS", "--sizes mix --records 300 --subpartitions 2") },
        Case { tls: true, plain_is_refused: true, ..equal("TLS refuses others", "--records 300") },
        Case {
            serve: "--fail-after 20000",
            // So that data wait when it fails: Flink's server looks at a partition that was released when it has data
            // to send.
            consume: "--slow-us 3000",
            outcome: Outcome::ProducerFails,
            ..equal("producer fails", "--records 30000")
        },
        Case { outcome: Outcome::ProducerIsKilled, ..equal("producer is killed", "--records 100000000") },
        Case { outcome: Outcome::ConsumerIsKilled, ..equal("consumer is killed", "--records 100000000") },
        Case {
            consume: "--cancel-after 500",
            outcome: Outcome::ConsumerCancels,
            ..equal("consumer cancels", "--records 30000")
        },
    ]
}

/// Partitions that are read once they are whole, perhaps compressed. Flink has such; forebay reads them.
fn blocking() -> Vec<Case> {
    let blocking = |name, content, flink_serve, forebay_fetch| Case {
        name,
        content,
        flink_serve,
        forebay_fetch,
        pairs: FROM_FLINK,
        ..PLAIN
    };
    vec![
        blocking("blocking", "--sizes mix --records 300 --subpartitions 3", "--partition blocking", ""),
        blocking("blocking, LZ4", "--sizes mix --records 300 --timestamps", "--compression LZ4", "--compression LZ4"),
        blocking("blocking, LZO", "--sizes mix --records 300 --seed 2", "--compression LZO", "--compression LZO"),
        blocking("blocking, ZSTD", "--sizes mix --records 300 --seed 3", "--compression ZSTD", "--compression ZSTD"),
        blocking(
            "blocking, ZSTD as the line says",
            "--type string --sizes mix --records 300 --subpartitions 4 --timestamps --watermarks-every 3 --seed 12",
            "--compression ZSTD --segment-size 65536",
            "",
        ),
        blocking(
            "blocking, as a range",
            "--sizes mix --records 300 --subpartitions 5",
            "--partition blocking",
            "--as-range",
        ),
        blocking(
            "blocking, LZ4, as a range without initial credit",
            "--sizes mix --records 300 --timestamps --subpartitions 3",
            "--compression LZ4",
            "--compression LZ4 --as-range --max-required-buffers 1",
        ),
    ]
}
