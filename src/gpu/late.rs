//! wgpu's errors, without waiting for them.
//!
//! Natively an error scope answers at once. A browser answers only after the page has returned to its event loop: such an answer is kept,
//! every later call looks at it, and the first call that finds an error in it returns that error.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use super::{Gpu, loss::one_line};
use crate::error::{Error, Result};

/// The answer of an error scope: what it has caught.
pub(super) trait Answer: Future<Output = Option<wgpu::Error>> + wgpu::WasmNotSend {}

impl<F: Future<Output = Option<wgpu::Error>> + wgpu::WasmNotSend> Answer for F {}

/// An answer that was not there when its call returned.
struct Awaited {
    operation: String,
    answer: Pin<Box<dyn Answer>>,
}

/// The answers that have not come yet.
#[derive(Default)]
pub(super) struct Late {
    awaited: Mutex<Vec<Awaited>>,
    listeners: Arc<Listeners>,
}

/// With this many unanswered calls the next is refused: a page that never returns to its event loop would learn of no error, and the list
/// would grow for ever.
const MOST: usize = 4096;

/// The wakers of all futures that await the answers. An answer wakes only the waker of its last poll, and every call polls: so all of them
/// poll with this one, which wakes the whole list.
#[derive(Default)]
struct Listeners(Mutex<Vec<Waker>>);

impl Listeners {
    fn list(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, waker: &Waker) {
        let mut list = self.list();
        if !list.iter().any(|known| known.will_wake(waker)) {
            list.push(waker.clone());
        }
    }
}

impl Wake for Listeners {
    fn wake(self: Arc<Self>) {
        // Woken outside of the lock: a woken future may add itself again at once.
        let list = std::mem::take(&mut *self.list());
        list.into_iter().for_each(Waker::wake);
    }
}

impl Late {
    fn awaited(&self) -> MutexGuard<'_, Vec<Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer if it is there; else it is kept, with the name of the operation.
    fn hear_or_keep(&self, answer: impl Answer + 'static, operation: impl FnOnce() -> String) -> Option<wgpu::Error> {
        let mut answer: Pin<Box<dyn Answer>> = Box::pin(answer);
        match self.ask(&mut answer) {
            Poll::Ready(error) => error,
            Poll::Pending => {
                self.awaited().push(Awaited { operation: operation(), answer });
                None
            }
        }
    }

    fn ask(&self, answer: &mut Pin<Box<dyn Answer>>) -> Poll<Option<wgpu::Error>> {
        let waker = Waker::from(Arc::clone(&self.listeners));
        answer.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls the answers in the order of the calls, up to the first error, which is returned; the others are left for the next look.
    /// Without an error: the number of answers that have not come.
    fn look(&self) -> Result<usize> {
        let mut awaited = self.awaited();
        let mut at = 0;
        while at < awaited.len() {
            match self.ask(&mut awaited[at].answer) {
                Poll::Pending => at += 1,
                Poll::Ready(error) => {
                    let Awaited { operation, .. } = awaited.remove(at);
                    if let Some(error) = error {
                        return Err(Error::Late { operation, message: one_line(&error) });
                    }
                }
            }
        }
        Ok(awaited.len())
    }

    /// One look, as every call begins with.
    fn heard(&self) -> Result<()> {
        let unanswered = self.look()?;
        if unanswered < MOST {
            return Ok(());
        }
        Err(Error::LimitExceeded {
            what: "calls that wgpu has not answered yet (await Gpu::settled)".into(),
            asked: unanswered as u64 + 1,
            limit: MOST as u64,
        })
    }

    /// Ready when all answers have come, or with the first error.
    async fn settled(&self) -> Result<()> {
        std::future::poll_fn(|context| {
            // Before the look, so that an answer that comes right after it still wakes this future.
            self.listeners.add(context.waker());
            match self.look() {
                Ok(0) => Poll::Ready(Ok(())),
                Ok(_) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }
}

impl Gpu {
    /// Ends an error scope: what it has caught. In a browser, which answers later, that is nothing yet; a later call returns the error as
    /// [`Error::Late`] with the name of this operation.
    pub(super) fn caught(
        &self,
        scope: wgpu::ErrorScopeGuard,
        operation: impl FnOnce() -> String,
    ) -> Option<wgpu::Error> {
        self.inner.late.hear_or_keep(scope.pop(), operation)
    }

    /// The first step of every call: an error if an earlier call has failed meanwhile, or if the device is lost.
    pub(super) fn check(&self) -> Result<()> {
        self.check_known()?;
        self.check_alive()
    }

    /// [`Gpu::check`] for calls in loops: the device is not asked, which allocates.
    pub(super) fn check_known(&self) -> Result<()> {
        self.inner.late.heard().map_err(|error| self.forget(error))?;
        self.check_known_loss()
    }

    /// Awaits wgpu's answers to all calls so far: Ok, or the first error among them as [`Error::Late`]; each further await returns the
    /// next error.
    ///
    /// Natively every call has its answer when it returns, and this is ready at once. In a browser wgpu reports an error after the call
    /// that made it: the next call returns it instead of doing its own work, and so do this and [`Gpu::download_async`]. Await it
    /// after the first recording of a call, which compiles its kernels and allocates its memory.
    ///
    /// ```no_run
    /// use elbow::{Gpu, affine::Forward};
    /// # async fn page(gpu: &Gpu, layer: &Forward<'_>) -> elbow::Result<()> {
    /// let prepared = layer.prepare(gpu)?;
    /// gpu.settled().await?; // the kernels did compile
    /// # Ok(())
    /// # }
    /// ```
    pub async fn settled(&self) -> Result<()> {
        self.inner.late.settled().await.map_err(|error| self.forget(error))
    }

    /// After a late error, drops pipelines and pools that were made since: a kernel that did not compile, memory that does not exist.
    fn forget(&self, error: Error) -> Error {
        if matches!(error, Error::Late { .. }) {
            log::error!("{error}");
            self.inner.pipelines.clear();
            self.trim();
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        dtype::Dtype,
        gpu::operands::Operands,
        gpu::record::prepare,
        operand::Operand,
        plan::{self, ANSWERS, NUMBERS},
    };

    /// A browser's promise: no answer until it is kept.
    #[derive(Clone, Default)]
    struct Promise(Arc<Mutex<Kept>>);

    #[derive(Default)]
    struct Kept {
        kept: bool,
        error: Option<wgpu::Error>,
        waker: Option<Waker>,
    }

    impl Promise {
        fn keep(&self, error: Option<&str>) {
            let error = error.map(|text| wgpu::Error::Validation { source: text.into(), description: text.into() });
            let mut promise = self.0.lock().unwrap();
            (promise.kept, promise.error) = (true, error);
            let waker = promise.waker.take();
            drop(promise);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    impl Future for Promise {
        type Output = Option<wgpu::Error>;

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            let mut promise = self.0.lock().unwrap();
            if promise.kept {
                return Poll::Ready(promise.error.take());
            }
            promise.waker = Some(context.waker().clone());
            Poll::Pending
        }
    }

    fn keep(late: &Late, operation: &str) -> Promise {
        let promise = Promise::default();
        assert!(late.hear_or_keep(promise.clone(), || operation.into()).is_none());
        promise
    }

    fn error(operation: &str, message: &str) -> Error {
        Error::Late { operation: operation.into(), message: message.into() }
    }

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_answer_that_is_there_is_heard_at_once() {
        let late = Late::default();
        let promise = Promise::default();
        promise.keep(Some("no"));
        assert!(late.hear_or_keep(promise, || unreachable!("nothing to keep")).is_some());
        assert_eq!(late.look(), Ok(0));
    }

    #[test]
    fn a_late_error_is_told_once_by_name_and_the_next_by_the_next_call() {
        let late = Late::default();
        let [first, second, third, fourth] = ["one", "two", "three", "four"].map(|name| keep(&late, name));
        assert_eq!(late.heard(), Ok(()));
        third.keep(Some("c"));
        second.keep(Some("b"));
        first.keep(None);
        assert_eq!(late.heard(), Err(error("two", "b")));
        assert_eq!(late.heard(), Err(error("three", "c")));
        assert_eq!((late.heard(), late.look()), (Ok(()), Ok(1)), "four has not answered");
        fourth.keep(None);
        assert_eq!(late.look(), Ok(0));
    }

    #[test]
    fn whoever_awaits_the_answers_is_woken_though_others_ask_in_passing() {
        let late = Late::default();
        let promise = keep(&late, "one");
        let counts = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
        let wakers = counts.clone().map(Waker::from);
        let mut waiting = [Box::pin(late.settled()), Box::pin(late.settled())];
        for (future, waker) in waiting.iter_mut().zip(&wakers) {
            assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        assert_eq!(late.heard(), Ok(()));
        promise.keep(Some("no"));
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [1, 1]);
        let answers = waiting.each_mut().map(|future| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        assert_eq!(answers, [Poll::Ready(Err(error("one", "no"))), Poll::Ready(Ok(()))]);
    }

    #[test]
    fn calls_are_refused_where_too_many_are_unanswered() {
        let late = Late::default();
        let promises: Vec<Promise> = (0..MOST).map(|_| keep(&late, "one")).collect();
        assert!(matches!(late.heard(), Err(Error::LimitExceeded { .. })));
        promises[MOST / 2].keep(None);
        assert_eq!(late.heard(), Ok(()));
        promises.iter().for_each(|promise| promise.keep(None));
        assert_eq!(late.look(), Ok(0));
    }

    /// All of it, on a device: every way in returns the error instead of doing its work, and nothing bad is kept.
    #[test]
    fn every_call_returns_what_an_earlier_one_left_to_say() {
        let gpu = Gpu::new().expect("an adapter");
        let tensor = gpu.zeros(&[2]).expect("a tensor");
        let numbers = gpu.zeros_of(Dtype::U32, &[NUMBERS]).expect("a tensor");
        let answers = gpu.zeros_of(Dtype::U32, &[ANSWERS]).expect("a tensor");
        let mut operands = Operands::default();
        operands.add(Operand::X, numbers.view()).add(Operand::Y, answers.view());
        let kernel = || prepare(&gpu, &plan::subnormals(), &operands);
        let prepared = kernel().expect("a call");
        let calls: [(&str, &dyn Fn() -> Result<()>); 7] = [
            ("zeros", &|| gpu.zeros(&[1]).map(drop)),
            ("write", &|| gpu.write(&tensor, &[1.0])),
            ("download", &|| gpu.download(&tensor).map(drop)),
            ("submit", &|| gpu.submit(|_| unreachable!("nothing is recorded"))),
            ("prepare", &|| kernel().map(drop)),
            ("wait", &|| gpu.wait()),
            ("settled", &|| pollster::block_on(gpu.settled())),
        ];
        for (name, call) in calls {
            let promise = keep(&gpu.inner.late, "binding the operands of a kernel");
            assert!(gpu.submit(|encoder| prepared.record(encoder)).is_ok() && gpu.pipelines() > 0, "{name}");
            promise.keep(Some("no"));
            assert_eq!(call(), Err(error("binding the operands of a kernel", "no")), "{name}");
            assert_eq!(gpu.pipelines(), 0, "{name}: a kernel that may be a bad one is kept");
            assert!(kernel().is_ok(), "{name}");
        }
        // Numbers that follow from a call that failed are not handed out, however late it is known.
        let promise = keep(&gpu.inner.late, "submitting");
        let mut download = Box::pin(gpu.download_async(&tensor));
        assert!(download.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        promise.keep(Some("no"));
        assert_eq!(gpu.block_on(download), Err(error("submitting", "no")));
    }
}
