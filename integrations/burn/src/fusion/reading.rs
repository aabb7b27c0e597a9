//! Finds a layer at the beginning of a stream of Burn's operations.
//!
//! ```text
//! [ahead] matmul(x, w) [+ b] [reshape] activation
//! ```
//!
//! What Burn's `Linear` and an activation leave in a stream: a product, views of the bias and of the result where Burn folds leading dimensions into rows, and the
//! operators of the activation. Elementwise operators may stand ahead of it (the scale of an input, the last step of an optimiser): Burn looks for fusions from
//! the beginning of what hangs together, and would not look for a layer behind them.
//!
//! Shapes in a stream are names (equal where the sizes are; 0 is the size 1) and so are its numbers, so that one reading serves every batch.

use std::collections::HashSet;

use burn::backend::{
    DType,
    ir::{
        BaseOperationIr as Base, BinaryOpIr, FloatOperationIr as Float, MatmulOpIr, NumericOperationIr as Numeric,
        OperationIr, ScalarIr, TensorId, TensorIr, TensorStatus,
    },
};

use super::spelling::{Candidate, Number, Spelling};

/// The name of the size 1.
const ONE: usize = 0;

/// A layer that a stream begins with.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// How many operations it is.
    pub(super) len: usize,
    /// The product's place. What stands ahead of it Burn runs by itself,
    pub(super) product: usize,
    /// and so it does these behind it, in order: a bias as a row, and the ends of other tensors.
    pub(super) asides: Vec<usize>,
    /// `[.., K]`
    pub(super) x: TensorIr,
    /// `[1, .., K, N]`
    pub(super) w: TensorIr,
    /// `[1, .., N]`, and where it is added.
    pub(super) b: Option<(usize, TensorIr)>,
    /// z `[.., N]`, under each name by which it is read later.
    pub(super) z: Vec<TensorIr>,
    /// `[.., N]`
    pub(super) y: TensorIr,
    pub(super) spelling: &'static Spelling,
    pub(super) numbers: Vec<(ScalarIr, Number)>,
}

/// What the beginning of a stream is.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The longest layer in it.
    pub(super) layer: Option<Layer>,
    /// Whether more operations may make a layer of it, or a longer one.
    pub(super) is_open: bool,
    /// Without a layer: the operations up to the product, if there is one. Burn would run it by itself; this reader may have kept the beginning open for longer.
    pub(super) unfused: usize,
}

impl Reading {
    /// Of nothing yet.
    pub(super) fn open() -> Self {
        Reading { is_open: true, ..Reading::default() }
    }
}

/// Reads the beginning of a stream.
pub(super) fn read(stream: &[OperationIr]) -> Reading {
    let product = stream.iter().enumerate().find_map(|(at, operation)| Some((at, product(operation)?)));
    let Some((ahead, product)) = product else { return Reading::open() };
    let mut reader = Reader {
        asides: Vec::new(),
        product,
        at: ahead,
        b: None,
        z: vec![product.out.clone()],
        made: HashSet::from([product.out.id]),
        ended: HashSet::new(),
        candidates: Candidate::all(product.out.id),
    };
    let mut reading = Reading { unfused: ahead + 1, ..Reading::open() };
    for (at, operation) in stream.iter().enumerate().skip(ahead + 1) {
        reading.is_open = reader.read(at, operation);
        if !reading.is_open {
            break;
        }
        if let Some(layer) = reader.layer(at) {
            reading.layer = Some(layer);
        }
        reading.is_open = reader.candidates.iter().any(|candidate| !candidate.is_complete());
        if !reading.is_open {
            break;
        }
    }
    reading
}

struct Reader<'a> {
    asides: Vec<usize>,
    product: &'a MatmulOpIr,
    at: usize,
    b: Option<(usize, &'a TensorIr)>,
    /// z under its names so far: without a bias the product, the sum, and the same in another shape.
    z: Vec<TensorIr>,
    /// Every tensor that the layer makes.
    made: HashSet<TensorId>,
    /// Those of them that nothing after it reads.
    ended: HashSet<TensorId>,
    candidates: Vec<Candidate>,
}

impl<'a> Reader<'a> {
    /// Whether the operation belongs to a layer, or may stand in it; it is taken in then.
    fn read(&mut self, at: usize, operation: &'a OperationIr) -> bool {
        let is_end = matches!(operation, OperationIr::Drop(_));
        let of_layer: Vec<_> = operation.inputs().filter(|input| self.made.contains(&input.id)).collect();
        // Nothing else: what holds on to more of a stream than it needs keeps Burn from better fusions.
        let is_row = || operation.outputs().all(|out| is_row(out, &self.product.out));
        if of_layer.is_empty() && (is_end || is_view(operation) && is_row()) {
            self.asides.push(at);
            return true;
        }
        let ended = of_layer.iter().filter(|input| is_end || input.status == TensorStatus::ReadWrite);
        self.ended.extend(ended.map(|input| input.id));
        is_end || self.is_affine(at, operation) || self.is_step(operation)
    }

    /// The bias, or z in another shape.
    fn is_affine(&mut self, at: usize, operation: &'a OperationIr) -> bool {
        let Some(z) = self.z.last().filter(|_| self.candidates.iter().all(Candidate::is_new)) else { return false };
        if let OperationIr::NumericFloat(_, Numeric::Add(BinaryOpIr { lhs, rhs, out })) = operation {
            let b = if lhs.id == z.id { rhs } else { lhs };
            let is_sum = (lhs.id == z.id || rhs.id == z.id) && !self.made.contains(&b.id);
            if !is_sum || self.b.is_some() || self.z.len() > 1 || !is_row(b, z) {
                return false;
            }
            self.b = Some((at, b));
            self.named(out, true);
            return true;
        }
        match operation {
            OperationIr::BaseFloat(Base::Reshape(reshape)) => {
                let is_z = reshape.input.id == z.id && reshape.out.shape.iter().last() == z.shape.iter().last();
                if is_z {
                    self.named(&reshape.out, false);
                }
                is_z
            }
            _ => false,
        }
    }

    /// z has a new name, as a sum or as a view.
    fn named(&mut self, z: &TensorIr, is_new: bool) {
        if is_new {
            self.z.clear();
        }
        self.z.push(z.clone());
        self.made.insert(z.id);
        self.candidates = Candidate::all(z.id);
    }

    /// The next operator of an activation.
    fn is_step(&mut self, operation: &OperationIr) -> bool {
        self.candidates.retain_mut(|candidate| !candidate.is_complete() && candidate.reads(operation));
        self.made.extend(operation.outputs().map(|out| out.id));
        !self.candidates.is_empty()
    }

    /// The layer that ends with the operation at that place, if there is one, and nothing that it does not write is read after it.
    fn layer(&self, at: usize) -> Option<Layer> {
        let candidate = self.candidates.iter().find(|candidate| candidate.is_complete())?;
        let y = candidate.y()?;
        let read_later = |id: &TensorId| !self.ended.contains(id) && *id != y.id;
        let is_z = |id: &TensorId| self.z.iter().any(|z| z.id == *id);
        if y.dtype != self.product.out.dtype || self.made.iter().any(|id| read_later(id) && !is_z(id)) {
            return None;
        }
        Some(Layer {
            len: at + 1,
            asides: self.asides.clone(),
            product: self.at,
            x: self.product.lhs.clone(),
            w: self.product.rhs.clone(),
            b: self.b.map(|(at, b)| (at, b.clone())),
            z: self.z.iter().filter(|z| read_later(&z.id)).cloned().collect(),
            y: y.clone(),
            spelling: candidate.spelling(),
            numbers: candidate.numbers().to_vec(),
        })
    }
}

/// The same memory, seen in another shape.
pub(super) fn is_view(operation: &OperationIr) -> bool {
    matches!(operation, OperationIr::BaseFloat(Base::Reshape(_) | Base::SwapDims(_)))
}

/// The product of a layer: a weight that all rows share, and one type that elbow has.
pub(super) fn product(operation: &OperationIr) -> Option<&MatmulOpIr> {
    let OperationIr::Float(_, Float::Matmul(product)) = operation else { return None };
    let MatmulOpIr { lhs, rhs, out } = product;
    let batches = rhs.shape.iter().rev().skip(2);
    let is_one_weight = rhs.shape.iter().count() >= 2 && batches.copied().all(|size| size == ONE);
    let is_one_type = lhs.dtype == rhs.dtype && lhs.dtype == out.dtype;
    let has_type = matches!(out.dtype, DType::F32 | DType::F16);
    (is_one_weight && is_one_type && has_type).then_some(product)
}

/// Whether b is one row, as wide as z.
fn is_row(b: &TensorIr, z: &TensorIr) -> bool {
    let mut b_sizes = b.shape.iter().rev();
    let is_wide = b_sizes.next() == z.shape.iter().next_back();
    b.dtype == z.dtype && is_wide && b_sizes.all(|&size| size == ONE)
}
