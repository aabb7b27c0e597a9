//! A chart with two logarithmic axes, as SVG text. Colours are CSS classes, which the page defines for light and dark.

use std::fmt::Write as _;

use super::table::digits;

/// Points and lines over two logarithmic axes.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// A description, for screen readers.
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

#[derive(Debug, Default)]
pub(super) struct Axis {
    pub(super) label: String,
    /// The ticks of the x axis; decades if empty.
    pub(super) ticks: Vec<f64>,
}

/// One line, or one kind of point.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// The CSS class of its colour.
    pub(super) class: &'static str,
    pub(super) line: bool,
    pub(super) marks: bool,
    /// x, y and the tooltip of each point.
    pub(super) points: Vec<(f64, f64, String)>,
}

// Few pixels, so that text stays readable when a phone scales the chart down.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// A range of values and the pixels that it covers.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// The range with a margin on both sides.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (low, high) = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .map(f64::log10)
            .fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let room = 0.06 * (high - low).max(0.5);
        Scale { low: low - room, high: high + room, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.max(1e-300).log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Decades, with 2 and 5 between them if there are few.
    fn ticks(&self) -> Vec<f64> {
        let within = |step: &[f64]| -> Vec<f64> {
            let decades = (self.low.floor() as i32)..=(self.high.ceil() as i32);
            let all = decades.flat_map(|decade| step.iter().map(move |step| step * 10f64.powi(decade)));
            all.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect()
        };
        let decades = within(&[1.0]);
        if decades.len() < 3 { within(&[1.0, 2.0, 5.0]) } else { decades }
    }
}

impl Chart {
    /// The chart with its legend, as HTML.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let x = Scale::new(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
        let y = Scale::new(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>",
            escape(&self.title)
        );
        self.axes(&mut svg, &x, &y);
        for series in &self.series {
            let place = |p: &(f64, f64, String)| (x.at(p.0), y.at(p.1));
            if series.line {
                let path = series.points.iter().map(|p| format!("{:.1},{:.1}", place(p).0, place(p).1));
                let path = path.collect::<Vec<_>>().join(" ");
                let _ = write!(svg, "<polyline class=\"line {}\" points=\"{path}\"/>", series.class);
            }
            for p in series.points.iter().filter(|_| series.marks) {
                let (cx, cy) = place(p);
                let (class, says) = (series.class, escape(&p.2));
                let _ = write!(
                    svg,
                    "<circle class=\"mark {class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4.5\"><title>{says}</title></circle>"
                );
            }
        }
        svg += "</svg><figcaption>";
        for series in &self.series {
            let _ = write!(svg, "<span><i class=\"key {}\"></i>{}</span> ", series.class, escape(&series.name));
        }
        svg + "</figcaption></figure>\n"
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let or = |axis: &Axis, scale: &Scale| if axis.ticks.is_empty() { scale.ticks() } else { axis.ticks.clone() };
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in or(&self.x, x) {
            let at = x.at(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                short(tick)
            );
        }
        for tick in or(&self.y, y) {
            let at = y.at(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                at + 4.5,
                short(tick)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text class=\"label\" x=\"4\" y=\"14\">{}</text>",
            HEIGHT - 6.0,
            escape(&self.x.label),
            escape(&self.y.label)
        );
    }
}

/// A number for an axis: 1k for 1000, small numbers in full.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", trim(v / 1e9)),
        v if v >= 1e6 => format!("{}M", trim(v / 1e6)),
        v if v >= 1e4 => format!("{}k", trim(v / 1e3)),
        v => trim(v),
    }
}

fn trim(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { digits(value) };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Text escaped for elements and attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short_and_text_is_escaped() {
        for (value, text) in
            [(1.0, "1"), (4096.0, "4096"), (10_000.0, "10k"), (0.001, "0.001"), (0.5, "0.5"), (2e6, "2M")]
        {
            assert_eq!(short(value), text);
        }
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }

    #[test]
    fn a_larger_value_lies_higher_and_no_value_breaks_a_chart() {
        let y = Scale::new([1.0, 100.0].into_iter(), 300.0, 0.0);
        assert!(y.at(100.0) < y.at(10.0) && y.at(10.0) < y.at(1.0));
        let empty = Chart::default().svg();
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        let one = Scale::new([5.0].into_iter(), 0.0, 10.0);
        assert!((one.at(5.0) - 5.0).abs() < 1e-9 && !one.ticks().is_empty());
    }
}
