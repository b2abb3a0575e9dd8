//! The output folder: files that become parts all together, or vanish all together.
//!
//! ```text
//!  .part-00000.csv.tmp-4711 ─┐                            ┌─▶ part-00000.csv
//!  .part-00001.csv.tmp-4711 ─┼─ commit, after every part  ─┼─▶ part-00001.csv
//!  .part-00002.csv.tmp-4711 ─┘  is complete and closed     └─▶ part-00002.csv
//!        └── abandon: error, panic, signal ──▶ deleted, and the folder if we made it
//! ```
//!
//! # Invariants
//! * A file under a part's name is complete, unless the system itself dies between two renames of one commit.
//! * Files are made, renamed and deleted under one lock, and after [`Handle::abandon`] none is ever made again. So a
//!   signal's thread that abandons and then ends the process leaves nothing behind, whatever the other threads do.
//! * The lock is never held while data is written or read, so abandoning never waits for a slow disk's backlog.
//! * Files that are no parts by their name are left alone.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the folder cannot be used, or the parts not be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagingError {
    #[error("{} is not empty: give --force to replace the parts in it, or another --out", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} is a folder: a part cannot take its place", .0.display())]
    PartIsAFolder(PathBuf),
    #[error(
        "{} is an input, and a part in {}, where this run would replace it: choose another --out",
        .0.display(),
        .1.display()
    )]
    InputIsAPart(PathBuf, PathBuf),
    #[error("cannot use the folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error("cannot create a file in {}{}", .0.display(), too_many_files(.1))]
    Create(PathBuf, #[source] io::Error),
    #[error("cannot rename a finished part to {}; none of this run's parts was kept", .0.display())]
    Rename(PathBuf, #[source] io::Error),
    #[error("all parts are written, but {} of an earlier run cannot be removed", .0.display())]
    Stale(PathBuf, #[source] io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// Owns the unfinished parts; dropped without [`commit`](Self::commit), it abandons them.
#[derive(Debug)]
pub(crate) struct Staging {
    shared: Arc<Mutex<State>>,
}

/// For the thread that takes signals.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    shared: Arc<Mutex<State>>,
}

/// Keeps everybody out of the folder for as long as it lives.
#[derive(Debug)]
pub(crate) struct Abandoned<'a> {
    _guard: MutexGuard<'a, State>,
}

#[derive(Debug)]
struct State {
    dir: PathBuf,
    /// Folders that were not there before, the outermost first.
    created: Vec<PathBuf>,
    /// By number of the part.
    unfinished: Vec<Unfinished>,
    names: Names,
    abandoned: bool,
}

/// A file under its hidden name, deleted when dropped.
#[derive(Debug)]
struct Unfinished(PathBuf);

/// `part-00000.csv` and so on.
#[derive(Debug, Clone, Copy)]
struct Names {
    /// The number of the first one.
    first: usize,
    count: usize,
    /// They are all the parts there are.
    whole: bool,
    digits: usize,
}

/// Whether `count` parts may go to `dir`, before any work is done for them.
///
/// # Errors
/// [`StagingError::NotEmpty`] unless `force`, `NotAFolder`, `PartIsAFolder`, `Folder`.
pub(crate) fn check(dir: &Path, count: usize, force: bool) -> Result<(), StagingError> {
    check_range(dir, 0..count, count, force)
}

/// As [`check`], for the parts numbered in `range`, of `all`.
///
/// # Errors
/// As there.
pub(crate) fn check_range(dir: &Path, range: Range<usize>, all: usize, force: bool) -> Result<(), StagingError> {
    let refused = |error| StagingError::Folder(dir.into(), error);
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(StagingError::NotAFolder(dir.into())),
        Err(error) => return Err(refused(error)),
        Ok(found) if !found.is_dir() => return Err(StagingError::NotAFolder(dir.into())),
        Ok(_) => {}
    }
    let names = Names::new(range, all);
    for entry in fs::read_dir(dir).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if !force {
            return Err(StagingError::NotEmpty(dir.into()));
        }
        if names.is_part(&entry.file_name()) && entry.path().is_dir() {
            return Err(StagingError::PartIsAFolder(entry.path()));
        }
    }
    Ok(())
}

/// Whether none of the `inputs` is, under whatever path, a file in `dir` that [`Staging::commit`] replaces or removes.
///
/// # Errors
/// [`StagingError::InputIsAPart`].
pub(crate) fn check_inputs(dir: &Path, inputs: &[PathBuf]) -> Result<(), StagingError> {
    // What is not there is no part, or somebody else's to complain about.
    let Ok(folder) = fs::canonicalize(dir) else { return Ok(()) };
    for input in inputs.iter().filter(|input| input.as_os_str() != "-") {
        let Ok(file) = fs::canonicalize(input) else { continue };
        if file.parent() == Some(&*folder) && file.file_name().and_then(number).is_some() {
            return Err(StagingError::InputIsAPart(input.clone(), dir.into()));
        }
    }
    Ok(())
}

impl Staging {
    /// For `count` parts in `dir`. Touches nothing yet.
    pub(crate) fn new(dir: PathBuf, count: usize) -> Self {
        Self::range(dir, 0..count, count)
    }

    /// For the parts numbered in `range`, of `all`, in `dir`; the others are left alone. Touches nothing yet.
    pub(crate) fn range(dir: PathBuf, range: Range<usize>, all: usize) -> Self {
        let names = Names::new(range, all);
        let state = State { dir, created: Vec::new(), unfinished: Vec::new(), names, abandoned: false };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// What abandons from another thread.
    pub(crate) fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Makes the folder, with those above it.
    ///
    /// # Errors
    /// [`StagingError::Folder`], [`StagingError::Interrupted`].
    pub(crate) fn create_folder(&self) -> Result<(), StagingError> {
        let mut state = self.usable()?;
        let missing: Vec<PathBuf> =
            state.dir.ancestors().take_while(|dir| !dir.exists()).map(Path::to_path_buf).collect();
        for dir in missing.into_iter().rev().filter(|dir| !dir.as_os_str().is_empty()) {
            match fs::create_dir(&dir) {
                Ok(()) => state.created.push(dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StagingError::Folder(dir, error)),
            }
        }
        Ok(())
    }

    /// Makes the next part's file, empty and under a hidden name, and returns it with the name it shall have.
    ///
    /// # Errors
    /// [`StagingError::Create`], [`StagingError::Interrupted`].
    pub(crate) fn create_part(&self) -> Result<(File, PathBuf), StagingError> {
        let mut state = self.usable()?;
        let name = state.names.name(state.unfinished.len());
        let (file, unfinished) =
            Unfinished::create(&state.dir, &name).map_err(|error| StagingError::Create(state.dir.clone(), error))?;
        state.unfinished.push(unfinished);
        Ok((file, state.dir.join(name)))
    }

    /// Gives every part its name, and removes the parts of an earlier run that are none of this one's.
    ///
    /// # Errors
    /// [`StagingError::Rename`], after which none of this run's parts is there; [`StagingError::Stale`], after which
    /// all are; [`StagingError::Interrupted`].
    pub(crate) fn commit(self) -> Result<(), StagingError> {
        let mut state = self.usable()?;
        let dir = state.dir.clone();
        let names = state.names;
        for (index, file) in std::mem::take(&mut state.unfinished).into_iter().enumerate() {
            let target = dir.join(names.name(index));
            if let Err(failed) = file.rename(&target) {
                for done in 0..index {
                    // Nothing better can be done if even this fails.
                    let _ = fs::remove_file(dir.join(names.name(done)));
                }
                return Err(StagingError::Rename(target, failed));
            }
        }
        state.created.clear();
        let listed = fs::read_dir(&dir).map_err(|error| StagingError::Folder(dir.clone(), error))?;
        for entry in listed.flatten().filter(|entry| names.is_stale(&entry.file_name())) {
            fs::remove_file(entry.path()).map_err(|error| StagingError::Stale(entry.path(), error))?;
        }
        Ok(())
    }

    fn usable(&self) -> Result<MutexGuard<'_, State>, StagingError> {
        let state = lock(&self.shared);
        if state.abandoned { Err(StagingError::Interrupted) } else { Ok(state) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        lock(&self.shared).abandon();
    }
}

impl Handle {
    /// Deletes what is unfinished and lets nothing new be made. As long as the result lives, nobody else gets on with
    /// the folder at all.
    pub(crate) fn abandon(&self) -> Abandoned<'_> {
        let mut state = lock(&self.shared);
        state.abandon();
        Abandoned { _guard: state }
    }
}

impl State {
    fn abandon(&mut self) {
        self.abandoned = true;
        self.unfinished.clear();
        for dir in self.created.drain(..).rev() {
            // Fails if somebody else has put something there: then it stays.
            let _ = fs::remove_dir(dir);
        }
    }
}

impl Unfinished {
    /// Makes a file that was not there before, in `dir`, for the part called `name`.
    fn create(dir: &Path, name: &str) -> io::Result<(File, Self)> {
        let process = std::process::id();
        let mut path = dir.join(format!(".{name}.tmp-{process}"));
        for attempt in 1.. {
            match File::options().write(true).create_new(true).open(&path) {
                // Left by a process that was killed, and whose number has come round to us.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path.set_file_name(format!(".{name}.tmp-{process}-{attempt}"));
                }
                made => return Ok((made?, Self(path))),
            }
        }
        unreachable!("no folder holds so many files")
    }

    /// Gives the file its name; deletes it if that fails.
    fn rename(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.0, target)
        // The old name, which dropping tries to delete, is no more.
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // If it is still there afterwards, nothing more can be done about it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Names {
    fn new(range: Range<usize>, all: usize) -> Self {
        let digits = all.saturating_sub(1).to_string().len().max(5);
        Self { first: range.start, count: range.len(), whole: range.len() == all, digits }
    }

    fn name(self, nth: usize) -> String {
        format!("part-{:0digits$}.csv", self.first + nth, digits = self.digits)
    }

    /// Whether this run will write a file called `name`.
    fn is_part(self, name: &std::ffi::OsStr) -> bool {
        let numbers = self.first..self.first + self.count;
        number(name).is_some_and(|(index, digits)| numbers.contains(&index) && digits == self.digits)
    }

    /// Whether an earlier run could have written `name`, and this one did not.
    fn is_stale(self, name: &std::ffi::OsStr) -> bool {
        self.whole && number(name).is_some() && !self.is_part(name)
    }
}

/// The number in a part's name, and how many digits it is written with.
fn number(name: &std::ffi::OsStr) -> Option<(usize, usize)> {
    let digits = name.to_str()?.strip_prefix("part-")?.strip_suffix(".csv")?;
    let is_number = digits.len() >= 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { Some((digits.parse().ok()?, digits.len())) } else { None }
}

/// A thread that panicked cannot have left the state half-changed in a way that matters to deleting files.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many_files(error: &io::Error) -> &'static str {
    // EMFILE and ENFILE have no kind of their own.
    match error.raw_os_error() {
        Some(23 | 24) => " (each partition keeps one file open: take fewer --partitions, or raise `ulimit -n`)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn stage(dir: &Path, count: usize) -> Staging {
        let staging = Staging::new(dir.into(), count);
        staging.create_folder().unwrap();
        for _ in 0..count {
            staging.create_part().unwrap();
        }
        staging
    }

    #[test]
    fn parts_appear_on_commit() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b");
        check(&dir, 2, false).unwrap();
        let staging = stage(&dir, 2);
        assert!(listing(&dir).iter().all(|name| name.starts_with(".part-0000") && name.contains(".csv.tmp-")));
        staging.commit().unwrap();
        assert_eq!(listing(&dir), ["part-00000.csv", "part-00001.csv"]);
    }

    #[test]
    fn dropping_takes_away_files_and_the_folders_made_for_them() {
        let base = tempfile::tempdir().unwrap();
        drop(stage(&base.path().join("a/b"), 3));
        assert!(listing(base.path()).is_empty());
        drop(stage(base.path(), 3));
        assert!(base.path().exists(), "was there before");
    }

    #[test]
    fn nothing_is_made_after_abandoning() {
        let base = tempfile::tempdir().unwrap();
        let staging = Staging::new(base.path().join("a"), 2);
        staging.create_folder().unwrap();
        staging.create_part().unwrap();
        drop(staging.handle().abandon());
        assert!(matches!(staging.create_part(), Err(StagingError::Interrupted)));
        assert!(matches!(staging.create_folder(), Err(StagingError::Interrupted)));
        assert!(matches!(staging.commit(), Err(StagingError::Interrupted)));
        assert!(listing(base.path()).is_empty());
    }

    #[test]
    fn earlier_parts_live_until_commit_and_other_files_on() {
        let base = tempfile::tempdir().unwrap();
        for name in ["part-00000.csv", "part-00007.csv", "part-000001.csv", "part-1.csv", "notes"] {
            fs::write(base.path().join(name), "old").unwrap();
        }
        assert!(check(base.path(), 2, false).unwrap_err().to_string().contains("--force"));
        check(base.path(), 2, true).unwrap();
        drop(stage(base.path(), 2));
        assert_eq!(listing(base.path()).len(), 5);
        stage(base.path(), 2).commit().unwrap();
        assert_eq!(listing(base.path()), ["notes", "part-00000.csv", "part-00001.csv", "part-1.csv"]);
        assert_eq!(fs::read(base.path().join("part-00000.csv")).unwrap(), b"");
    }

    #[test]
    fn inputs_are_no_parts() {
        let base = tempfile::tempdir().unwrap();
        let out = base.path().join("out");
        let refused = |input: &Path| check_inputs(&out, &["-".into(), input.into()]).is_err();
        assert!(!refused(&out.join("part-00000.csv")), "there is no folder yet");
        fs::create_dir(&out).unwrap();
        for (name, is_part) in [("part-00000.csv", true), ("part-000007.csv", true), ("part-7.csv", false)] {
            assert!(!refused(&out.join(name)), "{name} is not there yet");
            fs::write(out.join(name), "").unwrap();
            assert_eq!(refused(&out.join(name)), is_part, "{name}");
            assert_eq!(refused(&out.join("../out").join(name)), is_part, "{name}");
            fs::write(base.path().join(name), "").unwrap();
            assert!(!refused(&base.path().join(name)), "{name} elsewhere");
        }
    }

    #[test]
    fn failed_rename_keeps_no_part() {
        let base = tempfile::tempdir().unwrap();
        let staging = stage(base.path(), 3);
        fs::create_dir(base.path().join("part-00001.csv")).unwrap();
        let error = staging.commit().unwrap_err();
        assert!(matches!(error, StagingError::Rename(..)), "{error}");
        assert_eq!(listing(base.path()), ["part-00001.csv"], "somebody's folder");
        let error = check(base.path(), 3, true).unwrap_err().to_string();
        assert!(error.ends_with("part-00001.csv is a folder: a part cannot take its place"), "{error}");
    }

    #[test]
    fn files_in_the_way_are_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let taken = base.path().join(format!(".part-00000.csv.tmp-{}", std::process::id()));
        fs::write(&taken, "somebody's").unwrap();
        stage(base.path(), 1).commit().unwrap();
        assert_eq!(fs::read(&taken).unwrap(), b"somebody's");
        assert!(base.path().join("part-00000.csv").exists());
    }

    #[test]
    fn files_are_no_folders() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(check(file.path(), 1, true), Err(StagingError::NotAFolder(_))));
        assert!(matches!(check(&file.path().join("x"), 1, true), Err(StagingError::NotAFolder(_))));
    }

    #[test]
    fn names_have_five_digits_or_as_many_as_needed() {
        assert_eq!(Names::new(0..1, 1).name(0), "part-00000.csv");
        assert_eq!(Names::new(0..100_000, 100_000).name(99_999), "part-99999.csv");
        assert_eq!(Names::new(0..100_001, 100_001).name(7), "part-000007.csv");
    }
}
