//! What an experiment found: figures, predicted and measured, in a table; pictures; and what theory says of them.

use std::fmt;

/// A figure, and what it has to be.
struct Figure {
    what: String,
    expected: Expected,
    measured: f64,
    /// The error bar of what was measured: one standard error, or a bound of rounding.
    bar: f64,
}

enum Expected {
    /// This value, to within so much.
    Value(f64, f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    fn holds(&self) -> bool {
        match self.expected {
            Expected::Value(value, within) => (self.measured - value).abs() <= within,
            Expected::AtLeast(least) => self.measured >= least,
            Expected::AtMost(most) => self.measured <= most,
        }
    }

    /// What, predicted, measured, error bar, verdict.
    fn cells(&self) -> [String; 5] {
        let predicted = match self.expected {
            Expected::Value(value, _) => number(value),
            Expected::AtLeast(least) => format!("≥ {}", number(least)),
            Expected::AtMost(most) => format!("≤ {}", number(most)),
        };
        let bar = if self.bar == 0.0 { "exact".into() } else { format!("± {:.1e}", self.bar) };
        let holds = if self.holds() { "yes" } else { "NO" };
        [self.what.clone(), predicted, number(self.measured), bar, holds.into()]
    }
}

/// Four digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{value:.digits$}")
        }
        _ => format!("{value:.3e}"),
    }
}

const HEADER: [&str; 5] = ["figure", "predicted", "measured", "error", "holds"];

/// The result of an experiment.
pub(crate) struct Report {
    /// What theory says.
    theory: String,
    figures: Vec<Figure>,
    /// Caption and SVG.
    pub(crate) pictures: Vec<(String, String)>,
    remarks: Vec<String>,
}

impl Report {
    /// Begins with what theory says, a paragraph of Markdown.
    pub(crate) fn new(theory: &str) -> Self {
        Report { theory: theory.into(), figures: Vec::new(), pictures: Vec::new(), remarks: Vec::new() }
    }

    fn figure(&mut self, what: impl Into<String>, expected: Expected, measured: f64, bar: f64) {
        self.figures.push(Figure { what: what.into(), expected, measured, bar });
    }

    /// A measured figure with its standard error, which holds if it is within `errors` of them of what was predicted.
    pub(crate) fn sampled(
        &mut self,
        what: impl Into<String>,
        predicted: f64,
        (measured, error): (f64, f64),
        errors: f64,
    ) {
        self.figure(what, Expected::Value(predicted, errors * error), measured, error);
    }

    /// A figure that has to be what was predicted, to within rounding or another bound that the experiment gives reasons for.
    pub(crate) fn within(&mut self, what: impl Into<String>, predicted: f64, measured: f64, bound: f64) {
        self.figure(what, Expected::Value(predicted, bound), measured, bound);
    }

    /// A figure that has to be at least so large; with its standard error, or 0 for one that is exact.
    pub(crate) fn at_least(&mut self, what: impl Into<String>, least: f64, measured: f64, bar: f64) {
        self.figure(what, Expected::AtLeast(least), measured, bar);
    }

    /// A figure that has to be at most so large.
    pub(crate) fn at_most(&mut self, what: impl Into<String>, most: f64, measured: f64, bar: f64) {
        self.figure(what, Expected::AtMost(most), measured, bar);
    }

    /// A picture, with its caption.
    pub(crate) fn picture(&mut self, caption: &str, svg: String) {
        self.pictures.push((caption.into(), svg));
    }

    /// What came out, a paragraph of Markdown.
    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Whether there are figures and every one is what was predicted.
    pub(crate) fn holds(&self) -> bool {
        !self.figures.is_empty() && self.figures.iter().all(Figure::holds)
    }

    /// The section of the page, with links to its pictures.
    pub(crate) fn markdown(&self, name: &str) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("{}\n\n", self.theory);
        for (index, (caption, _)) in self.pictures.iter().enumerate() {
            text += &format!("![{caption}](gallery/{name}-{index}.svg)\n\n*{caption}*\n\n");
        }
        text += &row(&HEADER.map(str::to_owned));
        text += "|---|--:|--:|--:|---|\n";
        // A bar within a cell would end it.
        let escaped = |figure: &Figure| figure.cells().map(|cell| cell.replace('|', "\\|"));
        self.figures.iter().for_each(|figure| text += &row(&escaped(figure)));
        self.remarks.iter().for_each(|remark| text += &format!("\n{remark}\n"));
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 5]> =
            [HEADER.map(str::to_owned)].into_iter().chain(self.figures.iter().map(Figure::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for [what, predicted, measured, bar, holds] in &rows {
            let [w0, w1, w2, w3, _] = widths;
            writeln!(f, "  {what:w0$}  {predicted:>w1$}  {measured:>w2$}  {bar:>w3$}  {holds}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "  {remark}"))
    }
}
