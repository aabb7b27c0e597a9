//! Programs as WGSL: the functions that a kernel file calls.
//!
//! - `NAME_one(outer, inner)`, `NAME_vec(outer, inner)`: an element, or four neighbours in memory, of an operand of a product.
//! - `at_column(col)`, `at_row(row)`: the values that depend on the column or the row alone, so that a file computes them once and not for
//!   each element (compilers do not move loads across stores). `finish(i, row, col, lr, lc, .., sums)`: everything else, for the
//!   element at index i, at (lr, lc) in the workgroup's tile, or for a group of rows of which this is the first. It returns the `Terms` of the program's sums: `m0`, `m1`, .. over rows, `n0`,
//!   .. over columns.

use std::fmt::Write as _;

use crate::{
    kernel::Slot,
    operand::Operand,
    program::{By, Function, Makes, Over, Program, Step, Value, Write},
};

/// The length of rows that lie along the reduction.
pub(super) const ALONG: &str = "P.k";
const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// A program on its way to WGSL: whether for one element or four, and the names of row and column.
struct Lowered<'a> {
    program: &'a Program,
    slots: &'a [Slot],
    wide: bool,
    row: &'static str,
    col: &'static str,
    /// Number of rows, and length of a row.
    rows: &'static str,
    cols: &'static str,
}

/// The number of rows in memory of an operand of a product: along the output, or along the reduction.
fn outer(name: &str, inner: &str) -> &'static str {
    match (inner, name) {
        (ALONG, "a") => "P.rows",
        (ALONG, _) => "P.cols",
        _ => ALONG,
    }
}

/// Writes the functions that load an operand of a product; `inner` is the length of its rows in memory.
pub(super) fn load(program: &Program, slots: &[Slot], name: &str, inner: &'static str, text: &mut String) {
    if program.apart().is_some() {
        // The kernel sets it before each load, to a number that every compiler sees: no load asks.
        text.push_str("var<private> b_side: u32;\n");
    }
    for wide in [false, true] {
        let lowered =
            Lowered { program, slots, wide, row: "outer", col: "inner", rows: outer(name, inner), cols: inner };
        let (what, real) = if wide { ("vec", "vec4<f32>") } else { ("one", "f32") };
        let _ = writeln!(text, "fn {name}_{what}(outer: u32, inner: u32) -> {real} {{");
        let _ = writeln!(text, "    let i = outer * {inner} + inner;");
        for i in 0..program.steps().len() {
            lowered.line(i, text);
        }
        let _ = writeln!(text, "    return v{};\n}}", program.steps().len().saturating_sub(1));
    }
}

/// Both operands of a product in two parts, for a kernel that loads before it needs them: `NAME_fetch(i, outer, inner)` loads what the four
/// neighbours from element i on are made of, and `NAME_value(raw)` computes them. One by one (not `vec`) the kernel's own text fetches, and what
/// it fetches is the value.
pub(super) fn ahead(operands: [(&str, &Program, &'static str); 2], slots: &[Slot], vec: bool, text: &mut String) {
    let loads = |program: &Program| {
        let steps = program.steps().iter().enumerate();
        steps
            .filter(|(_, step)| {
                matches!(
                    step,
                    Step::Load(..) | Step::LoadJoined(..) | Step::LoadApart(..) | Step::LoadBit(_) | Step::Dropout(..)
                )
            })
            .map(|(i, _)| i)
            .collect::<Vec<_>>()
    };
    let most = if vec { operands.iter().map(|(_, program, _)| loads(program).len()).max().unwrap_or(1) } else { 1 };
    let members: Vec<String> = (0..most.max(1)).map(|n| format!("v{n}: vec4<f32>")).collect();
    let _ = writeln!(text, "struct Raw {{ {} }}", members.join(", "));
    for (name, program, inner) in operands {
        let rows = outer(name, inner);
        let lowered = Lowered { program, slots, wide: true, row: "outer", col: "inner", rows, cols: inner };
        if !vec {
            let _ = writeln!(text, "fn {name}_value(raw: Raw) -> vec4<f32> {{ return raw.v0; }}");
            continue;
        }
        let loads = loads(program);
        let bit = |i: usize| matches!(program.steps()[i], Step::LoadBit(_));
        let _ = writeln!(text, "fn {name}_fetch(i: u32, outer: u32, inner: u32) -> Raw {{\n    var raw = Raw();");
        for (n, &i) in loads.iter().enumerate() {
            lowered.line(i, text);
            let loaded = if bit(i) { format!("select(vec4<f32>(), vec4<f32>(1.0), v{i})") } else { format!("v{i}") };
            let _ = writeln!(text, "    raw.v{n} = {loaded};");
        }
        let _ = writeln!(text, "    return raw;\n}}\nfn {name}_value(raw: Raw) -> vec4<f32> {{");
        for i in 0..program.steps().len() {
            match loads.iter().position(|&load| load == i) {
                Some(n) if bit(i) => {
                    let _ = writeln!(text, "    let v{i} = raw.v{n} != vec4<f32>();");
                }
                Some(n) => {
                    let _ = writeln!(text, "    let v{i} = raw.v{n};");
                }
                None => lowered.line(i, text),
            }
        }
        let _ = writeln!(text, "    return v{};\n}}", program.steps().len().saturating_sub(1));
    }
}

/// What a value depends on, as bits: the column, the row, or both.
const COLUMN: u8 = 1;
const ROW: u8 = 2;

/// Writes the functions that finish an element.
pub(super) fn finish(program: &Program, slots: &[Slot], wide: bool, text: &mut String) {
    let lowered = Lowered { program, slots, wide, row: "row", col: "col", rows: "P.rows", cols: "P.cols" };
    let real = lowered.real();
    let steps = program.steps();
    let varies = lowered.varies();
    let body: Vec<usize> = (0..steps.len()).filter(|&i| varies[i] == COLUMN | ROW).collect();
    // A value that depends on neither is computed with the column.
    let outside = |i: usize, along: u8| varies[i] == along || (varies[i] == 0 && along == COLUMN);
    let taken = |i: usize| body.iter().any(|&b| steps[b].takes().any(|v| usize::from(v.0) == i));
    let mut given = String::new();
    for (along, name, index) in [(COLUMN, "Column", "col"), (ROW, "Row", "row")] {
        let members: Vec<usize> = (0..steps.len()).filter(|&i| outside(i, along) && taken(i)).collect();
        let declared: Vec<String> = members.iter().map(|&i| format!("v{i}: {}", lowered.made(i))).collect();
        let _ = writeln!(text, "struct {name} {{ {} }}", or_empty(declared));
        let _ = writeln!(text, "fn at_{}({index}: u32) -> {name} {{", name.to_lowercase());
        for i in lowered.behind(&members) {
            lowered.line(i, text);
        }
        let made: Vec<String> = members.iter().map(|i| format!("v{i}")).collect();
        let _ =
            writeln!(text, "    return {name}({});\n}}", if made.is_empty() { "0u".into() } else { made.join(", ") });
        for i in members {
            let _ = writeln!(given, "    let v{i} = of_{}.v{i};", name.to_lowercase());
        }
    }
    let sums = |over, prefix: &'static str| (0..program.sums(over)).map(move |k| format!("{prefix}{k}"));
    let terms: Vec<String> = sums(Over::Rows, "m").chain(sums(Over::Columns, "n")).collect();
    let _ =
        writeln!(text, "struct Terms {{ {} }}", or_empty(terms.iter().map(|term| format!("{term}: {real}")).collect()));
    let finished: String = (0..program.finished_sums()).map(|k| format!(", sum{k}: {real}")).collect();
    let _ = writeln!(
        text,
        "fn finish(i: u32, row: u32, col: u32, lr: u32, lc: u32, of_row: Row, of_column: Column{finished}) -> Terms {{\n    \
         var terms = Terms();\n{given}",
    );
    let mut planes = [0; 2];
    for i in body {
        match steps[i] {
            Step::Reduce(over, v) => {
                let (plane, prefix) = (&mut planes[over as usize], if over == Over::Rows { "m" } else { "n" });
                let _ = writeln!(text, "    terms.{prefix}{plane} = {v};");
                *plane += 1;
            }
            _ => lowered.line(i, text),
        }
    }
    text.push_str("    return terms;\n}\n");
}

/// WGSL has no empty structures.
fn or_empty(members: Vec<String>) -> String {
    if members.is_empty() { "nothing: u32".into() } else { members.join(", ") }
}

impl Lowered<'_> {
    const fn real(&self) -> &'static str {
        if self.wide { "vec4<f32>" } else { "f32" }
    }

    /// The WGSL type of the value of a step.
    fn made(&self, i: usize) -> &'static str {
        match (self.program.steps()[i].makes(), self.wide) {
            (Some(Makes::Bit), true) => "vec4<bool>",
            (Some(Makes::Bit), false) => "bool",
            _ => self.real(),
        }
    }

    /// What each step depends on. Writes, and loads by element, depend on both row and column.
    fn varies(&self) -> Vec<u8> {
        let mut varies: Vec<u8> = Vec::with_capacity(self.program.steps().len());
        for step in self.program.steps() {
            let own = match step {
                Step::Constant(_) | Step::Parameter(_) | Step::Load(_, By::Whole) => 0,
                Step::Load(_, By::Column | By::Plane(_) | By::InterleavedColumn(_)) => COLUMN,
                Step::Load(_, By::Row | By::RowPlane(_)) => ROW,
                Step::Sum(_) | Step::Load(_, By::Element | By::Member(_)) => COLUMN | ROW,
                Step::Load(_, By::Stacked(_) | By::Interleaved(_)) => COLUMN | ROW,
                Step::LoadJoined(..) | Step::LoadApart(..) | Step::LoadBit(_) | Step::Dropout(..) => COLUMN | ROW,
                Step::Load(_, By::State) => 0,
                Step::Store(..) | Step::StoreBit(..) | Step::Reduce(..) => COLUMN | ROW,
                _ => 0,
            };
            varies.push(step.takes().fold(own, |all, v| all | varies[usize::from(v.0)]));
        }
        varies
    }

    /// These steps and all steps that they need, in order.
    fn behind(&self, wanted: &[usize]) -> Vec<usize> {
        let mut needed = vec![false; self.program.steps().len()];
        wanted.iter().for_each(|&i| needed[i] = true);
        for i in (0..needed.len()).rev() {
            if needed[i] {
                self.program.steps()[i].takes().for_each(|v| needed[usize::from(v.0)] = true);
            }
        }
        (0..needed.len()).filter(|&i| needed[i]).collect()
    }

    /// `NAME_at(index)`, or `NAME_at4(index)` for four elements.
    fn at(&self, name: impl std::fmt::Display, index: &str) -> String {
        format!("{name}_at{}({index})", if self.wide { "4" } else { "" })
    }

    fn index(&self, operand: Operand, by: By) -> String {
        let strided = || self.slots.iter().any(|slot| slot.strided && slot.role == operand.name());
        match by {
            By::Element if strided() => format!("{operand}_of({}, {})", self.row, self.col),
            By::Element => "i".into(),
            By::Member(member) if strided() => format!("{operand}_of({} + {member}u, {})", self.row, self.col),
            By::Member(member) => format!("i + {member}u * {}", self.cols),
            By::Row => self.row.into(),
            By::Column => self.col.into(),
            By::Whole => "0u".into(),
            By::Plane(plane) => format!("{plane}u * {} + {}", self.cols, self.col),
            By::RowPlane(plane) => format!("{plane}u * {} + {}", self.rows, self.row),
            By::Stacked(side) => self.of_two(operand, &format!("{side}u * {} + {}", self.cols, self.col), strided()),
            By::State => "0u".into(),
            By::InterleavedColumn(side) => format!("2u * {} + {side}u", self.col),
            By::Interleaved(side) => self.of_two(operand, &format!("2u * {} + {side}u", self.col), strided()),
        }
    }

    /// The index in an operand with two numbers for each element, from the place in its row.
    fn of_two(&self, operand: Operand, place: &str, strided: bool) -> String {
        match strided {
            true => format!("{operand}_of({}, {place})", self.row),
            false => format!("{} * (2u * {}) + {place}", self.row, self.cols),
        }
    }

    /// The index of the word with the element's bit in a mask.
    fn word(&self) -> String {
        let Lowered { row, col, cols, .. } = self;
        format!("{row} * (({cols} + 31u) / 32u) + {col} / 32u")
    }

    /// Writes a step as a line.
    fn line(&self, i: usize, text: &mut String) {
        let real = self.real();
        let made = match self.program.steps()[i] {
            Step::Sum(plane) => format!("sum{plane}"),
            Step::Constant(bits) => format!("{real}({:?})", f32::from_bits(bits)),
            Step::Parameter(place) => format!("{real}(P.p.{})", LANES[usize::from(place) % 4]),
            Step::Load(operand, by @ (By::Row | By::RowPlane(_) | By::Whole)) => {
                format!("{real}({operand}_at({}))", self.index(operand, by))
            }
            Step::Load(operand, by @ (By::Interleaved(_) | By::InterleavedColumn(_))) if self.wide => {
                let index = self.index(operand, by);
                let lanes = [0, 2, 4, 6].map(|lane| format!("{operand}_at({index} + {lane}u)")).join(", ");
                format!("vec4<f32>({lanes})")
            }
            Step::Load(operand, by) => self.at(operand, &self.index(operand, by)),
            Step::LoadJoined(first, second) => {
                self.joined([first, second], i, text);
                return;
            }
            Step::LoadApart(first, second) => {
                let _ = writeln!(text, "    var v{i}: {real};\n    if (b_side == 0u) {{");
                for (operand, behind) in [(first, "    } else {\n"), (second, "    }\n")] {
                    let _ = writeln!(text, "        v{i} = {};", self.at(operand, &self.index(operand, By::Element)));
                    text.push_str(behind);
                }
                return;
            }
            Step::LoadBit(operand) if self.wide => {
                let (word, col) = (self.word(), self.col);
                format!(
                    "((vec4<u32>({operand}_at({word})) >> (vec4<u32>({col} % 32u) + vec4<u32>(0u, 1u, 2u, 3u))) & vec4<u32>(1u)) != vec4<u32>()"
                )
            }
            Step::LoadBit(operand) => format!("(({operand}_at({}) >> ({} % 32u)) & 1u) != 0u", self.word(), self.col),
            Step::Add(v, w) => format!("{v} + {w}"),
            Step::Subtract(v, w) => format!("{v} - {w}"),
            Step::Multiply(v, w) => format!("{v} * {w}"),
            Step::Pass(v, w) => format!("passed{}({v}, {w})", if self.wide { "4" } else { "" }),
            Step::PassBoth(v, u, w) => format!("passed_both{}({v}, {u}, {w})", if self.wide { "4" } else { "" }),
            Step::Dropout(state, dropout) => match dropout.threshold() {
                // Without a random number: all are left out, or all are kept.
                None => format!("{real}()"),
                Some(0) => format!("{real}(1.0)"),
                Some(least) => {
                    let words = [0, 1, 2, 3].map(|place| format!("{state}_at({place}u)")).join(", ");
                    let scale = dropout.scale();
                    format!("dropout{}(vec4<u32>({words}), i, {least}u, {scale:?})", if self.wide { "4" } else { "" })
                }
            },
            Step::InverseSqrt(v) => format!("inverseSqrt({v})"),
            Step::Capped(v, w) => format!("capped{}({v}, {w})", if self.wide { "4" } else { "" }),
            Step::Within(v, w) => format!("within{}({v}, {w})", if self.wide { "4" } else { "" }),
            Step::NotPositive(v) => format!("select({real}(), {real}(1.0), {v} <= {real}())"),
            Step::Act(stage, function, v, alpha) => self.act(stage, function, v, alpha),
            Step::Store(operand, by @ By::Interleaved(_), write, v) if self.wide => {
                let index = self.index(operand, by);
                for (lane, place) in LANES.iter().zip([0, 2, 4, 6]) {
                    let before = if write == Write::Accumulate {
                        format!("{operand}_at({index} + {place}u) + ")
                    } else {
                        String::new()
                    };
                    let _ = writeln!(text, "    {operand}_put({index} + {place}u, {before}{v}.{lane});");
                }
                return;
            }
            Step::Store(operand, by, write, v) => {
                let index = self.index(operand, by);
                let put = if self.wide { "put4" } else { "put" };
                let sum = match write {
                    Write::Overwrite => v.to_string(),
                    Write::Accumulate => format!("{} + {v}", self.at(operand, &index)),
                };
                let _ = writeln!(text, "    {operand}_{put}({index}, {sum});");
                return;
            }
            Step::StoreBit(_, v) => {
                // The kernel file collects the words of its tile, and stores each as a whole.
                let bits = match self.wide {
                    true => format!("dot(select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), {v}), vec4<u32>(1u))"),
                    false => format!("u32({v})"),
                };
                let _ = writeln!(text, "    atomicOr(&tile_bits[lr * (BN / 32u) + lc / 32u], {bits} << (lc % 32u));");
                return;
            }
            Step::Reduce(..) => return,
        };
        let _ = writeln!(text, "    let v{i} = {made};");
    }

    /// An element of two operands, one behind the other along the reduction: that of the second begins at `P.half`.
    fn joined(&self, operands: [Operand; 2], i: usize, text: &mut String) {
        let (Lowered { row, col, cols, .. }, along) = (self, self.cols == ALONG);
        let step = if along { col } else { row };
        let _ = writeln!(text, "    var v{i}: {};\n    if ({step} < P.half) {{", self.real());
        for (operand, behind) in operands.into_iter().zip(["", " - P.half"]) {
            let [row, col, cols] = match along {
                true => [(*row).to_owned(), format!("({col}{behind})"), "P.half".into()],
                false => [format!("({row}{behind})"), (*col).to_owned(), (*cols).to_owned()],
            };
            let index = match self.slots.iter().any(|slot| slot.strided && slot.role == operand.name()) {
                true => format!("{operand}_of({row}, {col})"),
                false => format!("{row} * {cols} + {col}"),
            };
            let _ = writeln!(text, "        v{i} = {};", self.at(operand, &index));
            text.push_str(if behind.is_empty() { "    } else {\n" } else { "    }\n" });
        }
    }

    /// A call of a function of an activation, lane by lane.
    fn act(&self, stage: u8, function: Function, v: Value, alpha: Option<Value>) -> String {
        let stage = usize::from(stage);
        let [first, second] = [2 * stage, 2 * stage + 1].map(|place| LANES[place % 4]);
        let call = |lane: &str| {
            let parameters = match alpha {
                Some(alpha) => format!("vec2<f32>({alpha}{lane}, P.p.{second})"),
                None => format!("P.p.{first}{second}"),
            };
            format!("{}({v}{lane}, {parameters})", staged(function.wgsl_name(), stage))
        };
        match (self.wide, function) {
            (false, _) => call(""),
            (true, function) => {
                let lanes = LANES.map(|lane| call(&format!(".{lane}"))).join(", ");
                format!("vec4<{}>({lanes})", if function == Function::Bit { "bool" } else { "f32" })
            }
        }
    }
}

/// A name of an activation's file with the activation's number, `act0_dz` for `act_dz`, because a kernel can have two activations.
fn staged(word: &str, stage: usize) -> String {
    for prefix in ["act", "ACT", "Act"] {
        match word.strip_prefix(prefix) {
            Some(rest) if !rest.starts_with(|c: char| c.is_lowercase() || c.is_numeric()) => {
                return format!("{prefix}{stage}{rest}");
            }
            _ => {}
        }
    }
    word.into()
}

/// An activation's file with all its names [`staged`].
pub(super) fn stage(file: &str, stage: usize) -> String {
    let mut out = String::with_capacity(file.len() * 5 / 4);
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = file;
    while let Some(start) = rest.find(in_word) {
        let (before, word) = rest.split_at(start);
        let (word, behind) = word.split_at(word.find(|c| !in_word(c)).unwrap_or(word.len()));
        out.push_str(before);
        out.push_str(&staged(word, stage));
        rest = behind;
    }
    out.push_str(rest);
    out
}
