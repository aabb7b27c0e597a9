//! A chart with two logarithmic axes, as SVG text, and the legend of several. Colours are CSS classes, which the page defines for light and
//! dark; each class has a mark of its own too.

use std::fmt::Write as _;

use crate::{
    html::{axes::Frame, escape},
    numbers::digits,
};

/// Points and lines over two logarithmic axes.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// A description, for screen readers.
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// One of many beside each other.
    pub(super) small: bool,
}

#[derive(Debug, Default)]
pub(super) struct Axis {
    pub(super) label: String,
    /// The ticks of the x axis; decades if empty.
    pub(super) ticks: Vec<f64>,
    /// What it covers; as much as its points if none.
    pub(super) range: Option<[f64; 2]>,
}

/// One line, or one kind of point.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// The CSS class of its colour.
    pub(super) class: &'static str,
    pub(super) line: bool,
    pub(super) marks: bool,
    pub(super) points: Vec<Point>,
}

/// A value, between which bounds it lies, and its tooltip.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) bounds: Option<[f64; 2]>,
    pub(super) says: String,
}

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

    /// Decades, with 2 and 5 between them if there are few, fewer than all if there are many.
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
    /// The y range that covers all of these, so that they can be compared by eye.
    pub(super) fn common(charts: &mut [Chart]) {
        let points = || charts.iter().flat_map(|chart| chart.values());
        let range = points().filter(|v| v.is_finite() && *v > 0.0);
        let [low, high] = range.fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(v), high.max(v)]);
        if low <= high {
            charts.iter_mut().for_each(|chart| chart.y.range = Some([low, high]));
        }
    }

    /// Every value on the y axis.
    fn values(&self) -> impl Iterator<Item = f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.flat_map(|point| [point.y].into_iter().chain(point.bounds.into_iter().flatten()))
    }

    fn frame(&self) -> Frame {
        if self.small { Frame::new(300.0, 210.0, 50.0) } else { Frame::new(400.0, 280.0, 50.0) }
    }

    /// The chart without a legend.
    pub(super) fn svg(&self) -> String {
        let frame = self.frame();
        let points = || self.series.iter().flat_map(|s| &s.points);
        let of = |axis: &Axis| axis.range.into_iter().flatten().collect::<Vec<f64>>();
        let x = Scale::new(points().map(|p| p.x).chain(of(&self.x)), frame.left, frame.right);
        let y = Scale::new(self.values().chain(of(&self.y)), frame.bottom, frame.top);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>",
            frame.width,
            frame.height,
            escape(&self.title)
        );
        let ticks = |axis: &Axis, scale: &Scale| -> Vec<(f64, String)> {
            let ticks = if axis.ticks.is_empty() { scale.ticks() } else { axis.ticks.clone() };
            ticks.into_iter().map(|tick| (scale.at(tick), short(tick))).collect()
        };
        svg += &frame.axes((&self.x.label, ticks(&self.x, &x)), (&self.y.label, ticks(&self.y, &y)));
        for series in &self.series {
            if series.line {
                let path = series.points.iter().map(|p| format!("{:.1},{:.1}", x.at(p.x), y.at(p.y)));
                let path = path.collect::<Vec<_>>().join(" ");
                let _ = write!(svg, "<polyline class=\"line {}\" points=\"{path}\"/>", series.class);
            }
            for p in series.points.iter().filter(|_| series.marks) {
                whisker(&mut svg, series.class, x.at(p.x), p.bounds.map(|bounds| bounds.map(|bound| y.at(bound))));
                let says = format!("<title>{}</title>", escape(&p.says));
                mark(&mut svg, series.class, x.at(p.x), y.at(p.y), &says);
            }
        }
        svg + "</svg>\n"
    }
}

/// A vertical line between the bounds with a bar at each end, if they are apart.
fn whisker(svg: &mut String, class: &str, x: f64, bounds: Option<[f64; 2]>) {
    let Some([low, high]) =
        bounds.filter(|[low, high]| low.is_finite() && high.is_finite() && (low - high).abs() > 3.0)
    else {
        return;
    };
    let (left, right) = (x - 4.0, x + 4.0);
    let _ = write!(
        svg,
        "<path class=\"whisker {class}\" d=\"M{x:.1} {low:.1}V{high:.1}M{left:.1} {low:.1}H{right:.1}M{left:.1} {high:.1}H{right:.1}\"/>"
    );
}

/// A mark by its class: a square for the CPU, a diamond for transfers and backward, a triangle for a step, else a circle.
fn mark(svg: &mut String, class: &str, x: f64, y: f64, inside: &str) {
    let _ = match class {
        "cpu" => write!(
            svg,
            "<rect class=\"mark {class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"8.4\" height=\"8.4\">{inside}</rect>",
            x - 4.2,
            y - 4.2
        ),
        "transfers" | "backward" => write!(
            svg,
            "<path class=\"mark {class}\" d=\"M{x:.1} {:.1}l5.4 5.4 -5.4 5.4 -5.4 -5.4z\">{inside}</path>",
            y - 5.4
        ),
        "step" => {
            write!(svg, "<path class=\"mark {class}\" d=\"M{x:.1} {:.1}l5.4 9.4h-10.8z\">{inside}</path>", y - 5.8)
        }
        _ => write!(svg, "<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\">{inside}</circle>"),
    };
}

/// The legend of these series, once for all charts that have them.
pub(super) fn legend(series: &[Series]) -> String {
    let key = |series: &Series| {
        let mut svg = String::from("<svg class=\"swatch\" viewBox=\"0 0 30 14\" aria-hidden=\"true\">");
        if series.line {
            let _ = write!(svg, "<polyline class=\"line {}\" points=\"1,7 29,7\"/>", series.class);
        }
        if series.marks {
            mark(&mut svg, series.class, 15.0, 7.0, "");
        }
        format!("<span>{svg}</svg>{}</span>\n", escape(&series.name))
    };
    format!("<p class=\"legend\">\n{}</p>\n", series.iter().map(key).collect::<String>())
}

/// A number for an axis: 100k for 100,000, small numbers in full.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", trim(v / 1e9)),
        v if v >= 1e6 => format!("{}M", trim(v / 1e6)),
        v if v >= 1e5 => format!("{}k", trim(v / 1e3)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], bounds: Option<[f64; 2]>) -> Chart {
        let point = |(i, &y): (usize, &f64)| Point { x: f64::from(1 << i), y, bounds, says: "a < b".into() };
        let points = values.iter().enumerate().map(point).collect();
        let series = vec![Series { name: "GPU".into(), class: "gpu", line: true, marks: true, points }];
        Chart { series, ..Chart::default() }
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (1.0, "1"),
            (4096.0, "4096"),
            (16_384.0, "16384"),
            (200_000.0, "200k"),
            (0.001, "0.001"),
            (0.5, "0.5"),
            (2e6, "2M"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_larger_value_lies_higher_and_no_value_breaks_a_chart() {
        let y = Scale::new([1.0, 100.0].into_iter(), 300.0, 0.0);
        assert!(y.at(100.0) < y.at(10.0) && y.at(10.0) < y.at(1.0));
        for svg in [Chart::default().svg(), chart(&[f64::NAN, 1.0, 0.0], Some([f64::NAN, 1.0])).svg()] {
            assert!(!svg.contains("inf"), "{svg}");
        }
        let one = Scale::new([5.0].into_iter(), 0.0, 10.0);
        assert!((one.at(5.0) - 5.0).abs() < 1e-9 && !one.ticks().is_empty());
    }

    #[test]
    fn charts_that_are_compared_have_one_scale_and_noise_has_whiskers() {
        let mut charts = [chart(&[1.0, 2.0], None), chart(&[100.0], Some([10.0, 1000.0]))];
        Chart::common(&mut charts);
        assert!(charts.iter().all(|chart| chart.y.range == Some([1.0, 1000.0])));
        let [first, second] = charts.map(|chart| chart.svg());
        for tick in [">1<", ">10<", ">100<", ">1000<"] {
            assert!(first.contains(tick) && second.contains(tick), "{tick}: {first} {second}");
        }
        assert!(second.contains("whisker") && !first.contains("whisker"));
        assert!(second.contains("a &lt; b"));
        assert!(!chart(&[1.0], Some([0.999, 1.001])).svg().contains("whisker"), "no whisker hides behind its mark");
        assert_eq!(legend(&chart(&[1.0], None).series).matches("<span>").count(), 1);
    }
}
