//! A fused layer with operands on the GPU and on the CPU baseline, verified.

mod judge;
mod on_cpu;

use std::{
    fmt,
    time::{Duration, Instant},
};

use elbow::{
    Activation, AlphaSource, Dtype, Float, Gpu, Operand, Pin, Saved, Tensor, View, Want,
    affine::{Backward, Forward, Gradient},
    elementwise,
    request::{AffineRequest, BackwardRequest, Gradients},
    storage::Storage,
    train::Sgd,
    wgpu,
};

use crate::{
    budget::Budget,
    device::Device,
    error::{Error, Result},
    numbers::{alphas, around, normals},
    rounds::{Comparison, Sides},
    statistics::Estimate,
};
pub use judge::Errors;
use on_cpu::OnCpu;

/// M×K×N: x is `[M, K]`, W is `[N, K]`, y is `[M, N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// M, rows of x.
    pub m: usize,
    /// K, features in.
    pub k: usize,
    /// N, features out.
    pub n: usize,
}

/// A timed part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Forward without anything kept: y = act(x·Wᵀ + b) in one dispatch.
    Inference,
    /// Forward in two dispatches: the product with b, then the activation on y in place.
    Unfused,
    /// Forward with what backward needs kept.
    Forward,
    /// Backward: dx, dW, db, and dα if it is learnable.
    Backward,
    /// Forward and backward.
    Both,
    /// A training step: forward, backward, and the update of W, b and learnable α with momentum.
    Step,
}

impl Part {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Part::Inference => "inference",
            Part::Unfused => "unfused",
            Part::Forward => "forward",
            Part::Backward => "backward",
            Part::Both => "both",
            Part::Step => "step",
        }
    }

    fn has_forward(self) -> bool {
        matches!(self, Part::Forward | Part::Both | Part::Step)
    }

    fn has_backward(self) -> bool {
        matches!(self, Part::Backward | Part::Both | Part::Step)
    }

    /// Operations of the part's products: 2·M·N·K each, two for each multiply-add.
    pub fn operations(self, shape: Shape) -> u64 {
        let products = match self {
            Part::Inference | Part::Unfused | Part::Forward => 1,
            Part::Backward => 2,
            Part::Both | Part::Step => 3,
        };
        2 * products * shape.m as u64 * shape.k as u64 * shape.n as u64
    }
}

/// A layer with operands on the GPU and on the CPU; both are verified when it is made.
#[derive(Debug)]
pub struct Layer<'d> {
    device: &'d Device,
    request: AffineRequest,
    dtype: Float,
    pin: Pin,
    host: Host,
    on_gpu: OnGpu,
    errors: Errors,
    cpu_errors: Errors,
}

/// The numbers that both sides start from.
#[derive(Debug)]
struct Host {
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    /// Empty if it is a constant.
    alpha: Vec<f32>,
    dy: Vec<f32>,
}

impl Host {
    fn alpha(&self) -> Option<&[f32]> {
        (!self.alpha.is_empty()).then_some(&self.alpha)
    }
}

#[derive(Debug)]
struct OnGpu {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    y: Tensor,
    kept: Option<Tensor>,
    dy: Tensor,
    dx: Tensor,
    dw: Tensor,
    db: Tensor,
    velocity_w: Tensor,
    velocity_b: Tensor,
    alpha: Option<Learned>,
    /// w in f32, if the products read another type.
    master: Option<Tensor>,
}

/// α, its gradient and its velocity.
#[derive(Debug)]
struct Learned {
    alpha: Tensor,
    dalpha: Tensor,
    velocity: Tensor,
}

/// A learning rate of 0: the parameters stay as they were verified, and the work is that of any other step.
const RATE: f32 = 0.0;
const MOMENTUM: f32 = 0.9;

/// The most MiB of one case, on each side.
const MOST_MIB: u64 = 16 << 10;

impl<'d> Layer<'d> {
    /// Makes the operands on both sides, runs a training step on both, and compares a sample of every result with the reference;
    /// an error if one differs. On the device x, w, y, z, dy and dx are stored as `dtype`; the CPU gets the same numbers in f32.
    pub fn new(device: &'d Device, shape: Shape, activation: Activation, dtype: Float, pin: Pin) -> Result<Self> {
        Self::with_alpha(device, shape, (activation, AlphaSource::Constant), dtype, pin)
    }

    /// The same with an α that may be learnable: then dα is a part of backward, and its update of a step.
    pub fn with_alpha(
        device: &'d Device,
        shape: Shape,
        (activation, alpha): (Activation, AlphaSource),
        dtype: Float,
        pin: Pin,
    ) -> Result<Self> {
        let Shape { m, k, n } = shape;
        let storage = Storage::default().with(Operand::Y, dtype);
        let mut request = AffineRequest::new(m, n, k, activation).alpha(alpha).storage(storage);
        request.check_sizes()?;
        request.saved = request.resolve_saved(false)?;
        let (m64, k64, n64) = (m as u64, k as u64, n as u64);
        let mib = (8 * m64 * (n64 + k64) + 12 * n64 * (k64 + 1)) >> 20;
        if mib > MOST_MIB {
            return Err(Error::TooLarge { what: format!("{shape} {activation}"), most: MOST_MIB, got: mib });
        }
        let stored = |values: Vec<f32>| values.into_iter().map(|v| dtype.round(v)).collect();
        let host = Host {
            x: stored(normals(1, m * k, 1.0)),
            w: stored(normals(2, n * k, 1.0 / (k.max(1) as f32).sqrt())),
            b: normals(3, n, 0.1),
            alpha: around(activation, 5, alphas(alpha, n)),
            dy: stored(normals(4, m * n, 1.0)),
        };
        let on_gpu = OnGpu::new(&device.gpu, &request, dtype, &host)?;
        let (errors, cpu_errors) = (Errors::default(), Errors::default());
        let mut layer = Layer { device, request, dtype, pin, host, on_gpu, errors, cpu_errors };
        layer.errors = layer.verify_gpu()?;
        layer.cpu_errors = layer.verify_cpu()?;
        Ok(layer)
    }

    /// M, K and N.
    pub fn shape(&self) -> Shape {
        let AffineRequest { m, k, n, .. } = self.request;
        Shape { m, k, n }
    }

    /// The activation; its own α counts if that is a constant.
    pub fn activation(&self) -> Activation {
        self.request.activation
    }

    /// The type of x, w, y, z, dy and dx on the device.
    pub fn dtype(&self) -> Float {
        self.dtype
    }

    /// What forward keeps for backward.
    pub fn saved(&self) -> Saved {
        self.request.saved
    }

    /// The largest errors of the device in the sample, from when the layer was made.
    pub fn errors(&self) -> Errors {
        self.errors
    }

    /// The largest errors of the CPU baseline in the sample.
    pub fn cpu_errors(&self) -> Errors {
        self.cpu_errors
    }

    /// Bytes that a part must at least move: every operand read or written once.
    pub fn bytes(&self, part: Part) -> u64 {
        let Shape { m, k, n } = self.shape();
        let [x, w, y] = [m * k, n * k, m * n].map(|elements| elements as u64 * self.dtype.bytes());
        let [w32, b, alpha] = [n * k, n, self.host.alpha.len()].map(|elements| elements as u64 * 4);
        let kept = self.kept_bytes();
        let forward = x + w + b + alpha + y;
        // If y is kept, backward reads it; forward writes it in any case.
        let read_back = if self.request.saved == Saved::Y { y } else { kept };
        let backward = y + read_back + x + w + x + w32 + b + 2 * alpha;
        match part {
            Part::Inference => forward,
            Part::Unfused => forward + 2 * y,
            Part::Forward => forward + kept,
            Part::Backward => backward,
            Part::Both => forward + kept + backward,
            // The update reads parameter, velocity and gradient, writes the first two, and writes the narrow copy if there is one.
            Part::Step => {
                forward + kept + backward + 5 * (w32 + b + alpha) + if self.on_gpu.master.is_some() { w } else { 0 }
            }
        }
    }

    fn kept_bytes(&self) -> u64 {
        self.on_gpu.kept.as_ref().map_or(0, |kept| kept.elements() as u64 * kept.dtype().bytes())
    }

    /// Records a part into a pass.
    pub fn record(&self, part: Part, pass: &mut wgpu::ComputePass<'_>) -> elbow::Result<()> {
        let gpu = &self.device.gpu;
        match part {
            Part::Inference => self.forward().saved(Saved::None).save_to(None).record(gpu, &mut *pass)?,
            Part::Unfused => {
                let linear =
                    self.forward().activation(Activation::IDENTITY).alpha(None).saved(Saved::None).save_to(None);
                linear.record(gpu, &mut *pass)?;
                let y = &self.on_gpu.y;
                let alone = elementwise::Forward::new(self.request.activation, y, y).alpha(self.on_gpu.alpha());
                alone.record(gpu, &mut *pass)?;
            }
            _ => {}
        }
        if part.has_forward() {
            self.forward().record(gpu, &mut *pass)?;
        }
        if part.has_backward() {
            self.backward().record(gpu, &mut *pass)?;
        }
        if part == Part::Step {
            let g = &self.on_gpu;
            let (w, copy) = match &g.master {
                Some(master) => (master, Some(g.w.view())),
                None => (&g.w, None),
            };
            let updates =
                [Sgd::new(w, &g.dw, &g.velocity_w, RATE).copy(copy), Sgd::new(&g.b, &g.db, &g.velocity_b, RATE)];
            let of_alpha = g.alpha.as_ref().map(|learned| {
                let Learned { alpha, dalpha, velocity } = learned;
                Sgd::new(alpha, dalpha, velocity, RATE)
            });
            for update in updates.into_iter().chain(of_alpha) {
                update.momentum(MOMENTUM).record(gpu, &mut *pass)?;
            }
        }
        Ok(())
    }

    /// Device time of one repetition; None if the device has no clock.
    pub fn device_timing(&self, part: Part, budget: Budget) -> Result<Option<Estimate>> {
        self.device.device_timing(budget, &|pass| self.record(part, pass))
    }

    /// Wall time of one submission until it is done, without transfers.
    pub fn wall_timing(&self, part: Part, budget: Budget) -> Result<Estimate> {
        self.device.wall_timing(budget, &|pass| self.record(part, pass))
    }

    /// Times a part beside the same on the CPU baseline, in rounds. The parameters stay on the device: with transfers x goes up and y comes
    /// down in forward, dy up and dx down in backward, all four for both.
    pub fn compare(&self, part: Part, budget: Budget) -> Result<Comparison> {
        let (gpu, g) = (&self.device.gpu, &self.on_gpu);
        let mut cpu = OnCpu::new(self);
        // Backward needs what forward keeps.
        cpu.run(Part::Forward)?;
        let [forward, backward] = [part != Part::Backward, part.has_backward()];
        self.device.compare(
            budget,
            Sides {
                record: &|pass| self.record(part, pass),
                upload: &|| {
                    let x = if forward { gpu.write(&g.x, &self.host.x) } else { Ok(()) };
                    x.and_then(|()| if backward { gpu.write(&g.dy, &self.host.dy) } else { Ok(()) })
                },
                download: &|| {
                    for (wanted, tensor) in [(forward, &g.y), (backward, &g.dx)] {
                        if wanted {
                            gpu.download(tensor)?;
                        }
                    }
                    Ok(())
                },
                cpu: &mut || cpu.run(part),
            },
        )
    }

    /// Time of the same work on the CPU baseline.
    pub fn cpu_time(&self, part: Part, iterations: u64) -> Result<Duration> {
        let mut cpu = OnCpu::new(self);
        cpu.run(Part::Forward)?;
        let start = Instant::now();
        for _ in 0..iterations {
            cpu.run(part)?;
        }
        Ok(start.elapsed())
    }

    /// Runs the same work on the CPU baseline once.
    pub fn cpu_timing(&self, part: Part, budget: Budget) -> Result<Estimate> {
        let mut cpu = OnCpu::new(self);
        // Backward needs what forward keeps.
        cpu.run(Part::Forward)?;
        budget.run(|| {
            let start = Instant::now();
            cpu.run(part)?;
            Ok(start.elapsed())
        })
    }

    fn forward(&self) -> Forward<'_> {
        let g = &self.on_gpu;
        Forward::new(self.request.activation, &g.x, &g.w, &g.y)
            .saved(self.request.saved)
            .b(g.b.view())
            .alpha(g.alpha())
            .save_to(g.kept.as_ref().map(Tensor::view))
            .pin(self.pin)
    }

    fn backward(&self) -> Backward<'_> {
        let g = &self.on_gpu;
        let dalpha = g.alpha.as_ref().map(|learned| Gradient::overwrite(&learned.dalpha));
        self.forward().backward(&g.dy).dx(&g.dx).dw(&g.dw).db(&g.db).dalpha(dalpha)
    }
}

impl OnGpu {
    fn new(gpu: &Gpu, request: &AffineRequest, dtype: Float, host: &Host) -> elbow::Result<Self> {
        let AffineRequest { m, n, k, saved, .. } = *request;
        let kept = match saved {
            Saved::Z => Some(gpu.zeros_of(dtype, &[m, n])?),
            Saved::Mask => Some(gpu.zeros_of(Dtype::U32, &[m, n.div_ceil(32)])?),
            _ => None,
        };
        let learned = |alpha: &[f32]| -> elbow::Result<Learned> {
            let shape = &[alpha.len()];
            let (dalpha, velocity) = (gpu.zeros(shape)?, gpu.zeros(shape)?);
            Ok(Learned { alpha: gpu.upload(alpha, shape)?, dalpha, velocity })
        };
        let master = (dtype != Float::F32).then(|| gpu.upload(&host.w, &[n, k])).transpose()?;
        Ok(OnGpu {
            x: gpu.upload_as(dtype, &host.x, &[m, k])?,
            w: gpu.upload_as(dtype, &host.w, &[n, k])?,
            b: gpu.upload(&host.b, &[n])?,
            y: gpu.zeros_of(dtype, &[m, n])?,
            kept,
            dy: gpu.upload_as(dtype, &host.dy, &[m, n])?,
            dx: gpu.zeros_of(dtype, &[m, k])?,
            dw: gpu.zeros(&[n, k])?,
            db: gpu.zeros(&[n])?,
            velocity_w: gpu.zeros(&[n, k])?,
            velocity_b: gpu.zeros(&[n])?,
            alpha: host.alpha().map(learned).transpose()?,
            master,
        })
    }

    fn alpha(&self) -> Option<View<'_>> {
        self.alpha.as_ref().map(|learned| learned.alpha.view())
    }
}

/// The gradients of a timed backward: dx, dW, db, and dα if it is learnable.
fn backward_request(affine: AffineRequest) -> BackwardRequest {
    let alpha = if affine.alpha == AlphaSource::Constant { Want::No } else { Want::Overwrite };
    let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite).alpha(alpha);
    BackwardRequest::new(affine, gradients)
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.m, self.k, self.n)
    }
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let sizes: Option<Vec<usize>> =
            text.trim().split('x').map(|size| size.parse().ok().filter(|&size| size > 0)).collect();
        match sizes.as_deref() {
            Some(&[m, k, n]) => Ok(Shape { m, k, n }),
            _ => Err("expected MxKxN, three sizes from 1 on, such as 64x256x256".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn a_shape_prints_as_it_is_read() {
        let shape: Result<Shape, _> = " 64x256x10 ".parse();
        assert_eq!(shape, Ok(Shape { m: 64, k: 256, n: 10 }));
        assert_eq!(shape.map(|s| s.to_string()), Ok("64x256x10".into()));
        for wrong in ["", "64", "64x256", "0x1x1", "1x2x3x4", "ax2x3", "-1x2x3", "1x99999999999999999999x1"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
