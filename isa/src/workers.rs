//! Copies of this program that compile, each for one family and a share of the kernels. RADV reads the family from its environment when it
//! is loaded, and changing the environment of a running process is not safe: so each is a process of its own. That uses all cores as well,
//! and a compiler that crashes takes nothing else with it.
//!
//! A worker prints lines of a word and tab-separated columns: `driver NAME`, `total KERNELS`, for each kernel `begin NAME` and
//! `row NAME FIGURES..`, and `failed SENTENCE` where it can't go on.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::mpsc,
    thread,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    failure::Failure,
    figure::{Family, Figures},
    kernels::{self, Named},
    radv::Radv,
    table::Table,
};

/// Where Linux keeps the descriptions of Vulkan drivers.
const FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// What else changes the code that RADV makes, or what it prints.
const OTHER_VARIABLES: [&str; 6] =
    ["RADV_DEBUG", "RADV_PERFTEST", "ACO_DEBUG", "NIR_DEBUG", "VK_INSTANCE_LAYERS", "VK_ICD_FILENAMES"];

/// The description of RADV for programs of this architecture.
pub(crate) fn installed() -> Result<PathBuf, Failure> {
    let mut found = Vec::new();
    for entry in FOLDERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("radeon_icd") && name.ends_with(".json") {
            found.push((!name.contains(env::consts::ARCH), entry.path()));
        }
    }
    found.sort();
    let first = found.into_iter().next().map(|(_, path)| path);
    first.ok_or_else(|| {
        let folders = FOLDERS.join(", ");
        Failure::new(format_args!(
            "RADV is not installed (Debian: mesa-vulkan-drivers): no radeon_icd*.json in {folders}"
        ))
    })
}

/// This program again, for a family.
pub(crate) fn command(family: Family, driver: &Path) -> Result<Command, Failure> {
    let program = env::current_exe().map_err(|error| Failure::new(format_args!("where this program lies: {error}")))?;
    let mut command = Command::new(program);
    for variable in OTHER_VARIABLES {
        command.env_remove(variable);
    }
    command.env("RADV_FORCE_FAMILY", family.asked()).env("VK_DRIVER_FILES", driver).stdin(Stdio::null());
    // Loaders before 1.3.207 know the older name alone.
    command.env("VK_ICD_FILENAMES", driver);
    command.arg("--family").arg(family.name());
    Ok(command)
}

/// One of several equal shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl FromStr for Share {
    type Err = Failure;

    /// `1/4`: the second of four.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let share = || {
            let (index, of) = text.split_once('/')?;
            Some(Share { index: index.parse().ok()?, of: of.parse().ok()? })
        };
        share().filter(|share| share.index < share.of).ok_or_else(|| Failure::new("a share is INDEX/NUMBER"))
    }
}

/// The words that a kernel's name must have.
fn fits(named: &Named, words: &[String]) -> bool {
    words.iter().all(|word| named.name.contains(word.as_str()))
}

/// Compiles a share of the kernels, and prints what there is to say.
pub(crate) fn work(family: Family, share: Share, words: &[String]) -> Result<(), Failure> {
    // A parent that has gone away reads nothing; then there is nothing to do.
    let say = |line: &str| writeln!(std::io::stdout(), "{line}").map_err(Failure::new);
    let worked = || {
        let radv = Radv::open(family)?;
        say(&format!("driver\t{}", radv.driver))?;
        let all = kernels::all(family)?;
        let mine: Vec<_> = all.iter().filter(|named| fits(named, words)).skip(share.index).step_by(share.of).collect();
        say(&format!("total\t{}", mine.len()))?;
        for named in mine {
            say(&format!("begin\t{}", named.name))?;
            let code = radv.compile(&named.spirv, &named.buffers())?;
            say(&format!("row\t{}\t{}", named.name, Figures::of(named, &code)?.print()))?;
        }
        Ok(())
    };
    worked().or_else(|failure: Failure| say(&format!("failed\t{}", failure.one_line())))
}

/// The machine code of the one kernel whose name is this, or has it as a part.
pub(crate) fn dump(family: Family, name: &str) -> Result<String, Failure> {
    let all = kernels::all(family)?;
    let exact = all.iter().find(|named| named.name == name);
    let parts: Vec<_> = all.iter().filter(|named| named.name.contains(name)).collect();
    let named = match (exact, parts.as_slice()) {
        (Some(named), _) => named,
        (None, [named]) => named,
        (None, []) => return Err(Failure::new(format_args!("no kernel's name has {name:?} in it"))),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|named| format!("\n  {}", named.name)).collect();
            return Err(Failure::new(format_args!("{name:?} is a part of several names:{}", names.concat())));
        }
    };
    let radv = Radv::open(family)?;
    let code = radv.compile(&named.spirv, &named.buffers())?;
    let mut text = format!("; {}\n; {}, {}, waves of {} lanes\n", named.name, radv.driver, radv.chip, code.wave);
    for (name, value) in &code.statistics {
        text.push_str(&format!("; {name}: {value}\n"));
    }
    Ok(text + &code.assembly)
}

/// What a worker said, or that it will say nothing more.
enum Said {
    Line(String),
    Ended,
}

struct Worker {
    family: Family,
    process: Child,
    /// The kernel that it compiles.
    at: Option<String>,
    failed: Option<String>,
}

/// Drops the processes with the run: an error of one ends all.
struct Workers(Vec<Worker>);

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            // One that has ended already can't be ended; then waiting returns at once.
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
    }
}

/// The table of the kernels whose names have these words, on these families.
pub(crate) fn run(families: &[Family], words: &[String], driver: &Path) -> Result<Table, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let of = (cores / families.len().max(1)).max(1);
    let (sender, said) = mpsc::channel();
    let mut workers = Workers(Vec::new());
    for family in families {
        for index in 0..of {
            let mut command = command(*family, driver)?;
            command.arg("--worker").arg(format!("{index}/{of}")).arg("--").args(words);
            let mut process = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| Failure::new(format_args!("starting a worker: {error}")))?;
            let lines = process.stdout.take();
            let (number, sender) = (workers.0.len(), sender.clone());
            workers.0.push(Worker { family: *family, process, at: None, failed: None });
            thread::spawn(move || {
                let lines = lines.map(BufReader::new).into_iter().flat_map(|lines| lines.lines().map_while(Result::ok));
                // The receiver is gone where another worker has failed.
                lines.map(Said::Line).chain([Said::Ended]).try_for_each(|said| sender.send((number, said)))
            });
        }
    }
    drop(sender);
    let bar = bar();
    let mut table = Table::default();
    for (number, said) in said {
        let Some(worker) = workers.0.get_mut(number) else { continue };
        match said {
            Said::Line(line) => hear(&line, worker, &mut table, &bar)?,
            Said::Ended => end(worker)?,
        }
    }
    bar.finish_and_clear();
    Ok(table)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Takes a line in.
fn hear(line: &str, worker: &mut Worker, table: &mut Table, bar: &ProgressBar) -> Result<(), Failure> {
    let bad = || Failure::new(format_args!("a worker said what is not understood: {line}"));
    let columns: Vec<_> = line.split('\t').collect();
    match columns.as_slice() {
        ["driver", driver] => table.driver = (*driver).to_owned(),
        ["total", kernels] => bar.inc_length(kernels.parse().map_err(|_| bad())?),
        ["begin", name] => {
            bar.set_message((*name).to_owned());
            worker.at = Some((*name).to_owned());
        }
        ["row", name, figures @ ..] => {
            bar.inc(1);
            let figures = Figures::read(figures).ok_or_else(bad)?;
            table.rows.insert(((*name).to_owned(), worker.family), figures);
        }
        ["failed", sentence @ ..] => worker.failed = Some(sentence.join(" ")),
        _ => return Err(bad()),
    }
    Ok(())
}

/// Whether it ended as it should.
fn end(worker: &mut Worker) -> Result<(), Failure> {
    let status = worker.process.wait().map_err(|error| Failure::new(format_args!("waiting for a worker: {error}")))?;
    let family = worker.family;
    let at = worker.at.take().map(|name| format!(" at {name}")).unwrap_or_default();
    match worker.failed.take() {
        Some(sentence) => Err(Failure::new(format_args!("{family}{at}: {sentence}"))),
        None if !status.success() && at.is_empty() => Err(Failure::new(format_args!(
            "{family}: the driver ended its process before it compiled: {status}; it may not know {}",
            family.asked()
        ))),
        None if !status.success() => {
            Err(Failure::new(format_args!("{family}{at}: the compiler took its process along: {status}")))
        }
        None => Ok(()),
    }
}
