//! A network as WGSL text that a host pastes into a shader of its own: one function and what it calls, every name behind the host's prefix.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{lower, paste_shared, template};
use crate::{
    activation::Activation,
    error::{Error, Result},
    kernel::Flags,
};

/// A layer y = act(x·Wᵀ + b; α), and where its parameters lie among all: w `[N, K]`, b `[N]`, α of one element or of N.
#[derive(Debug, Clone, Copy)]
pub struct PastedLayer {
    /// K
    pub k: usize,
    /// N
    pub n: usize,
    /// The activation; its own α counts where there is none among the parameters.
    pub activation: Activation,
    /// The first element of w.
    pub w: usize,
    /// The first element of b.
    pub b: usize,
    /// The first element of α, and whether there is one for each channel.
    pub alpha: Option<(usize, bool)>,
}

/// How the function gets its parameters.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// As numbers in the text, of which no line is repeated by a loop.
    Constants(&'a [f32]),
    /// From a storage array that the host binds, in loops.
    Storage {
        /// Its group.
        group: u32,
        /// Its binding.
        binding: u32,
    },
}

/// `fn NAME(x: array<f32, K>) -> array<f32, N>` for a network of layers that fit each other, and before it everything that it calls.
pub fn network(name: &str, layers: &[PastedLayer], numbers: Numbers<'_>) -> Result<String> {
    let mut kinds = Vec::new();
    for layer in layers {
        if !kinds.contains(&layer.activation.kind()) {
            kinds.push(layer.activation.kind());
        }
    }
    let (mut seen, mut source) = (vec!["params"], String::new());
    let fail = |message: String| Error::ShaderCompile { kernel: name.into(), message };
    for (stage, kind) in kinds.iter().enumerate() {
        let file = kind.row().wgsl;
        for name in template::uses(file) {
            paste_shared(name, &mut seen, &mut source).map_err(fail)?;
        }
        source.push_str(&lower::stage(file, stage));
        source.push('\n');
    }
    let source = template::expand(&source, &Flags::from([("PASTED", 1)])).map_err(fail)?;
    let wanted: Vec<String> = (0..kinds.len()).map(|stage| format!("act{stage}")).collect();
    let helpers = reached(&items(&source), wanted);
    let writer = Writer { name, layers, numbers, stage: |kind| kinds.iter().position(|k| *k == kind).unwrap_or(0) };
    let function = writer.function();
    check_name(name, &[&helpers.text, &function])?;
    let mut text = format!("// {name}: {}; written by elbow.\n", writer.summary());
    text.push_str(&prefixed(&helpers.text, name, &helpers.names));
    text.push_str(&function);
    Ok(text)
}

/// An error unless the name is an identifier that means nothing else in the text.
fn check_name(name: &str, texts: &[&str]) -> Result<()> {
    let mut letters = name.chars();
    let shaped = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    // The function's own name stands in its text once.
    let taken =
        texts.iter().map(|text| words(text).filter(|(word, is)| *is && *word == name).count()).sum::<usize>() > 1;
    match shaped && !taken && !KEYWORDS.contains(&name) {
        true => Ok(()),
        false => Err(Error::BadParameter {
            of: "wgsl".into(),
            parameter: "name".into(),
            expected: "a letter, then letters, digits and _, and no word of WGSL".into(),
            got: format!("{name:?}"),
        }),
    }
}

/// The words of WGSL that no text here need contain.
const KEYWORDS: [&str; 27] = [
    "alias",
    "break",
    "case",
    "const",
    "const_assert",
    "continue",
    "continuing",
    "default",
    "diagnostic",
    "discard",
    "else",
    "enable",
    "false",
    "fn",
    "for",
    "if",
    "let",
    "loop",
    "override",
    "requires",
    "return",
    "struct",
    "switch",
    "true",
    "var",
    "while",
    "main",
];

/// A declaration at the top of a file, with the comment before it.
struct Item<'a> {
    name: &'a str,
    text: &'a str,
}

/// The declarations of a text that is laid out as elbow's files are: they begin at the left edge, and end with the first `}` there, or with
/// the line of their `;`.
fn items(source: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    // Where the comment before a declaration begins, and where the declaration itself ends.
    let (mut begin, mut at, mut open): (Option<usize>, usize, Option<&str>) = (None, 0, None);
    for line in source.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let trimmed = code(line).trim_end();
        if open.is_none() {
            let declared = ["fn ", "struct ", "const ", "alias "].iter().find_map(|word| line.strip_prefix(word));
            match declared {
                Some(rest) => open = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next(),
                None if line.starts_with("//") => {
                    begin.get_or_insert(start);
                    continue;
                }
                None => {
                    begin = None;
                    continue;
                }
            }
        }
        let first = *begin.get_or_insert(start);
        let block =
            source[first..].lines().find(|line| !line.starts_with("//")).is_some_and(|line| code(line).ends_with('{'));
        let ends = if block { trimmed == "}" } else { trimmed.ends_with(';') || trimmed.ends_with('}') };
        if let (true, Some(name)) = (ends, open) {
            items.push(Item { name, text: &source[first..at] });
            (begin, open) = (None, None);
        }
    }
    items
}

/// The line without the comment at its end.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The declarations that some need, themselves included, in their order.
struct Reached<'a> {
    text: String,
    names: BTreeSet<&'a str>,
}

fn reached<'a>(items: &[Item<'a>], mut pending: Vec<String>) -> Reached<'a> {
    let mut names = BTreeSet::new();
    while let Some(next) = pending.pop() {
        let Some(item) = items.iter().find(|item| item.name == next) else { continue };
        if names.insert(item.name) {
            pending.extend(
                item.text.lines().map(code).flat_map(words).filter(|(_, is)| *is).map(|(word, _)| word.to_owned()),
            );
        }
    }
    let text = items.iter().filter(|item| names.contains(item.name)).map(|item| item.text).collect();
    Reached { text, names }
}

/// The text as words and what lies between them.
fn words(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        let is = rest.chars().next().map(in_word)?;
        let end = rest.find(|c| in_word(c) != is).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        Some((word, is))
    })
}

fn prefixed(text: &str, prefix: &str, names: &BTreeSet<&str>) -> String {
    let renamed = |(word, is)| if is && names.contains(word) { format!("{prefix}_{word}") } else { String::from(word) };
    words(text).map(renamed).collect()
}

/// Writes the function.
struct Writer<'a, F> {
    name: &'a str,
    layers: &'a [PastedLayer],
    numbers: Numbers<'a>,
    stage: F,
}

impl<F: Fn(crate::activation::Kind) -> usize> Writer<'_, F> {
    fn summary(&self) -> String {
        let mut text = self.layers.first().map_or(0, |layer| layer.k).to_string();
        for layer in self.layers {
            let _ = write!(text, " -> {} {}", layer.n, layer.activation);
        }
        text
    }

    fn function(&self) -> String {
        let (Some(first), Some(last)) = (self.layers.first(), self.layers.last()) else { return String::new() };
        let head = format!("fn {}(x: array<f32, {}>) -> array<f32, {}> {{\n", self.name, first.k, last.n);
        match self.numbers {
            Numbers::Constants(values) => self.constants(head, values),
            Numbers::Storage { group, binding } => self.storage(head, group, binding),
        }
    }

    fn act(&self, layer: &PastedLayer, z: &str, alpha: &str) -> String {
        let second = literal(self.name, layer.activation.params()[1]);
        format!("{}_act{}({z}, vec2<f32>({alpha}, {second}))", self.name, (self.stage)(layer.activation.kind()))
    }

    /// z of four outputs at a time, one line for each input.
    fn constants(&self, mut text: String, values: &[f32]) -> String {
        let number = |at: usize| literal(self.name, values[at]);
        let mut inputs: Vec<String> = (0..self.layers[0].k).map(|k| format!("x[{k}]")).collect();
        for (l, layer) in self.layers.iter().enumerate() {
            let mut outputs = Vec::with_capacity(layer.n);
            for (group, first) in (0..layer.n).step_by(4).enumerate() {
                let own = first..layer.n.min(first + 4);
                let four = |of: &dyn Fn(usize) -> String| {
                    let numbers = own.clone().map(of).chain(std::iter::repeat_n("0.0".into(), 4 - own.len()));
                    format!("vec4<f32>({})", numbers.collect::<Vec<_>>().join(", "))
                };
                let z = format!("z{l}_{group}");
                let _ = writeln!(text, "    var {z} = {};", four(&|n| number(layer.b + n)));
                for (k, input) in inputs.iter().enumerate() {
                    let _ = writeln!(text, "    {z} += {input} * {};", four(&|n| number(layer.w + n * layer.k + k)));
                }
                for (n, lane) in own.clone().zip(["x", "y", "z", "w"]) {
                    let alpha = match layer.alpha {
                        None => literal(self.name, layer.activation.params()[0]),
                        Some((at, per_channel)) => number(at + if per_channel { n } else { 0 }),
                    };
                    let y = format!("y{l}_{n}");
                    let _ = writeln!(text, "    let {y} = {};", self.act(layer, &format!("{z}.{lane}"), &alpha));
                    outputs.push(y);
                }
            }
            inputs = outputs;
        }
        let _ = writeln!(text, "    return array<f32, {}>({});\n}}", inputs.len(), inputs.join(", "));
        self.with_numbers(text)
    }

    /// One loop for each layer; four outputs at a time, those beyond the last computed again and never read.
    fn storage(&self, head: String, group: u32, binding: u32) -> String {
        let name = self.name;
        let sizes = self.layers.iter().flat_map(|layer| [layer.k, layer.n]);
        let most = sizes.max().unwrap_or(1).next_multiple_of(4);
        let mut text =
            format!("@group({group}) @binding({binding}) var<storage, read> {name}_parameters: array<f32>;\n");
        text.push_str(&head);
        let _ = writeln!(text, "    var y0: array<f32, {most}>;\n    var y1: array<f32, {most}>;\n    var given = x;");
        let copy = |text: &mut String, from: &str, to: &str, count: usize| {
            let _ =
                writeln!(text, "    for (var i = 0u; i < {count}u; i += 1u) {{\n        {to}[i] = {from}[i];\n    }}");
        };
        copy(&mut text, "given", "y0", self.layers[0].k);
        let (mut from, mut to) = ("y0", "y1");
        for layer in self.layers {
            let PastedLayer { k, n, w, b, .. } = *layer;
            let at = |of: &str| format!("{name}_parameters[{of}]");
            let four = |of: &dyn Fn(&str) -> String| ["n0", "n1", "n2", "n3"].map(of).join(", ");
            let _ = writeln!(text, "    for (var n0 = 0u; n0 < {n}u; n0 += 4u) {{");
            for i in 1..4 {
                let _ = writeln!(text, "        let n{i} = min(n0 + {i}u, {}u);", n - 1);
            }
            let _ = writeln!(text, "        var z = vec4<f32>({});", four(&|n| at(&format!("{b}u + {n}"))));
            let _ = writeln!(text, "        for (var k = 0u; k < {k}u; k += 1u) {{");
            let weights = four(&|n| at(&format!("{w}u + {n} * {k}u + k")));
            let _ = writeln!(text, "            z += {from}[k] * vec4<f32>({weights});\n        }}");
            for (i, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
                let alpha = match layer.alpha {
                    None => literal(name, layer.activation.params()[0]),
                    Some((first, true)) => at(&format!("{first}u + n{i}")),
                    Some((first, false)) => at(&format!("{first}u")),
                };
                let y = self.act(layer, &format!("z.{lane}"), &alpha);
                let _ = writeln!(text, "        {to}[n0 + {i}u] = {y};");
            }
            text.push_str("    }\n");
            (from, to) = (to, from);
        }
        let n = self.layers[self.layers.len() - 1].n;
        let _ = writeln!(text, "    var y: array<f32, {n}>;");
        copy(&mut text, from, "y", n);
        text.push_str("    return y;\n}\n");
        self.with_numbers(text)
    }

    /// The text behind the function that it takes for infinities and NaN, if it does.
    fn with_numbers(&self, text: String) -> String {
        let of_bits = format!("{}_of_bits", self.name);
        match text.contains(&of_bits) {
            true => format!("fn {of_bits}(bits: u32) -> f32 {{\n    return bitcast<f32>(bits);\n}}\n{text}"),
            false => text,
        }
    }
}

/// The number, exactly. WGSL has no literal for infinities and NaN, and refuses constant expressions that are one: but a call of a function
/// is no constant expression.
fn literal(name: &str, number: f32) -> String {
    match number.is_finite() {
        true => format!("{number:?}f"),
        false => format!("{name}_of_bits({:#x}u)", number.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_taken_apart() {
        let source = "// one\nfn a() -> f32 {\n    return b;\n}\n\n// alone\n\n// two\n// lines\nconst b: f32 = 1.0; // b\n\
            struct S {\n    m: f32,\n}\nconst far =\n    2.0;\n";
        let items = items(source);
        let all: Vec<_> = items.iter().map(|item| (item.name, item.text.lines().count())).collect();
        assert_eq!(all, [("a", 4), ("b", 3), ("S", 3), ("far", 2)]);
        let reached = reached(&items, vec!["a".into()]);
        assert_eq!(reached.names.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(prefixed("a b.a abc", "n", &BTreeSet::from(["a"])), "n_a b.n_a abc");
    }
}
