//! What second derivatives are for: a Hessian is symmetric, and a network that was trained on forces keeps energy.

use elbow::{
    Activation, Gpu, Saved, Tensor,
    affine::{Forward, Gradient},
};
use elbow_verify::Numbers;

use crate::common::{full, gpu};

/// A layer of a network, with room for what its derivatives are made of.
struct Layer {
    activation: Activation,
    w: Tensor,
    b: Tensor,
    /// Its input is y of the layer below, or that of the network.
    y: Tensor,
    z: Tensor,
    /// The gradient for y of the first order; what comes back to it; and the gradient for y of the second order.
    dy: Tensor,
    ddy: Tensor,
    dy2: Tensor,
    /// Of second order.
    dw2: Tensor,
    db2: Tensor,
}

/// A network of fully connected layers, the last one linear, and the gradients of functions of its gradients.
struct Network {
    layers: Vec<Layer>,
    x: Tensor,
    /// The gradient for x of first order, and what comes back to it.
    dx: Tensor,
    ddx: Tensor,
    dx2: Tensor,
}

impl Network {
    fn new(gpu: &Gpu, activation: Activation, sizes: &[usize], rows: usize, numbers: &mut Numbers) -> Self {
        let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
        let layer = |(i, pair): (usize, &[usize])| {
            let (k, n) = (pair[0], pair[1]);
            let last = i + 2 == sizes.len();
            let w: Vec<f32> = (0..n * k).map(|_| numbers.normal() / (k as f32).sqrt()).collect();
            let b: Vec<f32> = (0..n).map(|_| 0.5 * numbers.normal()).collect();
            Layer {
                activation: if last { Activation::IDENTITY } else { activation },
                w: gpu.upload(&w, &[n, k]).unwrap(),
                b: gpu.upload(&b, &[n]).unwrap(),
                y: zeros(&[rows, n]),
                z: zeros(&[rows, n]),
                dy: zeros(&[rows, n]),
                ddy: zeros(&[rows, n]),
                dy2: zeros(&[rows, n]),
                dw2: zeros(&[n, k]),
                db2: zeros(&[n]),
            }
        };
        let layers = sizes.windows(2).enumerate().map(layer).collect();
        let like_x = || zeros(&[rows, sizes[0]]);
        Network { layers, x: like_x(), dx: like_x(), ddx: like_x(), dx2: like_x() }
    }

    fn call(&self, at: usize) -> Forward<'_> {
        let layer = &self.layers[at];
        let x = if at == 0 { &self.x } else { &self.layers[at - 1].y };
        Forward::new(layer.activation, x, &layer.w, &layer.y).b(&layer.b).saved(Saved::Z).save_to(&layer.z)
    }

    /// dy of the last layer has been given: dx, and dy of all other layers.
    fn backward(&self, gpu: &Gpu) {
        let pass = |pass: &mut elbow::wgpu::ComputePass<'_>| {
            for at in (0..self.layers.len()).rev() {
                let dx = if at == 0 { &self.dx } else { &self.layers[at - 1].dy };
                self.call(at).backward(&self.layers[at].dy).dx(dx).record(gpu, &mut *pass)?;
            }
            Ok(())
        };
        gpu.submit_pass(pass).unwrap();
    }

    /// What comes back to dx is in `ddx`, and to the gradients of w and b in `moved`: the gradients for them of a function of the gradients.
    /// `curved`: whether dy of the last layer is its y, so that what comes back to the one is added to the other.
    fn double_backward(&self, gpu: &Gpu, moved: Option<&[(Tensor, Tensor)]>, curved: bool) {
        let last = self.layers.len() - 1;
        let pass = |pass: &mut elbow::wgpu::ComputePass<'_>| {
            for (at, layer) in self.layers.iter().enumerate() {
                let (ddx, dx2) = match at {
                    0 => (&self.ddx, &self.dx2),
                    _ => (&self.layers[at - 1].ddy, &self.layers[at - 1].dy2),
                };
                let mut second = self.call(at).double_backward(&layer.dy).ddx(ddx.view());
                if let Some(moved) = moved {
                    second = second.ddw(moved[at].0.view()).ddb(moved[at].1.view());
                }
                let second = second.ddy(&layer.ddy).dx2(dx2).dw2(&layer.dw2).db2(&layer.db2);
                second.record(gpu, &mut *pass)?;
            }
            if curved {
                let ddy = &self.layers[last].ddy;
                elbow::elementwise::copy(ddy, &self.layers[last].dy2).record(gpu, &mut *pass)?;
            }
            for at in (0..if curved { last + 1 } else { last }).rev() {
                let layer = &self.layers[at];
                let dx = if at == 0 { &self.dx2 } else { &self.layers[at - 1].dy2 };
                let backward = self.call(at).backward(&layer.dy2).dx(Gradient::accumulate(dx));
                let backward = backward.dw(Gradient::accumulate(&layer.dw2)).db(Gradient::accumulate(&layer.db2));
                backward.record(gpu, &mut *pass)?;
            }
            Ok(())
        };
        gpu.submit_pass(pass).unwrap();
    }

    fn forward(&self, gpu: &Gpu) {
        let pass = |pass: &mut elbow::wgpu::ComputePass<'_>| {
            (0..self.layers.len()).try_for_each(|at| self.call(at).record(gpu, &mut *pass))
        };
        gpu.submit_pass(pass).unwrap();
    }

    fn last(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }
}

/// H·v for the Hessian H of half the sum of y², by w and b of all layers.
fn hessian_times(gpu: &Gpu, network: &Network, v: &[(Vec<f32>, Vec<f32>)]) -> Vec<f32> {
    let moved: Vec<(Tensor, Tensor)> = (network.layers.iter().zip(v))
        .map(|(layer, (w, b))| (gpu.upload(w, layer.w.shape()).unwrap(), gpu.upload(b, layer.b.shape()).unwrap()))
        .collect();
    network.double_backward(gpu, Some(&moved), true);
    let both = |layer: &Layer| [gpu.download(&layer.dw2).unwrap(), gpu.download(&layer.db2).unwrap()].concat();
    network.layers.iter().flat_map(both).collect()
}

#[test]
fn a_hessian_is_symmetric() {
    let gpu = gpu();
    let names = ["tanh", "gelu", "softplus", "silu", "gelu_tanh", "mish"];
    for (i, name) in names.into_iter().take(if full() { 6 } else { 3 }).enumerate() {
        let mut numbers = Numbers::new(i as u64);
        let network = Network::new(gpu, name.parse().unwrap(), &[3, 20, 17, 2], 33, &mut numbers);
        let x: Vec<f32> = (0..99).map(|_| numbers.normal()).collect();
        gpu.write(&network.x, &x).unwrap();
        network.forward(gpu);
        // The gradient of half the sum of y² is y.
        gpu.submit(|encoder| elbow::elementwise::copy(&network.last().y, &network.last().dy).record(gpu, encoder))
            .unwrap();
        network.backward(gpu);
        let mut direction = || -> Vec<(Vec<f32>, Vec<f32>)> {
            let mut some =
                |tensor: &Tensor| (0..tensor.shape().iter().product()).map(|_: usize| numbers.normal()).collect();
            network.layers.iter().map(|layer| (some(&layer.w), some(&layer.b))).collect()
        };
        let (u, v) = (direction(), direction());
        let flat = |v: &[(Vec<f32>, Vec<f32>)]| v.iter().flat_map(|(w, b)| [&w[..], b].concat()).collect::<Vec<f32>>();
        let (hu, hv) = (hessian_times(gpu, &network, &u), hessian_times(gpu, &network, &v));
        let (u, v) = (flat(&u), flat(&v));
        let dot = |a: &[f32], b: &[f32]| -> (f64, f64) {
            let terms = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        let ((uhv, size), (vhu, _)) = (dot(&u, &hv), dot(&v, &hu));
        println!("{name}: {uhv} and {vhu}, of terms {size}");
        assert!((uhv - vhu).abs() <= 2e-6 * size && size > 1.0, "{name}: {uhv} is not {vhu}");
        // Along itself the form is not 0, so that a Hessian of zeros would not pass.
        assert!(dot(&u, &hu).0.abs() > 1e-3 * size, "{name}");
    }
}

/// Force and energy of a star in a galaxy (Hénon and Heiles 1964).
fn force([x, y]: [f64; 2]) -> [f64; 2] {
    [-x - 2.0 * x * y, -y - x * x + y * y]
}

/// A network is trained on forces, F = −∇E, by double backward; then its own forces move four points for 10,000 steps of the leapfrog method.
/// It keeps the sum of kinetic and potential energy only if they are the gradient of the energy that it computes.
#[test]
fn forces_of_a_trained_network_keep_energy() {
    let gpu = gpu();
    let (rows, mut numbers) = (64, Numbers::new(3));
    let network = Network::new(gpu, Activation::TANH, &[2, 24, 24, 1], rows, &mut numbers);
    // dE/dE of each row.
    gpu.write(&network.last().dy, &vec![1.0f32; rows]).unwrap();
    let mut parameters: Vec<Adam> =
        network.layers.iter().flat_map(|l| [Adam::new(gpu, &l.w), Adam::new(gpu, &l.b)]).collect();
    let mut losses = Vec::new();
    for step in 0..300 {
        let x: Vec<f32> = (0..2 * rows).map(|_| 0.5 * numbers.normal()).collect();
        gpu.write(&network.x, &x).unwrap();
        network.forward(gpu);
        network.backward(gpu);
        // The loss is the mean of |dx + force|².
        let wanted: Vec<f64> = x.chunks(2).flat_map(|x| force([x[0].into(), x[1].into()])).collect();
        let off: Vec<f64> =
            gpu.download(&network.dx).unwrap().iter().zip(&wanted).map(|(dx, f)| f64::from(*dx) + f).collect();
        losses.push(off.iter().map(|off| off * off).sum::<f64>() / rows as f64);
        let ddx: Vec<f32> = off.iter().map(|off| (2.0 * off / rows as f64) as f32).collect();
        gpu.write(&network.ddx, &ddx).unwrap();
        network.double_backward(gpu, None, false);
        let gradients = network.layers.iter().flat_map(|layer| [&layer.dw2, &layer.db2]);
        let tensors = network.layers.iter().flat_map(|layer| [&layer.w, &layer.b]);
        for ((adam, gradient), tensor) in parameters.iter_mut().zip(gradients).zip(tensors) {
            gpu.write(tensor, adam.step(&gpu.download(gradient).unwrap(), step)).unwrap();
        }
    }
    let (first, last) = (losses[0], losses[290..].iter().sum::<f64>() / 10.0);
    println!("mean squared error of the force: {first} before, {last} after 300 steps");
    assert!(last < 0.02 * first.max(0.5), "training on forces does not converge: {first} to {last}");

    let points = 4;
    let runner = Network::new(gpu, Activation::TANH, &[2, 24, 24, 1], points, &mut numbers);
    for (from, to) in network.layers.iter().zip(&runner.layers) {
        gpu.write(&to.w, &gpu.download(&from.w).unwrap()).unwrap();
        gpu.write(&to.b, &gpu.download(&from.b).unwrap()).unwrap();
    }
    gpu.write(&runner.last().dy, &vec![1.0f32; points]).unwrap();
    let forward: Vec<_> = (0..3).map(|at| runner.call(at).prepare(gpu).unwrap()).collect();
    let backward: Vec<_> = (0..3)
        .rev()
        .map(|at| {
            let dx = if at == 0 { &runner.dx } else { &runner.layers[at - 1].dy };
            runner.call(at).backward(&runner.layers[at].dy).dx(dx).prepare(gpu).unwrap()
        })
        .collect();
    let mut x: Vec<f64> = (0..2 * points).map(|_| 0.3 * f64::from(numbers.normal())).collect();
    let mut v: Vec<f64> = (0..2 * points).map(|_| 0.1 * f64::from(numbers.normal())).collect();
    let gradient = |x: &[f64]| -> Vec<f64> {
        let rounded: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        gpu.write(&runner.x, &rounded).unwrap();
        gpu.submit_pass(|pass| forward.iter().chain(&backward).try_for_each(|call| call.record(&mut *pass))).unwrap();
        gpu.download(&runner.dx).unwrap().iter().map(|&dx| f64::from(dx)).collect()
    };
    let energy = |v: &[f64]| -> Vec<f64> {
        let potential = gpu.download(&runner.last().y).unwrap();
        potential.iter().zip(v.chunks(2)).map(|(e, v)| f64::from(*e) + 0.5 * (v[0] * v[0] + v[1] * v[1])).collect()
    };
    let (steps, dt) = (10_000, 0.01);
    let mut f = gradient(&x);
    let start = energy(&v);
    let mut worst: f64 = 0.0;
    for step in 1..=steps {
        v.iter_mut().zip(&f).for_each(|(v, f)| *v -= 0.5 * dt * f);
        x.iter_mut().zip(&v).for_each(|(x, v)| *x += dt * v);
        f = gradient(&x);
        v.iter_mut().zip(&f).for_each(|(v, f)| *v -= 0.5 * dt * f);
        if step % 50 == 0 {
            let off = energy(&v).iter().zip(&start).map(|(e, s)| (e - s).abs()).fold(0.0, f64::max);
            worst = worst.max(off);
        }
    }
    println!("energy moved by {worst:e} in {steps} steps of {dt}");
    assert!(worst < 1e-4, "energy moved by {worst:e}");
}

/// Adam on the host, for the test alone.
struct Adam {
    value: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    fn new(gpu: &Gpu, tensor: &Tensor) -> Self {
        let value = gpu.download(tensor).unwrap();
        let zeros = vec![0.0; value.len()];
        Adam { value, mean: zeros.clone(), square: zeros }
    }

    fn step(&mut self, gradient: &[f32], step: i32) -> &[f32] {
        let rate = 0.02 * 0.99f32.powi(step) + 0.001;
        let bias = [1.0 - 0.9f32.powi(step + 1), 1.0 - 0.999f32.powi(step + 1)];
        for (i, g) in gradient.iter().enumerate() {
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * g;
            self.square[i] = 0.999 * self.square[i] + 0.001 * g * g;
            self.value[i] -= rate * (self.mean[i] / bias[0]) / ((self.square[i] / bias[1]).sqrt() + 1e-8);
        }
        &self.value
    }
}
