//! Networks that come back to themselves, step by step, and their gradients.

use elbow::{
    Activation, Gpu, ResidualAt,
    affine::{Forward, Gradient},
    criterion::Criterion,
    gpu::transfer::Tensor,
    train::{Loss, Sgd},
};

use super::{
    Lab, Result,
    matrices::orthogonal,
    normal,
    statistics::{expectation, mean, normal_cdf, normal_density},
};

/// h' = φ(W h + b + input).
pub(crate) struct Recurrent<'a> {
    gpu: &'a Gpu,
    activation: Activation,
    pub(crate) w: Tensor,
    b: Option<Tensor>,
}

impl<'a> Recurrent<'a> {
    pub(crate) fn new(gpu: &'a Gpu, activation: Activation, w: Tensor, b: Option<Tensor>) -> Self {
        Recurrent { gpu, activation, w, b }
    }

    /// The states, from the first (`[rows, N]`) on; an input for each step, shaped alike, or none.
    pub(crate) fn forward(&self, first: Tensor, steps: usize, inputs: Option<&[Tensor]>) -> Result<Vec<Tensor>> {
        let mut states = vec![first];
        for step in 0..steps {
            let next = self.gpu.zeros(states[step].shape())?;
            let call = self.step(&states[step], &next, inputs.map(|inputs| &inputs[step]));
            self.gpu.submit(|encoder| call.record(self.gpu, encoder))?;
            states.push(next);
        }
        Ok(states)
    }

    /// The gradient of the first state for that of the last, by the same inputs; dW is added to.
    pub(crate) fn backward(
        &self,
        states: &[Tensor],
        last: Tensor,
        inputs: Option<&[Tensor]>,
        dw: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut dh = last;
        for step in (0..states.len() - 1).rev() {
            let below = self.gpu.zeros(dh.shape())?;
            let call = self.step(&states[step], &states[step + 1], inputs.map(|inputs| &inputs[step])).backward(&dh);
            let call = call.dx(Gradient::overwrite(&below)).dw(dw.map(Gradient::accumulate));
            self.gpu.submit_pass(|pass| call.record(self.gpu, pass))?;
            dh = below;
        }
        Ok(dh)
    }

    fn step<'b>(&'b self, h: &'b Tensor, next: &'b Tensor, input: Option<&'b Tensor>) -> Forward<'b> {
        let call = Forward::new(self.activation, h, &self.w, next).b(self.b.as_ref().map(Tensor::view));
        call.residual(input.map(Tensor::view)).residual_at(ResidualAt::BeforeActivation)
    }
}

/// A state of h' = φ(ρQ h + b + input) that goes on as it is, where Q is orthogonal and keeps the vector of ones, for inputs N(0, spread²).
pub(crate) struct Case {
    pub(crate) spread: f64,
    pub(crate) bias: f64,
    /// Mean and deviation of z.
    z: (f64, f64),
    /// E[φ'] and E[φ'²].
    pub(crate) slopes: [f64; 2],
}

impl Case {
    /// With a mean slope of 1/4.
    pub(crate) fn tanh(rho: f64) -> Self {
        let slope = |q: f64, power: i32| expectation(|z| (1.0 - (q.sqrt() * z).tanh().powi(2)).powi(power));
        let (mut low, mut high): (f64, f64) = (0.0, 100.0);
        for _ in 0..40 {
            let q = (low + high) / 2.0;
            *(if slope(q, 1) > 0.25 { &mut low } else { &mut high }) = q;
        }
        // E[tanh²] = 1 - E[tanh'].
        let spread = (low - rho * rho * 0.75).sqrt();
        Case { spread, bias: 0.0, z: (0.0, low.sqrt()), slopes: [0.25, slope(low, 2)] }
    }

    /// With three of four units on: z has the mean c, Φ(c) = 3/4, and the variance 1; h the mean m and the variance v.
    pub(crate) fn relu(rho: f64) -> Self {
        let c = 0.674_489_750_196;
        let m = c * 0.75 + normal_density(c);
        let v = (1.0 + c * c) * 0.75 + c * normal_density(c) - m * m;
        Case { spread: (1.0 - rho * rho * v).sqrt(), bias: c - rho * m, z: (c, 1.0), slopes: [normal_cdf(c); 2] }
    }

    /// A number of such a state.
    pub(crate) fn begins(&self, activation: Activation, normal: f32) -> f32 {
        activation.value(self.z.0 + self.z.1 * f64::from(normal)) as f32
    }
}

/// Trains a network to say after so many steps the four numbers that it was told before them: its errors in units of their variance, and
/// what was kept of the length of the state in each step before training, with its standard error over networks.
pub(crate) fn memory(lab: &Lab, activation: Activation, rho: f32, steps: usize) -> Result<(Vec<f64>, (f64, f64))> {
    const UNITS: usize = 128;
    const ROWS: usize = 64;
    let (gpu, mut rng) = (&lab.gpu, lab.rng(15));
    let (mut kept, mut curve) = (Vec::new(), Vec::new());
    let networks = lab.pick(12, 6);
    for network in 0..networks {
        let w: Vec<f32> = orthogonal(&mut rng, UNITS).iter().map(|q| rho * *q as f32).collect();
        let recurrent = Recurrent::new(gpu, activation, gpu.upload(&w, &[UNITS, UNITS])?, None);
        let (u, v) = (lab.normal(&mut rng, 0.5, &[UNITS, 4])?, lab.normal(&mut rng, 0.01, &[4, UNITS])?);
        let (first, y) = (gpu.zeros(&[ROWS, UNITS])?, gpu.zeros(&[ROWS, 4])?);
        let (loss, dy, dh) = (gpu.zeros(&[ROWS])?, gpu.zeros(&[ROWS, 4])?, gpu.zeros(&[ROWS, UNITS])?);
        let grads = [gpu.zeros(&[UNITS, UNITS])?, gpu.zeros(&[UNITS, 4])?, gpu.zeros(&[4, UNITS])?];
        let velocity = [gpu.zeros(&[UNITS, UNITS])?, gpu.zeros(&[UNITS, 4])?, gpu.zeros(&[4, UNITS])?];
        // One network learns; the others show what they keep.
        let lessons = if network == 0 { lab.pick(300, 40) } else { 1 };
        for lesson in 0..lessons {
            let drawn: Vec<f32> = (0..ROWS * 4).map(|_| normal(&mut rng)).collect();
            let x = gpu.upload(&drawn, &[ROWS, 4])?;
            let told = Forward::new(Activation::IDENTITY, &x, &u, &first);
            gpu.submit(|encoder| told.record(gpu, encoder))?;
            let states = recurrent.forward(first.clone(), steps, None)?;
            if lesson == 0 {
                let square = |h: &Tensor| Ok(gpu.download(h)?.iter().map(|h| f64::from(*h).powi(2)).sum::<f64>());
                // From the second state on: the first is no output of φ.
                let ends: [Result<f64>; 2] = [square(&states[1]), square(&states[steps])];
                let [start, end] = ends;
                kept.push((end? / start?).powf(0.5 / (steps - 1) as f64));
            }
            let said = Forward::new(Activation::IDENTITY, &states[steps], &v, &y);
            gpu.write(&grads[0], &[0.0; UNITS * UNITS])?;
            gpu.submit_pass(|pass| {
                said.record(gpu, &mut *pass)?;
                Loss::new(Criterion::SquaredError, &y, &x, &loss, &dy).record(gpu, &mut *pass)?;
                said.backward(&dy).dx(&dh).dw(&grads[2]).record(gpu, pass)
            })?;
            let back = recurrent.backward(&states, dh.clone(), None, Some(&grads[0]))?;
            gpu.submit_pass(|pass| {
                told.backward(&back).dw(&grads[1]).record(gpu, &mut *pass)?;
                for (parameter, (gradient, velocity)) in
                    [&recurrent.w, &u, &v].into_iter().zip(grads.iter().zip(&velocity))
                {
                    Sgd::new(parameter, gradient, velocity, 0.005).momentum(0.9).record(gpu, &mut *pass)?;
                }
                Ok(())
            })?;
            if network == 0 {
                let said: f64 = gpu.download(&loss)?.iter().map(|loss| 4.0 * f64::from(*loss)).sum();
                curve.push(said / drawn.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>());
            }
        }
    }
    Ok((curve, mean(&kept)))
}
