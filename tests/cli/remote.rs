//! The two halves of a shuffle in two processes, and over TCP in one.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use forebay::CheckpointBarrier;
use forebay::partition::{RoundRobin, StreamWriter};
use forebay::pool::NetworkBufferPool;
use forebay::record::{StringValue, Watermark};
use forebay::transport::tcp::{Client, GateOptions, RemotePartition, Server};
use forebay::wire::ResultPartitionId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{Data, Place, failed, listing, shuffle, succeed, wait_for, wait_until};

fn program(subcommand: &str, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg(subcommand).args(options.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `forebay serve`, and the ticket it has printed.
fn serve(options: &str, files: &[&Path]) -> (Child, String) {
    let mut child = program("serve", options).args(files).spawn().expect("the program starts");
    let mut ticket = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut ticket).expect("a ticket");
    (child, ticket)
}

fn fetch(options: &str, ticket: &Path, out: &Path) -> Command {
    let mut command = program("fetch", options);
    command.arg("--out").arg(out).arg(ticket);
    command
}

/// What the server said in the end; it must have ended well.
fn ended(mut child: Child) -> String {
    assert_eq!(wait_for(&mut child).code(), Some(0));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("a summary in UTF-8");
    said
}

#[test]
fn over_tcp_the_parts_are_those_of_memory() {
    let place = Place::new();
    let data = Data::generate(11, 0, 3000, 40, "\n");
    let file = place.file("in.csv", data.file());
    let flights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights-sample.csv");
    for (file, key, strategy) in [
        (&file, "key", "hash"),
        (&file, "key", "round-robin"),
        (&file, "key", "broadcast"),
        (&flights, "carrier", "hash"),
    ] {
        let path = |transport| place.path(&format!("{transport}-{key}-{strategy}"));
        let (memory, tcp) = (path("memory"), path("tcp"));
        let options = format!("--key {key} --partitions 3 --strategy {strategy} --segment-size 4K");
        succeed(shuffle(&options, &memory, [file]));
        succeed(shuffle(&format!("{options} --transport tcp"), &tcp, [file]));
        assert_eq!((listing(&memory).len(), listing(&memory)), (3, listing(&tcp)));
        for part in listing(&memory) {
            assert!(fs::read(memory.join(&part)).unwrap() == fs::read(tcp.join(&part)).unwrap(), "{strategy}: {part}");
        }
    }
}

#[test]
fn two_processes_do_what_one_does() {
    let place = Place::new();
    let data = Data::generate(12, 0, 2000, 30, "\r\n").and(Data::generate(13, 2000, 2000, 30, "\r\n"));
    let halves = data.rows.split_at(2000);
    let first = place.file("first.csv", data.header.clone() + &halves.0.concat());
    let second = place.file("second.csv", data.header.clone() + &halves.1.concat());
    let (server, ticket) = serve("--key key --partitions 4 --producers 2", &[&first, &second]);
    let ticket = place.file("ticket.json", ticket);
    let out = place.path("out");
    // All at the same time, as two hosts would: rows of the one part come only as long as the others are taken.
    let mut others = fetch("--partition 1-3", &ticket, &out).spawn().unwrap();
    let alone = place.path("alone");
    let said = succeed(fetch("--partition 0 --json", &ticket, &alone));
    assert!(said.contains(r#""partition":0"#), "{said}");
    assert_eq!(wait_for(&mut others).code(), Some(0));
    assert_eq!(listing(&out), ["part-00001.csv", "part-00002.csv", "part-00003.csv"]);
    fs::rename(alone.join("part-00000.csv"), out.join("part-00000.csv")).unwrap();
    data.parts_by_key(&out, 4);
    assert!(ended(server).contains("4,000 rows"), "the summary goes where the ticket did not");
}

#[test]
fn what_can_not_be_fetched_says_so_and_leaves_nothing() {
    let place = Place::new();
    let out = place.path("out");
    let fails = |ticket: &Path, options: &str| failed(1, fetch(options, ticket, &out).output().unwrap());
    assert!(fails(&place.path("none.json"), "").contains("cannot read the ticket"));
    assert!(fails(&place.file("bad.json", "{}"), "").contains("`forebay_ticket`"));

    let data = Data::generate(14, 0, 10, 3, "\n");
    let (mut server, ticket) = serve("--key key --partitions 2", &[&place.file("in.csv", data.file())]);
    let ticket = place.file("ticket.json", ticket);
    assert!(fails(&ticket, "--partition 2").contains("there is no partition 2: the ticket has 2"));
    server.kill().unwrap();
    server.wait().unwrap();
    let said = fails(&ticket, "");
    let parts = ["of partition ", " ended before buffer 0: cannot connect, 5 attempts: Connection refused (os error "];
    for part in parts {
        assert_eq!(said.matches(part).count(), 1, "{said}");
    }
    assert!(listing(&out).is_empty());
}

#[test]
fn a_ticket_of_another_run_is_stale_and_the_server_goes_on() {
    let place = Place::new();
    let data = Data::generate(19, 0, 10, 3, "\n");
    let (server, ticket) = serve("--key key --partitions 2", &[&place.file("in.csv", data.file())]);
    let mut stale: serde_json::Value = serde_json::from_str(&ticket).unwrap();
    stale["partitions"][0] = ResultPartitionId::from_bytes([7; 60]).to_string().into();
    let (stale, ticket) = (place.file("stale.json", stale.to_string()), place.file("ticket.json", ticket));
    let out = place.path("out");
    let error = failed(1, fetch("", &stale, &out).output().unwrap());
    assert!(error.contains("the ticket is stale: 127.0.0.1:") && error.contains("no such partition"), "{error}");
    assert!(listing(&out).is_empty());
    succeed(fetch("", &ticket, &out));
    data.parts_by_key(&out, 2);
    ended(server);
}

#[test]
fn a_server_that_fails_fails_its_fetchers() {
    let place = Place::new();
    let file = place.file("in.csv", "id,key\n1,a\n2,b,too many\n");
    let (mut server, ticket) = serve("--key key --partitions 1", &[&file]);
    let (ticket, out) = (place.file("ticket.json", ticket), place.path("out"));
    let error = failed(1, fetch("", &ticket, &out).output().unwrap());
    assert!(error.contains("closed") || error.contains("in.csv") || error.contains("connect"), "{error}");
    assert_eq!(wait_for(&mut server).code(), Some(1));
    assert!(listing(&out).is_empty());
}

/// The server waits for whoever is to fetch the other part, and nobody will: it is told that the one part is lost, be
/// the producer still at work (with few segments) or done.
#[test]
fn a_fetcher_that_goes_away_fails_the_server() {
    for segments in [4, 400] {
        server_that_loses_a_fetcher(segments);
    }
}

fn server_that_loses_a_fetcher(segments: u32) {
    let place = Place::new();
    let data = Data::generate(17, 0, 5_000, 40, "\n");
    let options = format!("--key key --partitions 2 --segment-size 4K --segments {segments}");
    let (mut server, ticket) = serve(&options, &[&place.file("in.csv", data.file())]);
    let ticket: serde_json::Value = serde_json::from_str(&ticket).unwrap();
    let id = ticket["partitions"][0].as_str().unwrap().parse().unwrap();
    let remote = RemotePartition::new(ticket["address"].as_str().unwrap(), id, 0);
    let pool = NetworkBufferPool::builder().segments(16).segment_size(4096).build().unwrap();
    let client = Client::builder().start().unwrap();
    let mut gate = client.gate(&pool, &GateOptions::default().exclusive(1).floating(0), &[remote]).unwrap();
    let held = gate.next().unwrap(); // and no segment is there for another
    assert!(held.is_some() && server.try_wait().unwrap().is_none(), "it goes on as long as it may be read");
    drop((gate, client)); // as a fetcher whose process ends
    assert_eq!(wait_for(&mut server).code(), Some(1));
    let mut said = String::new();
    server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("a fetcher went away before it had all of its parts"), "{said}");
}

#[test]
fn wrong_command_lines_are_refused() {
    let place = Place::new();
    let file = place.file("in.csv", "id,key\n1,a\n");
    let serve = |options: &str| failed(2, program("serve", options).arg(&file).output().unwrap());
    assert!(serve("-k key -n 1 --listen 0.0.0.0:0").contains("--advertise"));
    assert!(serve("-k key -n 1 --listen 6121").contains("as 0.0.0.0:6121"));
    assert!(serve("-k key -n 1 --tls-ca ca.pem").contains("--tls-cert"));
    let fetch = |options: &str| failed(2, fetch(options, &file, &place.path("out")).output().unwrap());
    assert!(fetch("--partition 3-1").contains("0-7"));
    assert!(fetch("--tls-cert cert.pem").contains("--tls-ca"));
    let out = place.path("out");
    assert!(
        failed(2, shuffle("-k key -n 1 --tls-ca ca.pem", &out, [&file]).output().unwrap()).contains("--transport tcp")
    );
}

/// A ticket as somebody writes it for a partition of Flink's: records are stream elements with Flink's strings, and
/// there are watermarks and a barrier among them. (That a task manager sends just this is for `make interop`.)
#[test]
fn a_ticket_for_a_task_manager_fetches_lines() {
    let place = Place::new();
    let pool = NetworkBufferPool::builder().segments(64).build().unwrap();
    let id = ResultPartitionId::from_bytes([0x2a; 60]);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(2).build().unwrap();
    let (partition, served) = server.serve(id, producer, 2).unwrap();
    let writing = thread::spawn(move || {
        let mut writer = StreamWriter::new(partition, RoundRobin::default());
        for number in 0..3000 {
            if number == 1000 {
                let barrier = CheckpointBarrier::aligned(1).into();
                writer.record_writer_mut().broadcast_event(barrier).unwrap();
            }
            writer.emit_at(number, &StringValue::from(format!("zeile {number} \u{e4}"))).unwrap();
            writer.emit_watermark(Watermark::new(number)).unwrap();
        }
        writer.close();
    });
    let ticket = format!(
        r#"{{"forebay_ticket": 1, "address": "{}", "partitions": ["{id}"], "subpartitions": 2,
            "framing": "elements:string", "header": "line\n"}}"#,
        server.local_addr()
    );
    let (ticket, out) = (place.file("ticket.json", ticket), place.path("out"));
    assert!(succeed(fetch("", &ticket, &out)).contains("3,000 rows"));
    writing.join().unwrap();
    assert!(served.wait_released(Duration::from_secs(60)));
    for (part, name) in ["part-00000.csv", "part-00001.csv"].into_iter().enumerate() {
        let lines = (part..3000).step_by(2).map(|number| format!("zeile {number} \u{e4}\n"));
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), format!("line\n{}", lines.collect::<String>()));
    }
}

/// Writes `ca.pem`, `node.pem` and `node.key`, and returns the options that name them.
fn certificates(place: &Place) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let node = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &authority).unwrap();
    let ca = place.file("ca.pem", authority.pem());
    let (certificate, key) = (place.file("node.pem", node.pem()), place.file("node.key", key.serialize_pem()));
    format!("--tls-cert {} --tls-key {} --tls-ca {}", certificate.display(), key.display(), ca.display())
}

#[test]
fn by_tls_who_shows_no_certificate_is_refused_and_the_server_goes_on() {
    let place = Place::new();
    let data = Data::generate(15, 0, 500, 5, "\n");
    let file = place.file("in.csv", data.file());
    let tls = certificates(&place);
    let (server, ticket) = serve(&format!("--key key --partitions 2 {tls}"), &[&file]);
    let (ticket, out) = (place.file("ticket.json", ticket), place.path("out"));
    let stranger = format!("--tls-ca {}", place.path("ca.pem").display());
    let error = failed(1, fetch(&stranger, &ticket, &out).output().unwrap());
    assert!(error.contains("CertificateRequired"), "{error}");
    let error = failed(1, fetch("", &ticket, &out).output().unwrap());
    assert!(error.contains("the peer speaks TLS"), "{error}");
    succeed(fetch(&tls, &ticket, &out));
    data.parts_by_key(&out, 2);
    let said = ended(server);
    assert!(said.contains(": the handshake of TLS failed: ") && said.contains("500 rows"), "{said}");

    let tcp = place.path("tcp");
    succeed(shuffle(&format!("--key key --partitions 2 --transport tcp {tls}"), &tcp, [&file]));
    data.parts_by_key(&tcp, 2);
}

#[test]
fn a_ticket_file_is_whole_once_it_is_there() {
    let place = Place::new();
    let data = Data::generate(16, 0, 50, 5, "\n");
    let (file, ticket) = (place.file("in.csv", data.file()), place.path("ticket.json"));
    let mut command = program("serve", "--key key --partitions 2 --json --ticket");
    let mut server = command.arg(&ticket).arg(&file).spawn().unwrap();
    wait_until("there is a ticket", || ticket.exists());
    let out = place.path("out");
    succeed(fetch("", &ticket, &out));
    data.parts_by_key(&out, 2);
    assert_eq!(wait_for(&mut server).code(), Some(0));
    let mut summary = String::new();
    server.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert!(summary.starts_with(r#"{"rows":50"#), "{summary}");
}
