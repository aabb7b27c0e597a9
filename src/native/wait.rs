//! Waiting for the device: it is polled until the answer is there, the device is lost, or timeout ends.
//!
//! wgpu can wait by itself, with a timeout. That is not used: where such a wait ends early just as another thread polls, wgpu
//! 30 panics, and callbacks of others go down with it.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_channel::oneshot;

use crate::{
    error::{Error, Result},
    gpu::Gpu,
};

/// So long a core is kept busy, for the sake of short work; after that it sleeps between two looks.
const BUSY: Duration = Duration::from_millis(1);
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

impl Gpu {
    /// Waits until everything submitted so far is done.
    pub fn wait(&self) -> Result<()> {
        self.block_on(async {
            self.settled().await?;
            self.check_alive()?;
            let (sender, receiver) = oneshot::channel();
            self.queue().on_submitted_work_done(move || {
                // The receiver may be gone: the caller gave up.
                let _ = sender.send(());
            });
            // A callback that was dropped with its device: the device is asked.
            let _ = receiver.await;
            self.check_alive()
        })
    }

    /// Waits for a future of this device's ([`Gpu::download_async`] and the like): polls the device until the future is
    /// ready, the device is lost, or [`Gpu::timeout`] ends with [`Error::Timeout`].
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut future = pin!(future);
        let looking = std::future::poll_fn(|context| {
            self.poll();
            future.as_mut().poll(context)
        });
        until(self.timeout(), || self.check_alive(), looking)?
    }
}

/// Until the future is ready, or the error that ends the wait.
pub(super) fn until<T>(
    timeout: Duration,
    alive: impl Fn() -> Result<()>,
    future: impl Future<Output = T>,
) -> Result<T> {
    let start = Instant::now();
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return Ok(answer);
        }
        let waited = start.elapsed();
        if waited >= timeout {
            return Err(Error::Timeout { waited: timeout });
        }
        if waited < BUSY {
            thread::yield_now();
        } else {
            alive()?;
            // A sixteenth longer than it takes, at most.
            thread::sleep((waited / 16).min(LONGEST_SLEEP).min(timeout - waited));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that never answers. (A real one can't be asked to be slow: some drivers run the work inside submit.)
    fn never() -> impl Future<Output = ()> {
        std::future::pending()
    }

    #[test]
    fn a_wait_gives_up_when_its_time_is_over() {
        for timeout in [0, 20].map(Duration::from_millis) {
            assert_eq!(until(timeout, || Ok(()), never()), Err(Error::Timeout { waited: timeout }));
        }
        assert_eq!(until(Duration::ZERO, || Ok(()), std::future::ready(())), Ok(()));
    }

    #[test]
    fn a_wait_ends_soon_when_the_device_is_lost() {
        let lost = Error::DeviceLost { reason: "gone".into() };
        let start = Instant::now();
        let alive = || if start.elapsed() < Duration::from_millis(150) { Ok(()) } else { Err(lost.clone()) };
        assert_eq!(until(Duration::from_secs(600), alive, never()), Err(lost.clone()));
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_wait_is_not_much_longer_than_the_work() {
        let start = Instant::now();
        let work = Duration::from_millis(100);
        let done = std::future::poll_fn(|_| if start.elapsed() >= work { Poll::Ready(7) } else { Poll::Pending });
        let answer = until(Duration::from_secs(600), || Ok(()), done);
        assert_eq!(answer, Ok(7));
        assert!(start.elapsed() < 5 * work, "{:?}", start.elapsed());
    }
}
