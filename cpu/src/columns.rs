//! Operands with one element for each column, as spans of rows take them.

use std::borrow::Cow;

use crate::pass::{SPAN, Span, rows_in_span};

/// An element for each column of a matrix.
pub(crate) struct Columns<'a> {
    values: Cow<'a, [f32]>,
    /// Repeated for every row of a span, where a span has many rows.
    tiled: Vec<f32>,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(values: impl Into<Cow<'a, [f32]>>) -> Self {
        let values = values.into();
        let tiled = if values.len() < SPAN { values.repeat(rows_in_span(values.len())) } else { Vec::new() };
        Columns { values, tiled }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[f32] {
        &self.values
    }

    /// That of one column.
    pub(crate) fn at(&self, column: usize) -> f32 {
        self.values[column]
    }

    /// Those of so many columns from one on.
    pub(crate) fn part(&self, column: usize, count: usize) -> &[f32] {
        &self.values[column..column + count]
    }

    /// One for each element of a span.
    pub(crate) fn of(&self, span: &Span) -> &[f32] {
        match self.tiled.is_empty() {
            true => self.part(span.column, span.range.len()),
            false => &self.tiled[..span.range.len()],
        }
    }
}
