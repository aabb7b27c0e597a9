//! The blocking forms of the checks: each check is a future, as a browser needs it, and a native program waits for it.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use elbow::{Activation, Gpu, activation::Quantity};

use crate::{
    Classes, Close, Elements, Judge, Losses, Part, Schedule, Spec, Stepped,
    points::{Kernels, on_device_async},
    run::{Outcome, run_async},
    suite::{Group, Report, Size, replay_async, run_group_async},
};

/// Whether the device has answered.
#[derive(Default)]
struct Answered(AtomicBool);

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for a check, which may be many submissions: each answer of the device may take as long as [`Gpu::timeout`].
fn wait<T>(gpu: &Gpu, check: impl Future<Output = T>) -> elbow::Result<T> {
    let answered = Arc::new(Answered::default());
    let waker = Waker::from(Arc::clone(&answered));
    let mut check = pin!(check);
    loop {
        let next = std::future::poll_fn(|_| {
            let went_on = answered.0.swap(false, Ordering::Relaxed);
            match check.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => Poll::Ready(Ok(Some(value))),
                Poll::Pending if went_on => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(value) = gpu.block_on(next)? {
            return Ok(value);
        }
    }
}

/// Waits for [`run_async`]. If the device is lost or does not answer, all cases have failed.
pub fn run(gpu: &Gpu, specs: &[Spec]) -> Outcome {
    wait(gpu, run_async(gpu, specs)).unwrap_or_else(|error| Outcome::failed(specs, &error.to_string()))
}

/// Waits for [`on_device_async`].
pub fn on_device(
    gpu: &Gpu,
    activation: Activation,
    x: &[f32],
    kernels: Kernels,
) -> elbow::Result<Vec<(Quantity, Vec<f32>)>> {
    wait(gpu, on_device_async(gpu, activation, x, kernels))?
}

/// Waits for [`run_group_async`]. If the device is lost or does not answer, the group has failed.
pub fn run_group(gpu: &Gpu, group: Group, size: Size, part: Part, progress: &mut dyn FnMut(usize, usize)) -> Report {
    let mut progress = async |done, of| progress(done, of);
    wait(gpu, run_group_async(gpu, group, size, part, &mut progress))
        .unwrap_or_else(|error| Report::stopped(group, &error))
}

/// Waits for [`replay_async`].
pub fn replay(gpu: &Gpu, case: &str) -> elbow::Result<Report> {
    wait(gpu, replay_async(gpu, case))?
}

impl Judge {
    /// Waits for [`Judge::of_async`].
    pub fn of(gpu: &Gpu) -> elbow::Result<Judge> {
        wait(gpu, Judge::of_async(gpu))?
    }
}

/// `run` and `check` of a case that have `run_async` and `check_async`.
macro_rules! blocking {
    ($($case:ty => $results:ty),+) => {$(
        impl $case {
            /// Waits for `run_async`.
            pub fn run(&self, gpu: &Gpu) -> elbow::Result<$results> {
                wait(gpu, self.run_async(gpu))?
            }

            /// Waits for `check_async`.
            pub fn check(&self, gpu: &Gpu) -> Result<Close, String> {
                wait(gpu, self.check_async(gpu)).map_err(|error| error.to_string())?
            }
        }
    )+};
}

blocking!(Classes => Losses, Elements => Losses, Schedule => Stepped);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use elbow::Error;

    use super::*;

    /// Many answers, each well within the timeout, take longer than it; then a device that never answers is given up.
    #[test]
    fn every_answer_has_the_whole_timeout() {
        let gpu = Gpu::new().unwrap();
        let tensor = gpu.upload(&[1.0, 2.0], &[2]).unwrap();
        let timeout = Duration::from_millis(400);
        gpu.set_timeout(timeout);
        let all = wait(&gpu, async {
            for _ in 0..8 {
                gpu.download_async(&tensor).await?;
                // What the host computes between two answers is not the device's time either.
                std::thread::sleep(timeout / 4);
            }
            gpu.download_async(&tensor).await
        });
        assert_eq!(all, Ok(Ok(vec![1.0, 2.0])));
        gpu.set_timeout(Duration::from_millis(20));
        let never = wait(&gpu, async {
            gpu.download_async(&tensor).await?;
            std::future::pending::<elbow::Result<()>>().await
        });
        assert!(matches!(never, Err(Error::Timeout { .. })), "{never:?}");
    }
}
