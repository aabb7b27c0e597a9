//! What costs beside the product of a layer: statistics, counts of firing units, dropout, a scale and a shift, norms in front. Forward on the default adapter, ReLU, with a
//! bias, in f32: each against the plain layer, turn by turn; device time where the device has a clock.
//!
//!     cargo run --release -p elbow-measure --example layer_extras -- [ROUNDS]

#![forbid(unsafe_code)]

use std::error::Error;

use elbow::{
    Activation, Dropout, Gpu, Norm, Pin, Prepared, Strategy, Tensor,
    affine::{Forward, Front, Statistics},
};
use elbow_measure::Device;

/// M, K, N.
const SHAPES: [[usize; 3]; 3] = [[512, 512, 512], [4096, 64, 64], [64, 1024, 1024]];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(15), |text| text.parse())?;
    let device = Device::new(Gpu::new()?);
    println!("{}\n", device.gpu);
    println!("| M×K×N | with | dispatches | ms, median | quartiles | times the plain layer, median | quartiles |");
    println!("|---|---|---|---|---|---|---|");
    for shape in SHAPES {
        table(&device, shape, rounds)?;
    }
    Ok(())
}

/// The operands of every variant.
struct Operands {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    y: Tensor,
    channels: Tensor,
    rows: Tensor,
    firing: Tensor,
    mass: Tensor,
    state: Tensor,
    scale: Tensor,
    shift: Tensor,
    of_columns: Tensor,
    of_rows: Tensor,
}

impl Operands {
    fn new(gpu: &Gpu, [m, k, n]: [usize; 3]) -> elbow::Result<Self> {
        let normal =
            |length: usize, shape: &[usize]| gpu.upload(&elbow_measure::normals(length as u64, length, 0.125), shape);
        let zeros = |shape: &[usize]| gpu.zeros(shape);
        Ok(Operands {
            x: normal(m * k, &[m, k])?,
            w: normal(n * k, &[n, k])?,
            b: normal(n, &[n])?,
            y: zeros(&[m, n])?,
            channels: zeros(&[5, n])?,
            rows: zeros(&[5, m])?,
            firing: zeros(&[n])?,
            mass: zeros(&[n])?,
            state: gpu.upload_words(&Dropout::state(1, 0, 0), &[4])?,
            scale: normal(k, &[k])?,
            shift: normal(k + 1, &[k + 1])?,
            of_columns: zeros(&[2, k])?,
            of_rows: zeros(&[2, m])?,
        })
    }

    /// The plain layer first.
    fn variants(&self) -> elbow::Result<Vec<(&'static str, Forward<'_>)>> {
        let plain = Forward::new(Activation::RELU, &self.x, &self.w, &self.y).b(&self.b);
        let counted = |statistics| plain.statistics(statistics);
        let channels = Statistics::default().channels(&self.channels);
        let shift = self.shift.view().slice(0, 0..self.scale.shape()[0])?;
        let front = Front::new(Activation::RELU).scale(&self.scale).shift(shift);
        let normed = |norm: Norm| {
            let moments = if norm.of_rows() { &self.of_rows } else { &self.of_columns };
            front.norm(norm).moments(moments)
        };
        let by = |front, strategy| plain.front(front).pin(Pin::default().strategy(strategy));
        let (loads, pass) = (Strategy::Prologue, Strategy::TwoPass);
        Ok(vec![
            ("nothing", plain),
            ("firing", counted(Statistics::default().firing(&self.firing))),
            ("firing and negative mass", counted(Statistics::default().firing(&self.firing).negative_mass(&self.mass))),
            ("statistics of channels", counted(channels)),
            ("statistics of channels and rows", counted(channels.rows(&self.rows))),
            ("dropout", plain.dropout(Dropout::new(0.1)?).dropout_state(&self.state)),
            ("scale, shift, ReLU in front, at each load", by(front, loads)),
            ("scale, shift, ReLU in front, by a pass", by(front, pass)),
            ("the same behind batch norm, at each load", by(normed(Norm::batch()), loads)),
            ("the same behind batch norm, by a pass", by(normed(Norm::batch()), pass)),
            ("the same behind layer norm, at each load", by(normed(Norm::layer()), loads)),
            ("the same behind layer norm, by a pass", by(normed(Norm::layer()), pass)),
        ])
    }
}

fn table(device: &Device, shape: [usize; 3], rounds: usize) -> Result<(), Box<dyn Error>> {
    let operands = Operands::new(&device.gpu, shape)?;
    let variants = operands.variants()?;
    let calls: Vec<Prepared> =
        variants.iter().map(|(_, layer)| layer.prepare(&device.gpu)).collect::<elbow::Result<_>>()?;
    let time = |call: &Prepared| -> Result<f64, Box<dyn Error>> {
        let record = |pass: &mut elbow::wgpu::ComputePass<'_>| call.record(pass);
        let time = if device.has_clock() { device.device_time(3, &record)? / 3 } else { device.wall_time(&record)? };
        Ok(time.as_secs_f64() * 1e3)
    };
    // The first times are of compilers and cold caches.
    calls.iter().try_for_each(|call| time(call).map(drop))?;
    let mut times = vec![Vec::new(); calls.len()];
    for _ in 0..rounds {
        for (call, times) in calls.iter().zip(&mut times) {
            times.push(time(call)?);
        }
    }
    let plain = times[0].clone();
    for ((name, layer), times) in variants.iter().zip(&times) {
        let dispatches = layer.plan(&device.gpu)?.dispatches.len();
        let ratios = times.iter().zip(&plain).map(|(time, plain)| time / plain).collect();
        let ([low, median, high], [least, ratio, most]) = (quartiles(times.clone()), quartiles(ratios));
        let [m, k, n] = shape;
        println!(
            "| {m}×{k}×{n} | {name} | {dispatches} | {median:.2} | {low:.2}–{high:.2} | {ratio:.3} | {least:.3}–{most:.3} |"
        );
    }
    Ok(())
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
