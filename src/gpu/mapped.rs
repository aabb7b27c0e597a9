//! Reading what is mapped. When wgpu polls a lost device it frees all of the device's memory, also what somebody is reading: so nobody of ours polls then.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::Poll,
};

/// Who polls a device at the moment, and who reads what it has mapped.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    polls: AtomicUsize,
    readers: AtomicUsize,
}

thread_local! {
    /// Whether this thread polls, and has called somebody back: that poll is not waited for here.
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

impl Mapped {
    /// Polls, unless somebody reads; then a later poll does.
    pub(super) fn poll(&self, poll: impl FnOnce()) {
        let _poll = Counted::new(&self.polls);
        if self.readers.load(SeqCst) == 0 {
            let _polling = Polling(POLLING.replace(true));
            poll();
        }
    }

    /// Lets nobody poll as long as what it returns lives; when it begins, no poll is under way. A short time: no future may wait with it.
    pub(super) async fn unpolled(&self) -> Counted<'_> {
        std::future::poll_fn(|context| match self.unless_polled() {
            Some(reader) => Poll::Ready(reader),
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }

    /// [`Mapped::unpolled`], if no other thread polls.
    fn unless_polled(&self) -> Option<Counted<'_>> {
        let reader = Counted::new(&self.readers);
        (self.polls.load(SeqCst) == 0 || POLLING.get()).then_some(reader)
    }
}

/// Sets back what [`POLLING`] was, also where what was called back panics.
struct Polling(bool);

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.set(self.0);
    }
}

/// One more, as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_polls_while_somebody_reads() {
        let (mapped, mut polled) = (Mapped::default(), 0);
        let reader = mapped.unless_polled().expect("nobody polls");
        mapped.poll(|| polled += 1);
        drop(reader);
        assert_eq!(polled, 0);
        mapped.poll(|| polled += 1);
        // A poll calls somebody back who polls, and who reads.
        mapped.poll(|| mapped.poll(|| polled += 1));
        mapped.poll(|| assert!(mapped.unless_polled().is_some()));
        assert_eq!(polled, 2);
    }

    #[test]
    fn nobody_reads_while_another_thread_polls() {
        let mapped = Mapped::default();
        mapped.poll(|| {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| mapped.unless_polled().is_none());
                assert!(other.join().expect("no panic"));
            });
        });
        assert!(mapped.unless_polled().is_some());
        assert_eq!(mapped.readers.load(SeqCst), 0, "who could not begin has left");
    }
}
