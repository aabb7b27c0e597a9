//! A table of text: a CSV file, perhaps gzipped, with the line of each row for messages.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
    path::Path,
};

use csv::{ErrorKind, StringRecord, Trim};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, file};

/// The most bytes of a table, unpacked.
const LARGEST: u64 = 4 << 30;

/// How a file is read.
#[derive(Debug, Clone, Copy, clap::Args, Serialize, Deserialize)]
pub(crate) struct Format {
    /// What separates values: one character, or `tab`.
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    #[serde(with = "character")]
    pub(crate) delimiter: u8,
    /// The first line is a row, not the names of columns; these are then 1, 2, 3, ..
    #[arg(long)]
    pub(crate) no_header: bool,
}

impl Format {
    /// These options as they are typed, each with a space before it.
    pub(crate) fn arguments(self) -> String {
        let delimiter = match self.delimiter {
            b',' => String::new(),
            b'\t' => " --delimiter tab".into(),
            other => format!(" --delimiter '{}'", char::from(other)),
        };
        delimiter + if self.no_header { " --no-header" } else { "" }
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [one] if one.is_ascii() && !b"\"\r\n".contains(one) => Ok(*one),
        _ => Err("expected one character, or tab".into()),
    }
}

/// A delimiter as text, checked as on the command line.
mod character {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(delimiter: &u8, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_char(char::from(*delimiter))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
        super::delimiter(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Rows of text, all of one length.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) name: String,
    /// The names of its columns.
    pub(crate) columns: Vec<String>,
    rows: Vec<StringRecord>,
    /// The line in the file on which each row begins.
    lines: Vec<u64>,
}

impl Table {
    /// Reads a file, unpacked if it begins as gzip does.
    pub(crate) fn read(path: &Path, format: Format) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = file::bytes(path)?;
        let bytes = match bytes.starts_with(&[0x1f, 0x8b]) {
            false => bytes,
            true => {
                let mut plain = Vec::new();
                let unpacked =
                    flate2::read::MultiGzDecoder::new(Cursor::new(bytes)).take(LARGEST + 1).read_to_end(&mut plain);
                unpacked.map_err(|error| Failure::mismatch(&name, "a gzip file", error))?;
                if plain.len() as u64 > LARGEST {
                    return Err(Failure::mismatch(&name, format_args!("at most {LARGEST} bytes unpacked"), "more"));
                }
                plain
            }
        };
        Self::parse(name, &bytes, format)
    }

    fn parse(name: String, bytes: &[u8], format: Format) -> Result<Self, Failure> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(!format.no_header)
            .delimiter(format.delimiter)
            .trim(Trim::All)
            .from_reader(bytes);
        let wrong = |error| wrong(&name, bytes, error);
        let first = reader.headers().map_err(wrong)?.clone();
        if first.is_empty() {
            return Err(Failure::mismatch(&name, "a table", "an empty file"));
        }
        let columns = match format.no_header {
            true => (1..=first.len()).map(|column| column.to_string()).collect(),
            false => names(&name, &first)?,
        };
        let rows = reader.into_records().collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if rows.is_empty() {
            return Err(Failure::mismatch(&name, "rows behind the names of columns", "none"));
        }
        let lines = rows.iter().map(|row| line(bytes, row.position())).collect();
        Ok(Table { name, columns, rows, lines })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The text in a row and a column; empty beyond the last.
    pub(crate) fn at(&self, row: usize, column: usize) -> &str {
        self.rows.get(row).and_then(|row| row.get(column)).unwrap_or_default()
    }

    /// All texts of a row.
    pub(crate) fn row(&self, row: usize) -> &StringRecord {
        &self.rows[row]
    }

    /// The number of a column; an error that lists those that exist.
    pub(crate) fn column(&self, name: &str) -> Result<usize, Failure> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            let shown: Vec<&str> = self.columns.iter().take(30).map(String::as_str).collect();
            let more = if self.columns.len() > 30 { ", .." } else { "" };
            let separator =
                [";", "\t", "|"].into_iter().find(|s| self.columns.len() == 1 && self.columns[0].contains(s));
            let hint = separator.map_or(String::new(), |s| match s {
                "\t" => " (separated by tabs? --delimiter tab)".into(),
                s => format!(" (separated by {s}? --delimiter '{s}')"),
            });
            Failure::mismatch(
                &self.name,
                format_args!("a column {name:?}"),
                format_args!("{}{more}{hint}", shown.join(", ")),
            )
        })
    }

    /// `expected .., got ..` of a value, with its line and column.
    pub(crate) fn wrong(&self, row: usize, column: usize, expected: impl std::fmt::Display) -> Failure {
        let line = self.lines[row];
        let got: String = self.at(row, column).chars().take(60).collect();
        let place = format!("{} line {line}, column {}", self.name, self.columns[column]);
        let got = if got.is_empty() { "nothing".to_owned() } else { format!("{got:?}") };
        Failure::mismatch(place, expected, got)
    }
}

/// The names of columns, each once; an empty one is its number.
fn names(file: &str, header: &StringRecord) -> Result<Vec<String>, Failure> {
    let mut seen = HashMap::new();
    let mut names = Vec::with_capacity(header.len());
    for (column, name) in header.iter().enumerate() {
        let name = if name.is_empty() { (column + 1).to_string() } else { name.to_owned() };
        if let Some(before) = seen.insert(name.clone(), column) {
            let got = format!("{name:?} for columns {} and {}", before + 1, column + 1);
            return Err(Failure::mismatch(file, "a name for each column (a file without: --no-header)", got));
        }
        names.push(name);
    }
    Ok(names)
}

/// The line on which a row begins: the reader's position is before the empty lines in front of it.
fn line(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let rest = bytes.get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n');
    position.line() + empty.count() as u64
}

fn wrong(name: &str, bytes: &[u8], error: csv::Error) -> Failure {
    let line = line(bytes, error.position());
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let expected = format!("{expected_len} values, as in the first line");
            Failure::mismatch(format_args!("{name} line {line}"), expected, len)
        }
        ErrorKind::Utf8 { .. } => {
            let what = "text in UTF-8 (save the table as CSV UTF-8)";
            Failure::mismatch(format_args!("{name} line {line}"), what, "other bytes")
        }
        _ => Failure::mismatch(name, "a CSV file", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], no_header: bool) -> Result<Table, String> {
        Table::parse("t".into(), text, Format { delimiter: b',', no_header }).map_err(|failure| failure.to_string())
    }

    #[test]
    fn tables_of_all_sorts() {
        let table = parse("\u{feff}a, b ,\n1,\"2,5\", 3\n\n4,,6\n".as_bytes(), false).expect("a table");
        assert_eq!((table.columns.clone(), table.rows()), (["a", "b", "3"].map(String::from).to_vec(), 2));
        assert_eq!((table.at(0, 1), table.at(1, 1), table.at(1, 2)), ("2,5", "", "6"));
        assert_eq!(table.wrong(1, 1, "a number").to_string(), "t line 4, column b: expected a number, got nothing");
        let bare = parse(b"1,2\r\n3,4", true).expect("a table");
        assert_eq!((bare.columns.join(" "), bare.rows()), ("1 2".into(), 2));
        for (text, part) in [
            (&b""[..], "expected a table, got an empty file"),
            (b"\n\n", "an empty file"),
            (b"a,b\n", "expected rows behind the names of columns, got none"),
            (b"a,b\n1,2\n1,2,3\n", "t line 3: expected 2 values, as in the first line, got 3"),
            (b"a,b\n1\n", "t line 2: expected 2 values, as in the first line, got 1"),
            (b"a,b\n1,\xff\n", "t line 2: expected text in UTF-8"),
            (b"a,a\n1,2\n", "\"a\" for columns 1 and 2"),
        ] {
            let failure = parse(text, false).expect_err("a mistake");
            assert!(failure.contains(part), "{failure}");
        }
        let semicolons = parse(b"a;b\n1;2\n", false).expect("one column");
        assert!(semicolons.column("b").expect_err("no such column").to_string().contains("--delimiter ';'"));
    }
}
