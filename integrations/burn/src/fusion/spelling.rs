//! How Burn spells an activation: the operators that its stream has in the place of one function, as a table.

use std::f64::consts::{FRAC_2_PI, SQRT_2};

use burn::backend::ir::{
    BaseOperationIr as Base, FloatOperationIr as Float, IrVisitorMut, NumericOperationIr as Numeric, OperationIr,
    ScalarIr, TensorId, TensorIr,
};
use elbow::{Activation, Result};

/// An activation in Burn's operators.
#[derive(Debug)]
pub(super) struct Spelling {
    /// The activation of the numbers that the operators carry as [`Number::Parameter`].
    pub(super) activation: fn(&[f32]) -> Result<Activation>,
    steps: &'static [Step],
}

/// One operator.
#[derive(Debug)]
struct Step {
    kind: Kind,
    /// What it reads, in order: 0 is z, `i` the result of the i-th step.
    reads: &'static [usize],
    numbers: &'static [Number],
}

/// A number in a stream: Burn knows it only when the stream runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// It belongs to the spelling. Another one there is another function.
    Is(f64),
    /// A parameter of the activation.
    Parameter,
}

use Number::{Is, Parameter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    AddScalar,
    Cast,
    Clamp,
    DivScalar,
    Erf,
    Exp,
    Log,
    LowerElem,
    LowerEqualElem,
    MaskFill,
    MaskWhere,
    Mul,
    MulScalar,
    PowfScalar,
    Tanh,
}

const fn step(kind: Kind, reads: &'static [usize], numbers: &'static [Number]) -> Step {
    Step { kind, reads, numbers }
}

/// exp(-log(1 + exp(-z))). Burn computes it in f32 and casts to and fro, also where there is nothing to cast.
macro_rules! sigmoid_and {
    ($($more:expr),*) => {
        &[
            step(Kind::Cast, &[0], &[]),
            step(Kind::MulScalar, &[1], &[Is(-1.0)]),
            step(Kind::Exp, &[2], &[]),
            step(Kind::AddScalar, &[3], &[Is(1.0)]),
            step(Kind::Log, &[4], &[]),
            step(Kind::MulScalar, &[5], &[Is(-1.0)]),
            step(Kind::Exp, &[6], &[]),
            step(Kind::Cast, &[7], &[]),
            $($more),*
        ]
    };
}

static SPELLINGS: [Spelling; 8] = [
    Spelling {
        activation: |_| Ok(Activation::RELU),
        steps: &[step(Kind::LowerEqualElem, &[0], &[Is(0.0)]), step(Kind::MaskFill, &[0, 1], &[Is(0.0)])],
    },
    Spelling {
        activation: |of| Activation::leaky_relu(of[0]),
        steps: &[
            step(Kind::LowerElem, &[0], &[Is(0.0)]),
            step(Kind::MulScalar, &[0], &[Parameter]),
            step(Kind::MaskWhere, &[0, 1, 2], &[]),
        ],
    },
    // ReLU6 too.
    Spelling {
        activation: |of| Activation::hardtanh(of[0], of[1]),
        steps: &[step(Kind::Clamp, &[0], &[Parameter, Parameter])],
    },
    Spelling { activation: |_| Ok(Activation::TANH), steps: &[step(Kind::Tanh, &[0], &[])] },
    Spelling { activation: |_| Ok(Activation::SIGMOID), steps: sigmoid_and!() },
    Spelling { activation: |_| Ok(Activation::SILU), steps: sigmoid_and!(step(Kind::Mul, &[0, 8], &[])) },
    Spelling {
        activation: |_| Ok(Activation::GELU_ERF),
        steps: &[
            step(Kind::DivScalar, &[0], &[Is(SQRT_2)]),
            step(Kind::Erf, &[1], &[]),
            step(Kind::AddScalar, &[2], &[Is(1.0)]),
            step(Kind::Mul, &[0, 3], &[]),
            step(Kind::DivScalar, &[4], &[Is(2.0)]),
        ],
    },
    Spelling {
        activation: |_| Ok(Activation::GELU_TANH),
        steps: &[
            step(Kind::PowfScalar, &[0], &[Is(3.0)]),
            step(Kind::MulScalar, &[1], &[Is(0.044715)]),
            step(Kind::Add, &[0, 2], &[]),
            step(Kind::MulScalar, &[3], &[Is(SQRT_2_OVER_PI)]),
            step(Kind::Tanh, &[4], &[]),
            step(Kind::AddScalar, &[5], &[Is(1.0)]),
            step(Kind::Mul, &[0, 6], &[]),
            step(Kind::MulScalar, &[7], &[Is(0.5)]),
        ],
    },
];

/// √(2/π)
const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const _: () = assert!((SQRT_2_OVER_PI * SQRT_2_OVER_PI - FRAC_2_PI).abs() < 1e-15);

/// A spelling of which the stream has had a part.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    spelling: &'static Spelling,
    /// z, then the result of each step so far.
    values: Vec<TensorId>,
    last: Option<TensorIr>,
    /// The numbers so far, as the stream names them.
    numbers: Vec<(ScalarIr, Number)>,
}

impl Candidate {
    /// All spellings, of which nothing was read yet.
    pub(super) fn all(z: TensorId) -> Vec<Self> {
        let begun = |spelling| Candidate { spelling, values: vec![z], last: None, numbers: Vec::new() };
        SPELLINGS.iter().map(begun).collect()
    }

    /// Whether the operation is the next step; it is read then.
    pub(super) fn reads(&mut self, operation: &OperationIr) -> bool {
        let Some((step, kind)) = self.spelling.steps.get(self.values.len() - 1).zip(kind(operation)) else {
            return false;
        };
        let Some(out) = operation.outputs().next() else { return false };
        let wanted = step.reads.iter().map(|&at| self.values[at]);
        let got = || operation.inputs().map(|input| input.id);
        let commutes = matches!(kind, Kind::Add | Kind::Mul);
        let fits = wanted.clone().eq(got()) || commutes && wanted.eq(got().collect::<Vec<_>>().into_iter().rev());
        let numbers = numbers(operation);
        if kind != step.kind || !fits || numbers.len() != step.numbers.len() {
            return false;
        }
        self.values.push(out.id);
        self.last = Some(out.clone());
        self.numbers.extend(numbers.into_iter().zip(step.numbers.iter().copied()));
        true
    }

    pub(super) fn is_new(&self) -> bool {
        self.values.len() == 1
    }

    pub(super) fn is_complete(&self) -> bool {
        self.values.len() > self.spelling.steps.len()
    }

    /// The result of the last step so far.
    pub(super) fn y(&self) -> Option<&TensorIr> {
        self.last.as_ref()
    }

    pub(super) fn spelling(&self) -> &'static Spelling {
        self.spelling
    }

    pub(super) fn numbers(&self) -> &[(ScalarIr, Number)] {
        &self.numbers
    }
}

fn kind(operation: &OperationIr) -> Option<Kind> {
    Some(match operation {
        OperationIr::NumericFloat(_, operation) => match operation {
            Numeric::Add(_) => Kind::Add,
            Numeric::AddScalar(_) => Kind::AddScalar,
            Numeric::Clamp(_) => Kind::Clamp,
            Numeric::DivScalar(_) => Kind::DivScalar,
            Numeric::LowerElem(_) => Kind::LowerElem,
            Numeric::LowerEqualElem(_) => Kind::LowerEqualElem,
            Numeric::Mul(_) => Kind::Mul,
            Numeric::MulScalar(_) => Kind::MulScalar,
            _ => return None,
        },
        OperationIr::Float(_, operation) => match operation {
            Float::Erf(_) => Kind::Erf,
            Float::Exp(_) => Kind::Exp,
            Float::Log(_) => Kind::Log,
            Float::PowfScalar(_) => Kind::PowfScalar,
            Float::Tanh(_) => Kind::Tanh,
            _ => return None,
        },
        OperationIr::BaseFloat(operation) => match operation {
            Base::Cast(_) => Kind::Cast,
            Base::MaskFill(_) => Kind::MaskFill,
            Base::MaskWhere(_) => Kind::MaskWhere,
            _ => return None,
        },
        _ => return None,
    })
}

/// The numbers of an operation, in order.
fn numbers(operation: &OperationIr) -> Vec<ScalarIr> {
    #[derive(Default)]
    struct Numbers(Vec<ScalarIr>);
    impl IrVisitorMut for Numbers {
        fn visit_scalar_mut(&mut self, number: &mut ScalarIr) {
            self.0.push(*number);
        }
    }
    let mut all = Numbers::default();
    operation.clone().visit_mut(&mut all);
    all.0
}
