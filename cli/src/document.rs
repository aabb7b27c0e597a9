//! Results in words, for a terminal or as Markdown: lines, then tables and texts with titles. As JSON a command prints its values instead.

use serde::Serialize;

use crate::{
    failure::Failure,
    out,
    table::{Format, Table},
};

/// What a command says, as it grows.
#[derive(Debug)]
pub(crate) struct Document {
    markdown: bool,
    text: String,
    /// Whether a line may follow without an empty one between.
    in_lines: bool,
}

impl Document {
    pub(crate) fn new(format: Format) -> Self {
        Document { markdown: format == Format::Md, text: String::new(), in_lines: true }
    }

    /// What comes first: a sentence by itself.
    pub(crate) fn paragraph(&mut self, says: &str) {
        self.text += &format!("{says}\n\n");
    }

    /// A line; in Markdown one of a list.
    pub(crate) fn line(&mut self, line: &str) {
        let before = if self.in_lines { "" } else { "\n" };
        let bullet = if self.markdown { "- " } else { "" };
        self.text += &format!("{before}{bullet}{line}\n");
        self.in_lines = true;
    }

    /// A table with its title; nothing of an empty one.
    pub(crate) fn table(&mut self, title: &str, table: &Table) {
        if !table.is_empty() {
            self.title(title);
            self.text += &table.print(if self.markdown { Format::Md } else { Format::Table });
            self.in_lines = false;
        }
    }

    /// Text that is shown as it is, such as that of a kernel.
    pub(crate) fn code(&mut self, language: &str, text: &str) {
        let text = text.trim_end_matches('\n');
        self.text += &match self.markdown {
            true => format!("\n```{language}\n{text}\n```\n"),
            false => format!("\n{text}\n"),
        };
        self.in_lines = false;
    }

    pub(crate) fn title(&mut self, title: &str) {
        let mark = if self.markdown { "## " } else { "" };
        let before = if self.text.is_empty() { "" } else { "\n" };
        self.text += &format!("{before}{mark}{title}\n\n");
        self.in_lines = true;
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn print(&self) -> Result<(), Failure> {
        out::print(&self.text)
    }
}

/// Prints values as JSON.
pub(crate) fn json(values: &impl Serialize) -> Result<(), Failure> {
    out::print(&(serde_json::to_string_pretty(values).map_err(Failure::new)? + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_in_two_notations() {
        let said = |format| {
            let mut document = Document::new(format);
            document.line("adapter: a");
            document.table("times", &Table::new(&["size", "ms"], 1).with([vec!["row".into(), "1.00".into()]]));
            document.table("nothing", &Table::new(&["size", "ms"], 1));
            document.code("wgsl", "fn f() {}\n");
            document.line("the end");
            document.text
        };
        assert_eq!(
            said(Format::Table),
            "adapter: a\n\ntimes\n\nsize    ms\n----  ----\nrow   1.00\n\nfn f() {}\n\nthe end\n"
        );
        assert_eq!(
            said(Format::Md),
            "- adapter: a\n\n## times\n\n| size | ms |\n|---|---:|\n| row | 1.00 |\n\n```wgsl\nfn f() {}\n```\n\n- the end\n"
        );
    }
}
