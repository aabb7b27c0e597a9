//! Random numbers: the words of Philox, and numbers spread as they should be, the same as on the CPU.

use elbow::{
    Dtype, Error, Float, Gpu, Operand,
    philox::{self, Distribution},
    random,
};

use crate::common::{as_a_gpu, gpu, ulp_of};

const NORMAL: Distribution = Distribution::Normal { mean: 0.0, deviation: 1.0 };
const UNIFORM: Distribution = Distribution::Uniform { low: 0.0, high: 1.0 };

/// Ulp that a normal number may be off the CPU's: each is within 8 of the exact one, as documented.
const ULP: f64 = 16.0;

/// `count` numbers at an offset into a buffer whose other numbers must stay as they are.
fn filled(
    gpu: &Gpu,
    dtype: Float,
    count: usize,
    offset: usize,
    call: impl Fn(random::Fill<'_>) -> random::Fill<'_>,
) -> Vec<f32> {
    let all = gpu.upload_as(dtype, &vec![-7.0; count + offset + 3], &[count + offset + 3]).unwrap();
    let part = all.view().slice(0, offset..offset + count).unwrap();
    gpu.submit(|encoder| call(random::fill(part, NORMAL, 7)).record(gpu, encoder)).unwrap();
    let got = gpu.download(&all).unwrap();
    assert!(got[..offset].iter().chain(&got[offset + count..]).all(|&v| v == -7.0), "written outside");
    got[offset..offset + count].to_vec()
}

#[test]
fn words_are_those_of_philox() {
    for gpu in [gpu(), as_a_gpu()] {
        for (count, seed, stream) in [(1, 0, 0), (4, 0, 0), (7, 1 << 40, 3), (1000, !0, !0), (100_003, 77, 1)] {
            let words = gpu.upload_words(&vec![0; count + 1], &[count + 1]).unwrap();
            let part = words.view().slice(0, 0..count).unwrap();
            gpu.submit(|encoder| random::words(part, seed).stream(stream).record(gpu, encoder)).unwrap();
            let got = gpu.download_words(&words).unwrap();
            for (i, &word) in got[..count].iter().enumerate() {
                assert_eq!(word, philox::words(seed, stream, i as u32 / 4)[i % 4], "word {i} of {count}");
            }
            assert_eq!(got[count], 0);
        }
    }
    // The first known answer of Random123.
    let words = gpu().zeros_of(Dtype::U32, &[4]).unwrap();
    gpu().submit(|encoder| random::words(&words, 0).record(gpu(), encoder)).unwrap();
    assert_eq!(gpu().download_words(&words).unwrap(), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
}

#[test]
fn numbers_are_those_of_the_cpu() {
    let gpu = gpu();
    let mut worst = 0.0f64;
    for (count, offset) in [(1, 0), (5, 1), (64, 0), (64, 3), (4096, 4), (50_001, 0), (200_000, 0)] {
        for (distribution, allowed) in [
            (NORMAL, ULP),
            (UNIFORM, 0.0),
            (Distribution::Uniform { low: -3.0, high: 5.0 }, 1.0),
            (Distribution::Normal { mean: 1.0, deviation: 0.5 }, ULP),
        ] {
            let got = filled(gpu, Float::F32, count, offset, |call| call.distribution(distribution).stream(5));
            for (i, &got) in got.iter().enumerate() {
                let right = distribution.at(7, 5, i as u32);
                // Beside a mean, or a lower end, what is left of a number has the places of its parts.
                let size =
                    if distribution == NORMAL || distribution == UNIFORM { right.abs() } else { right.abs().max(3.0) };
                let off = f64::from((got - right).abs()) / ulp_of(f64::from(size));
                assert!(off <= allowed, "{distribution:?} {i} of {count}: {got:e}, on the CPU {right:e}");
                worst = worst.max(off);
            }
        }
    }
    println!("worst {worst:.2} ulp beside the CPU");
}

#[test]
fn narrow_numbers_are_rounded_once() {
    let gpu = gpu();
    for dtype in [Float::F16, Float::Bf16] {
        for (count, offset) in [(7, 0), (7, 1), (64, 0), (1001, 3)] {
            let got = filled(gpu, dtype, count, offset, |call| call);
            for (i, &got) in got.iter().enumerate() {
                let right = f64::from(NORMAL.at(7, 0, i as u32));
                let allowed = dtype.rounding(right) * 1.001 + ULP * ulp_of(right);
                assert!((f64::from(got) - right).abs() <= allowed, "{dtype} {i}: {got}, right {right}");
            }
        }
    }
}

/// The distance of the numbers' distribution from the one that they should have, times √n (Kolmogorov and Smirnov).
fn distance(numbers: &[f32], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f32::total_cmp);
    let n = sorted.len() as f64;
    let off = |(i, &v): (usize, &f32)| {
        let expected = cdf(f64::from(v));
        ((i + 1) as f64 / n - expected).abs().max((expected - i as f64 / n).abs())
    };
    sorted.iter().enumerate().map(off).fold(0.0, f64::max) * n.sqrt()
}

/// Moments, distribution, and no relation between neighbours, seeds or streams.
#[test]
fn numbers_are_spread_as_they_say() {
    let gpu = gpu();
    let n = 200_000;
    let draw = |distribution, seed, stream| {
        filled(gpu, Float::F32, n, 0, |call| call.distribution(distribution).seed(seed).stream(stream))
    };
    let all = [draw(NORMAL, 1, 0), draw(NORMAL, 2, 0), draw(NORMAL, 1, 1)];
    let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
    let within = 4.5 / (n as f64).sqrt();
    for numbers in &all {
        let z = |i: usize| f64::from(numbers[i % n]);
        let moments = [1, 2, 3, 4].map(|power| mean(&|i| z(i).powi(power)));
        for ((moment, right), deviation) in moments.into_iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 1.42, 3.88, 9.8]) {
            assert!((moment - right).abs() < deviation * within, "{moments:?}");
        }
        for lag in 1..6 {
            assert!(mean(&|i| z(i) * z(i + lag)).abs() < within, "neighbours at {lag}");
        }
        let off = distance(numbers, |v| 0.5 * libm::erfc(-v / 2f64.sqrt()));
        assert!(off < 1.95, "normal: {off}, beyond it one in a thousand");
        // 200,000 numbers reach 4.4 standard deviations, and not far beyond.
        let top = numbers.iter().fold(0.0f32, |top, v| top.max(v.abs()));
        assert!((3.9..6.0).contains(&top), "{top}");
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(mean(&|i| f64::from(all[a][i]) * f64::from(all[b][i])).abs() < within, "{a} and {b}");
    }
    let uniform = draw(UNIFORM, 9, 4);
    assert!(uniform.iter().all(|v| (0.0..1.0).contains(v)));
    let off = distance(&uniform, |v| v);
    assert!(off < 1.95, "uniform: {off}");
}

#[test]
fn what_is_no_distribution_is_an_error() {
    let gpu = gpu();
    let (numbers, words) = (gpu.zeros(&[8]).unwrap(), gpu.zeros_of(Dtype::U32, &[8]).unwrap());
    let refused = |call: random::Fill<'_>| gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
    for bad in [f32::NAN, f32::INFINITY] {
        for distribution in [
            Distribution::Normal { mean: bad, deviation: 1.0 },
            Distribution::Normal { mean: 0.0, deviation: bad },
            Distribution::Uniform { low: bad, high: 1.0 },
            Distribution::Uniform { low: 0.0, high: bad },
        ] {
            let error = refused(random::fill(&numbers, distribution, 1));
            assert!(matches!(&error, Error::BadParameter { of, .. } if of == "random"), "{error}");
        }
    }
    for call in [random::fill(&words, NORMAL, 1), random::words(&numbers, 1)] {
        assert!(matches!(refused(call), Error::Operand { operand: Operand::To, .. }));
    }
    let strided = numbers.view().with_strides(&[2]);
    if let Ok(strided) = strided {
        assert!(matches!(refused(random::fill(strided, NORMAL, 1)), Error::Operand { .. } | Error::Buffer { .. }));
    }
    assert!(gpu.download(&numbers).unwrap().iter().all(|&v| v == 0.0), "nothing was written");
    gpu.submit(|encoder| random::fill(gpu.zeros(&[0])?.view(), NORMAL, 1).record(gpu, encoder)).unwrap();
}
