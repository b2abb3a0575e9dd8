//! Ctrl-C and its like leave nothing behind, at whatever moment they come.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Data, Place, listing, shuffle, wait_for, wait_until};

/// As if started from a terminal: a test run in the background of a script has SIGINT ignored, and hands that down.
fn from_a_terminal(command: &Command) -> Child {
    let mut reset = Command::new("env");
    reset.arg("--default-signal=INT,TERM,HUP").arg(command.get_program()).args(command.get_args());
    reset.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

/// Starts a run that has made its files and waits for more input.
fn waiting(options: &str, out: &Path, data: &Data) -> Child {
    let mut child = from_a_terminal(&shuffle(options, out, ["-"]));
    child.stdin.as_mut().unwrap().write_all(data.file().as_bytes()).unwrap();
    wait_until("the parts are begun", || {
        assert!(child.try_wait().unwrap().is_none(), "the program waits for input");
        listing(out).iter().filter(|name| name.contains(".tmp-")).count() == 5
    });
    child
}

#[test]
fn signals_leave_nothing_behind() {
    let data = Data::generate(1, 0, 2000, 100, "\n");
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let place = Place::new();
        let mut child = waiting("-k key -n 5", &place.path("a/b"), &data);
        send(signal, &child);
        let status = wait_for(&mut child);
        assert_eq!((status.code(), status.signal()), (Some(128 + number), None), "{signal}");
        assert!(listing(&place.path("")).is_empty(), "{signal}: not even the folders made");
    }
}

#[test]
fn earlier_parts_survive_and_many_signals_are_one() {
    let place = Place::new();
    let data = Data::generate(1, 0, 2000, 100, "\n");
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("part-00000.csv"), "earlier").unwrap();
    let mut child = waiting("-k key -n 5 --force", &out, &data);
    for _ in 0..5 {
        send("INT", &child);
    }
    assert_eq!(wait_for(&mut child).code(), Some(130));
    assert_eq!(listing(&out), ["part-00000.csv"]);
    assert_eq!(std::fs::read(out.join("part-00000.csv")).unwrap(), b"earlier");
}

#[test]
fn signals_while_files_are_made_leave_nothing_either() {
    let data = Data::generate(1, 0, 100, 100, "\n");
    for files in 0..20 {
        let place = Place::new();
        let out = place.path("out");
        let mut child = from_a_terminal(&shuffle("-k key -n 400 --segment-size 4K", &out, ["-"]));
        child.stdin.as_mut().unwrap().write_all(data.file().as_bytes()).unwrap();
        wait_until("files are being made", || out.exists() && listing(&out).len() >= files * 20);
        send("TERM", &child);
        assert_eq!(wait_for(&mut child).code(), Some(143));
        assert!(!out.exists());
    }
}

#[test]
fn ignored_signals_stay_ignored() {
    let place = Place::new();
    let data = Data::generate(1, 0, 2000, 100, "\n");
    let out = place.path("out");
    let command = shuffle("-k key -n 5", &out, ["-"]);
    let mut nohup = Command::new("env");
    nohup.arg("--ignore-signal=HUP").arg(command.get_program()).args(command.get_args());
    let mut child = nohup.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(data.file().as_bytes()).unwrap();
    wait_until("the parts are begun", || listing(&out).len() == 5);
    send("HUP", &child);
    drop(child.stdin.take());
    assert_eq!(wait_for(&mut child).code(), Some(0));
    data.parts_by_key(&out, 5);
}
