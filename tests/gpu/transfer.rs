//! Host values in and out: every type bit for bit, tensors and views, neighbours left alone; what does not fit is refused and
//! changes nothing; downloads side by side, given up, cut off. (Buffers that cannot serve: `faults/buffers.rs`.)

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use elbow::{
    Activation, Dtype, Error, Float, Gpu, HostValue, Operand, Options, Result, View, elementwise,
    half::{bf16, f16},
    wgpu,
};

use crate::common::{Numbers, checks, gpu};

/// What conversions, and copies that look at numbers, would change: NaN with payloads, zeros, subnormals, infinities; then noise.
fn words(count: usize) -> Vec<u32> {
    let odd = [0x7fc0_0001, 0xffbf_ffff, 0x7f80_0001, 0x8000_0000, 0x0000_0001, 0x807f_ffff, 0x7f80_0000, 0xff80_0000];
    let mut numbers = Numbers::new(11);
    odd.into_iter().chain(std::iter::repeat_with(|| numbers.below(1 << 32) as u32)).take(count).collect()
}

/// Every pattern of 16 bits, then again.
fn halves(count: usize) -> impl Iterator<Item = u16> {
    // NaN, subnormals and -0 of both types first.
    [0x7c01, 0x7f81, 0xfe00, 0xffc1, 0x0001, 0x8000, 0x807f].into_iter().chain((0..=u16::MAX).cycle()).take(count)
}

fn buffer(gpu: &Gpu, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn memory(gpu: &Gpu, view: View<'_>) -> Vec<u8> {
    let mut bytes = vec![0; view.shape().iter().product::<usize>() * view.dtype().bytes() as usize];
    gpu.download_into(view, &mut bytes).unwrap();
    bytes
}

/// Up and down as a tensor; over a view in the middle of other data, and down from there. `each` of them is an element.
fn round_trip<T: HostValue>(gpu: &Gpu, dtype: Dtype, values: &[T], each: usize) {
    let count = values.len() / each;
    let what = format!("{count} of {dtype} as {}", std::any::type_name::<T>());
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let same = |view: View<'_>| {
        let mut got = vec![T::zeroed(); values.len()];
        gpu.download_into(view, &mut got).unwrap();
        assert!(bytemuck::cast_slice::<T, u8>(&got) == bytes, "{what}");
    };
    let tensor = gpu.upload_as(dtype, values, &[1, count]).unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[1, count][..]));
    same(tensor.view());

    let [before, behind] = [[0xa5; 20].as_slice(), [0xa5; 16].as_slice()];
    let all = [before, &vec![0x5a; bytes.len()], behind].concat();
    let all = &all[..all.len() / 4 * 4];
    let arena = gpu.upload_as(Dtype::U32, all, &[all.len() / 4]).unwrap();
    let view = View::new(arena.buffer(), 20, &[count], dtype);
    gpu.write(view, values).unwrap();
    same(view);
    let expected = [before, bytes, behind].concat();
    assert!(memory(gpu, arena.view()) == expected[..all.len()], "{what}: what lies around it");
    // The same from above, without a word between it and the rest.
    gpu.write(&arena, all).unwrap();
    gpu.write(view.reshaped(&[count, 1]).unwrap(), values).unwrap();
    assert!(memory(gpu, arena.view()) == expected[..all.len()], "{what}");
}

#[test]
fn every_type_comes_back_bit_for_bit() {
    let gpu = gpu();
    for count in [0, 1, 2, 3, 4, 5, 8, 9, 1023, 1025, 70_001] {
        let words = words(count);
        round_trip(gpu, Dtype::U32, &words, 1);
        round_trip::<f32>(gpu, Dtype::F32, bytemuck::cast_slice(&words), 1);
        round_trip(gpu, Dtype::F16, &halves(count).map(f16::from_bits).collect::<Vec<_>>(), 1);
        round_trip(gpu, Dtype::BF16, &halves(count).map(bf16::from_bits).collect::<Vec<_>>(), 1);
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::U32] {
            let each = dtype.bytes() as usize;
            round_trip::<u8>(gpu, dtype, &bytemuck::cast_slice(&words)[..count * each], each);
        }
    }
    // The names for the two that have literals.
    assert_eq!(gpu.download(&gpu.upload(&[0.5, -0.0], &[2]).unwrap()).unwrap(), [0.5, -0.0]);
    let words = gpu.upload_words(&[7, u32::MAX], &[2]).unwrap();
    assert_eq!(gpu.download_words(words.view_as(&[1])).unwrap(), [7]);
}

/// f32 values of narrow elements: each as `half` rounds it, and widened again.
#[test]
fn f32_values_are_rounded_to_narrow_types_and_widened() {
    let gpu = gpu();
    let mut numbers = Numbers::new(5);
    let values: Vec<f32> = [65519.9, 65520.0, -0.0, 1e-8, f32::NAN, f32::NEG_INFINITY, 1.0 + 1.0 / 2048.0]
        .into_iter()
        .chain(std::iter::repeat_with(|| numbers.normal()))
        .take(2051)
        .collect();
    let equal = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    for dtype in [Float::F16, Float::Bf16] {
        let tensor = gpu.upload_as(dtype, &values, &[2051]).unwrap();
        let written = gpu.zeros_of(dtype, &[2051]).unwrap();
        gpu.write(&written, &values).unwrap();
        assert_eq!(memory(gpu, tensor.view()).len(), 2051 * 2);
        for tensor in [&tensor, &written] {
            let mut into = vec![7.0; 2051];
            gpu.download_into(tensor, &mut into).unwrap();
            for got in [into, gpu.download(tensor).unwrap()] {
                let right = got.iter().zip(&values).all(|(&got, &v)| equal(got, dtype.round(v)));
                assert!(right && got.len() == 2051, "{dtype}");
            }
        }
    }
}

/// Writes are ordered among themselves and with kernels, those that end in half a word too.
#[test]
fn writes_happen_in_their_order() {
    let gpu = gpu();
    let x = gpu.upload_as(Float::F16, &[1.0, 2.0, 3.0, 4.0], &[4]).unwrap();
    let y = gpu.zeros(&[4]).unwrap();
    gpu.write(x.view_as(&[3]), &[5.0; 3]).unwrap();
    gpu.write(&x, &[6.0, 6.0, 6.0, -6.0]).unwrap();
    gpu.write(x.view_as(&[1]), &[f16::from_f32(7.0)]).unwrap();
    gpu.submit(|e| elementwise::Forward::new(Activation::RELU, &x, &y).record(gpu, e)).unwrap();
    gpu.write(x.view_as(&[3]), &[8.0; 3]).unwrap();
    assert_eq!(gpu.download(&y).unwrap(), [7.0, 6.0, 6.0, 0.0]);
    assert_eq!(gpu.download(&x).unwrap(), [8.0, 8.0, 8.0, -6.0]);
}

/// The call is refused as an operand of this type, and says so.
#[track_caller]
fn refused(result: Result<()>, expected: &str, got: Dtype) {
    let error = result.unwrap_err();
    let says = format!("tensor: expected {expected}, got {got}");
    assert!(matches!(error, Error::Operand { operand: Operand::Tensor, .. }) && error.to_string() == says, "{error}");
}

fn does_not_fit<T: HostValue>(gpu: &Gpu, dtype: Dtype, value: T, expected: &str) {
    let tensor = gpu.upload_as(dtype, &[9u8; 12], &[12 / dtype.bytes() as usize]).unwrap();
    let mut values = vec![value; tensor.elements()];
    refused(gpu.write(&tensor, &values), expected, dtype);
    refused(gpu.upload_as(dtype, &values, tensor.shape()).map(drop), expected, dtype);
    refused(gpu.download_into(&tensor, &mut values), expected, dtype);
    refused(gpu.block_on(gpu.download_into_async(tensor.view_as(&[0]), &mut values[..0])), expected, dtype);
    assert_eq!(memory(gpu, tensor.view()), [9; 12]);
    assert!(values.iter().all(|v| bytemuck::bytes_of(v) == bytemuck::bytes_of(&value)));
}

#[test]
fn a_type_that_does_not_fit_is_refused() {
    let gpu = gpu();
    let types = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::U32];
    for dtype in types {
        if dtype == Dtype::U32 {
            does_not_fit(gpu, dtype, 1f32, "f32, f16 or bf16, for host values of f32");
            let words = gpu.upload_words(&[1], &[1]).unwrap();
            refused(gpu.download(&words).map(drop), "f32, f16 or bf16, for host values of f32", dtype);
        } else {
            does_not_fit(gpu, dtype, 1u32, "u32, for host values of u32");
            let numbers = gpu.upload_as(dtype, &[1.0], &[1]).unwrap();
            refused(gpu.download_words(&numbers).map(drop), "u32, for host values of u32", dtype);
        }
        if dtype != Dtype::F16 {
            does_not_fit(gpu, dtype, f16::ONE, "f16, for host values of f16");
        }
        if dtype != Dtype::BF16 {
            does_not_fit(gpu, dtype, bf16::ONE, "bf16, for host values of bf16");
        }
    }
}

#[test]
fn more_or_fewer_values_than_elements_are_refused() {
    let gpu = gpu();
    let tensor = gpu.upload_as(Dtype::F16, &[1.0, 2.0, 3.0], &[3]).unwrap();
    let wrong = |result: Result<()>, expected: &str, got: usize| {
        let error = result.unwrap_err();
        let says = format!("tensor: expected {expected}, got {got} values");
        assert!(matches!(error, Error::Shape { operand: Operand::Tensor, .. }) && error.to_string() == says, "{error}");
    };
    for count in [0, 1, 2, 4, 6] {
        let says = "3 values of f32 for shape [3] of f16";
        wrong(gpu.write(&tensor, &vec![7.0; count]), says, count);
        wrong(gpu.upload_as(Float::F16, &vec![7.0; count], &[3]).map(drop), says, count);
        let mut values = vec![7.0; count];
        wrong(gpu.download_into(&tensor, &mut values), says, count);
        assert_eq!(values, vec![7.0; count]);
    }
    // Bytes without padding.
    for count in [3, 5, 7, 8] {
        let says = "6 values of u8 for shape [3] of f16";
        wrong(gpu.write(&tensor, &vec![7u8; count]), says, count);
        wrong(gpu.download_into(&tensor, &mut vec![7u8; count]), says, count);
    }
    wrong(gpu.write(tensor.view_as(&[2]), &[f16::ONE; 3]), "2 values of f16 for shape [2] of f16", 3);
    assert_eq!(gpu.download(&tensor).unwrap(), [1.0, 2.0, 3.0]);
    let many = View::new(tensor.buffer(), 0, &[1 << 33], Dtype::U32);
    assert!(matches!(gpu.write(many, &[1u32]), Err(Error::LimitExceeded { .. })));
    assert!(matches!(gpu.download_words(many), Err(Error::LimitExceeded { .. })));
}

#[test]
fn what_may_only_be_read_is_not_written() {
    let gpu = gpu();
    let tensor = gpu.upload(&[1.0, 2.0], &[2]).unwrap();
    let view = tensor.view().read_only();
    let error = gpu.write(view, &[3.0, 4.0]).unwrap_err();
    assert!(matches!(error, Error::Operand { operand: Operand::Tensor, .. }), "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(gpu.download(view).unwrap(), [1.0, 2.0]);
    let gone = View::absent(&[2], Dtype::F32);
    let absent = |result: Result<()>| {
        assert!(matches!(result, Err(Error::Operand { operand: Operand::Tensor, .. })), "{result:?}");
    };
    absent(gpu.write(gone, &[3.0, 4.0]));
    absent(gpu.download(gone).map(drop));
    absent(gpu.download_into(gone, &mut [0.0; 2]));
}

/// Half a word is written by a kernel, so its buffer needs STORAGE; whole words need COPY_DST alone.
#[test]
fn half_a_word_needs_storage() {
    let gpu = gpu();
    let plain = buffer(gpu, 8, wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC);
    let view = |count: usize| View::new(&plain, 0, &[count], Dtype::F16);
    gpu.write(view(4), &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let error = gpu.write(view(3), &[5.0; 3]).unwrap_err();
    assert!(matches!(error, Error::Buffer { operand: Operand::Tensor, .. }), "{error}");
    assert!(error.to_string().contains("STORAGE"), "{error}");
    assert_eq!(gpu.download(view(4)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(gpu.download(view(3)).unwrap(), [1.0, 2.0, 3.0]);
}

/// A download that was polled once. Another test may poll the device just then.
enum Begun<'a, T> {
    Ended(Result<T>),
    OnItsWay(Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>),
}

impl<'a, T> Begun<'a, T> {
    /// It may be sent to another thread.
    fn new(download: impl Future<Output = Result<T>> + Send + 'a) -> Self {
        let mut download = Box::pin(download);
        match download.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Begun::Ended(result),
            Poll::Pending => Begun::OnItsWay(download),
        }
    }

    fn end(self, gpu: &Gpu) -> Result<T> {
        match self {
            Begun::Ended(result) => result,
            Begun::OnItsWay(download) => gpu.block_on(download),
        }
    }
}

/// More at once than staging buffers are kept, of all sizes, from tensors that are written meanwhile; awaited in three orders.
#[test]
fn downloads_run_side_by_side() {
    let gpu = gpu();
    let values = |i: usize| -> Vec<f32> { (0..1 + i * i * 37).map(|j| (i * 1000 + j) as f32).collect() };
    let orders: [fn(usize) -> usize; 3] = [|i| i, |i| 19 - i, |i| i * 7 % 20];
    for order in orders {
        let tensors: Vec<_> = (0..20).map(|i| gpu.upload(&values(i), &[values(i).len()]).unwrap()).collect();
        let mut begun: Vec<_> = tensors.iter().map(|tensor| Some(Begun::new(gpu.download_async(tensor)))).collect();
        // They were submitted: this comes too late for them.
        tensors.iter().for_each(|tensor| gpu.write(tensor.view_as(&[1]), &[-1.0]).unwrap());
        for i in (0..20).map(order) {
            assert_eq!(begun[i].take().unwrap().end(gpu).unwrap(), values(i), "tensor {i}");
        }
        assert_eq!(gpu.download(tensors[0].view()).unwrap(), [-1.0]);
    }
}

/// A download that is given up, before it began or on its way, leaves the caller's memory alone and no trace in the pool.
#[test]
fn a_download_may_be_given_up() {
    let gpu = Gpu::with_options(Options::default().checks(checks())).unwrap();
    let tensor = gpu.upload(&[1.0, 2.0, 3.0], &[3]).unwrap();
    let held = gpu.memory_bytes();
    for times in [1, 30] {
        let mut into = vec![[7.0; 3]; times];
        drop(gpu.download_into_async(&tensor, &mut into[0]));
        let begun: Vec<_> = into.iter_mut().map(|into| Begun::new(gpu.download_into_async(&tensor, into))).collect();
        assert!(begun.iter().all(|begun| matches!(begun, Begun::OnItsWay(_))), "nobody polls");
        drop(begun);
        assert!(into.iter().all(|into| *into == [7.0; 3]));
        assert_eq!(gpu.memory_bytes(), held, "{times} given up");
        // The next ones, through the pool and while those are still being mapped.
        for i in 0..4 {
            gpu.write(&tensor, &[i as f32; 3]).unwrap();
            let next = Begun::new(gpu.download_async(&tensor));
            assert_eq!(gpu.download(&tensor).unwrap(), [i as f32; 3]);
            assert_eq!(next.end(&gpu).unwrap(), [i as f32; 3]);
        }
        gpu.wait().unwrap();
        gpu.trim();
        assert_eq!(gpu.memory_bytes(), held);
    }
}

/// On its way when the device is lost: an error, and the caller's memory as it was.
#[test]
fn a_lost_device_ends_a_download() {
    let gpu = Gpu::with_options(Options::default().checks(checks())).unwrap();
    let tensor = gpu.upload(&[1.0; 1000], &[1000]).unwrap();
    let mut into = vec![7.0; 1000];
    let begun = Begun::new(gpu.download_into_async(&tensor, &mut into));
    assert!(matches!(begun, Begun::OnItsWay(_)), "nobody polls");
    gpu.device().destroy();
    let outcome = begun.end(&gpu);
    assert!(matches!(outcome, Err(Error::DeviceLost { .. })), "{outcome:?}");
    assert_eq!(into, [7.0; 1000]);
}
