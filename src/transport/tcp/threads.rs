//! Network threads: each with a runtime of its own, so that a connection's task, its socket and its timers stay on one
//! core and wake nobody else.

use std::{future::Future, io, thread::JoinHandle};

use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

/// Ends with its tasks when it is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    threads: Vec<NetworkThread>,
}

#[derive(Debug)]
struct NetworkThread {
    handle: Handle,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts `count` of them, called `name-0` and so on.
    pub(super) fn start(name: &str, count: usize) -> io::Result<Self> {
        let threads = (0..count).map(|nth| NetworkThread::start(&format!("{name}-{nth}"))).collect::<Result<_, _>>()?;
        Ok(Self { threads })
    }

    pub(super) fn handles(&self) -> Vec<Handle> {
        self.threads.iter().map(|thread| thread.handle.clone()).collect()
    }

    /// Runs `task` on the thread `nth`, counted round.
    pub(super) fn spawn(&self, nth: usize, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.threads[nth % self.threads.len()].handle.spawn(task).abort_handle()
    }
}

impl NetworkThread {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _ = runtime.block_on(stopped); // the sender is dropped, which is what it waits for
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for NetworkThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join(); // it has said why, if it has panicked
        }
    }
}
