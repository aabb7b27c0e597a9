//! `elbow compare`: two runs of `elbow bench`, figure by figure, and what is beyond the noise of both.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use elbow_measure::{Comparison, Estimate, Verdict};
use serde::Serialize;

use crate::{
    bench::results::Results,
    destination::Destination,
    failure::Failure,
    html::{self, escape, paragraph},
    numbers::{digits, ms},
    out,
    table::{Format, Table},
};

/// The options of `elbow compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The run before: what `elbow bench --format json` printed, or the JSON beside its page.
    #[arg(value_name = "OLD.json")]
    old: PathBuf,
    /// The run after.
    #[arg(value_name = "NEW.json")]
    new: PathBuf,
    /// How the comparison is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Writes an HTML page with the ratios as a chart.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Slower,
    Faster,
    /// Within 5 %.
    Same,
    /// The intervals touch.
    WithinNoise,
}

/// What was timed, and by which clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Figure {
    of: String,
    time: &'static str,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.time)
    }
}

/// A time of both runs.
#[derive(Debug, Clone, Serialize)]
struct Changed {
    figure: Figure,
    change: Change,
    old: Estimate,
    new: Estimate,
    /// new / old
    ratio: Estimate,
}

#[derive(Debug, Serialize)]
struct Compared {
    /// What changed, in a sentence.
    says: String,
    /// Where the runs are not alike: another adapter, another driver, ..
    differs: Vec<String>,
    changes: Vec<Changed>,
    /// Figures of one run alone.
    unmatched: usize,
}

/// Prints the comparison, the worst first, and writes the page. Exit code 1 if anything is slower.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let report = options.report.as_deref().map(Destination::new).transpose()?;
    let compared = compare(&read(&options.old)?, &read(&options.new)?);
    let saved = report.map_or(Ok(()), |report| report.write(page(&compared).as_bytes()));
    let text = match options.format {
        Format::Json => serde_json::to_string_pretty(&compared).map_err(Failure::new)? + "\n",
        format => text(&compared, format),
    };
    out::print(&text)?;
    let slower = compared.changes.iter().any(|changed| changed.change == Change::Slower);
    saved.map(|()| ExitCode::from(u8::from(slower)))
}

fn read(path: &Path) -> Result<Results, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::mismatch(path.display(), "the JSON of a run of elbow bench", error);
    let bytes = fs::read(path).map_err(|error| fail(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| fail(&error))
}

/// The times of a run; those of its network only if the other run has the same one.
fn figures(results: &Results, network: bool) -> Vec<(Figure, Estimate)> {
    let mut all = Vec::new();
    let mut add = |of: &str, times: &[(&'static str, Option<Estimate>)]| {
        for &(time, estimate) in times {
            all.extend(estimate.map(|estimate| (Figure { of: of.to_owned(), time }, estimate)));
        }
    };
    let both = |times: &Comparison| {
        [
            ("device", times.gpu_device),
            ("wall", Some(times.gpu_wall)),
            ("transfers", Some(times.gpu_transfers)),
            (CPU, Some(times.cpu)),
        ]
    };
    for at in results.network.iter().filter(|_| network).flat_map(|network| &network.batches) {
        add(&format!("training, batch {}", at.batch), &both(&at.training));
        add(&format!("inference, batch {}", at.batch), &both(&at.inference));
    }
    for layer in &results.layers {
        for part in &layer.parts {
            let of = format!("{} {} {} {}", layer.shape, layer.unit(), results.dtype, part.part.name());
            add(&of, &both(&part.times));
        }
    }
    for alone in &results.alone {
        let of = format!("{} {} {} {}", alone.elements, alone.activation, results.dtype, alone.part.name());
        add(&of, &[("device", alone.gpu_device), ("wall", Some(alone.gpu_wall)), (CPU, Some(alone.cpu))]);
    }
    all
}

/// The clock of the other side.
const CPU: &str = "CPU";

/// A change of the CPU's times, as a factor, that is the machine's.
const OF_MACHINE: f64 = 1.05;

/// What a run is of: figures of others say little beside it.
fn facts(results: &Results) -> [(&'static str, String); 7] {
    let about = &results.about;
    let network = results.network.as_ref().map(|network| format!("{}, {}", network.name, network.loss.name()));
    [
        ("network", network.unwrap_or_else(|| "none".into())),
        ("adapter", about.adapter.clone()),
        ("driver", about.driver.clone()),
        ("CPU", about.cpu.clone()),
        ("elbow", about.elbow.clone()),
        ("tuning", results.tuning.clone()),
        ("matrix units", results.matrix_units.clone()),
    ]
}

fn compare(old: &Results, new: &Results) -> Compared {
    let [facts_before, facts_after] = [facts(old), facts(new)];
    let same_network = facts_before[0] == facts_after[0];
    let (before, after) = (figures(old, same_network), figures(new, same_network));
    let mut changes: Vec<Changed> = Vec::new();
    for (figure, new) in &after {
        if let Some((_, old)) = before.iter().find(|(known, _)| known == figure) {
            changes.push(changed(figure.clone(), *old, *new));
        }
    }
    let key = |changed: &Changed| match changed.change {
        Change::Slower => -changed.ratio.median,
        Change::Faster => changed.ratio.median,
        _ => 0.0,
    };
    changes.sort_by(|a, b| a.change.cmp(&b.change).then(key(a).total_cmp(&key(b))));
    let unmatched = before.len() + after.len() - 2 * changes.len();
    let facts = facts_before.iter().zip(&facts_after).filter(|(before, after)| before != after);
    let differs = facts.map(|((what, before), (_, after))| format!("{what}: {before} before, {after} after"));
    let differs = differs.chain(machine(&changes)).collect();
    Compared { says: says(&changes), differs, changes, unmatched }
}

/// What the times of the CPU say of the machine: they are the same program in both runs, if elbow-cpu is.
fn machine(changes: &[Changed]) -> Option<String> {
    let of_cpu = changes.iter().filter(|changed| changed.figure.time == CPU);
    let moved = Estimate::of(&mut of_cpu.map(|changed| changed.ratio.median).collect::<Vec<_>>());
    let far = moved.median > OF_MACHINE || moved.median < 1.0 / OF_MACHINE;
    far.then(|| {
        format!("the machine, or elbow-cpu: times of the CPU by {}, the median of {}", percent(&moved), moved.samples)
    })
}

fn changed(figure: Figure, old: Estimate, new: Estimate) -> Changed {
    let ratio = new.over(&old);
    let change = match ratio.verdict() {
        // The ratio is of times: above 1 is slower.
        Verdict::Faster => Change::Slower,
        Verdict::Slower => Change::Faster,
        Verdict::Even => Change::Same,
        Verdict::Noisy => Change::WithinNoise,
    };
    Changed { figure, change, old, new, ratio }
}

/// What became slower, by name; what became faster, by number.
fn says(changes: &[Changed]) -> String {
    let of = |change| changes.iter().filter(move |changed| changed.change == change);
    let (slower, faster) = (of(Change::Slower).count(), of(Change::Faster).count());
    if changes.is_empty() {
        return "No figure is in both runs.".into();
    }
    let worst = of(Change::Slower).take(3).map(|c| format!("{} ({})", c.figure, percent(&c.ratio)));
    let worst = worst.collect::<Vec<_>>().join("; ");
    let names = match slower {
        0 => String::new(),
        1..=3 => format!(": {worst}"),
        more => format!(": {worst}; and {} more", more - 3),
    };
    format!("{slower} of {} figures are slower beyond noise{names}. {faster} are faster.", changes.len())
}

fn percent(ratio: &Estimate) -> String {
    format!("{:+.0} %", 100.0 * (ratio.median - 1.0))
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Slower => "SLOWER",
            Change::Faster => "faster",
            Change::Same => "same",
            Change::WithinNoise => "noise",
        }
    }
}

fn table(compared: &Compared) -> Table {
    let heads = ["figure", "time", "old, ms", "new, ms", "change", "verdict"];
    Table::new(&heads, 2).noted().with(compared.changes.iter().map(|changed| {
        let [old, new] = [changed.old, changed.new].map(|time| digits(time.median * 1e3));
        let Figure { of, time } = &changed.figure;
        let (change, verdict) = (percent(&changed.ratio), changed.change.name());
        vec![of.clone(), (*time).to_owned(), old, new, change, verdict.to_owned()]
    }))
}

fn text(compared: &Compared, format: Format) -> String {
    let mut text = format!("{}\n", compared.says);
    compared.differs.iter().for_each(|line| text += &format!("not alike: {line}\n"));
    if compared.unmatched > 0 {
        text += &format!("{} figures are in one of the runs alone\n", compared.unmatched);
    }
    format!("{text}\n{}", table(compared).print(format))
}

fn page(compared: &Compared) -> String {
    let slower = compared.changes.iter().any(|changed| changed.change == Change::Slower);
    let mut body = paragraph(if slower { "answer warn" } else { "answer" }, &compared.says);
    compared.differs.iter().for_each(|line| body += &paragraph("soft", &format!("Not alike: {line}.")));
    if compared.unmatched > 0 {
        body += &paragraph("soft", &format!("{} figures are in one of the runs alone.", compared.unmatched));
    }
    let ends = compared.changes.iter().flat_map(|changed| [changed.ratio.low, changed.ratio.high]);
    let widest = ends.filter(|end| end.is_finite() && *end > 0.0).map(|end| end.ln().abs()).fold(0.0, f64::max);
    // At least a factor of 1.25 to each side, so that small noise looks small; at most 4: beyond it a bar is cut.
    let widest = widest.clamp(1.25f64.ln(), 4f64.ln());
    let rows = compared.changes.iter().map(|changed| {
        format!(
            "<tr><td class=\"left\">{}</td><td class=\"left\">{}</td><td>{}</td><td class=\"whiskers\">{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&changed.figure.to_string()),
            changed.change.name(),
            escape(&percent(&changed.ratio)),
            interval(changed, widest),
            escape(&ms(&changed.old)),
            escape(&ms(&changed.new))
        )
    });
    body += &format!(
        "<h2>Figure by figure</h2>\n<p>Milliseconds of both runs, median and half of the 99 % interval; the bar is the interval of the ratio \
         new / old, the line in the middle no change, right of it slower, from {:.2} to {:.2} times.</p>\n\
         <div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th class=\"left\">figure</th><th class=\"left\">verdict</th><th>change</th>\
         <th>faster | slower</th><th>old</th><th>new</th></tr></thead><tbody>\n{}</tbody></table></div>\n",
        (-widest).exp(),
        widest.exp(),
        rows.collect::<String>()
    );
    html::page("Two runs of elbow bench", &body)
}

/// The interval of a ratio as a bar beside the line of no change.
fn interval(changed: &Changed, widest: f64) -> String {
    let at = |ratio: f64| 80.0 + 76.0 * (ratio.max(1e-9).ln() / widest).clamp(-1.0, 1.0);
    let class = match changed.change {
        Change::Slower => "slower",
        Change::Faster => "faster",
        _ => "soft",
    };
    let [low, median, high] = [changed.ratio.low, changed.ratio.median, changed.ratio.high].map(at);
    format!(
        "<svg class=\"interval\" viewBox=\"0 0 160 16\" role=\"img\"><title>{}</title><path class=\"grid\" d=\"M80 0V16\"/>\
         <path class=\"whisker {class}\" d=\"M{low:.1} 8H{high:.1}M{low:.1} 4V12M{high:.1} 4V12\"/>\
         <circle class=\"mark {class}\" cx=\"{median:.1}\" cy=\"8\" r=\"3.6\"/></svg>",
        escape(&format!("{:.3} to {:.3} times", changed.ratio.low, changed.ratio.high))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(figure: &str, old: [f64; 2], new: [f64; 2]) -> Changed {
        let of = |[low, high]: [f64; 2]| Estimate { median: 0.5 * (low + high), low, high, samples: 12 };
        changed(Figure { of: figure.into(), time: "wall" }, of(old), of(new))
    }

    #[test]
    fn a_regression_beyond_noise_is_named_and_noise_is_not() {
        let changes = vec![
            made("gelu step", [1.0, 1.1], [1.3, 1.4]),
            made("relu step", [1.0, 1.5], [1.4, 2.0]),
            made("tanh step", [1.3, 1.4], [1.0, 1.1]),
            made("silu step", [1.0, 1.01], [1.0, 1.02]),
        ];
        assert_eq!(
            changes.iter().map(|c| c.change).collect::<Vec<_>>(),
            [Change::Slower, Change::WithinNoise, Change::Faster, Change::Same]
        );
        assert_eq!(says(&changes), "1 of 4 figures are slower beyond noise: gelu step: wall (+29 %). 1 are faster.");
        assert_eq!(says(&changes[1..]), "0 of 3 figures are slower beyond noise. 1 are faster.");
        let many = [1, 2, 3, 4, 5].map(|i| made(&format!("f{i}"), [1.0, 1.1], [2.0, 2.2]));
        assert!(says(&many).ends_with("f3: wall (+100 %); and 2 more. 0 are faster."), "{}", says(&many));
        assert_eq!(says(&[]), "No figure is in both runs.");
        let of_cpu = |ratio: f64| {
            let mut changed = made("relu step", [1.0, 1.1], [ratio, 1.1 * ratio]);
            changed.figure.time = CPU;
            machine(&[changes[0].clone(), changed])
        };
        assert_eq!(of_cpu(1.01), None);
        assert!(of_cpu(1.5).is_some_and(|says| says.contains("+50 %, the median of 1")), "{:?}", of_cpu(1.5));
        let compared = Compared { says: says(&changes), differs: Vec::new(), changes, unmatched: 0 };
        let page = page(&compared);
        assert!(page.contains("SLOWER") && page.contains("class=\"mark slower\"") && !page.contains("NaN"), "{page}");
    }
}
