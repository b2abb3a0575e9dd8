//! Where the tasks of connections run.
//!
//! ```text
//!  threads(n)       network threads, each with a runtime of its own: a connection's task, its socket and its timers stay on
//!                   one core; who writes or reads is on another, and they wake each other by calls to the system;
//!                   who flushes while the connection sleeps writes to its socket, and wakes nobody
//!  runtime(handle)  a runtime of the caller's: where the tasks that write and read are on it too, and it has one thread,
//!                   to wake is to push to that thread's own queue
//! ```

use std::{future::Future, io, thread::JoinHandle, time::Duration};

use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

/// See the [module](self). Dropped, threads of its own end with their tasks; a runtime of the caller's goes on.
#[derive(Debug)]
pub(super) enum Threads {
    Own(Vec<NetworkThread>),
    Callers(Handle),
}

#[derive(Debug)]
pub(super) struct NetworkThread {
    handle: Handle,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// On `runtime` if there is one, else on `count` threads of its own, called `name-0` and so on.
    ///
    /// # Panics
    /// If `runtime` has no timers.
    pub(super) fn start(name: &str, count: usize, runtime: Option<Handle>) -> io::Result<Self> {
        if let Some(runtime) = runtime {
            let inside = runtime.enter();
            drop(tokio::time::sleep(Duration::ZERO)); // where its caller sees the panic, not in a task
            drop(inside);
            return Ok(Self::Callers(runtime));
        }
        (0..count).map(|nth| NetworkThread::start(&format!("{name}-{nth}"))).collect::<Result<_, _>>().map(Self::Own)
    }

    pub(super) fn handles(&self) -> Vec<Handle> {
        match self {
            Self::Own(threads) => threads.iter().map(|thread| thread.handle.clone()).collect(),
            Self::Callers(runtime) => vec![runtime.clone()],
        }
    }

    /// Runs `task` on the thread `nth`, counted round.
    pub(super) fn spawn(&self, nth: usize, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = match self {
            Self::Own(threads) => &threads[nth % threads.len()].handle,
            Self::Callers(runtime) => runtime,
        };
        handle.spawn(task).abort_handle()
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
