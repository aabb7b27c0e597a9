//! Work handed to the threads of the current rayon pool: the calling thread takes its share instead of sleeping until
//! others have woken up, done everything and woken it again. On small layers that is what a call costs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// How often a thread that is done looks whether the others are, before it sleeps: some 10 µs, less than it takes to wake up.
const LOOKS: usize = 32;

/// How many threads there are.
pub(crate) fn count() -> usize {
    rayon::current_num_threads()
}

/// Does `work` on each part. Parts are taken in order, the next one by whoever is free.
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
            std::thread::yield_now();
        }
    });
}
