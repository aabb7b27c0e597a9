//! The table of all kernels, as text and back, and how one compares with another.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    failure::Failure,
    figure::{Better, Family, Figure, Figures},
};

/// More than this share worse is a failure.
const TOLERANCE: f64 = 0.05;

/// What a compiler says of the kernels.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Table {
    /// The compiler, with its version: another one makes other code.
    pub(crate) driver: String,
    pub(crate) rows: BTreeMap<(String, Family), Figures>,
}

/// What a comparison found.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Comparison {
    /// A line for each thing that is wrong.
    pub(crate) wrong: Vec<String>,
    /// Figures that are better by more than the tolerance.
    pub(crate) better: usize,
    /// Why nothing but spills was compared.
    pub(crate) not_compared: Option<String>,
}

impl Table {
    /// The compiler in the first line, names of columns in the second, then a row for each kernel and family.
    pub(crate) fn to_tsv(&self) -> String {
        let names: Vec<_> = Figure::ALL.iter().map(|figure| figure.name()).collect();
        let mut text = format!("# {}\nkernel\tfamily\t{}\n", self.driver, names.join("\t"));
        for ((kernel, family), figures) in &self.rows {
            let _ = writeln!(text, "{kernel}\t{family}\t{}", figures.print());
        }
        text
    }

    pub(crate) fn from_tsv(text: &str) -> Result<Self, Failure> {
        let mut lines = text.lines().enumerate();
        let bad = |at: usize, what: &str| Failure::new(format_args!("line {}: {what}; run --write", at + 1));
        let driver = lines.next().and_then(|(_, line)| line.strip_prefix("# ")).ok_or_else(|| bad(0, "no compiler"))?;
        let mut table = Table { driver: driver.to_owned(), rows: BTreeMap::new() };
        let empty = Table { driver: driver.to_owned(), ..Table::default() }.to_tsv();
        if lines.next().map(|(_, line)| line) != empty.lines().nth(1) {
            return Err(bad(1, "other columns than those of today"));
        }
        for (at, line) in lines {
            let columns: Vec<_> = line.split('\t').collect();
            let [kernel, family, figures @ ..] = columns.as_slice() else { return Err(bad(at, "no row")) };
            let family = Family::ALL.into_iter().find(|known| known.name() == *family);
            let (Some(family), Some(figures)) = (family, Figures::read(figures)) else { return Err(bad(at, "no row")) };
            table.rows.insert(((*kernel).to_owned(), family), figures);
        }
        Ok(table)
    }

    /// The same for people: columns in line.
    pub(crate) fn to_text(&self) -> String {
        let mut lines = vec![vec!["kernel".to_owned(), "family".to_owned()]];
        lines[0].extend(Figure::ALL.iter().map(|figure| figure.name().to_owned()));
        for ((kernel, family), figures) in &self.rows {
            let numbers = Figure::ALL.iter().map(|figure| figure.print(figures.get(*figure)));
            lines.push([kernel.clone(), family.to_string()].into_iter().chain(numbers).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
        let mut text = format!("{}\n", self.driver);
        for line in &lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Names to the left, numbers to the right.
                let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
            }
            text.push('\n');
        }
        text
    }

    /// What of this table is worse than in the table of before. Of another compiler only spills are looked at: the rest would be
    /// the compilers' difference.
    pub(crate) fn compare(&self, before: &Table) -> Comparison {
        let mut found = Comparison::default();
        let same_compiler = self.driver == before.driver;
        if !same_compiler {
            found.not_compared =
                Some(format!("not compared: the table is of {}, this is {}", before.driver, self.driver));
        }
        for ((kernel, family), now) in &self.rows {
            let before = before.rows.get(&(kernel.clone(), *family));
            if before.is_none() && same_compiler {
                found.wrong.push(format!("{kernel} [{family}]: is not in the table; run --write"));
            }
            for figure in Figure::ALL {
                let spill = figure.better() == Better::None;
                if !(same_compiler || spill && *family == JUDGED_FOR_SPILLS) {
                    continue;
                }
                let then = before.map(|before| before.get(figure));
                match (then, now.get(figure)) {
                    (None, Some(now)) if spill && now > 0.0 && *family == JUDGED_FOR_SPILLS => {
                        found.wrong.push(format!(
                            "{kernel} [{family}]: {} is {}",
                            figure.name(),
                            figure.print(Some(now))
                        ));
                    }
                    (Some(then), now) => match change(figure, then, now) {
                        Change::Worse => found.wrong.push(format!(
                            "{kernel} [{family}]: {} was {}, is {}",
                            figure.name(),
                            figure.print(then),
                            figure.print(now)
                        )),
                        Change::Better => found.better += 1,
                        Change::Little => {}
                    },
                    _ => {}
                }
            }
        }
        if same_compiler {
            let gone = before.rows.keys().filter(|row| !self.rows.contains_key(row));
            found.wrong.extend(gone.map(|(kernel, family)| {
                format!("{kernel} [{family}]: is in the table, and no plan asks for it; run --write")
            }));
        }
        found
    }

    /// Rows on the family whose spills count that have any.
    pub(crate) fn spills(&self) -> usize {
        let spills = |figures: &Figures| {
            Figure::ALL.iter().any(|figure| figure.better() == Better::None && figures.get(*figure) > Some(0.0))
        };
        self.rows.iter().filter(|((_, family), figures)| *family == JUDGED_FOR_SPILLS && spills(figures)).count()
    }
}

/// RADV of Mesa 22.3 gives code for RDNA3 128 registers at most, where the chip has twice as many: what it spills there says little.
const JUDGED_FOR_SPILLS: Family = Family::Rdna2;

enum Change {
    Worse,
    Better,
    Little,
}

fn change(figure: Figure, before: Option<f64>, now: Option<f64>) -> Change {
    let (Some(before), Some(now)) = (before, now) else {
        // A loop that is no longer found is not compared any more; somebody must look.
        return if before == now { Change::Little } else { Change::Worse };
    };
    let more = now > before * (1.0 + TOLERANCE);
    let less = now < before * (1.0 - TOLERANCE);
    match figure.better() {
        Better::None if now > before => Change::Worse,
        Better::None if now < before => Change::Better,
        Better::Less if more => Change::Worse,
        Better::Less if less => Change::Better,
        Better::More if less => Change::Worse,
        Better::More if more => Change::Better,
        _ => Change::Little,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel of three figures that tests change; the others stand still.
    fn row(spilled: u32, instructions: u32, share: &str) -> Figures {
        let columns = [
            "64",
            &spilled.to_string(),
            "0",
            "8192",
            "10",
            &instructions.to_string(),
            "100",
            "50",
            share,
            "-",
            "1",
            "2",
        ];
        Figures::read(&columns).unwrap()
    }

    fn table(driver: &str, rows: &[(&str, Family, Figures)]) -> Table {
        let rows = rows.iter().map(|(kernel, family, figures)| (((*kernel).to_owned(), *family), *figures)).collect();
        Table { driver: driver.into(), rows }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let written = table(
            "RADV Mesa 1",
            &[("b: y", Family::Rdna2, row(0, 7, "50.0")), ("a: y", Family::Rdna3, row(3, 8, "-"))],
        );
        assert_eq!(Table::from_tsv(&written.to_tsv()).unwrap(), written);
        let lines: Vec<_> = written.to_tsv().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "# RADV Mesa 1");
        assert_eq!(lines[2], "a: y\trdna3\t64\t3\t0\t8192\t10\t8\t100\t50\t-\t-\t1\t2");
        assert!(lines[3].starts_with("b: y\trdna2"), "sorted");
        let broken = [
            "",
            "RADV",
            "# RADV\nother\tcolumns",
            &lines[..3].join("\n").replace("64", "many"),
            &format!("{}\nx", lines[..3].join("\n")),
        ]
        .map(|text| Table::from_tsv(text).is_err());
        assert_eq!(broken, [true; 5], "what is no table is an error");
    }

    #[test]
    fn what_is_worse_is_named_with_before_and_now() {
        let before = table("A", &[("k", Family::Rdna2, row(0, 100, "50.0"))]);
        let compared = |figures| table("A", &[("k", Family::Rdna2, figures)]).compare(&before);
        assert_eq!(compared(row(0, 105, "47.5")), Comparison::default(), "5 % is not more than 5 %");
        assert_eq!(compared(row(0, 106, "50.0")).wrong, ["k [rdna2]: instructions was 100, is 106"]);
        assert_eq!(compared(row(0, 100, "47.4")).wrong, ["k [rdna2]: fma_% was 50.0, is 47.4"]);
        assert_eq!(compared(row(0, 100, "-")).wrong, ["k [rdna2]: fma_% was 50.0, is -"]);
        assert_eq!(compared(row(1, 100, "50.0")).wrong, ["k [rdna2]: spilled was 0, is 1"]);
        assert_eq!(compared(row(0, 50, "90.0")), Comparison { better: 2, ..Comparison::default() });
    }

    #[test]
    fn rows_that_come_and_go_are_named() {
        let one = table("A", &[("old", Family::Rdna2, row(0, 1, "-"))]);
        let other = table("A", &[("new", Family::Rdna2, row(2, 1, "-"))]);
        assert_eq!(
            other.compare(&one).wrong,
            [
                "new [rdna2]: is not in the table; run --write",
                "new [rdna2]: spilled is 2",
                "old [rdna2]: is in the table, and no plan asks for it; run --write"
            ]
        );
    }

    #[test]
    fn of_another_compiler_only_spills_are_looked_at() {
        let before = table("A", &[("k", Family::Rdna2, row(0, 1, "50.0")), ("k", Family::Rdna3, row(0, 1, "50.0"))]);
        let now = table(
            "B",
            &[
                ("k", Family::Rdna2, row(0, 9, "5.0")),
                ("k", Family::Rdna3, row(7, 9, "5.0")),
                ("l", Family::Rdna2, row(0, 1, "-")),
            ],
        );
        let found = now.compare(&before);
        assert_eq!(found.not_compared.as_deref(), Some("not compared: the table is of A, this is B"));
        assert!(found.wrong.is_empty() && found.better == 0, "{found:?}");
        let now = table("B", &[("k", Family::Rdna2, row(1, 1, "50.0")), ("l", Family::Rdna2, row(2, 1, "-"))]);
        assert_eq!(now.compare(&before).wrong, ["k [rdna2]: spilled was 0, is 1", "l [rdna2]: spilled is 2"]);
        assert_eq!(now.spills(), 2);
    }
}
