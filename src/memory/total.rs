//! How much memory this process may use: what the machine has, or what its control group leaves it.

use std::{fs, path::Path};

/// Bytes of memory this process may use: the machine's, or less if a control group (a container) says so. `None` where
/// the system does not tell. Blocking, on the system, for a few small files; does not change while the process runs,
/// unless somebody changes the group's limit.
///
/// # Examples
/// ```
/// if let Some(bytes) = forebay::memory::total_memory() {
///     println!("{} MiB", bytes >> 20);
/// }
/// ```
#[must_use]
pub fn total_memory() -> Option<u64> {
    let physical = physical_memory()?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?));
    Some(limits.fold(physical, u64::min))
}

#[cfg(all(target_os = "linux", not(miri)))]
fn physical_memory() -> Option<u64> {
    // SAFETY: `sysconf` reads a number and touches no memory of ours.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).ok()?.checked_mul(super::page_size() as u64)
}

#[cfg(any(not(target_os = "linux"), miri))]
fn physical_memory() -> Option<u64> {
    None
}

/// The files that say how much memory the groups in `/proc/self/cgroup` leave, from the innermost outwards: each group
/// has a limit of its own, and all of them hold.
fn limit_files(groups: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (mount, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        // In a container the group's path may be seen from outside, and its files stand at the mount itself.
        let inner = Path::new(group.trim_start_matches('/'));
        files.extend(inner.ancestors().map(|group| Path::new(mount).join(group).join(file)));
    }
    files
}

/// The number in such a file; `None` for no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok() // "max" is no number
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_group_and_all_around_it_are_asked() {
        let files = limit_files("0::/user.slice/app.scope\n");
        let names: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/user.slice/app.scope/memory.max",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        let files = limit_files("9:name=systemd:/x\n4:cpu,memory:/docker/abc\n3:cpuset:/\ngarbage\n");
        assert_eq!(files.len(), 3);
        assert!(files[0].ends_with("memory/docker/abc/memory.limit_in_bytes"));
    }

    #[test]
    fn no_limit_is_no_number() {
        assert_eq!((limit("max\n"), limit("1073741824\n"), limit("")), (None, Some(1 << 30), None));
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn this_machine_has_memory() {
        assert!(total_memory().unwrap() > 1 << 20);
    }
}
