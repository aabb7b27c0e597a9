//! Polling the device: wgpu's callbacks run while it is polled. Nothing here waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
};

use super::Gpu;

impl Gpu {
    /// Polls the device once. A browser polls by itself; there this does nothing.
    ///
    /// wgpu panics where the driver reports a lost device: that panic is swallowed. A panic in a host's callback goes on to the host.
    pub(crate) fn poll(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.device().poll(wgpu::PollType::Poll)))
            && self.check_alive().is_ok()
        {
            resume_unwind(panic);
        }
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
}
