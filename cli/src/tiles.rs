//! `elbow tiles`: every tile on every form of product, each exact on integers before it is timed.

use std::{process::ExitCode, time::Instant};

use elbow::{
    Float, Gpu, MatrixUnits,
    native::tune::Product,
    plan::{Form, Stage, TILES, Tile},
};
use elbow_measure::{Budget, Device, Estimate, Result, Shape};
use serde_json::json;

use crate::{
    args::words,
    bench::lines::{joined, print},
    failure::Failure,
    numbers::{digits, ms},
    out,
    table::{Format, line},
};

/// The options of `elbow tiles`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sizes MxKxN, separated by commas: C is [M, N], with a reduction over K.
    #[arg(
        long,
        value_name = "SIZES",
        value_delimiter = ',',
        default_value = "1x1024x1024,64x1024x1024,1024x1024x1024"
    )]
    shapes: Vec<Shape>,
    /// Forms, separated by commas: NT (forward), NN (dx), TN (dW).
    #[arg(long, value_name = "FORMS", value_delimiter = ',', value_parser = form, default_value = "NT,NN,TN")]
    forms: Vec<Form>,
    /// Tiles by their numbers, separated by commas; otherwise all that suit the device.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = tile)]
    tiles: Vec<usize>,
    /// The type in which A and B are stored: f32, f16 or bf16. C is f32.
    #[arg(long, value_name = "TYPE", default_value_t)]
    dtype: Float,
    /// Which products may run on the adapter's matrix units. If not off, only tiles on matrix units are timed beside the plan's choice.
    #[arg(long, value_parser = words(MatrixUnits::ALL, MatrixUnits::name), default_value_t)]
    matrix_units: MatrixUnits,
    /// Begins no product after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Few samples, for a rehearsal.
    #[arg(long)]
    quick: bool,
    /// How the results are printed, each as soon as it is measured; JSON is a line for each.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A tile's number, for clap.
pub(crate) fn tile(text: &str) -> std::result::Result<usize, String> {
    let wrong = || format!("expected the number of a tile, 0 to {}", TILES.len() - 1);
    text.trim().parse().ok().filter(|&tile| tile < TILES.len()).ok_or_else(wrong)
}

/// A form by its name, for clap.
pub(crate) fn form(text: &str) -> std::result::Result<Form, String> {
    let found = Form::ALL.into_iter().find(|form| form.name().eq_ignore_ascii_case(text.trim()));
    found.ok_or_else(|| "expected NT, NN or TN".into())
}

pub(crate) fn run(options: &Options) -> std::result::Result<ExitCode, Failure> {
    let gpu = Gpu::with_options(elbow::Options::default().matrix_units(options.matrix_units))?;
    let device = Device::new(gpu);
    let gpu = &device.gpu;
    let caps = gpu.caps();
    let units = options.matrix_units != MatrixUnits::Off;
    if options.format != Format::Json {
        out::print(&format!("{gpu}\nmatrix units: {}\n\n{}", gpu.matrix_units(), head(options.format)))?;
    }
    let begin = Instant::now();
    let (mut wrong, mut left) = (0, 0);
    for &Shape { m, k, n } in &options.shapes {
        for &form in &options.forms {
            // On matrix units the plan overrules a plain tile, unless it is pinned: those are timed with the units off.
            let suits = |&i: &usize| TILES[i].fits(&caps, form) && (TILES[i].stage == Stage::Coop) == units;
            let asked = |i: &usize| options.tiles.is_empty() || options.tiles.contains(i);
            let tiles = (0..TILES.len()).filter(suits).filter(asked).map(Some);
            let mut product = None;
            for tile in std::iter::once(None).chain(tiles) {
                if options.seconds.is_some_and(|seconds| begin.elapsed().as_secs_f64() > seconds) {
                    left += 1;
                    continue;
                }
                let product = match &mut product {
                    Some(product) => Ok(&*product),
                    // Made once for all tiles.
                    none => Product::new(gpu, form, [m, n, k], options.dtype).map(|made| &*none.insert(made)),
                };
                let what = json!({
                    "line": "product", "form": form.name(), "m": m, "k": k, "n": n, "tile": tile,
                    "about": describe(tile), "dtype": options.dtype.name(), "matrix_units": gpu.matrix_units(),
                });
                let measured =
                    product.map_err(elbow_measure::Error::from).and_then(|p| time(&device, p, tile, options.quick));
                wrong += usize::from(!measured.as_ref().is_ok_and(|(_, exact)| *exact));
                report(
                    options.format,
                    what,
                    measured.map(|(timing, exact)| (timing, exact, 2.0 * (m * k * n) as f64)),
                )?;
            }
            gpu.trim();
        }
    }
    let says = format!("{wrong} wrong or failed; {left} not begun, the time was over");
    match options.format {
        Format::Json => print(&json!({"line": "end", "wrong": wrong, "not_begun": left}))?,
        _ => out::print(&format!("\n{says}\n"))?,
    }
    Ok(ExitCode::from(u8::from(wrong > 0)))
}

/// The time, unless the result is wrong.
fn time(device: &Device, product: &Product, tile: Option<usize>, quick: bool) -> Result<(Option<Estimate>, bool)> {
    let gpu = &device.gpu;
    let prepared = product.prepare(gpu, tile)?;
    if product.wrong(gpu, &prepared)?.is_some() {
        return Ok((None, false));
    }
    let budget = match quick {
        true => Budget { samples: 3, seconds: 0.0, most_seconds: 0.2 },
        false => Budget { samples: 5, seconds: 0.02, most_seconds: 1.0 },
    };
    let record = |pass: &mut elbow::wgpu::ComputePass<'_>| prepared.record(pass);
    let timing = match device.device_timing(budget, &record)? {
        Some(timing) => timing,
        None => device.wall_timing(budget, &record)?,
    };
    Ok((Some(timing), true))
}

fn describe(tile: Option<usize>) -> String {
    tile.map_or("the plan's choice".into(), |i| {
        let tile: Tile = TILES[i];
        format!("{:?} {}x{}", tile.stage, tile.bm(), tile.bn())
    })
}

const HEADS: [&str; 6] = ["size", "form", "tile", "about", "ms", "GFLOP/s"];

/// The widths of the columns: rows come one by one, over minutes.
const WIDTHS: [usize; 6] = [16, 4, 4, 18, 14, 9];

fn row(format: Format, cells: &[&str]) -> String {
    match format {
        Format::Md => format!("| {} |\n", cells.join(" | ")),
        _ => line(cells, &WIDTHS, |i| i < 4),
    }
}

fn head(format: Format) -> String {
    let rule = WIDTHS.map(|width| "-".repeat(width));
    row(format, &HEADS) + &row(format, &rule.each_ref().map(String::as_str))
}

fn report(
    format: Format,
    what: serde_json::Value,
    measured: Result<(Option<Estimate>, bool, f64)>,
) -> std::result::Result<(), Failure> {
    if format == Format::Json {
        let measured = measured.map(|(timing, exact, operations)| {
            let rate = timing.map(|timing| operations / timing.median / 1e9);
            json!({"exact": exact, "time": timing, "gflops": rate})
        });
        return print(&joined(what, measured.map_err(|error| error.to_string())));
    }
    let [time, rate] = match measured {
        Ok((Some(t), _, operations)) => [ms(&t), digits(operations / t.median / 1e9)],
        Ok((None, ..)) => ["WRONG".into(), "not timed".into()],
        Err(error) => [format!("failed: {error}"), String::new()],
    };
    let size = format!("{}x{}x{}", what["m"], what["k"], what["n"]);
    let (form, about) = (what["form"].as_str().unwrap_or_default(), what["about"].as_str().unwrap_or_default());
    let number = what["tile"].as_u64().map_or("–".into(), |tile| tile.to_string());
    out::print(&row(format, &[&size, form, &number, about, &time, &rate]))
}
