//! A table of results: for a terminal, as Markdown, as HTML.

use clap::ValueEnum;

use crate::html::escape;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, at most 80 characters wide.
    #[default]
    Table,
    /// Markdown.
    Md,
    /// JSON.
    Json,
}

/// Rows below a header. The first columns are words, which say what a row is of; the others are figures.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<String>,
    words: usize,
    /// Whether the last column is words too.
    note: bool,
    rows: Vec<Vec<String>>,
}

/// The widest line of a table, unless what a row is of takes more.
const WIDEST: usize = 80;

/// Between two columns, so that they never touch.
const GAP: &str = "  ";

impl Table {
    pub(crate) fn new(heads: &[&str], words: usize) -> Self {
        Table { heads: heads.iter().map(|&head| head.to_owned()).collect(), words, note: false, rows: Vec::new() }
    }

    /// The last column is words too.
    pub(crate) fn noted(self) -> Self {
        Table { note: true, ..self }
    }

    fn is_left(&self, column: usize) -> bool {
        column < self.words || (self.note && column + 1 == self.heads.len())
    }

    /// With these rows: a cell for each head.
    pub(crate) fn with(mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.rows.extend(rows);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a terminal. One that is too wide is several below each other, each with the words.
    pub(crate) fn text(&self) -> String {
        let widths: Vec<usize> =
            (0..self.heads.len()).map(|i| self.lines().map(|line| width(&line[i])).max().unwrap_or(0)).collect();
        let of_words: usize = widths[..self.words].iter().map(|width| width + GAP.len()).sum();
        let mut parts: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for (i, width) in widths.iter().enumerate().skip(self.words) {
            if room < width + GAP.len() || parts.is_empty() {
                parts.push((0..self.words).collect());
                room = (WIDEST + GAP.len()).saturating_sub(of_words);
            }
            room = room.saturating_sub(width + GAP.len());
            if let Some(part) = parts.last_mut() {
                part.push(i);
            }
        }
        if parts.is_empty() {
            parts.push((0..self.words).collect());
        }
        let part = |columns: &Vec<usize>| -> String {
            let widths: Vec<usize> = columns.iter().map(|&i| widths[i]).collect();
            let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join(GAP);
            let mut text = String::new();
            for (number, cells) in self.lines().enumerate() {
                let cells: Vec<&str> = columns.iter().map(|&i| cells[i].as_str()).collect();
                text += &line(&cells, &widths, |i| self.is_left(columns[i]));
                if number == 0 {
                    text += &format!("{rule}\n");
                }
            }
            text
        };
        parts.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn markdown(&self) -> String {
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = (0..self.heads.len()).map(|i| if self.is_left(i) { "---|" } else { "---:|" });
        let rule = format!("|{}\n", rule.collect::<String>());
        let rows: String = self.rows.iter().map(|cells| row(cells)).collect();
        row(&self.heads) + &rule + &rows
    }

    /// As one of the two; as JSON there is no table.
    pub(crate) fn print(&self, format: Format) -> String {
        if format == Format::Md { self.markdown() } else { self.text() }
    }

    pub(crate) fn html(&self) -> String {
        let line = |tag: &str, cells: &[String]| -> String {
            let cell = |(i, cell): (usize, &String)| {
                let class = if self.is_left(i) { " class=\"left\"" } else { "" };
                format!("<{tag}{class}>{}</{tag}>", escape(cell))
            };
            format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
        };
        let body: String = self.rows.iter().map(|cells| line("td", cells)).collect();
        let head = line("th", &self.heads);
        format!(
            "<div class=\"scroll\" tabindex=\"0\"><table><thead>{head}</thead><tbody>\n{body}</tbody></table></div>\n"
        )
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.heads).chain(&self.rows)
    }
}

/// A line of a table whose rows come one by one: a cell that is wider than its column moves the others, but never touches one.
pub(crate) fn line(cells: &[&str], widths: &[usize], left: impl Fn(usize) -> bool) -> String {
    let cell = |(i, (cell, &wide)): (usize, (&&str, &usize))| {
        let room = " ".repeat(wide.saturating_sub(width(cell)));
        if left(i) { format!("{cell}{room}") } else { format!("{room}{cell}") }
    };
    let cells: Vec<String> = cells.iter().zip(widths).enumerate().map(cell).collect();
    format!("{}\n", cells.join(GAP).trim_end())
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(columns: usize, wide: usize) -> Table {
        let heads: Vec<String> = (0..columns).map(|i| format!("head {i}")).collect();
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let row = |r: usize| (0..columns).map(|i| format!("{r}.{i}").repeat(1 + i % 3 * wide)).collect();
        Table::new(&heads, 2).with((0..3).map(row))
    }

    #[test]
    fn columns_never_touch_and_lines_are_short() {
        for (columns, wide) in [(3, 1), (12, 1), (12, 4), (30, 3), (2, 1)] {
            let text = made(columns, wide).text();
            let mut seen = 0;
            for part in text.split("\n\n") {
                let lines: Vec<&str> = part.lines().collect();
                assert_eq!(lines.len(), 5, "a header, a rule and three rows: {text}");
                assert!(lines.iter().all(|line| line.chars().count() <= WIDEST), "{text}");
                // The rule says where columns are: in every line a gap is blank.
                let gaps = lines[1].match_indices("- ").map(|(at, _)| at + 1);
                for gap in gaps {
                    let blank = |line: &&str| line.get(gap..gap + 2).is_none_or(|cut| cut == GAP);
                    assert!(lines.iter().all(blank), "column {gap}: {text}");
                }
                assert!(part.starts_with("head 0") && part.contains("head 1"), "the words are in each part: {text}");
                seen += lines[1].split_whitespace().count() - 2;
            }
            assert_eq!(seen, columns - 2, "every column once: {text}");
        }
    }

    #[test]
    fn every_format_has_a_header_and_keeps_its_marks() {
        let table = Table::new(&["name", "figure"], 1).with([vec!["a|b <c>".into(), "1.00 ±3%".into()]]);
        assert_eq!(table.markdown(), "| name | figure |\n|---|---:|\n| a\\|b <c> | 1.00 ±3% |\n");
        assert!(table.html().contains("<th class=\"left\">name</th>") && table.html().contains("a|b &lt;c&gt;"));
        assert_eq!(table.text(), "name       figure\n-------  --------\na|b <c>  1.00 ±3%\n");
        let noted = Table::new(&["name", "note"], 1).noted().with([vec!["n".into(), "so it is".into()]]);
        assert_eq!(noted.text(), "name  note\n----  --------\nn     so it is\n");
        assert_eq!(line(&["too long", "1"], &[3, 4], |i| i == 0), "too long     1\n");
    }
}
