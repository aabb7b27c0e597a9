//! Charts, as SVG: lines for what theory says, dots with error bars for what was measured.

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
};

use super::Result;

/// Colours that are told apart in print and by most eyes (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
/// Width and height on a page.
const SIZE: (u32, u32) = (820, 400);
/// Charts are drawn so many times larger, because coordinates are rounded to whole units.
const FINE: u32 = 8;
/// Room for the legend, right of the chart.
const LEGEND: u32 = 240;

struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    /// An error bar for each point: dots; none: a line.
    bars: Option<Vec<f64>>,
    colour: usize,
}

impl Series {
    /// Its row of the legend: in pixels of the page, for plotters would draw it upon the chart.
    fn legend(&self, row: usize) -> String {
        let (x, y) = (SIZE.0 - LEGEND + 14, 44 + 20 * row);
        let RGBColor(r, g, b) = COLOURS[self.colour % COLOURS.len()];
        let colour = format!("rgb({r},{g},{b})");
        let name = self.name.replace('&', "&amp;").replace('<', "&lt;");
        let mark = match self.bars {
            Some(_) => format!("<circle cx=\"{}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>", x + 9),
            None => format!("<path d=\"M{x} {y}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>"),
        };
        format!(
            "{mark}<text x=\"{}\" y=\"{}\" font-family=\"sans-serif\" font-size=\"12\">{name}</text>",
            x + 26,
            y + 4
        )
    }
}

/// A chart of y over x. What is measured has the colour of the last line before it.
pub(crate) struct Chart {
    title: String,
    x: String,
    y: String,
    log: (bool, bool),
    series: Vec<Series>,
}

impl Chart {
    pub(crate) fn new(title: &str, x: &str, y: &str) -> Self {
        Chart { title: title.into(), x: x.into(), y: y.into(), log: (false, false), series: Vec::new() }
    }

    /// A logarithmic x; points that have none are left out.
    pub(crate) fn log_x(mut self) -> Self {
        self.log.0 = true;
        self
    }

    /// A logarithmic y; points that have none are left out.
    pub(crate) fn log_y(mut self) -> Self {
        self.log.1 = true;
        self
    }

    /// A line of a colour of its own.
    pub(crate) fn line(mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let colour = self.series.iter().map(|series| series.colour + 1).max().unwrap_or(0);
        self.series.push(Series { name: name.into(), points: points.into_iter().collect(), bars: None, colour });
        self
    }

    /// Dots (x, y, error) of the last line's colour. Without a name they have no row in the legend.
    pub(crate) fn dots(mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        let colour = self.series.last().map_or(0, |series| series.colour);
        let (points, bars) = points.into_iter().map(|(x, y, bar)| ((x, y), bar)).unzip();
        self.series.push(Series { name: name.into(), points, bars: Some(bars), colour });
        self
    }

    /// Dots (x, y, error) joined by a line.
    pub(crate) fn course(self, name: impl Into<String>, points: Vec<(f64, f64, f64)>) -> Self {
        self.line(name, points.iter().map(|&(x, y, _)| (x, y))).dots("", points)
    }

    /// Dots of a colour of their own.
    pub(crate) fn other_dots(self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        let mut chart = self.line("", []);
        let line = chart.series.pop();
        let mut chart = chart.dots(name, points);
        if let (Some(line), Some(dots)) = (line, chart.series.last_mut()) {
            dots.colour = line.colour;
        }
        chart
    }

    /// The picture.
    pub(crate) fn svg(mut self) -> Result<String> {
        let (log_x, log_y) = self.log;
        for series in &mut self.series {
            let bars = series.bars.take();
            let with_bars =
                series.points.iter().enumerate().map(|(i, &(x, y))| (x, y, bars.as_ref().map_or(0.0, |bars| bars[i])));
            let shown = with_bars
                .filter(|&(x, y, _)| x.is_finite() && y.is_finite() && (!log_x || x > 0.0) && (!log_y || y > 0.0));
            let (points, kept): (Vec<_>, Vec<_>) = shown.map(|(x, y, bar)| ((x, y), bar)).unzip();
            (series.points, series.bars) = (points, bars.map(|_| kept));
        }
        let ends = |series: &Series| -> Vec<(f64, f64)> {
            let bars = series.bars.iter().flatten().copied().chain(std::iter::repeat(0.0));
            let both = |(&(x, y), bar): (&(f64, f64), f64)| [(x, (y - bar).max(lowest(log_y, y))), (x, y + bar)];
            series.points.iter().zip(bars).flat_map(both).collect()
        };
        let all: Vec<(f64, f64)> = self.series.iter().flat_map(ends).collect();
        let (x, y) = (span(all.iter().map(|point| point.0), log_x)?, span(all.iter().map(|point| point.1), log_y)?);
        let mut svg = String::new();
        match self.log {
            (false, false) => self.draw(&mut svg, x.0..x.1, y.0..y.1)?,
            (true, false) => self.draw(&mut svg, (x.0..x.1).log_scale(), y.0..y.1)?,
            (false, true) => self.draw(&mut svg, x.0..x.1, (y.0..y.1).log_scale())?,
            (true, true) => self.draw(&mut svg, (x.0..x.1).log_scale(), (y.0..y.1).log_scale())?,
        }
        let named = self.series.iter().filter(|series| !series.name.is_empty());
        let legend: String = named.enumerate().map(|(row, series)| series.legend(row)).collect();
        let svg = svg.replacen("</svg>", &format!("<g transform=\"scale({FINE})\">{legend}</g></svg>"), 1);
        let drawn = format!("width=\"{}\" height=\"{}\"", SIZE.0 * FINE, SIZE.1 * FINE);
        Ok(svg.replacen(&drawn, &format!("width=\"{}\" height=\"{}\"", SIZE.0, SIZE.1), 1))
    }

    fn draw<X, Y>(&self, svg: &mut String, x: X, y: Y) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        const DOT: i32 = 3 * FINE as i32;
        let font = |size: u32| ("sans-serif", size * FINE);
        let area = SVGBackend::with_string(svg, (SIZE.0 * FINE, SIZE.1 * FINE)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area);
        chart.caption(&self.title, font(18)).margin(12 * FINE).margin_right(LEGEND * FINE);
        let mut chart = chart.x_label_area_size(44 * FINE).y_label_area_size(64 * FINE).build_cartesian_2d(x, y)?;
        let (of_x, of_y) = (|value: &f64| label(*value, self.log.0), |value: &f64| label(*value, self.log.1));
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(&self.x).y_desc(&self.y).x_label_formatter(&of_x).y_label_formatter(&of_y);
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12).stroke_width(FINE))
            .axis_style(BLACK.stroke_width(FINE));
        mesh.label_style(font(15)).axis_desc_style(font(15)).set_all_tick_mark_size(4 * FINE).draw()?;
        for series in &self.series {
            let colour = COLOURS[series.colour % COLOURS.len()];
            let stroke = colour.stroke_width(2 * FINE);
            match &series.bars {
                None => {
                    chart.draw_series(LineSeries::new(series.points.iter().copied(), stroke))?;
                }
                Some(bars) => {
                    let bar = |(&(x, y), bar): (&(f64, f64), &f64)| {
                        let low = (y - bar).max(lowest(self.log.1, y));
                        PathElement::new(vec![(x, low), (x, y + bar)], colour.stroke_width(FINE))
                    };
                    chart.draw_series(series.points.iter().zip(bars).filter(|(_, bar)| **bar > 0.0).map(bar))?;
                    chart.draw_series(series.points.iter().map(|&point| Circle::new(point, DOT, colour.filled())))?;
                }
            }
        }
        area.present()?;
        Ok(())
    }
}

/// What an error bar may not go below on a logarithmic axis.
fn lowest(log: bool, y: f64) -> f64 {
    if log { y * 0.1 } else { f64::NEG_INFINITY }
}

/// From the least to the largest, with a margin.
fn span(values: impl Iterator<Item = f64>, log: bool) -> Result<(f64, f64)> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low <= high, log) {
        (false, _) => Err("a chart without points".into()),
        (true, true) => Ok((low / 1.3, high * 1.3)),
        (true, false) => {
            let margin = if high > low { 0.05 * (high - low) } else { 0.5 };
            Ok((low - margin, high + margin))
        }
    }
}

/// On a logarithmic axis 1, 2 and 5 of each power of ten: all nine would cover each other.
fn label(value: f64, log: bool) -> String {
    let size = value.abs();
    let leading = size / 10f64.powf((size.log10() + 1e-9).floor());
    match size {
        _ if log && [1.0, 2.0, 5.0].iter().all(|shown| (leading - shown).abs() > 1e-6) => String::new(),
        _ if !log && size < 1e-12 => "0".into(),
        _ if (1e-3..1e5).contains(&size) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.0e}"),
    }
}
