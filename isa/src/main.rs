//! What AMD's compiler makes of elbow's kernels, on a machine without an AMD GPU: `cargo run -p elbow-isa`.
//!
//! Every kernel that a discrete GPU's plans ask for is translated as wgpu does it and compiled by RADV, Mesa's driver, for RDNA2 and
//! RDNA3. What it says of its code, and what can be counted in that, is a table: printed, compared with the committed one
//! (`--check`), or committed anew (`--write`). With `--matrix-units` they are the kernels on matrix units. docs/performance.md says how to read it.

mod disassembly;
mod failure;
mod figure;
mod kernels;
mod radv;
mod spirv;
mod table;
mod workers;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{failure::Failure, figure::Family, radv::Radv, table::Table, workers::Share};

/// The committed tables, from the root of the repository.
const COMMITTED: &str = "docs/isa.tsv";
const COMMITTED_OF_UNITS: &str = "docs/isa_matrix_units.tsv";

/// What AMD's compiler makes of elbow's kernels, without an AMD GPU.
#[derive(Debug, Parser)]
#[command(name = "elbow-isa", version)]
struct Args {
    /// Only kernels whose names have all of these words in them
    words: Vec<String>,
    /// Only this family; both are asked otherwise
    #[arg(long)]
    family: Option<Family>,
    /// The kernels on matrix units, for RDNA3: of a RADV that has them and compiles without a GPU (Mesa 23.3 to 25)
    #[arg(long, conflicts_with = "family")]
    matrix_units: bool,
    /// Compare with a table, by default the committed one: fails on a spill, and on a figure more than 5 % worse
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with_all = ["words", "family"])]
    check: Option<Option<PathBuf>>,
    /// Write the table: what a change on purpose commits
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        conflicts_with_all = ["words", "family", "check"])]
    write: Option<Option<PathBuf>>,
    /// Print tab-separated columns
    #[arg(long, conflicts_with_all = ["check", "write"])]
    tsv: bool,
    /// Print the machine code of a kernel, of which a part of the name is enough (for RDNA2 without --family)
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["words", "check", "write", "tsv"])]
    dump: Option<String>,
    /// Print which compiler would be asked
    #[arg(long, conflicts_with_all = ["words", "check", "write", "tsv", "dump"])]
    driver: bool,
    /// RADV's description [default: the one that is installed]
    #[arg(long, value_name = "FILE")]
    icd: Option<PathBuf>,
    /// What one of this program's own processes does.
    #[arg(long, hide = true)]
    worker: Option<Share>,
    /// The same, for --dump and --driver.
    #[arg(long, hide = true)]
    here: bool,
}

impl Args {
    fn families(&self) -> Vec<Family> {
        match (self.family, self.matrix_units) {
            (Some(family), _) => vec![family],
            (None, true) => vec![Family::Rdna3Units],
            (None, false) => Family::USUAL.to_vec(),
        }
    }

    /// Where there is one answer alone.
    fn one_family(&self) -> Family {
        self.families()[0]
    }

    /// The table to compare with or to write: the given one, or the committed one.
    fn table<'a>(&self, file: Option<&'a PathBuf>) -> &'a Path {
        let usual = if self.matrix_units { COMMITTED_OF_UNITS } else { COMMITTED };
        file.map_or(Path::new(usual), PathBuf::as_path)
    }
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|failure| failure.report())
}

/// What is printed goes to stdout, unless nobody reads it.
fn print(text: &str) -> Result<ExitCode, Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(share) = args.worker {
        return workers::work(args.one_family(), share, &args.words).map(|()| ExitCode::SUCCESS);
    }
    if args.here {
        return match &args.dump {
            Some(name) => print(&workers::dump(args.one_family(), name)?),
            None => print(&format!("{}\n", Radv::open(args.one_family())?.driver)),
        };
    }
    let before = args.check.as_ref().map(|file| committed(args.table(file.as_ref()))).transpose()?;
    let icd = args.icd.clone().map_or_else(workers::installed, Ok)?;
    if args.dump.is_some() || args.driver {
        return here(args, &icd);
    }
    let table = workers::run(&args.families(), &args.words, &icd)?;
    if table.rows.is_empty() {
        return Err(Failure::new(format_args!("no kernel's name has all of these in it: {}", args.words.join(", "))));
    }
    if let Some(before) = before {
        return check(&table, &before);
    }
    if let Some(file) = &args.write {
        let file = args.table(file.as_ref());
        fs::write(file, table.to_tsv()).map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?;
        let (rows, spills) = (table.rows.len(), table.spills());
        return print(&format!("{}: {rows} rows, {spills} of them spill on RDNA2\n", file.display()));
    }
    print(&if args.tsv { table.to_tsv() } else { table.to_text() })
}

/// The table in a file. Read before anything is compiled: a wrong name should not take its time.
fn committed(file: &Path) -> Result<Table, Failure> {
    let of_file = |error: &dyn std::fmt::Display| Failure::new(format_args!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| of_file(&error))?;
    Table::from_tsv(&text).map_err(|failure| of_file(&failure))
}

/// What takes one process for a family: the machine code of a kernel, or the compiler's name if it answers for all families.
fn here(args: &Args, icd: &Path) -> Result<ExitCode, Failure> {
    let families = if args.driver { args.families() } else { vec![args.one_family()] };
    for (number, family) in families.iter().enumerate() {
        let mut command = workers::command(*family, icd)?;
        command.arg("--here");
        if let Some(name) = &args.dump {
            command.arg(format!("--dump={name}"));
        }
        if number > 0 {
            command.stdout(std::process::Stdio::null());
        }
        let status = command.status().map_err(|e| Failure::new(format_args!("starting this program again: {e}")))?;
        if !status.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is worse than it was.
fn check(table: &Table, before: &Table) -> Result<ExitCode, Failure> {
    let found = table.compare(before);
    if !found.wrong.is_empty() {
        let lines: Vec<_> = found.wrong.iter().map(|line| format!("\n  {line}")).collect();
        return Err(Failure::new(format_args!(
            "{} figures are worse than committed, or not there; if that is on purpose: elbow-isa --write{}",
            lines.len(),
            lines.concat()
        )));
    }
    if let Some(sentence) = found.not_compared {
        return print(&format!("{sentence}; no kernel spills that did not\n"));
    }
    let better = match found.better {
        0 => String::new(),
        figures => format!("; {figures} figures are more than 5 % better: elbow-isa --write keeps that"),
    };
    print(&format!("{} rows, none worse than committed{better}\n", table.rows.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_their_help_says() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let parsed = |arguments: &[&str]| Args::try_parse_from([&["elbow-isa"], arguments].concat());
        let check = parsed(&["--check"]).unwrap();
        assert_eq!((check.check.clone(), check.table(None)), (Some(None), Path::new(COMMITTED)));
        let write = parsed(&["--write=x.tsv", "--matrix-units"]).unwrap();
        assert_eq!(
            (write.write.clone(), write.table(None)),
            (Some(Some("x.tsv".into())), Path::new(COMMITTED_OF_UNITS))
        );
        assert_eq!(write.families(), [Family::Rdna3Units]);
        assert_eq!(parsed(&["NT", "relu"]).unwrap().words, ["NT", "relu"]);
        assert_eq!(parsed(&["--worker", "1/2", "--", "-x"]).unwrap().worker, Some(Share { index: 1, of: 2 }));
        for wrong in [&["--check", "relu"][..], &["--check", "--write"], &["--worker", "2/2"], &["--family", "rdna9"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
