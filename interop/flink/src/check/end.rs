//! One end of a connection: a process, and what it prints.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;

use super::PATIENCE;

/// What all cases use.
pub(super) struct Files {
    peer: PathBuf,
    forebay: PathBuf,
    /// Certificates and keys.
    folder: PathBuf,
}

impl Files {
    /// Makes the certificates. The folder is removed in the end.
    pub(super) fn new(peer: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("flink-interop-{}", std::process::id()));
        let files = Self { peer: peer.into(), forebay: std::env::current_exe()?, folder };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/certificates.sh");
        let made = Command::new(&script).arg(&files.folder).stdin(Stdio::null()).output();
        let made = made.with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(made.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&made.stderr));
        Ok(files)
    }

    fn tls(&self, is_forebay: bool) -> Vec<String> {
        let options: &[(&str, &str)] = if is_forebay {
            &[("--tls-cert", "cert.pem"), ("--tls-key", "key.pem"), ("--tls-ca", "ca.pem")]
        } else {
            &[("--tls-keystore", "key.p12"), ("--tls-truststore", "ca.p12")]
        };
        let path = |file| self.folder.join(file).display().to_string();
        options.iter().flat_map(|(option, file)| [(*option).to_owned(), path(file)]).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // the system's own cleaning has what is left
    }
}

/// A producer or a consumer. Killed when dropped.
pub(super) struct End {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    /// The most it was seen to take, in bytes.
    memory: u64,
}

impl End {
    pub(super) fn produce(files: &Files, is_forebay: bool, options: &[&str], tls: bool) -> Result<Self> {
        Self::start(files, is_forebay, &["serve"], options, tls)
    }

    pub(super) fn consume(files: &Files, is_forebay: bool, ids: &str, options: &[&str], tls: bool) -> Result<Self> {
        let command = if is_forebay { "fetch" } else { "consume" };
        Self::start(files, is_forebay, &[command, "--ids", ids], options, tls)
    }

    fn start(files: &Files, is_forebay: bool, words: &[&str], options: &[&str], tls: bool) -> Result<Self> {
        let program = if is_forebay { &files.forebay } else { &files.peer };
        let mut command = Command::new(program);
        command.args(words).args(options.iter().flat_map(|words| words.split_whitespace()));
        if tls {
            command.args(files.tls(is_forebay));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let (input, output, error) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let lines = listen(output.context("no output")?);
        let errors = listen(error.context("no error output")?);
        Ok(Self { child, input, lines, errors, memory: 0 })
    }

    /// The next line of its output.
    pub(super) fn line(&mut self) -> Result<Json> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => return serde_json::from_str(&line).with_context(|| format!("no JSON: {line}")),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => self.look_at_memory(),
                Err(_) => {
                    let errors: Vec<String> = self.errors.try_iter().collect();
                    bail!("no line, {:?}; its errors:\n{}", self.child.try_wait(), errors.join("\n"))
                }
            }
        }
    }

    /// The next line of its errors.
    pub(super) fn error_line(&mut self) -> Option<String> {
        self.errors.recv_timeout(PATIENCE).ok()
    }

    /// Ends its input: for a producer that serves until then.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// The most memory it was seen to take while a line was waited for, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    fn look_at_memory(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        self.memory = peak.and_then(|kib| kib.parse::<u64>().ok()).map_or(self.memory, |kib| kib * 1024);
    }

    /// Kills it at once.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}
