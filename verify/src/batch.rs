//! Many cases in one submit: every operand is a span of one of three arenas, with canaries between the spans, NaN in
//! every output before the run, and offsets that are anything but round.

use elbow::{Dtype, Float, Gpu, Result, Tensor, View};

/// Between the spans; no kernel may change it, nor read it: it is a NaN of its own.
const CANARY: u32 = 0x7fc5_a5a5;
/// In outputs before the run: a NaN of its own, which no kernel writes.
const UNWRITTEN: u32 = 0x7fc0_dead;
/// The same of f16 and bf16.
const UNWRITTEN_HALF: u16 = 0x7fad;
/// In the other half of a word whose first half is an operand's last element.
const CANARY_HALF: u16 = 0x7fc5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arena {
    /// Read only.
    In,
    /// Written by forward, read by backward.
    Mid,
    /// Written.
    Out,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    arena: Arena,
    first: usize,
    /// In words.
    len: usize,
    dtype: Dtype,
    elements: usize,
}

impl Span {
    /// In which type its numbers are stored; those of words are never asked for.
    pub(crate) fn dtype(&self) -> Float {
        match self.dtype {
            Dtype::Float(float) => float,
            _ => Float::F32,
        }
    }

    /// Whether half of the last word is nobody's.
    fn ends_in_half(&self) -> bool {
        self.dtype.bytes() == 2 && self.elements % 2 == 1
    }
}

pub(crate) struct Batch {
    words: [Vec<u32>; 3],
    spans: Vec<Span>,
    /// Outputs and inputs in one buffer: the other binding flavour.
    shared: bool,
}

pub(crate) struct Buffers {
    tensors: [Tensor; 3],
}

pub(crate) struct Results {
    words: [Vec<u32>; 3],
}

impl Batch {
    pub(crate) fn new(shared: bool) -> Self {
        Batch { words: Default::default(), spans: Vec::new(), shared }
    }

    fn place(&mut self, arena: Arena, words: &[u32], misalign: usize, dtype: Dtype, elements: usize) -> Span {
        let arena = if self.shared { Arena::In } else { arena };
        let store = &mut self.words[arena as usize];
        store.extend([CANARY; 16]);
        while store.len() % 4 != misalign % 4 {
            store.push(CANARY);
        }
        let span = Span { arena, first: store.len(), len: words.len(), dtype, elements };
        store.extend_from_slice(words);
        if let (Some(last), true) = (store.last_mut(), span.ends_in_half()) {
            *last = (*last & 0xffff) | u32::from(CANARY_HALF) << 16;
        }
        self.spans.push(span);
        span
    }

    pub(crate) fn input(&mut self, values: &[f32], misalign: usize, dtype: Float) -> Span {
        self.place(Arena::In, &words(dtype, values), misalign, dtype.into(), values.len())
    }

    pub(crate) fn input_words(&mut self, words: &[u32], misalign: usize) -> Span {
        self.place(Arena::In, words, misalign, Dtype::U32, words.len())
    }

    pub(crate) fn output(&mut self, arena: Arena, len: usize, misalign: usize, dtype: impl Into<Dtype>) -> Span {
        let dtype = dtype.into();
        let words = match dtype.bytes() {
            4 => vec![UNWRITTEN; len],
            _ => vec![u32::from(UNWRITTEN_HALF) * 0x1_0001; len.div_ceil(2)],
        };
        self.place(arena, &words, misalign, dtype, len)
    }

    /// An output that is added to.
    pub(crate) fn accumulated(&mut self, values: &[f32], misalign: usize, dtype: Float) -> Span {
        self.place(Arena::Out, &words(dtype, values), misalign, dtype.into(), values.len())
    }

    pub(crate) fn buffers(&self, gpu: &Gpu) -> Result<Buffers> {
        let upload = |words: &Vec<u32>| {
            let mut words = words.clone();
            words.extend([CANARY; 64]);
            gpu.upload_words(&words, &[words.len()])
        };
        let [a, b, c] = &self.words;
        Ok(Buffers { tensors: [upload(a)?, upload(b)?, upload(c)?] })
    }

    /// The arenas after the run, and the first canary that is dead.
    pub(crate) fn results(&self, gpu: &Gpu, buffers: &Buffers) -> Result<(Results, Option<String>)> {
        let [a, b, c] = &buffers.tensors;
        let words = [gpu.download_words(a)?, gpu.download_words(b)?, gpu.download_words(c)?];
        let mut dead = None;
        for (arena, words) in words.iter().enumerate() {
            let mut inside = vec![false; words.len()];
            for span in self.spans.iter().filter(|s| s.arena as usize == arena) {
                inside[span.first..span.first + span.len].fill(true);
                if span.ends_in_half() && words[span.first + span.len - 1] >> 16 != u32::from(CANARY_HALF) {
                    dead =
                        dead.or(Some(format!("the half behind an operand of {} elements was written", span.elements)));
                }
            }
            let found = words.iter().zip(&inside).position(|(word, inside)| !inside && *word != CANARY);
            dead = dead.or(found.map(|at| format!("word {at} of arena {arena}, which no operand holds, was written")));
        }
        Ok((Results { words }, dead))
    }
}

impl Buffers {
    pub(crate) fn view<'a>(&'a self, span: Span, shape: &'a [usize]) -> View<'a> {
        View::new(self.tensors[span.arena as usize].buffer(), span.first as u64 * 4, shape, span.dtype)
    }
}

impl Results {
    pub(crate) fn words(&self, span: Span) -> &[u32] {
        &self.words[span.arena as usize][span.first..span.first + span.len]
    }

    pub(crate) fn values(&self, span: Span) -> Vec<f32> {
        span.dtype().decode(bytemuck::cast_slice(self.words(span)), span.elements)
    }

    pub(crate) fn is_unwritten(&self, span: Span, element: usize) -> bool {
        let words = self.words(span);
        match span.dtype.bytes() {
            4 => words[element] == UNWRITTEN,
            _ => words[element / 2] >> (element % 2 * 16) & 0xffff == u32::from(UNWRITTEN_HALF),
        }
    }
}

fn words(dtype: Float, values: &[f32]) -> Vec<u32> {
    dtype.encode(values).chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
}
