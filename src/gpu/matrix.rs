//! The device's matrix units: whether wgpu has them, and whether they have given the right sums.

use std::sync::OnceLock;

use super::Gpu;
use crate::{
    activation::Activation,
    dtype::Float,
    error::Result,
    operand::Operand,
    plan::{self, Caps, MatrixUnits, NetworkForward, Pin, Plan, Stage, TILES},
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients, Layers, Saved, Want},
    storage::Storage,
};

use super::{operands::Operands, record::prepare};

/// What wgpu and its driver need for them. The matrices come from shaders with f16, and lanes must know their subgroup.
pub(super) const FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// The matrix units of an open device.
#[derive(Default)]
pub(super) struct Units {
    asked: MatrixUnits,
    /// Rows and columns of a matrix; 0 if there are none.
    size: u32,
    /// Why there are none, or why they are not trusted.
    why_not: OnceLock<String>,
}

impl Units {
    /// What was asked for and is there, before the device is opened.
    pub(super) fn of(adapter: &wgpu::Adapter, asked: MatrixUnits, default_limits: bool) -> Self {
        if asked == MatrixUnits::Off {
            return Units::default();
        }
        let square = |p: &wgpu::CooperativeMatrixProperties| {
            let types = (p.ab_type, p.cr_type) == (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
            (types && p.m_size == p.n_size && p.m_size == p.k_size).then_some(p.m_size)
        };
        let sizes = adapter.cooperative_matrix_properties();
        let sizes = sizes.iter().filter_map(square).filter(|size| matches!(size, 8 | 16));
        let info = adapter.get_info();
        let (size, why) = match sizes.max() {
            _ if default_limits => (0, "the device was opened without features"),
            _ if !adapter.features().contains(FEATURES) => (0, "the adapter has none, or wgpu does not reach them"),
            None => (0, "the adapter has no square matrices of f16 with sums in f32"),
            Some(_) if info.subgroup_min_size != info.subgroup_max_size => {
                (0, "the adapter's subgroups have no fixed size")
            }
            Some(size) => (size, ""),
        };
        let why_not = OnceLock::new();
        if size == 0 {
            let _ = why_not.set(why.to_owned());
        }
        Units { asked, size, why_not }
    }

    /// The features to open the device with.
    pub(super) fn features(&self) -> wgpu::Features {
        if self.size() == 0 { wgpu::Features::empty() } else { FEATURES }
    }

    /// Rows and columns of a matrix; 0 if there are none, or if they were found to be wrong.
    pub(super) fn size(&self) -> u32 {
        if self.why_not.get().is_some() { 0 } else { self.size }
    }

    pub(super) const fn asked(&self) -> MatrixUnits {
        self.asked
    }
}

impl Gpu {
    /// What became of [`Options::matrix_units`](crate::Options::matrix_units), in words: `off`, the matrices and the products they serve
    /// (`16×16×16, stored`), or why there are none: the device has none, or they gave wrong sums in [`Gpu::self_test_async`].
    ///
    /// ```no_run
    /// use elbow::{Gpu, MatrixUnits, Options};
    /// let gpu = Gpu::with_options(Options::default().matrix_units(MatrixUnits::Stored))?;
    /// println!("matrix units: {}", gpu.matrix_units());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn matrix_units(&self) -> String {
        let units = &self.inner.units;
        match (units.size(), units.why_not.get()) {
            (0, Some(why)) => format!("none, because {why}"),
            (0, None) => units.asked.to_string(),
            (size, _) => format!("{size}×{size}×{size}, {}", units.asked),
        }
    }

    /// Compares products on the matrix units, in all three forms, and a whole network, with the sums that the same integers must give (and the plain tiles do
    /// give: every partial sum is exact). Where one differs no product of this device uses them from then on: they are optional, the rest of the device is not to
    /// blame, and plans say so.
    pub(super) async fn test_matrix_units(&self) -> Result<()> {
        let caps = self.caps();
        let tile = TILES.iter().rposition(|tile| tile.stage == Stage::Coop && tile.fits(&caps, plan::Form::Nt));
        let Some(tile) = tile.filter(|_| caps.matrix_size > 0) else { return Ok(()) };
        let Products { m, n, k, x, w, dy, expected } = Products::new(caps.matrix_units);
        let dtypes = dtypes(caps.matrix_units);
        let network = Network::new(caps.matrix_units);
        let (network_x, parameters) = (
            self.upload(&network.x, &[ROWS, SIZES[0]])?,
            self.upload(&network.parameters, &[network.parameters.len()])?,
        );
        let network_y = self.upload(&vec![CANARY; ROWS * SIZES[2]], &[ROWS, SIZES[2]])?;
        let upload = |i: usize, v: &[f32], shape: &[usize]| self.upload_as(dtypes[i], v, shape);
        let (x, w, dy) = (upload(0, &x, &[m, k])?, upload(1, &w, &[n, k])?, upload(2, &dy, &[m, n])?);
        let [y, dx, dw] = [[m, n], [m, k], [n, k]].map(|shape| self.upload(&vec![CANARY; shape[0] * shape[1]], &shape));
        let (y, dx, dw) = (y?, dx?, dw?);
        let mut operands = Operands::default();
        operands.add(Operand::X, x.view()).add(Operand::W, w.view()).add(Operand::Dy, dy.view());
        operands.add(Operand::Y, y.view()).add(Operand::Dx, dx.view()).add(Operand::Dw, dw.view());
        let [forward, backward] = plans(m, n, k, &caps, tile)?;
        let mut of_network = Operands::default();
        of_network.add(Operand::X, network_x.view()).add(Operand::Parameter, parameters.view());
        of_network.add(Operand::Y, network_y.view());
        let whole = prepare(self, &network.plan(&caps)?, &of_network)?;
        let (forward, backward) = (prepare(self, &forward, &operands)?, prepare(self, &backward, &operands)?);
        self.submit(|encoder| {
            forward.record(&mut *encoder)?;
            backward.record(&mut *encoder)?;
            whole.record(encoder)
        })?;
        for (name, out, expected) in [
            ("product NT", &y, &expected[0]),
            ("product NN", &dx, &expected[1]),
            ("product TN", &dw, &expected[2]),
            ("network", &network_y, &network.expected),
        ] {
            let got = self.download_async(out).await?;
            if let Some((i, (got, expected))) =
                got.iter().zip(expected).enumerate().find(|(_, (got, right))| got != right)
            {
                let why = format!("a {name} of integers has {got} at element {i}, expected {expected}");
                log::warn!("the matrix units of {self} are not used: {why}");
                let _ = self.inner.units.why_not.set(why);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What y, dx and dw hold before.
const CANARY: f32 = -12345.0;

/// The types of x, w and dy: f16, or where operands are split f32, with one factor that is not.
fn dtypes(units: MatrixUnits) -> [Float; 3] {
    if units == MatrixUnits::Split { [Float::F32, Float::F32, Float::F16] } else { [Float::F16; 3] }
}

/// Forward, and backward with dx and dW, of a layer without activation: products in all three forms.
fn plans(m: usize, n: usize, k: usize, caps: &Caps, tile: usize) -> Result<[Plan; 2]> {
    let halves = [Operand::X, Operand::W, Operand::Dy].into_iter().zip(dtypes(caps.matrix_units));
    let storage = halves.fold(Storage::default(), |storage, (operand, dtype)| storage.with(operand, dtype));
    let layer = AffineRequest::new(m, n, k, Activation::IDENTITY).bias(false).saved(Saved::None).storage(storage);
    let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite);
    let pin = Pin { tile: Some(tile), splits: Some(1), ..Pin::default() };
    let forward = plan::forward(&layer, true, false, caps, &pin)?;
    Ok([forward, plan::backward(&BackwardRequest::new(layer, gradients), true, caps, &pin)?])
}

/// Operands of integers, and y = x·Wᵀ, dx = dy·W, dW = dyᵀ·x. Reductions and edges that no matrix divides.
struct Products {
    m: usize,
    n: usize,
    k: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    expected: [Vec<f32>; 3],
}

impl Products {
    /// Where operands are split, x has more digits than one number of f16.
    fn new(units: MatrixUnits) -> Self {
        let (m, n, k) = (36, 44, 76);
        let integers =
            |len: usize, step: usize| (0..len).map(|i| (i * step / 7 % 9) as f32 - 4.0).collect::<Vec<f32>>();
        let (mut x, w, dy) = (integers(m * k, 3), integers(n * k, 11), integers(m * n, 5));
        if units == MatrixUnits::Split {
            x.iter_mut().enumerate().for_each(|(i, v)| *v = *v * 1024.0 + (i % 13) as f32);
        }
        let sum = |rows: usize, cols: usize, length: usize, term: &dyn Fn(usize, usize, usize) -> f32| -> Vec<f32> {
            (0..rows * cols).map(|i| (0..length).map(|r| term(i / cols, i % cols, r)).sum()).collect()
        };
        let expected = [
            sum(m, n, k, &|i, j, r| x[i * k + r] * w[j * k + r]),
            sum(m, k, n, &|i, j, r| dy[i * n + r] * w[r * k + j]),
            sum(n, k, m, &|i, j, r| dy[r * n + i] * x[r * k + j]),
        ];
        Products { m, n, k, x, w, dy, expected }
    }
}

/// Rows of the network, and its sizes: no block, matrix or piece of the weights divides them.
const ROWS: usize = 37;
const SIZES: [usize; 3] = [20, 36, 18];

/// A network of two layers of integers, and its y.
struct Network {
    layers: Layers,
    x: Vec<f32>,
    parameters: Vec<f32>,
    expected: Vec<f32>,
}

impl Network {
    /// Where operands are split, x and the hidden layer have more digits than one number of f16.
    fn new(units: MatrixUnits) -> Self {
        let [inputs, hidden, outputs] = SIZES;
        let layers = Layers {
            inputs,
            hidden,
            outputs,
            count: 2,
            activation: Activation::RELU,
            alpha: AlphaSource::Constant,
            output: Activation::IDENTITY,
            jet: None,
        };
        let integer = |i: usize| (i * 5 / 3 % 7) as f32 - 3.0;
        let large = if units == MatrixUnits::Split { 256.0 } else { 1.0 };
        let x: Vec<f32> = (0..ROWS * inputs).map(|i| integer(i) * large + (i % 2) as f32).collect();
        let parameters: Vec<f32> = (0..layers.elements()).map(integer).collect();
        let mut expected = x.clone();
        for l in 0..layers.count {
            let ([n, k], place) = (layers.shape(l), layers.place(l));
            let z = |(row, j): (&[f32], usize)| {
                let terms = row.iter().zip(&parameters[place.w + j * k..]);
                let z = parameters[place.b + j] + terms.map(|(x, w)| x * w).sum::<f32>();
                if l == 0 { z.max(0.0) } else { z }
            };
            expected = expected.chunks(k).flat_map(|row| (0..n).map(move |j| (row, j))).map(z).collect();
        }
        Network { layers, x, parameters, expected }
    }

    fn plan(&self, caps: &Caps) -> Result<Plan> {
        let request = NetworkForward { rows: ROWS, layers: self.layers, copy: false, storage: Storage::default() };
        plan::network_forward(&request, true, caps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernel::KernelFile, plan::DeviceClass};

    #[test]
    fn the_self_test_meets_every_form() {
        let caps = Caps::defaults(DeviceClass::Discrete).subgroup(32).workgroup_bytes(32768);
        for units in [MatrixUnits::Stored, MatrixUnits::Rounded, MatrixUnits::Split] {
            let caps = caps.f16(true).matrix_size(16).matrix_units(units);
            let plans = plans(36, 44, 76, &caps, 20).expect("plans");
            let kernels = plans.iter().flat_map(|plan| &plan.dispatches).map(|d| &d.kernel);
            let kernels: Vec<_> = kernels.filter(|k| k.flag("MAGNITUDE") == 0).collect();
            assert!(kernels.len() == 3 && kernels.iter().all(|k| k.file == KernelFile::ProductCoop), "{plans:?}");
            let mut forms: Vec<_> = kernels.iter().map(|k| (k.flag("A_ALONG_K"), k.flag("B_ALONG_K"))).collect();
            forms.sort_unstable();
            assert_eq!(forms, [(0, 0), (1, 0), (1, 1)]);
            let split: Vec<_> = kernels.iter().map(|k| (k.flag("SPLIT_A"), k.flag("SPLIT_B"))).collect();
            assert_eq!(split, if units == MatrixUnits::Split { [(1, 1), (0, 1), (0, 1)] } else { [(0, 0); 3] });
            // Integers, so that every partial sum is exact.
            let exact = |v: &f32| v.fract() == 0.0 && v.abs() < f64::powi(2.0, 22) as f32;
            let products = Products::new(units);
            assert!(products.expected.iter().flatten().all(exact));
            let network = Network::new(units);
            let kernel = &network.plan(&caps).expect("a plan").dispatches[0].kernel;
            assert_eq!(kernel.file == KernelFile::NetworkCoop, units != MatrixUnits::Stored);
            assert!(network.expected.iter().all(exact));
            let beyond_f16 = products.x.iter().any(|&v| Float::F16.round(v) != v);
            assert_eq!(beyond_f16, units == MatrixUnits::Split, "a second number has something to say");
        }
    }
}
