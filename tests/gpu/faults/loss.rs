//! Numbers 56 and 59: the device is destroyed before, between and after; everything is dropped with work in flight. A device
//! of our own and a host's, whose lost callback is the host's.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use elbow::{Activation, Error, Float, Gpu, Options, Result, Tensor, elementwise, wgpu};

use super::{Layer, good, lost_for_good};
use crate::common::{checks, gpu};

/// A device of our own, and a guest's on a host's.
fn devices() -> [(&'static str, Gpu); 2] {
    let own = Gpu::with_options(Options::default().checks(checks())).unwrap();
    let adapter = elbow::native::adapters().unwrap().into_iter().next().unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    [("own", own), ("host's", Gpu::from_wgpu_with(&device, &queue, checks()))]
}

fn is_lost<T: std::fmt::Debug>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::DeviceLost { .. }))
}

/// Work for a while: an operator on 4 MiB, again and again.
fn in_flight(gpu: &Gpu, times: usize) -> Tensor {
    let x = gpu.zeros(&[1 << 20]).unwrap();
    let call = elementwise::Forward::new(Activation::RELU, &x, &x);
    gpu.submit_pass(|pass| (0..times).try_for_each(|_| call.record(gpu, &mut *pass))).unwrap();
    x
}

/// 56, at nine points in the life of a call.
#[test]
fn n56_destroyed_before_between_and_after() {
    type Point = fn(&Gpu, &Layer);
    let points: [(&str, Point); 9] = [
        ("before anything", |gpu, _| gpu.device().destroy()),
        ("between planning and recording", |gpu, layer| {
            let call = layer.forward();
            call.plan(gpu).unwrap();
            gpu.device().destroy();
            assert!(is_lost(gpu.submit(|e| call.record(gpu, e))));
        }),
        ("between recording and submitting", |gpu, layer| {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            layer.forward().record(gpu, &mut encoder).unwrap();
            gpu.device().destroy();
            gpu.queue().submit([encoder.finish()]);
        }),
        ("inside submit", |gpu, layer| {
            let outcome = gpu.submit(|e| {
                layer.forward().record(gpu, e)?;
                gpu.device().destroy();
                Ok(())
            });
            assert!(is_lost(outcome));
        }),
        ("between two calls of one pass", |gpu, layer| {
            let outcome = gpu.submit_pass(|pass| {
                layer.forward().record(gpu, &mut *pass)?;
                gpu.device().destroy();
                layer.forward().record(gpu, pass)
            });
            assert!(is_lost(outcome));
        }),
        ("between submitting and waiting", |gpu, _| {
            let _x = in_flight(gpu, 20);
            gpu.device().destroy();
            assert!(is_lost(gpu.wait()));
        }),
        ("before a download of work in flight", |gpu, _| {
            let x = in_flight(gpu, 20);
            gpu.device().destroy();
            assert!(is_lost(gpu.download(&x)));
        }),
        ("through a clone", |gpu, layer| {
            let clone = gpu.clone();
            gpu.device().destroy();
            lost_for_good(&clone, layer);
        }),
        ("twice, and polled by the host", |gpu, _| {
            gpu.device().destroy();
            gpu.device().destroy();
            let _ = gpu.device().poll(wgpu::PollType::Poll);
        }),
    ];
    for (when, point) in points {
        for (whose, gpu) in devices() {
            println!("{whose} device, destroyed {when}");
            let layer = Layer::new(&gpu).unwrap();
            point(&gpu, &layer);
            lost_for_good(&gpu, &layer);
        }
    }
    good(gpu());
}

/// 56, the tenth: another thread destroys the device while this one downloads and waits. Each call before is right, each
/// after says that the device is lost; none hangs.
#[test]
fn n56_destroyed_while_another_thread_waits() {
    for (whose, gpu) in devices() {
        let layer = Layer::new(&gpu).unwrap();
        let x = in_flight(&gpu, 20);
        let gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let (gpu, gone, x) = (&gpu, &gone, &x);
                    scope.spawn(move || {
                        loop {
                            let destroyed = gone.load(Ordering::SeqCst);
                            let outcome = if worker == 0 { gpu.wait() } else { gpu.download(x).map(drop) };
                            match outcome {
                                Ok(()) => assert!(!destroyed, "{whose}: fine after it was destroyed"),
                                Err(Error::DeviceLost { .. }) => break Instant::now(),
                                Err(error) => panic!("{whose}: {error}"),
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(100));
            let start = Instant::now();
            gpu.device().destroy();
            gone.store(true, Ordering::SeqCst);
            for worker in workers {
                let noticed = worker.join().unwrap();
                assert!(noticed - start < Duration::from_secs(1), "{whose}: {:?}", noticed - start);
            }
        });
        lost_for_good(&gpu, &layer);
    }
    good(gpu());
}

/// 56: destroyed, and waited for, while another thread reads what it has mapped, at twenty points of a download of 32 MiB: wgpu would free what is being read.
#[test]
fn n56_destroyed_while_values_are_read() {
    let elements = 1 << 24;
    let mut took = Duration::ZERO;
    for point in 0..=20 {
        let [own, host] = devices();
        for (whose, gpu) in if point == 0 { vec![own] } else { vec![own, host] } {
            let x = gpu.zeros_of(Float::F16, &[elements]).unwrap();
            gpu.wait().unwrap();
            let start = Instant::now();
            let outcome = std::thread::scope(|scope| {
                let read = scope.spawn(|| gpu.download(&x));
                if point > 0 {
                    std::thread::sleep(took * point / 20);
                    gpu.device().destroy();
                    assert!(is_lost(gpu.wait()));
                }
                read.join().unwrap()
            });
            if point == 0 {
                took = start.elapsed();
            }
            match outcome {
                Ok(values) => assert!(values.len() == elements && values.iter().all(|&v| v == 0.0)),
                Err(Error::DeviceLost { .. }) => assert!(point > 0),
                Err(error) => panic!("{whose}, point {point}: {error}"),
            }
        }
    }
    good(gpu());
}

/// 56: a wait for work that takes longer than a second ends when the device is gone, not when the work is done. (Only
/// `Gpu::wait` can promise that: some drivers finish the work before they take more, inside their submit.)
#[test]
fn n56_a_wait_does_not_outlive_the_device() {
    let [(_, gpu), _] = devices();
    in_flight(&gpu, 1);
    gpu.wait().unwrap();
    let start = Instant::now();
    in_flight(&gpu, 20);
    gpu.wait().unwrap();
    // At least three seconds, going by a twentieth of a second or so.
    let times = (3.0 / start.elapsed().as_secs_f64() * 20.0).clamp(20.0, 20_000.0) as usize;
    let _x = in_flight(&gpu, times);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (gpu.wait(), Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        gpu.device().destroy();
        let (outcome, noticed) = waiting.join().unwrap();
        // OpenGL's software driver has done all of it inside submit: there was nothing to wait for.
        let waited = noticed > start;
        assert!(waited || gpu.info().backend == wgpu::Backend::Gl);
        assert!(!waited || is_lost(outcome));
        assert!(noticed.saturating_duration_since(start) < Duration::from_secs(1), "{:?}", noticed - start);
    });
    good(crate::common::gpu());
}

/// 56: what was recorded before the device was lost, and a guest that comes to a device already lost.
#[test]
fn n56_a_guest_on_a_lost_device() {
    let [_, (_, host)] = devices();
    host.device().destroy();
    let guest = Gpu::from_wgpu_with(host.device(), host.queue(), checks());
    assert!(is_lost(guest.zeros(&[1])));
    assert!(is_lost(guest.wait()));
    assert!(is_lost(guest.submit(|_| Ok(()))));
    good(gpu());
}

/// 59: the handle, the tensors, a pending download: all of it dropped with work in flight, in any order; and a tensor that
/// outlives its device.
#[test]
fn n59_dropped_with_work_in_flight() {
    for destroy in [false, true] {
        for (whose, gpu) in devices() {
            let start = Instant::now();
            let x = in_flight(&gpu, 20);
            let mut pending = Box::pin(gpu.download_async(&x));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = pending.as_mut().poll(&mut context);
            drop(pending);
            if destroy {
                gpu.device().destroy();
            }
            let tensor = x.clone();
            drop(x);
            drop(gpu);
            assert_eq!(tensor.elements(), 1 << 20, "{whose}");
            drop(tensor);
            assert!(start.elapsed() < Duration::from_secs(10), "{whose}: {:?}", start.elapsed());
        }
    }
    good(gpu());
}
