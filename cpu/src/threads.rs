//! Runs work on the threads of the current rayon pool. The calling thread works too: sleeping until other threads have woken up and done
//! everything would take longer than a small layer.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rayon::Yield;

/// How often the calling thread, when its own work is done, checks for the others before it sleeps: about 10 µs, less than a wake-up takes.
const LOOKS: usize = 32;

/// Number of threads of the current pool.
pub(crate) fn count() -> usize {
    rayon::current_num_threads()
}

/// Runs `work` on each part. A free thread takes the next part, in order.
pub(crate) fn each<T, P>(parts: P, work: impl Fn(T) + Sync)
where
    P: ExactSizeIterator<Item = T> + Send,
{
    let runners = count().min(parts.len());
    if runners < 2 {
        return parts.for_each(work);
    }
    let parts = Mutex::new(parts);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let busy = AtomicUsize::new(runners);
    let run = || {
        while let Some(part) = next() {
            work(part);
        }
        busy.fetch_sub(1, Ordering::Release);
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..runners {
            scope.spawn(|_| run());
        }
        run();
        for _ in 0..LOOKS {
            if busy.load(Ordering::Acquire) == 0 {
                break;
            }
            // If it belongs to the pool, it does itself what no other thread has begun.
            if rayon::yield_now() != Some(Yield::Executed) {
                std::thread::yield_now();
            }
        }
    });
}
