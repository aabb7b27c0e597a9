//! The frame of a chart: grid, ticks and the names of both axes, as SVG text. What a value is on an axis is the chart's.

use std::fmt::Write as _;

use super::escape;

/// Pixels of the drawing. Few, so that text stays readable when a phone scales a chart down.
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    /// With room for the numbers and names of both axes.
    pub(crate) fn new(width: f64, height: f64, left: f64) -> Self {
        Frame { width, height, left, right: width - 15.0, top: 26.0, bottom: height - 44.0 }
    }

    /// Both axes: the name of each, and its ticks, places in pixels with their labels.
    pub(crate) fn axes(&self, x: (&str, Vec<(f64, String)>), y: (&str, Vec<(f64, String)>)) -> String {
        let Frame { height, left, right, top, bottom, .. } = *self;
        let mut svg = String::new();
        let mut written = f64::MIN;
        for (at, label) in x.1 {
            let _ = write!(svg, "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>");
            // Labels that would lie on each other are left out.
            let half = 4.5 * label.len() as f64;
            if at - half > written {
                written = at + half;
                let below = bottom + 17.0;
                let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>");
            }
        }
        for (at, label) in y.1 {
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 7.0,
                at + 4.5
            );
        }
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text class=\"label\" x=\"4\" y=\"14\">{}</text>",
            height - 6.0,
            escape(x.0),
            escape(y.0)
        );
        svg
    }
}
