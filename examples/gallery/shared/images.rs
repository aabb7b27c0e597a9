//! Pictures of digits, as SVG: rows of small images.

use super::digits::PIXELS;

/// Pixels of the page for one of an image.
const SIDE: usize = 9;
/// From one image to the next.
const PITCH: usize = 8 * SIDE + 14;

/// What an image shows: ink from 0 to 1, or a change from -1 to 1, red for more ink and blue for less.
pub(crate) enum Shade {
    Ink(Vec<f64>),
    Change(Vec<f64>),
}

/// An image, how each pixel changed, of so much at most, and what it became; in the range of each pixel.
pub(crate) fn changed(from: &[f32], to: &[f32], range: &[Vec<f32>; 2], most: f64) -> Vec<Shade> {
    let limits = || range[0].iter().zip(&range[1]);
    let ink = |x: &[f32]| x.iter().zip(limits()).map(|(x, (low, high))| f64::from((x - low) / (high - low))).collect();
    let change = from.iter().zip(to).map(|(from, to)| f64::from(to - from) / most).collect();
    vec![Shade::Ink(ink(from)), Shade::Change(change), Shade::Ink(ink(to))]
}

/// Columns of images, a line of text below each; and a name for each row.
pub(crate) fn images(title: &str, rows: &[&str], columns: &[(String, Vec<Shade>)]) -> String {
    let (left, top) = (120, 44);
    let (width, height) = (left + columns.len() * PITCH, top + rows.len() * PITCH + 16);
    let mut svg = format!(
        "<svg width=\"{width}\" height=\"{height}\" xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"12\" y=\"26\" font-size=\"18\">{title}</text>"
    );
    let (mut text, mut pixels) = (String::new(), String::new());
    for (row, name) in rows.iter().enumerate() {
        text += &format!("<text x=\"12\" y=\"{}\">{name}</text>", top + row * PITCH + PITCH / 2);
    }
    for (column, (below, shades)) in columns.iter().enumerate() {
        let x = left + column * PITCH;
        text += &format!("<text x=\"{x}\" y=\"{}\">{below}</text>", top + rows.len() * PITCH + 4);
        for (row, shade) in shades.iter().enumerate() {
            let y = top + row * PITCH;
            pixels += &format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{0}\" height=\"{0}\" stroke=\"silver\" stroke-width=\"2\"/>",
                8 * SIDE
            );
            for at in 0..PIXELS {
                let (x, y) = (x + at % 8 * SIDE, y + at / 8 * SIDE);
                pixels += &format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"{}\"/>",
                    shade.colour(at)
                );
            }
        }
    }
    svg += &text;
    svg += &pixels;
    svg + "</svg>\n"
}

impl Shade {
    fn colour(&self, at: usize) -> String {
        let of = |share: f64| (255.0 * (1.0 - share.clamp(0.0, 1.0))).round();
        let [r, g, b] = match self {
            Shade::Ink(ink) => [of(ink[at]); 3],
            // Of the charts' colours, towards white where there is no change.
            Shade::Change(change) => {
                let towards: [f64; 3] = if change[at] > 0.0 { [213.0, 94.0, 0.0] } else { [0.0, 114.0, 178.0] };
                towards.map(|full| (255.0 - (255.0 - full) * change[at].abs().min(1.0)).round())
            }
        };
        format!("rgb({r},{g},{b})")
    }
}
