//! The page about a training: one file that loads no others, in the look of `elbow bench`.

use std::{fmt::Write as _, path::Path};

use super::{
    Facts,
    columns::{Encoder, Kind},
    fit::{Fitted, Units},
    plot::{Plot, Series},
    score::{Score, short},
};

use crate::html::escape;

/// What the page shows.
pub(super) struct Page<'a> {
    /// The table.
    pub(super) data: &'a Path,
    pub(super) facts: &'a Facts,
    pub(super) encoder: &'a Encoder,
    pub(super) fitted: &'a Fitted,
    pub(super) score: &'a Score,
    pub(super) units: &'a [Units],
}

/// The most points of a chart, and classes of a table.
const MOST_POINTS: usize = 2000;
const MOST_CLASSES: usize = 40;

/// The whole page.
pub(super) fn html(page: &Page<'_>) -> String {
    let Page { data, facts, fitted, encoder, score, units } = page;
    let data = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy();
    let mut html =
        format!("<p>{}</p>\n<dl>\n", escape(&format!("On rows that it has never seen: {}.", score.sentence())));
    for (name, says) in facts.iter() {
        let _ = writeln!(html, "<dt>{name}</dt><dd>{}</dd>", escape(says));
    }
    // One chart alone is not as wide as the page.
    let grid = if matches!(score, Score::Numbers { .. }) { "charts" } else { "wide" };
    let _ = writeln!(html, "</dl>\n<div class=\"{grid}\">");
    html += &card(
        "Losses",
        &losses(fitted),
        "Mean loss of each epoch: of the rows for training (as their turns came) and of those for validation. Where the second \
        rises while the first falls, the network learns its rows by heart.",
    );
    if let Score::Numbers { pairs, .. } = score {
        let (predicted, residuals) = numbers(&encoder.target.name, pairs);
        html += &card("Predictions", &predicted, "Of the rows for test; on the line they are right.");
        html +=
            &card("Residuals", &residuals, "Prediction less target: a trend says what the network has not learned.");
    }
    html += "</div>\n";
    if let Score::Classes { names, counts } = score {
        html += &confusion(names, counts);
    }
    html += &layers(units);
    html += &columns(encoder);
    crate::html::page(&format!("{} from {data}", encoder.target.name), &html)
}

fn card(title: &str, body: &str, note: &str) -> String {
    format!("<section class=\"card\"><h3>{title}</h3>{body}<p class=\"soft\">{note}</p></section>\n")
}

fn losses(fitted: &Fitted) -> String {
    let of = |f: &dyn Fn(&super::Epoch) -> f32| -> Vec<(f64, f64)> {
        fitted.history.iter().enumerate().map(|(epoch, losses)| (epoch as f64 + 1.0, f64::from(f(losses)))).collect()
    };
    let validation = of(&|losses| losses.validation);
    let best = validation.get(fitted.best - 1).copied();
    let series = |name: &str, class, line, points| Series { name: name.into(), class, line, points };
    let plot = Plot {
        title: "Losses by epoch".into(),
        x: "epoch".into(),
        y: "mean loss".into(),
        series: vec![
            series("training", "gpu", true, of(&|losses| losses.training)),
            series("validation", "cpu", true, validation),
            series(&format!("kept: epoch {}", fitted.best), "step", false, best.into_iter().collect()),
        ],
        square: false,
        from_zero: true,
    };
    plot.svg()
}

/// Predictions over targets, and residuals over predictions.
fn numbers(name: &str, pairs: &[(f64, f64)]) -> (String, String) {
    let shown = pairs.iter().step_by(pairs.len().div_ceil(MOST_POINTS).max(1));
    let series = |points| vec![Series { name: "a row for test".into(), class: "gpu", line: false, points }];
    let predicted = Plot {
        title: "Predictions and targets".into(),
        x: name.into(),
        y: "prediction".into(),
        series: series(shown.clone().copied().collect()),
        square: true,
        from_zero: false,
    };
    let residuals = Plot {
        title: "Residuals".into(),
        x: "prediction".into(),
        y: "prediction less target".into(),
        series: series(shown.map(|(t, y)| (*y, y - t)).collect()),
        square: false,
        from_zero: true,
    };
    (predicted.svg(), residuals.svg())
}

fn confusion(names: &[String], counts: &[Vec<usize>]) -> String {
    let shown = names.len().min(MOST_CLASSES);
    let mut html = "<h2>Confusion matrix</h2>\n<p class=\"soft\">Of the rows for test: a line for each class, a column for each prediction.</p>\n\
        <div class=\"scroll\"><table><thead><tr><th class=\"left\">class</th>".to_owned();
    for name in &names[..shown] {
        let _ = write!(html, "<th>{}</th>", escape(name));
    }
    html += "<th>rows</th><th>recall</th><th>precision</th></tr></thead><tbody>\n";
    let percent = |part: usize, all: usize| match all {
        0 => "-".to_owned(),
        all => format!("{:.0} %", 100.0 * part as f64 / all as f64),
    };
    for (class, row) in counts.iter().enumerate().take(shown) {
        let _ = write!(html, "<tr><th class=\"left\">{}</th>", escape(&names[class]));
        for (predicted, count) in row.iter().enumerate().take(shown) {
            let style = if predicted == class { " class=\"right\"" } else { "" };
            let count = if *count == 0 { "·".to_owned() } else { count.to_string() };
            let _ = write!(html, "<td{style}>{count}</td>");
        }
        let (rows, said) = (row.iter().sum(), counts.iter().map(|row| row[class]).sum());
        let _ = writeln!(
            html,
            "<td>{rows}</td><td>{}</td><td>{}</td></tr>",
            percent(row[class], rows),
            percent(row[class], said)
        );
    }
    html += "</tbody></table></div>\n";
    if names.len() > shown {
        let _ = writeln!(html, "<p class=\"soft\">The first {shown} of {} classes.</p>", names.len());
    }
    html
}

fn layers(units: &[Units]) -> String {
    let learned = units.iter().any(|units| !units.slopes.is_empty());
    let slopes = if learned { "<th>learned slopes: least</th><th>median</th><th>largest</th>" } else { "" };
    let mut html = format!(
        "<h2>Hidden layers</h2>\n<p class=\"soft\">A dead unit has slope 0 for every row for training: no gradient moves it any more.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th class=\"left\">layer</th><th>units</th><th>dead</th>{slopes}</tr></thead><tbody>\n"
    );
    for (layer, Units { count, dead, slopes }) in units.iter().enumerate() {
        let _ = write!(html, "<tr><th class=\"left\">{}</th><td>{count}</td><td>{dead}</td>", layer + 1);
        if let (Some(least), Some(largest)) = (slopes.first(), slopes.last()) {
            for slope in [*least, slopes[slopes.len() / 2], *largest] {
                let _ = write!(html, "<td>{}</td>", short(f64::from(slope)));
            }
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn columns(encoder: &Encoder) -> String {
    let mut html = "<h2>Columns</h2>\n<div class=\"scroll\"><table><thead><tr><th class=\"left\">column</th><th class=\"left\">becomes</th></tr></thead><tbody>\n".to_owned();
    for feature in &encoder.features {
        let becomes = match &feature.kind {
            Kind::Number { mean, deviation } => format!("(number - {}) / {}", short(*mean), short(*deviation)),
            Kind::Texts(texts) => format!("one of {}", texts.join(", ")),
        };
        let _ = writeln!(
            html,
            "<tr><td class=\"left\">{}</td><td class=\"left\">{}</td></tr>",
            escape(&feature.name),
            escape(&becomes)
        );
    }
    html + "</tbody></table></div>\n"
}
