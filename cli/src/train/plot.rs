//! A chart with linear axes, as SVG text: curves of losses, points of predictions. Colours are CSS classes of the page.

use std::fmt::Write as _;

use super::score::short;
use crate::html::{axes::Frame, escape};

/// Points and lines over two axes.
pub(super) struct Plot {
    /// A description, for screen readers.
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) series: Vec<Series>,
    /// One range for both axes, and the line y = x.
    pub(super) square: bool,
    /// The y axis begins at 0.
    pub(super) from_zero: bool,
}

pub(super) struct Series {
    pub(super) name: String,
    /// The CSS class of its colour.
    pub(super) class: &'static str,
    pub(super) line: bool,
    pub(super) points: Vec<(f64, f64)>,
}

struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new((low, high): (f64, f64), from: f64, to: f64) -> Self {
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Scale { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Four to nine round numbers.
    fn ticks(&self) -> Vec<f64> {
        let span = self.high - self.low;
        let decade = 10f64.powf((span / 5.0).log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * decade).find(|step| span / step <= 6.0).unwrap_or(span);
        let first = (self.low / step).ceil() as i64;
        (first..first + 10).map(|i| i as f64 * step).filter(|tick| *tick <= self.high + 1e-9 * span).collect()
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
}

impl Plot {
    /// The plot with its legend, as HTML.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (mut xs, mut ys) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
        if self.from_zero {
            ys.0 = ys.0.min(0.0);
        }
        if self.square {
            xs = (xs.0.min(ys.0), xs.1.max(ys.1));
            ys = xs;
        }
        // Points do not lie on the frame.
        if self.series.iter().all(|series| !series.line) {
            for range in [&mut xs, &mut ys] {
                let room = 0.04 * (range.1 - range.0).max(0.0);
                *range = (range.0 - room, range.1 + room);
            }
        }
        let frame = Frame::new(420.0, 300.0, 58.0);
        let (x, y) = (Scale::new(xs, frame.left, frame.right), Scale::new(ys, frame.bottom, frame.top));
        let (Frame { width, height, .. }, title) = (&frame, escape(&self.title));
        let mut svg = format!("<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\"><title>{title}</title>");
        let ticks = |scale: &Scale| scale.ticks().into_iter().map(|tick| (scale.at(tick), label(tick))).collect();
        svg += &frame.axes((&self.x, ticks(&x)), (&self.y, ticks(&y)));
        if self.square {
            let (from, to) = (x.low, x.high);
            let _ = write!(
                svg,
                "<line class=\"line ceiling\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                x.at(from),
                y.at(from),
                x.at(to),
                y.at(to)
            );
        }
        for Series { class, line, points, .. } in &self.series {
            let there = points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
            if *line {
                let path: Vec<String> = there.map(|p| format!("{:.1},{:.1}", x.at(p.0), y.at(p.1))).collect();
                let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
            } else {
                for p in there {
                    let _ = write!(
                        svg,
                        "<circle class=\"mark {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                        x.at(p.0),
                        y.at(p.1)
                    );
                }
            }
        }
        svg += "</svg><figcaption>";
        for Series { name, class, .. } in &self.series {
            let _ = write!(svg, "<span><i class=\"key {class}\"></i>{}</span> ", escape(name));
        }
        svg + "</figcaption></figure>\n"
    }
}

/// A round number without zeros at its end.
fn label(value: f64) -> String {
    let text = if value.abs() < 1e-12 { "0".into() } else { short(value) };
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_breaks_a_plot() {
        let series = |points: Vec<(f64, f64)>| Series { name: "<s>".into(), class: "gpu", line: true, points };
        for points in [vec![], vec![(1.0, 1.0)], vec![(0.0, -3.0), (f64::NAN, 1.0), (2.0, f64::INFINITY), (1e9, 5.0)]] {
            for square in [false, true] {
                let plot = Plot {
                    title: "t".into(),
                    x: "x".into(),
                    y: "y".into(),
                    series: vec![series(points.clone())],
                    square,
                    from_zero: !square,
                };
                let svg = plot.svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("&lt;s&gt;"), "{svg}");
            }
        }
        let ticks = Scale::new((0.0, 37.0), 0.0, 1.0).ticks();
        assert_eq!(ticks, [0.0, 10.0, 20.0, 30.0]);
        assert_eq!([0.5, 20.0, 0.0, 1200.0, -0.25].map(label), ["0.5", "20", "0", "1200", "-0.25"]);
    }
}
