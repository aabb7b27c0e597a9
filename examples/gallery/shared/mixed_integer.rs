//! A network as a mixed-integer program, for continuous activations that are linear in pieces. It is exact: what is the least there
//! is the least of the network.

use elbow::{Activation, Gpu};
use microlp::{
    ComparisonOp::{Eq, Ge, Le},
    Error,
    OptimizationDirection::Minimize,
    Problem, SolutionStatus, SolveOptions, Variable,
};

use super::{Result, Stack};

/// What a solution may miss a constraint by, and a binary its integer.
const MISS: f64 = 1e-9;
/// What a number is rounded by in f32, relative to it.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// The smallest change of an image that has another class read, of all in a box around it.
pub(crate) struct Program {
    problem: Problem,
    change: Variable,
    /// The input, then what each layer gives.
    layers: Vec<Vec<Value>>,
    /// One for each kink of a unit that its interval contains.
    pub(crate) binaries: usize,
}

/// A number of the network, as a sum of variables.
struct Value {
    constant: f64,
    terms: Vec<(Variable, f64)>,
    /// The interval that it lies in.
    ends: [f64; 2],
    /// How far what the device makes of a solution may be from what the solution says.
    doubt: f64,
}

/// The nearest image that is read otherwise.
pub(crate) struct Nearest {
    /// The largest change of a pixel.
    pub(crate) change: f64,
    /// As what it is read.
    pub(crate) class: usize,
    /// The image, then what each layer makes of it; each with its doubt.
    layers: Vec<Vec<(f64, f64)>>,
}

impl Nearest {
    pub(crate) fn image(&self) -> Vec<f32> {
        self.layers[0].iter().map(|pixel| pixel.0 as f32).collect()
    }

    /// What the device makes of the image: how far a unit is from what the program says at most, and how far the outputs of the two
    /// classes from each other, both for the doubt that there is.
    pub(crate) fn met(&self, gpu: &Gpu, network: &Stack, own: usize) -> Result<[f64; 2]> {
        let on_device = network.forward(gpu, &gpu.upload(&self.image(), &[1, self.layers[0].len()])?)?;
        let (mut apart, mut margin) = (0.0, 0.0);
        for (layer, solved) in on_device.iter().zip(&self.layers[1..]) {
            let y = gpu.download(layer)?;
            let off = |(y, (value, doubt)): (&f32, &(f64, f64))| (f64::from(*y) - value).abs() / doubt;
            apart = y.iter().zip(solved).map(off).fold(apart, f64::max);
            // Of the last layer, in the end.
            let of =
                |class: usize| y.get(class).zip(solved.get(class)).map_or((0.0, 1.0), |(y, v)| (f64::from(*y), v.1));
            let ((y, doubt), (other, more)) = (of(own), of(self.class));
            margin = (y - other).abs() / (doubt + more);
        }
        Ok([apart, margin])
    }
}

impl Program {
    /// Of all images whose pixels are within `radius` of this one's, and within their `range`. If not `whole`, the binaries may be anything
    /// between 0 and 1: the linear relaxation, whose least is never above.
    pub(crate) fn new(
        gpu: &Gpu,
        network: &Stack,
        (image, range): (&[f32], &[Vec<f32>; 2]),
        (radius, whole): (f64, bool),
    ) -> Result<Self> {
        let mut problem = Problem::new(Minimize);
        let change = problem.add_var(1.0, (0.0, radius));
        let mut program = Program { problem, change, layers: Vec::new(), binaries: 0 };
        let limits = range[0].iter().zip(&range[1]).map(|(&low, &high)| [low, high].map(f64::from));
        let mut below: Vec<Value> =
            image.iter().zip(limits).map(|(&x, limits)| program.pixel(x.into(), limits, radius)).collect();
        for layer in &network.layers {
            let (w, k) = (gpu.download(&layer.w)?, layer.w.shape()[1]);
            let b = layer.b.as_ref().map_or(Ok(vec![0.0; w.len() / k]), |b| gpu.download(b))?;
            let units =
                w.chunks(k).zip(b).map(|(w, b)| program.unit(layer.activation, (w, b), &below, whole)).collect();
            program.layers.push(std::mem::replace(&mut below, units));
        }
        program.layers.push(below);
        Ok(program)
    }

    /// The least change after which the output of another class is not below that of `own`; the classes in the order of the image's outputs y,
    /// because what one needs is the most that the next may. None if that is above the radius.
    pub(crate) fn nearest(&self, own: usize, y: &[f32]) -> Result<Option<Nearest>> {
        let mut others: Vec<usize> = (0..y.len()).filter(|&class| class != own).collect();
        others.sort_by(|&a, &b| y[b].total_cmp(&y[a]));
        let mut best: Option<Nearest> = None;
        for class in others {
            best = self.towards(own, class, best.as_ref().map_or(f64::INFINITY, |best| best.change))?.or(best);
        }
        Ok(best)
    }

    /// The largest radius that the relaxation is sure of, by so many halvings of what is below `most`: it sees less the wider the box is.
    pub(crate) fn relaxed(
        gpu: &Gpu,
        network: &Stack,
        around: (&[f32], &[Vec<f32>; 2]),
        (own, y): (usize, &[f32]),
        (most, halvings): (f64, usize),
    ) -> Result<f64> {
        let (mut safe, mut most) = (0.0, most);
        for _ in 0..halvings {
            let radius = (safe + most) / 2.0;
            match Program::new(gpu, network, around, (radius, false))?.nearest(own, y)? {
                None => safe = radius,
                // Nothing nearer is read otherwise, even so.
                Some(nearest) => (safe, most) = (nearest.change.max(safe), radius),
            }
        }
        Ok(safe)
    }

    /// The least change after which the output of `class` is not below that of `own`; none if it is above `most`.
    fn towards(&self, own: usize, class: usize, most: f64) -> Result<Option<Nearest>> {
        let mut problem = self.problem.clone();
        let [own, other] = [own, class].map(|class| self.layers.last().and_then(|y| y.get(class)));
        let (own, other) = own.zip(other).ok_or("no such class")?;
        let minus = own.terms.iter().map(|&(variable, factor)| (variable, -factor));
        problem.add_constraint(other.terms.iter().copied().chain(minus), Ge, own.constant - other.constant);
        problem.add_constraint([(self.change, 1.0)], Le, most);
        let mut options = SolveOptions::default();
        (options.int_tol, options.tolerances.feasibility) = (MISS, MISS);
        let solution = match problem.solve_with(options) {
            Err(Error::Infeasible) => return Ok(None),
            outcome => outcome?.into_solution().map_err(|_| "the solver found nothing")?,
        };
        if solution.status() != SolutionStatus::Optimal {
            return Err("the solver has not shown that nothing is nearer".into());
        }
        let value = |v: &Value| v.constant + v.terms.iter().map(|&(of, factor)| factor * solution[of]).sum::<f64>();
        let layers = self.layers.iter().map(|layer| layer.iter().map(|v| (value(v), v.doubt)).collect()).collect();
        Ok(Some(Nearest { change: solution.objective(), class, layers }))
    }

    fn pixel(&mut self, from: f64, [low, high]: [f64; 2], radius: f64) -> Value {
        let ends = [low.max(from - radius), high.min(from + radius)];
        let x = self.problem.add_var(0.0, ends.into());
        self.problem.add_constraint([(x, 1.0), (self.change, -1.0)], Le, from);
        self.problem.add_constraint([(x, 1.0), (self.change, 1.0)], Ge, from);
        Value { constant: 0.0, terms: vec![(x, 1.0)], ends, doubt: ROUNDING * largest(ends) }
    }

    /// y = act(w·x + b). The kinks cut the interval of z into pieces: z = low + Σ rise, y = act(low) + Σ slope·rise, and no piece rises
    /// before the one below is complete, which takes a binary (Markowitz and Manne 1957).
    fn unit(&mut self, activation: Activation, (w, b): (&[f32], f32), x: &[Value], whole: bool) -> Value {
        // A sum of n products and b: in whatever order, no term is rounded more than n + 1 times on the device.
        let times = (w.len() + 1) as f64 * ROUNDING;
        let rounding = times / (1.0 - times);
        let b = f64::from(b);
        let mut z = Value { constant: b, terms: Vec::new(), ends: [b, b], doubt: MISS + rounding * b.abs() };
        for (w, x) in w.iter().map(|&w| f64::from(w)).zip(x) {
            z.constant += w * x.constant;
            z.terms.extend(x.terms.iter().map(|&(of, factor)| (of, w * factor)));
            let [low, high] = x.ends.map(|end| w * end);
            z.ends = [z.ends[0] + low.min(high), z.ends[1] + low.max(high)];
            z.doubt += w.abs() * (x.doubt + rounding * (largest(x.ends) + x.doubt));
        }
        let [low, high] = z.ends;
        let kinks = activation.kinks().into_iter().map(|kink| kink.at).filter(|&kink| low < kink && kink < high);
        let corners: Vec<f64> = [low].into_iter().chain(kinks).chain([high]).collect();
        let values = corners.iter().map(|&z| activation.value(z));
        let ends = [values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max)];
        let doubt = activation.lipschitz() * (z.doubt + MISS * (1.0 + high - low) * corners.len() as f64);
        let mut y = Value { constant: activation.value(low), terms: Vec::new(), ends, doubt };
        let mut below: Option<(Variable, f64)> = None;
        for piece in corners.windows(2) {
            let length = piece[1] - piece[0];
            let rise = self.problem.add_var(0.0, (0.0, length));
            if let Some((full, most)) = below.replace((rise, length)) {
                self.binaries += 1;
                let on = if whole { self.problem.add_binary_var(0.0) } else { self.problem.add_var(0.0, (0.0, 1.0)) };
                self.problem.add_constraint([(full, 1.0), (on, -most)], Ge, 0.0);
                self.problem.add_constraint([(rise, 1.0), (on, -length)], Le, 0.0);
            }
            z.terms.push((rise, -1.0));
            y.terms.push((rise, activation.slope(piece[0].midpoint(piece[1]))));
        }
        self.problem.add_constraint(z.terms, Eq, low - z.constant);
        y
    }
}

fn largest([low, high]: [f64; 2]) -> f64 {
    low.abs().max(high.abs())
}
