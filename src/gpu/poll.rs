//! Polling the device: wgpu's callbacks run while it is polled. Nothing here waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
};

use futures_channel::oneshot;

use super::Gpu;
use crate::error::Result;

impl Gpu {
    /// Polls the device once. A browser polls by itself; there this does nothing.
    ///
    /// wgpu panics where the driver reports a lost device: that panic is swallowed. A panic in a host's callback goes on to the host.
    pub(crate) fn poll(&self) {
        self.inner.mapped.poll(|| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.device().poll(wgpu::PollType::Poll)))
                && self.check_alive().is_ok()
            {
                resume_unwind(panic);
            }
        });
    }

    /// Awaits the end of everything submitted so far: for a clock, or so that a loop of submissions does not run ahead of the device.
    /// What was wrong with an earlier call comes as [`Error::Late`](crate::Error::Late) ([`Gpu::settled`]), a lost device as
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    ///
    /// ```no_run
    /// # async fn page(gpu: &elbow::Gpu, layer: &elbow::affine::Forward<'_>) -> elbow::Result<()> {
    /// for _ in 0..100 {
    ///     gpu.submit(|encoder| layer.record(gpu, encoder))?;
    /// }
    /// gpu.wait_async().await
    /// # }
    /// ```
    pub async fn wait_async(&self) -> Result<()> {
        self.settled().await?;
        self.check_alive()?;
        let (sender, receiver) = oneshot::channel();
        self.queue().on_submitted_work_done(move || {
            // The receiver may be gone: the caller gave up.
            let _ = sender.send(());
        });
        // An error means that the callback was dropped with its device, which `check_alive` reports.
        let _ = receiver.await;
        self.check_alive()
    }

    /// Awaits on a device that nobody else has yet, and so nobody else polls: this future polls the device whenever it is polled, and asks
    /// its executor to be polled again.
    pub(super) async fn looking<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            self.poll();
            let poll = future.as_mut().poll(context);
            // Not in a browser: asking again at once would leave it no time to answer.
            if poll.is_pending() && !cfg!(target_family = "wasm") {
                context.waker().wake_by_ref();
            }
            poll
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
    };

    use super::*;
    use crate::gpu::{AdapterChoice, Options};

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// An executor that polls a future only when it asks for that: nobody else is there to poll the device.
    #[test]
    fn opening_a_device_needs_nobody_who_polls_it() {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let choice = AdapterChoice::from_env();
        let mut opening = pin!(Gpu::open(&choice, Options::default()));
        loop {
            assert!(woken.0.swap(false, Ordering::Relaxed), "it waits for a wake-up that nobody gives");
            if let Poll::Ready(gpu) = opening.as_mut().poll(&mut Context::from_waker(&waker)) {
                return drop(gpu.expect("an adapter that passes the self-test"));
            }
        }
    }

    /// A download never waits, and is woken by whoever polls the device.
    #[test]
    fn a_download_is_woken_when_the_host_polls_its_device() {
        let gpu = Gpu::new().expect("an adapter");
        let tensor = gpu.upload(&[1.0, 2.0], &[2]).expect("a tensor");
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut download = pin!(gpu.download_async(&tensor));
        assert!(download.as_mut().poll(&mut context).is_pending());
        assert!(download.as_mut().poll(&mut context).is_pending(), "asking twice brings no callback");
        while !woken.0.load(Ordering::Relaxed) {
            gpu.device().poll(wgpu::PollType::Poll).expect("a device that is there");
        }
        assert_eq!(download.as_mut().poll(&mut context), Poll::Ready(Ok(vec![1.0, 2.0])));
    }

    /// The same of the end of what was submitted, also where nothing was.
    #[test]
    fn the_end_of_the_work_is_told_when_the_host_polls_its_device() {
        let gpu = Gpu::new().expect("an adapter");
        for values in [0, 1 << 20] {
            let tensor = gpu.upload(&vec![1.0; values], &[values]).expect("a tensor");
            gpu.submit(|encoder| {
                encoder.clear_buffer(tensor.buffer(), 0, None);
                Ok(())
            })
            .expect("a submission");
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let waker = Waker::from(Arc::clone(&woken));
            let mut context = Context::from_waker(&waker);
            let mut end = pin!(gpu.wait_async());
            assert!(end.as_mut().poll(&mut context).is_pending());
            while !woken.0.load(Ordering::Relaxed) {
                gpu.device().poll(wgpu::PollType::Poll).expect("a device that is there");
            }
            assert_eq!(end.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        }
    }
}
