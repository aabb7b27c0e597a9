//! Many cases in one submit: every operand is a span of one of three arenas, with canaries between the spans, NaN in
//! every output before the run, and offsets that are anything but round.

use elbow::{Gpu, Result, Tensor, View};

/// Between the spans; no kernel may change it, nor read it: it is a NaN of its own.
const CANARY: u32 = 0x7fc5_a5a5;
/// In outputs before the run: a NaN of its own, which no kernel writes.
pub(crate) const UNWRITTEN: u32 = 0x7fc0_dead;

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
    len: usize,
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

    fn place(&mut self, arena: Arena, words: &[u32], misalign: usize) -> Span {
        let arena = if self.shared { Arena::In } else { arena };
        let store = &mut self.words[arena as usize];
        store.extend([CANARY; 16]);
        while store.len() % 4 != misalign % 4 {
            store.push(CANARY);
        }
        let span = Span { arena, first: store.len(), len: words.len() };
        store.extend_from_slice(words);
        self.spans.push(span);
        span
    }

    pub(crate) fn input(&mut self, values: &[f32], misalign: usize) -> Span {
        self.place(Arena::In, bytemuck::cast_slice(values), misalign)
    }

    pub(crate) fn input_words(&mut self, words: &[u32], misalign: usize) -> Span {
        self.place(Arena::In, words, misalign)
    }

    pub(crate) fn output(&mut self, arena: Arena, len: usize, misalign: usize) -> Span {
        self.place(arena, &vec![UNWRITTEN; len], misalign)
    }

    /// An output that is added to.
    pub(crate) fn accumulated(&mut self, values: &[f32], misalign: usize) -> Span {
        self.place(Arena::Out, bytemuck::cast_slice(values), misalign)
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
            }
            let found = words.iter().zip(&inside).position(|(word, inside)| !inside && *word != CANARY);
            dead = dead.or(found.map(|at| format!("word {at} of arena {arena}, which no operand holds, was written")));
        }
        Ok((Results { words }, dead))
    }
}

impl Buffers {
    pub(crate) fn view<'a>(&'a self, span: Span, shape: &'a [usize]) -> View<'a> {
        View::at(self.tensors[span.arena as usize].buffer(), span.first as u64 * 4, shape)
    }
}

impl Results {
    pub(crate) fn words(&self, span: Span) -> &[u32] {
        &self.words[span.arena as usize][span.first..span.first + span.len]
    }

    pub(crate) fn values(&self, span: Span) -> &[f32] {
        bytemuck::cast_slice(self.words(span))
    }
}
