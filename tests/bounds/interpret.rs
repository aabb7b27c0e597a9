//! One invocation of a kernel's own text, run step by step: its integers are computed, and every sum, product and difference
//! of u32 that wraps is a failure, as is an index outside of a binding; its floats are only "a number". Loops are counted.

use std::ops::Range;

use naga::{
    BinaryOperator, Block, Expression, Function, Handle, Literal, MathFunction, Module, ScalarKind, Statement,
    TypeInner, UnaryOperator,
};

#[derive(Debug, Clone, PartialEq)]
pub enum V {
    U(u32),
    I(i32),
    F,
    B(bool),
    /// A matrix of a subgroup, with so many rows and columns.
    Matrix(usize),
    /// A vector, an array, a struct.
    Many(Vec<V>),
    Pointer(Root, Vec<usize>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Root {
    Local(usize, usize),
    Global(usize),
}

enum Flow {
    Next,
    Break,
    Continue,
    Return(Option<V>),
}

type Result<T> = std::result::Result<T, String>;

struct Frame {
    arguments: Vec<V>,
    locals: Vec<V>,
    values: Vec<Option<V>>,
}

/// What an invocation is given: a value for each argument of main, the parameter block, and how many elements (from which
/// one on) each storage binding has, by its name.
pub struct Machine<'a> {
    module: &'a Module,
    globals: Vec<V>,
    windows: &'a dyn Fn(&str) -> Range<u64>,
    frames: Vec<Frame>,
    pub trips: u64,
}

impl<'a> Machine<'a> {
    pub fn new(module: &'a Module, params: V, windows: &'a dyn Fn(&str) -> Range<u64>) -> Self {
        let mut machine = Machine { module, globals: Vec::new(), windows, frames: Vec::new(), trips: 0 };
        for (_, variable) in module.global_variables.iter() {
            machine.globals.push(match variable.space {
                naga::AddressSpace::Uniform => params.clone(),
                naga::AddressSpace::Storage { .. } => V::F,
                _ => machine.zero(variable.ty),
            });
        }
        machine
    }

    pub fn run(&mut self, arguments: Vec<V>) -> Result<()> {
        self.call(&self.module.entry_points[0].function, arguments).map(drop)
    }

    fn zero(&self, ty: Handle<naga::Type>) -> V {
        match &self.module.types[ty].inner {
            TypeInner::Scalar(s) | TypeInner::Atomic(s) => scalar(s.kind, 0),
            TypeInner::Vector { size, scalar: s } => V::Many(vec![scalar(s.kind, 0); *size as usize]),
            TypeInner::Matrix { columns, rows, scalar: s } => {
                V::Many(vec![V::Many(vec![scalar(s.kind, 0); *rows as usize]); *columns as usize])
            }
            TypeInner::Array { base, size, .. } => match size {
                naga::ArraySize::Constant(n) => V::Many(vec![self.zero(*base); n.get() as usize]),
                _ => V::F,
            },
            TypeInner::Struct { members, .. } => V::Many(members.iter().map(|m| self.zero(m.ty)).collect()),
            TypeInner::CooperativeMatrix { columns, .. } => V::Matrix(*columns as usize),
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, function: &'a Function, arguments: Vec<V>) -> Result<Option<V>> {
        let frame = Frame { arguments, locals: Vec::new(), values: vec![None; function.expressions.len()] };
        self.frames.push(frame);
        for (_, local) in function.local_variables.iter() {
            let value = match local.init {
                Some(init) => self.value(function, init)?,
                None => self.zero(local.ty),
            };
            self.top().locals.push(value);
        }
        let flow = self.block(function, &function.body)?;
        self.frames.pop();
        Ok(if let Flow::Return(value) = flow { value } else { None })
    }

    fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a function that runs")
    }

    fn block(&mut self, f: &'a Function, block: &'a Block) -> Result<Flow> {
        for statement in block {
            match statement {
                Statement::Emit(range) => {
                    for handle in range.clone() {
                        let value = self.compute(f, handle)?;
                        self.top().values[handle.index()] = Some(value);
                    }
                }
                Statement::Block(inner) => match self.block(f, inner)? {
                    Flow::Next => {}
                    flow => return Ok(flow),
                },
                Statement::If { condition, accept, reject } => {
                    let taken = if self.value(f, *condition)? == V::B(true) { accept } else { reject };
                    match self.block(f, taken)? {
                        Flow::Next => {}
                        flow => return Ok(flow),
                    }
                }
                Statement::Loop { body, continuing, break_if } => loop {
                    match self.block(f, body)? {
                        Flow::Next | Flow::Continue => {}
                        Flow::Break => break,
                        flow => return Ok(flow),
                    }
                    self.trips += 1;
                    self.block(f, continuing)?;
                    if let Some(condition) = break_if
                        && self.value(f, *condition)? == V::B(true)
                    {
                        break;
                    }
                },
                Statement::Break => return Ok(Flow::Break),
                Statement::Continue => return Ok(Flow::Continue),
                Statement::Return { value } => {
                    let value = value.map(|v| self.value(f, v)).transpose()?;
                    return Ok(Flow::Return(value));
                }
                Statement::Store { pointer, value } => {
                    let (pointer, value) = (self.value(f, *pointer)?, self.value(f, *value)?);
                    if let Some(place) = self.place(&pointer)? {
                        *place = value;
                    }
                }
                Statement::Call { function, arguments, result } => {
                    let arguments = arguments.iter().map(|a| self.value(f, *a)).collect::<Result<_>>()?;
                    let value = self.call(&self.module.functions[*function], arguments)?;
                    if let Some(result) = result {
                        self.top().values[result.index()] = value;
                    }
                }
                Statement::Atomic { pointer, result, .. } => {
                    let pointer = self.value(f, *pointer)?;
                    self.place(&pointer)?;
                    if let Some(result) = result {
                        self.top().values[result.index()] = Some(V::U(0));
                    }
                }
                Statement::SubgroupCollectiveOperation { argument, result, .. }
                | Statement::SubgroupGather { argument, result, .. } => {
                    let value = self.value(f, *argument)?;
                    self.top().values[result.index()] = Some(value);
                }
                Statement::CooperativeStore { target, data } => {
                    let matrix = self.value(f, *target)?;
                    self.matrix(f, data, matrix)?;
                }
                Statement::ControlBarrier(_) | Statement::MemoryBarrier(_) => {}
                other => return Err(format!("not interpreted: {other:?}")),
            }
        }
        Ok(Flow::Next)
    }

    /// A place that can be written; none in storage, whose index is checked.
    fn place(&mut self, pointer: &V) -> Result<Option<&mut V>> {
        let V::Pointer(root, path) = pointer else { return Err(format!("no pointer: {pointer:?}")) };
        if let Root::Global(index) = *root {
            let (_, variable) = self.module.global_variables.iter().nth(index).expect("a global variable");
            if matches!(variable.space, naga::AddressSpace::Storage { .. }) {
                let TypeInner::Array { base, .. } = self.module.types[variable.ty].inner else { panic!() };
                let name = variable.name.as_deref().unwrap_or_default();
                let each = if matches!(self.module.types[base].inner, TypeInner::Vector { .. }) { 4 } else { 1 };
                let (window, at) = ((self.windows)(name), path[0] as u64 * each);
                if at < window.start || at + each > window.end {
                    return Err(format!("{name}[{at}] is outside of {window:?}"));
                }
                return Ok(None);
            }
        }
        let mut place = match *root {
            Root::Local(frame, index) => &mut self.frames[frame].locals[index],
            Root::Global(index) => &mut self.globals[index],
        };
        for &step in path {
            let V::Many(items) = place else { return Err(format!("no element {step} of {place:?}")) };
            let count = items.len();
            place = items.get_mut(step).ok_or_else(|| format!("element {step} of {count}"))?;
        }
        Ok(Some(place))
    }

    /// Looks at the first and the last element of a matrix in memory, each of whose rows (or columns) is one stride after the other.
    fn matrix(&mut self, f: &'a Function, data: &naga::CooperativeData, matrix: V) -> Result<V> {
        let (pointer, stride) = (self.value(f, data.pointer)?, self.value(f, data.stride)?);
        let (V::Pointer(Root::Global(index), path), V::U(stride), V::Matrix(side)) = (&pointer, stride, &matrix) else {
            return Err(format!("no matrix: {pointer:?}, {matrix:?}"));
        };
        let (_, variable) = self.module.global_variables.iter().nth(*index).expect("a global variable");
        let TypeInner::Array { base, .. } = self.module.types[variable.ty].inner else { panic!() };
        let each = if matches!(self.module.types[base].inner, TypeInner::Vector { .. }) { 4 } else { 1 };
        let last = path[0] + (side - 1) * stride as usize + side / each - 1;
        for at in [path[0], last] {
            self.place(&V::Pointer(Root::Global(*index), vec![at]))?;
        }
        Ok(matrix)
    }

    fn value(&mut self, f: &'a Function, handle: Handle<Expression>) -> Result<V> {
        match self.top().values[handle.index()].clone() {
            Some(value) => Ok(value),
            None => self.compute(f, handle),
        }
    }

    fn compute(&mut self, f: &'a Function, handle: Handle<Expression>) -> Result<V> {
        let frame = self.frames.len() - 1;
        Ok(match &f.expressions[handle] {
            Expression::Literal(literal) => constant(*literal),
            Expression::Constant(constant) => self.global(self.module.constants[*constant].init),
            Expression::ZeroValue(ty) => self.zero(*ty),
            Expression::FunctionArgument(index) => self.frames[frame].arguments[*index as usize].clone(),
            Expression::GlobalVariable(global) => V::Pointer(Root::Global(global.index()), Vec::new()),
            Expression::LocalVariable(local) => V::Pointer(Root::Local(frame, local.index()), Vec::new()),
            Expression::Compose { components, ty } => {
                let mut items = Vec::new();
                let vector = matches!(self.module.types[*ty].inner, TypeInner::Vector { .. });
                for component in components {
                    match self.value(f, *component)? {
                        V::Many(several) if vector => items.extend(several),
                        one => items.push(one),
                    }
                }
                V::Many(items)
            }
            Expression::Splat { size, value } => V::Many(vec![self.value(f, *value)?; *size as usize]),
            Expression::Swizzle { size, vector, pattern } => {
                let V::Many(items) = self.value(f, *vector)? else { return Err("swizzle".into()) };
                V::Many(pattern[..*size as usize].iter().map(|c| items[*c as usize].clone()).collect())
            }
            Expression::Access { base, index } => {
                let index = match self.value(f, *index)? {
                    V::U(i) => i as usize,
                    V::I(i) => i as usize,
                    other => return Err(format!("index {other:?}")),
                };
                element(self.value(f, *base)?, index)?
            }
            Expression::AccessIndex { base, index } => element(self.value(f, *base)?, *index as usize)?,
            Expression::Load { pointer } => {
                let pointer = self.value(f, *pointer)?;
                match self.place(&pointer)? {
                    Some(place) => place.clone(),
                    None => self.stored(&pointer),
                }
            }
            Expression::Unary { op, expr } => unary(*op, self.value(f, *expr)?),
            Expression::Binary { op, left, right } => {
                let (left, right) = (self.value(f, *left)?, self.value(f, *right)?);
                binary(*op, left, right)?
            }
            Expression::Select { condition, accept, reject } => {
                let (accept, reject) = (self.value(f, *accept)?, self.value(f, *reject)?);
                match (self.value(f, *condition)?, accept, reject) {
                    (V::Many(c), V::Many(a), V::Many(r)) => {
                        let one = |((c, a), r)| if c == V::B(true) { a } else { r };
                        V::Many(c.into_iter().zip(a).zip(r).map(one).collect())
                    }
                    (V::B(true), accept, _) => accept,
                    (_, _, reject) => reject,
                }
            }
            Expression::Math { fun, arg, arg1, .. } => {
                let left = self.value(f, *arg)?;
                let right = arg1.map(|a| self.value(f, a)).transpose()?;
                math(*fun, left, right)
            }
            Expression::As { expr, kind, convert } => cast(self.value(f, *expr)?, *kind, convert.is_some()),
            Expression::Relational { .. } => V::B(false),
            Expression::CooperativeLoad { columns, data, .. } => self.matrix(f, data, V::Matrix(*columns as usize))?,
            Expression::CooperativeMultiplyAdd { a, b, c } => {
                let operands = [a, b, c].map(|operand| self.value(f, *operand));
                let [a, b, c] = [operands[0].clone()?, operands[1].clone()?, operands[2].clone()?];
                if !matches!(c, V::Matrix(_)) || a != c || b != c {
                    return Err(format!("{a:?} · {b:?} + {c:?}"));
                }
                c
            }
            other => return Err(format!("not interpreted: {other:?}")),
        })
    }

    /// What lies in storage: a number.
    fn stored(&self, pointer: &V) -> V {
        let V::Pointer(Root::Global(index), path) = pointer else { return V::F };
        let (_, variable) = self.module.global_variables.iter().nth(*index).expect("a global variable");
        let TypeInner::Array { base, .. } = self.module.types[variable.ty].inner else { return V::F };
        match (self.zero(base), path.len()) {
            (V::Many(items), 2..) => items[0].clone(),
            (value, _) => value,
        }
    }

    fn global(&self, handle: Handle<Expression>) -> V {
        match &self.module.global_expressions[handle] {
            Expression::Literal(literal) => constant(*literal),
            Expression::ZeroValue(ty) => self.zero(*ty),
            Expression::Constant(constant) => self.global(self.module.constants[*constant].init),
            Expression::Compose { components, .. } => V::Many(components.iter().map(|c| self.global(*c)).collect()),
            other => panic!("{other:?}"),
        }
    }
}

fn constant(literal: Literal) -> V {
    match literal {
        Literal::U32(v) => V::U(v),
        Literal::I32(v) => V::I(v),
        Literal::Bool(v) => V::B(v),
        Literal::AbstractInt(v) => V::I(v as i32),
        _ => V::F,
    }
}

fn scalar(kind: ScalarKind, v: u32) -> V {
    match kind {
        ScalarKind::Uint => V::U(v),
        ScalarKind::Sint => V::I(v as i32),
        ScalarKind::Bool => V::B(v != 0),
        _ => V::F,
    }
}

fn element(base: V, index: usize) -> Result<V> {
    match base {
        V::Pointer(root, mut path) => {
            path.push(index);
            Ok(V::Pointer(root, path))
        }
        V::Many(items) => items.get(index).cloned().ok_or_else(|| format!("element {index} of {}", items.len())),
        other => Err(format!("element {index} of {other:?}")),
    }
}

fn unary(op: UnaryOperator, v: V) -> V {
    match (op, v) {
        (op, V::Many(items)) => V::Many(items.into_iter().map(|v| unary(op, v)).collect()),
        (UnaryOperator::LogicalNot, V::B(b)) => V::B(!b),
        (UnaryOperator::BitwiseNot, V::U(u)) => V::U(!u),
        (UnaryOperator::Negate, V::I(i)) => V::I(i.wrapping_neg()),
        (_, v) => v,
    }
}

fn binary(op: BinaryOperator, left: V, right: V) -> Result<V> {
    use BinaryOperator as Op;
    Ok(match (left, right) {
        (V::Many(l), V::Many(r)) => {
            V::Many(l.into_iter().zip(r).map(|(l, r)| binary(op, l, r)).collect::<Result<_>>()?)
        }
        (V::Many(l), r) => V::Many(l.into_iter().map(|l| binary(op, l, r.clone())).collect::<Result<_>>()?),
        (l, V::Many(r)) => V::Many(r.into_iter().map(|r| binary(op, l.clone(), r)).collect::<Result<_>>()?),
        (V::U(l), V::U(r)) => {
            let wraps = || format!("{l} {op:?} {r} wraps");
            match op {
                Op::Add => V::U(l.checked_add(r).ok_or_else(wraps)?),
                Op::Subtract => V::U(l.checked_sub(r).ok_or_else(wraps)?),
                Op::Multiply => V::U(l.checked_mul(r).ok_or_else(wraps)?),
                Op::Divide => V::U(l.checked_div(r).ok_or_else(wraps)?),
                Op::Modulo => V::U(l.checked_rem(r).ok_or_else(wraps)?),
                Op::And => V::U(l & r),
                Op::InclusiveOr => V::U(l | r),
                Op::ExclusiveOr => V::U(l ^ r),
                Op::ShiftLeft => V::U(l.wrapping_shl(r)),
                Op::ShiftRight => V::U(l.wrapping_shr(r)),
                _ => compare(op, l, r),
            }
        }
        (V::Matrix(l), V::Matrix(r)) if l == r => V::Matrix(l),
        (V::I(l), V::I(r)) => match op {
            Op::Add => V::I(l.wrapping_add(r)),
            Op::Subtract => V::I(l.wrapping_sub(r)),
            Op::Multiply => V::I(l.wrapping_mul(r)),
            Op::Divide => V::I(l.wrapping_div(r.max(1))),
            Op::And => V::I(l & r),
            _ => compare(op, l, r),
        },
        (V::I(l), V::U(r)) => match op {
            Op::ShiftLeft => V::I(l.wrapping_shl(r)),
            _ => V::I(l.wrapping_shr(r)),
        },
        (V::B(l), V::B(r)) => match op {
            Op::LogicalAnd | Op::And => V::B(l && r),
            Op::LogicalOr | Op::InclusiveOr => V::B(l || r),
            _ => compare(op, l, r),
        },
        // Nothing that counts depends on how numbers compare.
        _ => match op {
            Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => V::B(false),
            _ => V::F,
        },
    })
}

fn compare<T: PartialOrd>(op: BinaryOperator, l: T, r: T) -> V {
    use BinaryOperator as Op;
    V::B(match op {
        Op::Equal => l == r,
        Op::NotEqual => l != r,
        Op::Less => l < r,
        Op::LessEqual => l <= r,
        Op::Greater => l > r,
        _ => l >= r,
    })
}

fn math(fun: MathFunction, left: V, right: Option<V>) -> V {
    match (fun, left, right) {
        (MathFunction::Dot, ..) => V::F,
        (MathFunction::Min, V::U(l), Some(V::U(r))) => V::U(l.min(r)),
        (MathFunction::Max, V::U(l), Some(V::U(r))) => V::U(l.max(r)),
        (MathFunction::Min, V::I(l), Some(V::I(r))) => V::I(l.min(r)),
        (MathFunction::Max, V::I(l), Some(V::I(r))) => V::I(l.max(r)),
        (_, left, _) => left,
    }
}

fn cast(v: V, kind: ScalarKind, convert: bool) -> V {
    match (v, kind) {
        (V::Many(items), kind) => V::Many(items.into_iter().map(|v| cast(v, kind, convert)).collect()),
        (V::U(u), ScalarKind::Sint) => V::I(u as i32),
        (V::I(i), ScalarKind::Uint) => V::U(i as u32),
        (V::B(b), kind) if convert => scalar(kind, u32::from(b)),
        (V::F, kind) => scalar(kind, if convert { 1 } else { 0x3f80_0000 }),
        (_, ScalarKind::Float) => V::F,
        (v, _) => v,
    }
}
