//! Waiting for the device: it is polled until the answer is there, the device is lost, or the timeout is over.
//!
//! wgpu's own wait with a timeout is not used: if it ends early while another thread polls, wgpu 30 panics, and callbacks of others are
//! lost.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    gpu::Gpu,
};

/// For so long the wait polls without a pause, so that short work is noticed at once; after that it sleeps between two polls.
const BUSY: Duration = Duration::from_millis(1);
/// The longest sleep between two polls: a finished result is noticed at most this late.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

impl Gpu {
    /// Waits until everything submitted so far is done. [`Error::Timeout`] after [`Gpu::timeout`], [`Error::DeviceLost`] if the device is
    /// lost.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, elementwise::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, y) = (gpu.upload(&[-1.0, 2.0], &[2])?, gpu.zeros(&[2])?);
    /// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &y).record(&gpu, encoder))?;
    /// gpu.wait()?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn wait(&self) -> Result<()> {
        self.block_on(self.wait_async())
    }

    /// Waits for a future of this device's ([`Gpu::download_async`] and the like): polls the device until the future is ready.
    /// [`Error::Timeout`] after [`Gpu::timeout`], [`Error::DeviceLost`] if the device is lost.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// let (x, y) = (gpu.zeros(&[4])?, gpu.zeros(&[4])?);
    /// let (x, y) = gpu.block_on(async { Ok((gpu.download_async(&x).await?, gpu.download_async(&y).await?)) })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut future = pin!(future);
        let looking = std::future::poll_fn(|context| {
            self.poll();
            future.as_mut().poll(context)
        });
        until(self.timeout(), || self.check_alive(), looking)?
    }
}

/// Polls a future until it is ready; an error after the timeout, or when `alive` fails.
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
            // So a wait takes at most a sixteenth longer than the work.
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
