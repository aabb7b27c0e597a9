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

/// What instructions begin with; everything else is a comment or a heading.
const PREFIXES: [&str; 7] = ["v_", "s_", "ds_", "buffer_", "global_", "flat_", "scratch_"];

/// A matrix that is multiplied and added is one of them.
const MULTIPLY_ADDS: [&str; 9] =
    ["v_wmma_", "v_fma_", "v_fmac_", "v_fmaak_", "v_fmamk_", "v_mad_", "v_mac_", "v_pk_fma_", "v_dot"];

fn name(instruction: &str) -> &str {
    instruction.split_whitespace().next().unwrap_or_default()
}

fn is_multiply_add(instruction: &str) -> bool {
    // Two instructions in one: either may be it.
    let mut halves = instruction.split("::").map(name);
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
        let (main, multiply_adds) = multiplying
            .iter()
            .copied()
            .max_by_key(|(l, count)| (*count, std::cmp::Reverse(self.within(*l).count())))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut down by hand from what RADV says of a product for RDNA2.
    const SAMPLE: &str = include_str!("../testdata/product.asm.txt");

    #[test]
    fn the_loop_of_the_reduction_is_found_between_others() {
        let sample = Disassembly::parse(SAMPLE);
        assert_eq!(
            sample.loops.len(),
            3,
            "the vector loop, what it leaves over, the epilogue's loop: {:?}",
            sample.loops
        );
        let found = sample.reduction();
        assert_eq!(found, Some(Reduction { instructions: 9, multiply_adds: 5, behind: 11 }));
        assert_eq!((sample.instructions(), sample.stored_bytes()), (31, 16));
    }

    #[test]
    fn without_a_loop_there_is_none() {
        for text in
            ["", "BB0:\n\ts_endpgm ; bf810000\n", "BB0:\n\tv_fmac_f32_e32 v1, v2, v3\n\ts_cbranch_scc0 BB1\nBB1:\n"]
        {
            assert_eq!(Disassembly::parse(text).reduction(), None, "{text}");
        }
    }

    #[test]
    fn instructions_are_told_by_their_names() {
        for name in [
            "v_fma_f32 v1, v2, v3, v4",
            "v_fmac_f32_e32 v1, v2, v3",
            "v_fmaak_f32 v1, v2, v3, 0x3f000000",
            "v_pk_fma_f16 v1, v2, v3, v1",
            "v_dot2_f32_f16 v1, v2, v3, v1",
            "v_dual_fmac_f32 v0, v1, v2 :: v_dual_mul_f32 v3, v4, v5",
            "v_dual_mul_f32 v3, v4, v5 :: v_dual_fmac_f32 v0, v1, v2",
            "v_fma_mix_f32 v1, v2, v3, v4",
            "v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]",
        ] {
            assert!(is_multiply_add(name), "{name}");
        }
        for name in [
            "v_mad_u32_u24 v1, v2, v3, v4",
            "v_mad_u64_u32 v[0:1], s2, v3, v4, v[0:1]",
            "v_mul_f32 v1, v2, v3",
            "s_nop 0",
        ] {
            assert!(!is_multiply_add(name), "{name}");
        }
        for (name, bytes) in [
            ("buffer_store_dwordx4 v[0:3], v4, s[0:3], 0 offen", 16),
            ("buffer_store_b64 v[0:1], v4, s[0:3], 0 offen", 8),
            ("global_store_dword v[0:1], v2, off", 4),
            ("buffer_store_short_d16_hi v0, v4, s[0:3], 0 offen", 2),
            ("buffer_store_d16_hi_b16 v0, v4, s[0:3], 0 offen", 2),
            ("buffer_store_byte v0, v4, s[0:3], 0 offen", 1),
            ("scratch_store_dword off, v0, s0", 0),
            ("ds_store_b128 v0, v[1:4]", 0),
            ("buffer_load_dword v0, v4, s[0:3], 0 offen", 0),
        ] {
            assert_eq!(stored_bytes(name), bytes, "{name}");
        }
        assert_eq!(branch_target("s_cbranch_scc0 BB12      ; bfa100b6"), Some("BB12"));
        assert_eq!(branch_target("s_add_u32 s0, BB12"), None);
    }
}
