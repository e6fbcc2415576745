//! Worker threads: one single-threaded runtime each, so that a connection stays on one core.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The worker threads of the process. Dropping it stops them.
#[derive(Debug)]
pub struct Workers {
    handles: Arc<[Worker]>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// One worker thread.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its index, from 0.
    pub index: usize,
    runtime: Handle,
    tasks: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// Where the system gives no thread or no epoll instance.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.push(Worker { index, runtime: runtime.handle().clone(), tasks: Arc::default() });
            let stopped = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || runtime.block_on(stopped.cancelled()))?;
            threads.push(thread);
        }
        Ok(Self { handles: workers.into(), threads, stop })
    }

    /// All of them, by index. Holding them keeps no thread alive.
    pub fn handles(&self) -> &Arc<[Worker]> {
        &self.handles
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A worker that panicked has nothing left to say here; its connection was reported where it failed.
            let _ = thread.join();
        }
    }
}

impl Worker {
    /// The worker with the fewest connections. A few long-lived connections are so spread evenly, which hashing them over
    /// one listening socket for each worker would not do.
    pub(super) fn least_loaded(workers: &[Self]) -> &Self {
        workers.iter().min_by_key(|worker| worker.load()).expect("there is at least one worker")
    }

    /// How many connections it runs.
    pub fn load(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }

    /// Runs something that is no connection, such as an accept loop.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Runs a connection on this worker.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let load = Load::enter(&self.tasks);
        // Boxed, or the task would hold it twice: where it waits to begin, and where it runs.
        let connection = Box::pin(connection);
        self.runtime.spawn(async move {
            let _load = load;
            connection.await;
        });
    }
}

struct Load(Arc<AtomicUsize>);

impl Load {
    fn enter(tasks: &Arc<AtomicUsize>) -> Self {
        tasks.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
