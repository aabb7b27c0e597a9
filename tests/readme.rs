//! The README tells the truth: its activation table is that of the rows, its quickstart the example that is built, its host the one of docs/embedding.md,
//! which is compiled. `scripts/activation-table` rewrites all three.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path};

use elbow::{
    Activation, Float, Saved,
    activation::{Row, rows},
    request::AffineRequest,
};

/// One line of the table.
fn line(row: &Row) -> String {
    let parameters: Vec<_> = row
        .parameters
        .iter()
        .map(|p| p.default.map_or(p.name.to_owned(), |default| format!("{} = {default}", p.name)))
        .collect();
    // Without defaults there is no instance to ask; what does not depend on the numbers is the same for all.
    let needed = row.parameters.iter().filter(|p| p.default.is_none()).count();
    let instance = Activation::new(row.kind, &vec![0.5; needed]).expect("0.5 is in every domain without a default");
    let enough = |saved| instance.saved_is_enough(saved, false, false, false, Float::F32).is_ok();
    let also: Vec<_> = [(Saved::Y, "y"), (Saved::Mask, "mask")].into_iter().filter(|(s, _)| enough(*s)).collect();
    let also = also.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    let auto = AffineRequest::new(1, 1, 1, instance).resolve_saved(false).expect("Auto is always possible");
    let gain = if needed == 0 { format!("{:.4}", instance.gain().he_gain()) } else { String::new() };
    let learnable = if row.learnable { "yes" } else { "" };
    let cells = [
        format!("`{}`", row.name),
        format!("`{}`", row.formula.replace('|', "\\|")),
        parameters.join(", "),
        learnable.to_owned(),
        also,
        auto.to_string(),
        gain,
        row.aliases.join(", "),
    ];
    format!("| {} |", cells.join(" | "))
}

fn table() -> String {
    let head = "| name | y = act(z) | parameters | learnable α | also enough | auto keeps | gain | also called |\n\
                |---|---|---|---|---|---|---|---|\n";
    rows().iter().fold(head.to_owned(), |table, row| table + &line(row) + "\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text between two markers, without them.
fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let from = text.find(&begin).unwrap_or_else(|| panic!("README.md has no {begin:?}")) + begin.len();
    let to = text[from..].find(&end).unwrap_or_else(|| panic!("README.md has no {end:?}"));
    &text[from..from + to]
}

/// Compares a generated part with the README, or puts it there when asked to.
fn check(name: &str, generated: &str) {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let old = between(&readme, name);
    if old == generated {
        return;
    }
    assert!(env::var_os("ELBOW_REWRITE_README").is_some(), "README.md: {name} is stale: run scripts/activation-table");
    let start = old.as_ptr() as usize - readme.as_ptr() as usize;
    let new = [&readme[..start], generated, &readme[start + old.len()..]].concat();
    fs::write(path, new).expect("README.md can be written");
}

/// One test, so that two of them do not write the file at once.
#[test]
fn generated_parts_are_fresh() {
    check("activations", &table());
    let quickstart = fs::read_to_string(root().join("examples/quickstart.rs")).expect("examples/quickstart.rs");
    let lines = quickstart.lines().count();
    assert!(lines <= 25, "examples/quickstart.rs has {lines} lines; it promises 25 at most");
    check("quickstart", &format!("```rust\n{quickstart}```\n"));
    let embedding = fs::read_to_string(root().join("docs/embedding.md")).expect("docs/embedding.md");
    let host = embedding.split_once("## Record").and_then(|(_, rest)| rest.split_once("```rust,no_run\n"));
    let (host, _) = host.and_then(|(_, code)| code.split_once("```\n")).expect("a host in the section Record");
    check("embed", &format!("```rust\n{host}```\n"));
}

#[test]
fn the_compatibility_table_knows_this_version() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let mut parts = env!("CARGO_PKG_VERSION").split('.');
    let minor = format!("{}.{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    assert!(
        readme.contains(&format!("| {minor} |")),
        "README.md: no line for elbow {minor} in the compatibility table"
    );
}
