//! Many cases in one submission: every operand is a span of one of three buffers (arenas), with canaries between the spans, NaN in every
//! output before the run, and odd offsets.

use elbow::{Dtype, Float, Gpu, Result, Tensor, View, wgpu};

/// Fills the space between the spans. A special NaN: a kernel that reads it spoils its result, one that writes there is found.
const CANARY: u32 = 0x7fc5_a5a5;
/// Fills outputs before the run: another special NaN, which no kernel writes.
const UNWRITTEN: u32 = 0x7fc0_dead;
/// The same for f16 and bf16.
const UNWRITTEN_HALF: u16 = 0x7fad;
/// Fills the spare half of a word whose first half is an operand's last element.
const CANARY_HALF: u16 = 0x7fc5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arena {
    /// Operands that are only read.
    In,
    /// Operands that forward writes and backward reads.
    Mid,
    /// Operands that are only written.
    Out,
}

/// Elements of a row, and of the gap after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) length: usize,
    pub(crate) gap: usize,
}

impl Rows {
    /// Without gaps.
    pub(crate) const ONE: Rows = Rows { length: usize::MAX, gap: 0 };

    /// The place of an element, gaps counted.
    fn place(self, element: usize) -> usize {
        element + element.checked_div(self.length).unwrap_or(0) * self.gap
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    arena: Arena,
    /// The first word of the span; its length is in words too.
    first: usize,
    len: usize,
    dtype: Dtype,
    elements: usize,
    rows: Rows,
}

impl Span {
    /// The type of its numbers; not called for words.
    pub(crate) fn dtype(&self) -> Float {
        match self.dtype {
            Dtype::Float(float) => float,
            _ => Float::F32,
        }
    }

    /// The bits at a place: of an element, or of a gap.
    fn bits(&self, words: &[u32], place: usize) -> u32 {
        match self.dtype.bytes() {
            4 => words[place],
            _ => words[place / 2] >> (place % 2 * 16) & 0xffff,
        }
    }

    /// The bits of a gap.
    fn canary(&self) -> u32 {
        if self.dtype.bytes() == 4 { CANARY } else { u32::from(CANARY_HALF) }
    }

    /// Number of places: elements and gaps.
    fn places(&self) -> usize {
        self.len * 4 / self.dtype.bytes() as usize
    }

    /// The first place in a gap that was written.
    fn spoilt(&self, words: &[u32]) -> Option<usize> {
        let mut held = vec![false; self.places()];
        (0..self.elements).for_each(|element| held[self.rows.place(element)] = true);
        (0..held.len()).find(|&place| !held[place] && self.bits(words, place) != self.canary())
    }
}

pub(crate) struct Batch {
    words: [Vec<u32>; 3],
    spans: Vec<Span>,
    /// Whether outputs and inputs share one buffer, which needs read_write bindings.
    shared: bool,
    /// Words to whose multiples every span is alone: a browser refuses bindings that overlap, and rounds where they begin.
    block: usize,
}

pub(crate) struct Buffers {
    tensors: [Tensor; 3],
}

pub(crate) struct Results {
    words: [Vec<u32>; 3],
}

impl Batch {
    pub(crate) fn new(gpu: &Gpu, shared: bool) -> Self {
        let block = match gpu.info().backend {
            wgpu::Backend::BrowserWebGpu => gpu.device().limits().min_storage_buffer_offset_alignment as usize / 4,
            _ => 1,
        };
        Batch { words: Default::default(), spans: Vec::new(), shared, block }
    }

    /// Places elements, given as bits, with gaps between rows.
    fn place(&mut self, arena: Arena, bits: &[u32], misalign: usize, dtype: Dtype, rows: Rows) -> Span {
        let arena = if self.shared { Arena::In } else { arena };
        let store = &mut self.words[arena as usize];
        store.extend([CANARY; 16]);
        store.resize(store.len().next_multiple_of(self.block), CANARY);
        while store.len() % 4 != misalign % 4 {
            store.push(CANARY);
        }
        let first = store.len();
        let places = bits.len().checked_sub(1).map_or(0, |last| rows.place(last) + 1);
        let narrow = dtype.bytes() == 2;
        let (len, empty) = match narrow {
            true => (places.div_ceil(2), u32::from(CANARY_HALF) * 0x1_0001),
            false => (places, CANARY),
        };
        store.resize(first + len, empty);
        for (element, &bits) in bits.iter().enumerate() {
            let place = rows.place(element);
            match narrow {
                true => {
                    let (word, shift) = (&mut store[first + place / 2], place % 2 * 16);
                    *word = *word & !(0xffff << shift) | bits << shift;
                }
                false => store[first + place] = bits,
            }
        }
        let span = Span { arena, first, len, dtype, elements: bits.len(), rows };
        self.spans.push(span);
        span
    }

    pub(crate) fn input(&mut self, values: &[f32], misalign: usize, dtype: Float, rows: Rows) -> Span {
        self.place(Arena::In, &bits(dtype, values), misalign, dtype.into(), rows)
    }

    pub(crate) fn input_words(&mut self, words: &[u32], misalign: usize) -> Span {
        self.place(Arena::In, words, misalign, Dtype::U32, Rows::ONE)
    }

    pub(crate) fn output(
        &mut self,
        arena: Arena,
        len: usize,
        misalign: usize,
        dtype: impl Into<Dtype>,
        rows: Rows,
    ) -> Span {
        let dtype = dtype.into();
        self.place(arena, &vec![unwritten(dtype); len], misalign, dtype, rows)
    }

    /// An output that is accumulated into, with these values before the run.
    pub(crate) fn accumulated(&mut self, values: &[f32], misalign: usize, dtype: Float, rows: Rows) -> Span {
        self.place(Arena::Out, &bits(dtype, values), misalign, dtype.into(), rows)
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

    /// The arenas after the run, and the first canary that was overwritten.
    pub(crate) async fn results(&self, gpu: &Gpu, buffers: &Buffers) -> Result<(Results, Option<String>)> {
        let [a, b, c] = &buffers.tensors;
        let words = [
            gpu.download_words_async(a).await?,
            gpu.download_words_async(b).await?,
            gpu.download_words_async(c).await?,
        ];
        let mut dead = None;
        for (arena, words) in words.iter().enumerate() {
            let mut inside = vec![false; words.len()];
            for span in self.spans.iter().filter(|s| s.arena as usize == arena) {
                let held = span.first..span.first + span.len;
                inside[held.clone()].fill(true);
                let spoilt = span.spoilt(&words[held]);
                dead = dead.or(spoilt.map(|place| {
                    format!("place {place} of an operand of {} elements, in a gap, was written", span.elements)
                }));
            }
            let found = words.iter().zip(&inside).position(|(word, inside)| !inside && *word != CANARY);
            dead = dead.or(found.map(|at| format!("word {at} of arena {arena}, which no operand holds, was written")));
        }
        Ok((Results { words }, dead))
    }
}

impl Buffers {
    pub(crate) fn view(&self, span: Span, shape: &[usize]) -> View<'_> {
        let Rows { length, gap } = span.rows;
        let view = View::new(self.tensors[span.arena as usize].buffer(), span.first as u64 * 4, shape, span.dtype);
        match gap {
            0 => view,
            // Operands with gaps are matrices: two strides.
            gap => view.with_strides(&[length + gap, 1]).unwrap_or(view),
        }
    }
}

impl Results {
    pub(crate) fn words(&self, span: Span) -> &[u32] {
        &self.words[span.arena as usize][span.first..span.first + span.len]
    }

    pub(crate) fn values(&self, span: Span) -> Vec<f32> {
        let words = self.words(span);
        let bits = (0..span.elements).map(|element| span.bits(words, span.rows.place(element)));
        let bytes: Vec<u8> = match span.dtype.bytes() {
            4 => bits.flat_map(u32::to_ne_bytes).collect(),
            _ => bits.flat_map(|bits| (bits as u16).to_ne_bytes()).collect(),
        };
        span.dtype().decode(&bytes, span.elements)
    }

    pub(crate) fn is_unwritten(&self, span: Span, element: usize) -> bool {
        span.bits(self.words(span), span.rows.place(element)) == unwritten(span.dtype)
    }
}

fn unwritten(dtype: Dtype) -> u32 {
    if dtype.bytes() == 4 { UNWRITTEN } else { u32::from(UNWRITTEN_HALF) }
}

/// The bits of each number.
fn bits(dtype: Float, values: &[f32]) -> Vec<u32> {
    let bytes = dtype.encode(values);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
    let all = bytes.chunks_exact(dtype.bytes() as usize).map(number);
    all.take(values.len()).collect()
}
