//! Programs: what a kernel computes for each element, as a list of steps over f32 values, without branches.
//!
//! A kernel file schedules (which lane handles which element, in which order); programs say what is computed: one loads an element of A,
//! one of B, and one finishes a sum before it is stored. A program prints one line a step, compares and hashes (it is part of a kernel's
//! key), is checked before it becomes WGSL, and can be run in f64 ([`Program::run`]).
//!
//! ```
//! use elbow::program::{By, Program, Write};
//! use elbow::Operand;
//! // y = sum + b[n]
//! let mut p = Program::default();
//! let sum = p.sum_of(0);
//! let b = p.load(Operand::B, By::Column);
//! let y = p.add(sum, b);
//! p.store(Operand::Y, By::Element, Write::Overwrite, y);
//! assert_eq!(p.check(), Ok(()));
//! assert_eq!(p.to_string(), "v0 = sum 0\nv1 = b[n]\nv2 = v0 + v1\ny[m,n] = v2\n");
//! ```

mod check;
mod run;
mod text;

pub(crate) use check::Makes;
pub use run::Memory;

use crate::{activation::Quantity, dropout::Dropout, operand::Operand};

/// A value: the number of the step that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u8);

/// Which number of an operand the element in row m and column n uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// One for each element: the operand is `[rows, cols]`.
    Element,
    /// In a program for groups of rows ([`Program::of_group`]): the element in this row of the group, of an operand `[rows, cols]`.
    Member(u8),
    /// One for each row: `[rows]`.
    Row,
    /// One for each column: `[cols]`.
    Column,
    /// One for all: `[1]`.
    Whole,
    /// One for each column in one of several planes, `[planes, cols]`: for results of sums over rows.
    Plane(u8),
    /// One for each row in one of several planes, `[planes, rows]`.
    RowPlane(u8),
    /// One of the two numbers of each element, of an operand `[rows, 2, cols]`: all first ones of a row, then all second ones.
    Stacked(u8),
    /// One of the two numbers of each element, of an operand `[rows, cols, 2]`: side by side.
    Interleaved(u8),
    /// One of the two numbers of each column, of an operand `[cols, 2]`.
    InterleavedColumn(u8),
    /// The four words of a dropout's state.
    State,
}

/// A function of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// A quantity from z.
    Of(Quantity),
    /// act'(z) from y.
    SlopeOfY,
    /// act'(z) from the bit of the mask.
    SlopeOfBit,
    /// The bit of the mask from z.
    Bit,
}

impl Function {
    /// Its name in `shaders/activation`.
    pub const fn wgsl_name(self) -> &'static str {
        match self {
            Function::Of(quantity) => quantity.wgsl_name(),
            Function::SlopeOfY => "act_dz_of_y",
            Function::SlopeOfBit => "act_dz_of_bit",
            Function::Bit => "act_bit",
        }
    }
}

/// How a store treats the old number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// Replaces it.
    Overwrite,
    /// Adds to it.
    Accumulate,
}

/// The direction of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// Over all rows: one sum for each column.
    Rows,
    /// Over all columns: one sum for each row.
    Columns,
}

/// One step: it makes a number or a bit, or it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A sum that the kernel has finished: that of a product, of one of the rows of a group, or of one of the planes of partial sums.
    Sum(u8),
    /// A number that is a part of the program, as the bits of an f32, so that programs compare and hash.
    Constant(u32),
    /// A number of the parameter block, by its place in `Params::p`.
    Parameter(u8),
    /// Loads a number of an operand.
    Load(Operand, By),
    /// In a program that loads an operand of a product: an element of two operands that lie one behind the other along the reduction, each a
    /// half of it.
    LoadJoined(Operand, Operand),
    /// In a program that loads B of a product which finishes two sums for each element: an element of the operand of the side that the kernel loads,
    /// the first or the second.
    LoadApart(Operand, Operand),
    /// Loads the element's bit of a mask.
    LoadBit(Operand),
    /// v + w
    Add(Value, Value),
    /// v − w
    Subtract(Value, Value),
    /// v · w
    Multiply(Value, Value),
    /// v · w for a derivative w of a piecewise activation: 0 where w is 0, also for infinite v; NaN where v is NaN.
    Pass(Value, Value),
    /// v · u · w, alike: for second derivatives, which have two factors.
    PassBoth(Value, Value, Value),
    /// 1 where v ≤ 0, else 0.
    NotPositive(Value),
    /// The smaller of v and the limit w; NaN where v is NaN.
    Capped(Value, Value),
    /// The slope of that: 1 where v ≤ w, else 0; NaN where v is NaN.
    Within(Value, Value),
    /// 1 / √v
    InverseSqrt(Value),
    /// What the element is multiplied by in a dropout with this state: 1 / (1 − p) or 0.
    Dropout(Operand, Dropout),
    /// A function of the activation with this number in the kernel's list, of a number or a bit; with a value as α, or else its own.
    Act(u8, Function, Value, Option<Value>),
    /// Writes a number of an operand.
    Store(Operand, By, Write, Value),
    /// Writes the element's bit of a mask.
    StoreBit(Operand, Value),
    /// Adds a term to the next sum over rows or columns, of which the kernel writes partial sums.
    Reduce(Over, Value),
}

impl Step {
    /// The values that the step uses.
    pub(crate) fn takes(&self) -> impl Iterator<Item = Value> + use<> {
        let values = match *self {
            Step::Sum(_)
            | Step::Constant(_)
            | Step::Parameter(_)
            | Step::Load(..)
            | Step::LoadJoined(..)
            | Step::LoadApart(..)
            | Step::LoadBit(_)
            | Step::Dropout(..) => [None; 3],
            Step::NotPositive(v)
            | Step::InverseSqrt(v)
            | Step::Store(_, _, _, v)
            | Step::StoreBit(_, v)
            | Step::Reduce(_, v) => [Some(v), None, None],
            Step::Add(v, w)
            | Step::Subtract(v, w)
            | Step::Multiply(v, w)
            | Step::Pass(v, w)
            | Step::Capped(v, w)
            | Step::Within(v, w) => [Some(v), Some(w), None],
            Step::PassBoth(v, u, w) => [Some(v), Some(u), Some(w)],
            Step::Act(_, _, v, alpha) => [Some(v), alpha, None],
        };
        values.into_iter().flatten()
    }
}

/// How a program uses an operand: one binding of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The operand.
    pub operand: Operand,
    /// Which number of it, with the last of several planes; None for a bit of a mask.
    pub by: Option<By>,
    /// Whether the program writes it.
    pub written: bool,
}

/// A list of steps. A kernel can run it if it passes [`Program::check`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    steps: Vec<Step>,
    /// Neighbouring rows that it sees at once.
    members: u8,
}

impl Default for Program {
    fn default() -> Self {
        Program::of_group(1)
    }
}

/// Writing a program: each call appends a step.
impl Program {
    /// A program without steps for groups of so many neighbouring rows of a column (1, 4 or 8), the first of them a multiple of that number.
    /// It sees the sums of all of them, `Sum(0)` to the last, and their elements ([`By::Member`]).
    ///
    /// ```
    /// use elbow::program::{By, Program, Write};
    /// use elbow::Operand;
    /// // Every fourth row of y is the product of the first two sums of its group.
    /// let mut p = Program::of_group(4);
    /// let [first, second] = [0, 1].map(|member| p.sum_of(member));
    /// let product = p.multiply(first, second);
    /// p.store(Operand::Y, By::Member(3), Write::Overwrite, product);
    /// assert_eq!(p.check(), Ok(()));
    /// assert_eq!(p.to_string(), "for 4 rows\nv0 = sum 0\nv1 = sum 1\nv2 = v0 * v1\ny[m+3,n] = v2\n");
    /// ```
    pub const fn of_group(members: u8) -> Self {
        Program { steps: Vec::new(), members }
    }

    fn step(&mut self, step: Step) -> Value {
        self.steps.push(step);
        Value((self.steps.len() - 1) as u8)
    }

    /// [`Step::Sum`]
    pub fn sum_of(&mut self, plane: u8) -> Value {
        self.step(Step::Sum(plane))
    }

    /// [`Step::Constant`]
    pub fn constant(&mut self, number: f32) -> Value {
        self.step(Step::Constant(number.to_bits()))
    }

    /// [`Step::Parameter`]
    pub fn parameter(&mut self, place: u8) -> Value {
        self.step(Step::Parameter(place))
    }

    /// [`Step::Load`]
    pub fn load(&mut self, operand: Operand, by: By) -> Value {
        self.step(Step::Load(operand, by))
    }

    /// [`Step::LoadJoined`]
    pub fn load_joined(&mut self, first: Operand, second: Operand) -> Value {
        self.step(Step::LoadJoined(first, second))
    }

    /// [`Step::LoadApart`]
    pub fn load_apart(&mut self, first: Operand, second: Operand) -> Value {
        self.step(Step::LoadApart(first, second))
    }

    /// [`Step::LoadBit`]
    pub fn load_bit(&mut self, operand: Operand) -> Value {
        self.step(Step::LoadBit(operand))
    }

    /// [`Step::Add`]
    pub fn add(&mut self, v: Value, w: Value) -> Value {
        self.step(Step::Add(v, w))
    }

    /// [`Step::Subtract`]
    pub fn subtract(&mut self, v: Value, w: Value) -> Value {
        self.step(Step::Subtract(v, w))
    }

    /// [`Step::Multiply`]
    pub fn multiply(&mut self, v: Value, w: Value) -> Value {
        self.step(Step::Multiply(v, w))
    }

    /// [`Step::Pass`]
    pub fn pass(&mut self, v: Value, derivative: Value) -> Value {
        self.step(Step::Pass(v, derivative))
    }

    /// [`Step::PassBoth`]
    pub fn pass_both(&mut self, v: Value, u: Value, derivative: Value) -> Value {
        self.step(Step::PassBoth(v, u, derivative))
    }

    /// [`Step::NotPositive`]
    pub fn not_positive(&mut self, v: Value) -> Value {
        self.step(Step::NotPositive(v))
    }

    /// [`Step::Capped`]
    pub fn capped(&mut self, v: Value, limit: Value) -> Value {
        self.step(Step::Capped(v, limit))
    }

    /// [`Step::Within`]
    pub fn within(&mut self, v: Value, limit: Value) -> Value {
        self.step(Step::Within(v, limit))
    }

    /// [`Step::InverseSqrt`]
    pub fn inverse_sqrt(&mut self, v: Value) -> Value {
        self.step(Step::InverseSqrt(v))
    }

    /// [`Step::Dropout`]
    pub fn dropout(&mut self, state: Operand, dropout: Dropout) -> Value {
        self.step(Step::Dropout(state, dropout))
    }

    /// [`Step::Act`]
    pub fn act(&mut self, stage: u8, function: Function, v: Value, alpha: Option<Value>) -> Value {
        self.step(Step::Act(stage, function, v, alpha))
    }

    /// [`Step::Store`]
    pub fn store(&mut self, operand: Operand, by: By, write: Write, v: Value) {
        self.step(Step::Store(operand, by, write, v));
    }

    /// [`Step::StoreBit`]
    pub fn store_bit(&mut self, operand: Operand, bit: Value) {
        self.step(Step::StoreBit(operand, bit));
    }

    /// [`Step::Reduce`]
    pub fn reduce(&mut self, over: Over, v: Value) {
        self.step(Step::Reduce(over, v));
    }
}

/// Questions that kernels, bindings and plans ask of a program.
impl Program {
    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The rows of a group that it sees at once; 1 if it sees an element alone.
    pub fn members(&self) -> u32 {
        self.members.into()
    }

    /// The value of the last step.
    pub(crate) fn last(&self) -> Option<Value> {
        Some(Value((self.steps.len().checked_sub(1)?) as u8))
    }

    /// Whether it has no steps.
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The operands, each once, in the order of their first use.
    pub fn accesses(&self) -> Vec<Access> {
        let mut all: Vec<Access> = Vec::new();
        for step in &self.steps {
            let (operand, by, written) = match *step {
                Step::Load(operand, by) => (operand, Some(by), false),
                Step::LoadJoined(first, second) | Step::LoadApart(first, second) => {
                    all.extend([first, second].map(|operand| Access {
                        operand,
                        by: Some(By::Element),
                        written: false,
                    }));
                    continue;
                }
                Step::LoadBit(operand) => (operand, None, false),
                Step::Dropout(state, _) => (state, Some(By::State), false),
                Step::Store(operand, by, ..) => (operand, Some(by), true),
                Step::StoreBit(operand, _) => (operand, None, true),
                _ => continue,
            };
            // Where the elements of a group lie, every element lies; and where one of two numbers lies, so does the other.
            let by = by.map(|by| match by {
                By::Member(_) => By::Element,
                By::Stacked(_) => By::Stacked(0),
                By::Interleaved(_) => By::Interleaved(0),
                By::InterleavedColumn(_) => By::InterleavedColumn(0),
                by => by,
            });
            match all.iter_mut().find(|access| access.operand == operand) {
                Some(access) => {
                    access.written |= written;
                    // The last plane gives their number.
                    match (&mut access.by, by) {
                        (Some(By::Plane(last)), Some(By::Plane(plane)))
                        | (Some(By::RowPlane(last)), Some(By::RowPlane(plane))) => *last = plane.max(*last),
                        _ => {}
                    }
                }
                None => all.push(Access { operand, by, written }),
            }
        }
        all
    }

    /// Number of sums over rows, or over columns, that it adds terms to.
    pub fn sums(&self, over: Over) -> u32 {
        self.steps.iter().filter(|step| matches!(step, Step::Reduce(o, _) if *o == over)).count() as u32
    }

    /// Number of finished sums that it uses.
    pub fn finished_sums(&self) -> u32 {
        let planes = self.steps.iter().filter_map(|s| if let Step::Sum(plane) = s { Some(plane + 1) } else { None });
        planes.max().unwrap_or(0).into()
    }

    /// Whether it writes bits of a mask.
    pub fn stores_bits(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::StoreBit(..)))
    }

    /// Whether what it loads is made of two operands, one behind the other.
    pub fn joins(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::LoadJoined(..)))
    }

    /// The operands of both sides, if what it loads is an element of one of them.
    pub fn apart(&self) -> Option<[Operand; 2]> {
        match self.steps[..] {
            [Step::LoadApart(first, second)] => Some([first, second]),
            _ => None,
        }
    }

    /// Whether it calls an activation.
    pub fn acts(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Act(..)))
    }

    /// Whether it reads or writes the operand.
    pub fn uses(&self, operand: Operand) -> bool {
        self.accesses().iter().any(|access| access.operand == operand)
    }
}
