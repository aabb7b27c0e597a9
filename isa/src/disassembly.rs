//! A compiler's text of machine code, and what can be counted in it: loops, multiply-adds, what is stored.
//!
//! The text is that of RADV: a line for each instruction, and before each basic block its name (`BB3:`). A branch to a block that stands no
//! later in the text closes a loop. Nothing is run, so nothing is known of how often a loop runs; each instruction counts once.

use std::collections::HashMap;

/// One basic block.
#[derive(Debug, Default)]
struct Block<'t> {
    instructions: Vec<&'t str>,
}

/// The blocks from `first` to `last`, both within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loop {
    first: usize,
    last: usize,
}

/// Machine code by blocks.
#[derive(Debug)]
pub(crate) struct Disassembly<'t> {
    blocks: Vec<Block<'t>>,
    loops: Vec<Loop>,
}

/// The loop over the reduction, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reduction {
    pub(crate) instructions: usize,
    pub(crate) multiply_adds: usize,
    /// Instructions behind it.
    pub(crate) behind: usize,
}

/// What instructions of the five kinds that RDNA has begin with; everything else is a comment or a heading.
const PREFIXES: [&str; 8] = ["v_", "s_", "ds_", "buffer_", "global_", "flat_", "scratch_", "exp"];

const MULTIPLY_ADDS: [&str; 8] = ["v_fma_", "v_fmac_", "v_fmaak_", "v_fmamk_", "v_mad_", "v_mac_", "v_pk_fma_", "v_dot"];

fn name(instruction: &str) -> &str {
    instruction.split_whitespace().next().unwrap_or_default()
}

fn is_multiply_add(instruction: &str) -> bool {
    // Two instructions in one: either may be it.
    let mut halves = instruction.split("::").map(|half| name(half));
    halves.any(|name| {
        let name = name.replacen("v_dual_", "v_", 1);
        let integer = name.contains("_u32") || name.contains("_i32") || name.contains("_u64") || name.contains("_i64");
        !integer && MULTIPLY_ADDS.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Bytes that an instruction writes to storage buffers, for each lane.
fn stored_bytes(instruction: &str) -> u64 {
    let name = name(instruction);
    let Some((_, width)) = name.split_once("_store_") else { return 0 };
    if name.starts_with("scratch_") || name.starts_with("ds_") {
        return 0;
    }
    match width {
        "dword" | "b32" => 4,
        "dwordx2" | "b64" => 8,
        "dwordx3" | "b96" => 12,
        "dwordx4" | "b128" => 16,
        _ if width.contains("short") || width.contains("b16") => 2,
        _ => 1,
    }
}

impl<'t> Disassembly<'t> {
    pub(crate) fn parse(text: &'t str) -> Self {
        let mut blocks = vec![Block::default()];
        let mut numbers = HashMap::new();
        for line in text.lines().map(str::trim) {
            if let Some(label) = line.strip_suffix(':').filter(|label| is_label(label)) {
                blocks.push(Block::default());
                numbers.insert(label, blocks.len() - 1);
            } else if PREFIXES.iter().any(|prefix| line.starts_with(prefix))
                && let Some(block) = blocks.last_mut()
            {
                block.instructions.push(line);
            }
        }
        let mut loops = Vec::new();
        for (last, block) in blocks.iter().enumerate() {
            for target in block.instructions.iter().filter_map(|instruction| branch_target(instruction)) {
                if let Some(&first) = numbers.get(target)
                    && first <= last
                {
                    loops.push(Loop { first, last });
                }
            }
        }
        Disassembly { blocks, loops }
    }

    fn within(&self, Loop { first, last }: Loop) -> impl Iterator<Item = &'t str> + '_ {
        self.blocks.iter().take(last + 1).skip(first).flat_map(|block| block.instructions.iter().copied())
    }

    fn from(&self, block: usize) -> impl Iterator<Item = &'t str> + '_ {
        self.blocks.iter().skip(block).flat_map(|block| block.instructions.iter().copied())
    }

    pub(crate) fn instructions(&self) -> usize {
        self.from(0).count()
    }

    /// Bytes that a lane stores, if every instruction runs once.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.from(0).map(stored_bytes).sum()
    }

    /// The loop over the reduction of a product: of the loops that store nothing, and that end before anything is stored, the one with most
    /// multiply-adds, and the shortest of these. What is behind it begins after the last such loop that has any: what a vector loop leaves
    /// over is a loop of its own.
    pub(crate) fn reduction(&self) -> Option<Reduction> {
        let stores = |block: &Block<'_>| block.instructions.iter().any(|instruction| stored_bytes(instruction) > 0);
        let first_store = self.blocks.iter().position(stores).unwrap_or(self.blocks.len());
        let count = |l: Loop| self.within(l).filter(|instruction| is_multiply_add(instruction)).count();
        let before = self.loops.iter().copied().filter(|l| l.last < first_store);
        let multiplying: Vec<_> = before.map(|l| (l, count(l))).filter(|(_, count)| *count > 0).collect();
        let (main, multiply_adds) = multiplying.iter().copied().max_by_key(|(l, count)| {
            (*count, std::cmp::Reverse(self.within(*l).count()))
        })?;
        let end = multiplying.iter().map(|(l, _)| l.last).max()?;
        Some(Reduction { instructions: self.within(main).count(), multiply_adds, behind: self.from(end + 1).count() })
    }
}

fn is_label(text: &str) -> bool {
    text.strip_prefix("BB").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The block that a branch goes to.
fn branch_target(instruction: &str) -> Option<&str> {
    let mut words = instruction.split_whitespace();
    let is_branch = words.next().is_some_and(|name| name.starts_with("s_branch") || name.starts_with("s_cbranch"));
    words.find(|word| is_branch && is_label(word))
}
