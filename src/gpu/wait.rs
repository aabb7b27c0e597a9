//! Waiting for the device: it is polled until the answer is there, the device is lost, or patience ends.
//!
//! wgpu can wait by itself, with a timeout. That is not used: where such a wait ends early just as another thread polls, wgpu
//! 30 panics, and callbacks of others go down with it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_intrusive::channel::shared::oneshot_channel;

use super::Gpu;
use crate::error::{Error, Result};

/// So long a core is kept busy, for the sake of short work; after that it sleeps between two looks.
const BUSY: Duration = Duration::from_millis(1);
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

impl Gpu {
    /// Waits until everything submitted so far is done.
    pub fn wait(&self) -> Result<()> {
        self.check_alive()?;
        let (sender, receiver) = oneshot_channel();
        self.queue().on_submitted_work_done(move || {
            // The receiver may be gone: the caller gave up.
            let _ = sender.send(());
        });
        self.drive(receiver.receive())?;
        self.check_alive()
    }

    /// Polls the device until a callback has brought the answer.
    pub(super) fn drive<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let mut answer = pin!(answer);
        let mut context = Context::from_waker(Waker::noop());
        let ask = || {
            self.poll();
            match answer.as_mut().poll(&mut context) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            }
        };
        until(self.patience(), || self.check_alive(), ask)
    }

    /// wgpu panics where the driver says that the device is lost. A panic out of a host's callback is the host's.
    fn poll(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.device().poll(wgpu::PollType::Poll)))
            && self.check_alive().is_ok()
        {
            resume_unwind(panic);
        }
    }
}

fn until<T>(patience: Duration, alive: impl Fn() -> Result<()>, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        let waited = start.elapsed();
        if waited >= patience {
            return Err(Error::Timeout { waited: patience });
        }
        if waited < BUSY {
            thread::yield_now();
        } else {
            alive()?;
            // A sixteenth longer than it takes, at most.
            thread::sleep((waited / 16).min(LONGEST_SLEEP).min(patience - waited));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that never answers. (A real one can't be asked to be slow: some drivers run the work inside submit.)
    fn never() -> Option<()> {
        None
    }

    #[test]
    fn a_wait_gives_up_when_its_patience_ends() {
        for patience in [0, 20].map(Duration::from_millis) {
            assert_eq!(until(patience, || Ok(()), never), Err(Error::Timeout { waited: patience }));
        }
        assert_eq!(until(Duration::ZERO, || Ok(()), || Some(())), Ok(()));
    }

    #[test]
    fn a_wait_ends_soon_when_the_device_is_lost() {
        let lost = Error::DeviceLost { reason: "gone".into() };
        let start = Instant::now();
        let alive = || if start.elapsed() < Duration::from_millis(150) { Ok(()) } else { Err(lost.clone()) };
        assert_eq!(until(Duration::from_secs(600), alive, never), Err(lost.clone()));
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_wait_is_not_much_longer_than_the_work() {
        let start = Instant::now();
        let work = Duration::from_millis(100);
        let answer = until(Duration::from_secs(600), || Ok(()), || (start.elapsed() >= work).then_some(7));
        assert_eq!(answer, Ok(7));
        assert!(start.elapsed() < 5 * work, "{:?}", start.elapsed());
    }
}
