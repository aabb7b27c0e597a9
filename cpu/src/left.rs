//! What a dropout leaves of a matrix, row by row: the same elements as on the GPU.

use elbow::Dropout;

/// A dropout with its state.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    dropout: Dropout,
    state: [u32; 4],
}

impl Left {
    pub(crate) fn new(dropout: Option<Dropout>, state: Option<[u32; 4]>) -> Option<Self> {
        dropout.zip(state).map(|(dropout, state)| Left { dropout, state })
    }

    /// Replaces the elements from this one of the matrix on: those that are left out by 0, infinite or not, and NaN by NaN.
    pub(crate) fn of(&self, first: usize, values: &mut [f32]) {
        let Left { dropout, state } = self;
        let mut at = 0;
        while at < values.len() {
            let index = first + at;
            let count = (4 - index % 4).min(values.len() - at);
            let factors = dropout.factors(*state, (index / 4) as u32);
            for (v, factor) in values[at..at + count].iter_mut().zip(&factors[index % 4..]) {
                *v = if *factor == 0.0 && !v.is_nan() { 0.0 } else { *v * factor };
            }
            at += count;
        }
    }
}
