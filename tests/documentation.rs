//! What users read is whole: every public call is called in an example, every feature is told, and no link needs more than the package
//! that it is in. (That the examples compile and hold is the doc tests' part.)

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// (path within the folder, text) of every Rust file below it.
fn rust(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            found.extend(rust(&path).into_iter().map(|(inside, text)| (format!("{name}/{inside}"), text)));
        } else if name.ends_with(".rs") {
            found.push((name, fs::read_to_string(path).expect("a source file")));
        }
    }
    found.sort();
    found
}

/// The room of a file: its first module, with all that lies below it.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The text of a line of documentation.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

/// The lines of the examples that rustdoc compiles.
fn examples(text: &str) -> String {
    let mut code = String::new();
    let mut fence: Option<bool> = None;
    for line in text.lines() {
        let Some(line) = doc(line).map(str::trim) else {
            fence = None;
            continue;
        };
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(["", "no_run", "should_panic"].contains(&language)),
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) => code = code + line.strip_prefix("# ").unwrap_or(line) + "\n",
            (None, _) => {}
        }
    }
    code
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What stands before the name of each call in an example: `.`, the last part of a path, or nothing.
fn called(code: &str) -> BTreeSet<(String, String)> {
    let mut calls = BTreeSet::new();
    for (at, after) in code.match_indices(['(', ',', ')']) {
        // `name::<T>(`
        let before =
            code[..at].strip_suffix('>').and_then(|head| head.rfind("::<").map(|turbofish| &head[..turbofish]));
        let before = before.unwrap_or(&code[..at]);
        let head = before.trim_end_matches(is_name);
        let name = &before[head.len()..];
        let from = match head.strip_suffix("::") {
            Some(path) => {
                // `Type::<T>::name(` and `Type<T>::name(` are left to the name.
                let rest = path.trim_end_matches(is_name);
                path[rest.len()..].to_owned()
            }
            None if head.ends_with('.') => ".".to_owned(),
            None => String::new(),
        };
        // What is given to another call is called there: `map(Type::name)`.
        let given = after != "(";
        let counts = !given || !matches!(&*from, "" | ".");
        if !name.is_empty() && counts {
            calls.insert((from, name.to_owned()));
        }
    }
    calls
}

/// The type of an `impl` line without a trait, if it is one.
fn implemented(line: &str) -> Option<&str> {
    let mut rest = line.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '<') - i32::from(c == '>');
            depth == 0
        })?;
        rest = &rest[end + 1..];
    }
    let rest = rest.trim_start();
    Some(&rest[..rest.find(|c| !is_name(c))?])
}

/// The public calls of a file: (type, name), no type for a function, `$` for what a macro writes for many types.
fn calls(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut of = "";
    for line in text.split("\n#[cfg(test)]").next().unwrap_or_default().lines() {
        if let Some(name) = implemented(line) {
            of = name;
        }
        let words = line.trim_start();
        let Some(mut rest) = words.strip_prefix("pub ") else { continue };
        for qualifier in ["const ", "async ", "unsafe "] {
            rest = rest.strip_prefix(qualifier).unwrap_or(rest);
        }
        let Some(rest) = rest.strip_prefix("fn ") else { continue };
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        match line.len() - words.len() {
            _ if name.is_empty() => {}
            0 => found.push((String::new(), name.to_owned())),
            4 => found.push((of.to_owned(), name.to_owned())),
            _ => found.push(("$".to_owned(), name.to_owned())),
        }
    }
    found
}

/// The rooms that lib.rs hides, and the names that it exports of them all the same.
fn hidden(lib: &str) -> (Vec<String>, Vec<String>) {
    let rooms = lib.split("#[doc(hidden)]\npub mod ").skip(1).filter_map(|rest| rest.split(';').next());
    let rooms: Vec<String> = rooms.map(str::to_owned).collect();
    let mut names = Vec::new();
    for rest in lib.split("\npub use ").skip(1) {
        let (path, _) = rest.split_once(';').unwrap_or((rest, ""));
        if rooms.iter().any(|room| path.starts_with(&format!("{room}::"))) {
            names.extend(path.split(|c| !is_name(c)).map(str::to_owned));
        }
    }
    (rooms, names)
}

/// How many public calls the sources have, and those that no example calls. A method counts as called where an example names its type, or calls
/// the name in the same room: which type it is there, only the compiler knows.
fn without_example(sources: &[(String, String)]) -> (usize, Vec<String>) {
    let lib = sources.iter().find(|(path, _)| path == "lib.rs").map_or("", |(_, text)| text);
    let (hidden, exported) = hidden(lib);
    let mut by_room: BTreeMap<&str, BTreeSet<(String, String)>> = BTreeMap::new();
    for (path, text) in sources {
        by_room.entry(room(path)).or_default().extend(called(&examples(text)));
    }
    let (mut count, mut missing) = (0, Vec::new());
    for (path, text) in sources {
        for (of, name) in calls(text) {
            if hidden.iter().any(|hidden| hidden == room(path)) && (of.is_empty() || !exported.contains(&of)) {
                continue;
            }
            count += 1;
            let here = &by_room[room(path)];
            let anywhere = |good: &dyn Fn(&str) -> bool| {
                by_room.values().flatten().any(|(from, called)| *called == name && good(from))
            };
            let found = match of.as_str() {
                "" => anywhere(&|from| !from.starts_with(|c: char| c == '.' || c.is_uppercase())),
                // In a macro, whose types are not known here.
                "$" => anywhere(&|from| from.starts_with(|c: char| c == '.' || c.is_uppercase())),
                _ => here.contains(&(".".to_owned(), name.clone())) || anywhere(&|from| from == of),
            };
            if !found {
                missing.push(format!("{path}: {of}{}{name}", if of.is_empty() { "" } else { "::" }));
            }
        }
    }
    (count, missing)
}

#[test]
fn every_public_call_is_called_in_an_example() {
    let (of_elbow, mut missing) = without_example(&rust(&root().join("src")));
    let (of_cpu, also) = without_example(&rust(&root().join("cpu/src")));
    missing.extend(also.into_iter().map(|call| format!("elbow-cpu: {call}")));
    assert!(of_elbow > 300 && of_cpu > 15, "{of_elbow} and {of_cpu} calls found");
    assert!(missing.is_empty(), "{} calls without an example:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn a_call_without_an_example_is_found() {
    let missing = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        without_example(&files).1
    };
    let method = "impl<'a, T: Into<A<B>>> X<'a> {\n    pub const fn f(&self) {}\n}\n";
    assert_eq!(missing(&[("a.rs", method)]), ["a.rs: X::f"]);
    for example in [
        "/// ```\n/// x.f();\n/// ```\n",
        "//! ```no_run\n//! # X::f(&x);\n//! ```\n",
        "/// ```\n/// x.f::<T>(1)\n/// ```\n",
    ] {
        assert_eq!(missing(&[("a/b.rs", method), ("a.rs", example)]), [""; 0], "{example}");
    }
    for example in [
        "/// x.f()\n",
        "/// ```text\n/// x.f()\n/// ```\n",
        "/// ```\n/// Y::f(); x.ff()\n/// ```\n",
        "// ```\n// x.f()\n// ```\n",
    ] {
        assert_eq!(missing(&[("a.rs", &(example.to_owned() + method))]).len(), 1, "{example}");
    }
    assert_eq!(missing(&[("a.rs", &("/// ```\n/// x.map(X::f)\n/// ```\n".to_owned() + method))]).len(), 0);
    // Another room's method of that name is another's, unless its type is named.
    assert_eq!(missing(&[("a.rs", method), ("b.rs", "/// ```\n/// x.f()\n/// ```\n")]).len(), 1);
    assert_eq!(missing(&[("a.rs", method), ("b.rs", "/// ```\n/// X::f(&x)\n/// ```\n")]).len(), 0);
    // Functions, what macros write, what is not public, what is hidden.
    assert_eq!(
        missing(&[("a.rs", "pub async fn f() {}\n"), ("b.rs", "/// ```\n/// x.f(); X::f()\n/// ```\n")]).len(),
        1
    );
    assert_eq!(missing(&[("a.rs", "pub async fn f() {}\n"), ("b.rs", "/// ```\n/// a::f()\n/// ```\n")]).len(), 0);
    assert_eq!(missing(&[("a.rs", "        impl $X {\n            pub fn f() {}\n")]), ["a.rs: $::f"]);
    assert_eq!(
        missing(&[("a.rs", "pub(crate) fn f() {}\nfn g() {}\n#[cfg(test)]\nmod t {\n    pub fn h() {}\n")]).len(),
        0
    );
    let lib = "#[doc(hidden)]\npub mod a;\nmod b;\npub use a::{X, Y};\n";
    assert_eq!(missing(&[("a.rs", "impl Z {\n    pub fn f() {}\n"), ("lib.rs", lib)]).len(), 0);
    assert_eq!(missing(&[("a.rs", method), ("lib.rs", lib)]).len(), 1);
}

/// The packages that are released: name, folder, files.
fn released() -> Vec<(String, PathBuf, BTreeSet<String>)> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut released = Vec::new();
    for package in packages.iter().filter(|package| package["publish"] != Value::Array(Vec::new())) {
        let name = package["name"].as_str().unwrap();
        assert!(package["description"].as_str().is_some_and(|text| text.len() > 20), "{name} has no description");
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
        let list = cargo(&["package", "--package", name, "--list", "--allow-dirty", "--quiet"]);
        released.push((name.to_owned(), folder, list.lines().map(|line| line.replace('\\', "/")).collect()));
    }
    released
}

/// The anchors of a page, as GitHub and docs.rs make them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut code = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        code ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !code) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|&c| is_name(c) || c == ' ' || c == '-');
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// The targets of a page's links, code left out.
fn links(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        found.extend(
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()),
        );
    }
    found
}

/// The links of a page of a package that lead out of it, or to a heading that is not there.
fn broken(page: &str, text: &str, files: &BTreeSet<String>, read: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    for link in links(text).into_iter().filter(|link| !link.starts_with("https://")) {
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let mut target: Vec<String> = page.split('/').map(str::to_owned).collect();
        if !file.is_empty() {
            target.pop();
        }
        for part in Path::new(file).components() {
            match part {
                Component::ParentDir => drop(target.pop()),
                part => target.push(part.as_os_str().to_string_lossy().into_owned()),
            }
        }
        let target = target.join("/");
        if !files.contains(&target) {
            wrong.push(format!("{page}: {link} is not in the package: write its path as `code`"));
        } else if !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
            wrong.push(format!("{page}: {link} names no heading of {target}"));
        }
    }
    wrong
}

/// Packages are read where no repository is near: on crates.io and docs.rs, in a vendored folder.
#[test]
fn links_of_a_package_stay_in_it() {
    let mut wrong = Vec::new();
    let released = released();
    assert!(released.len() >= 5, "{} packages", released.len());
    for (name, folder, files) in &released {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            if !files.contains(needed) {
                wrong.push(format!("{name}: has no {needed}"));
            }
        }
        for page in files.iter().filter(|file| file.ends_with(".md")) {
            wrong.extend(broken(page, &read(page), files, &read).into_iter().map(|line| format!("{name}: {line}")));
        }
        // What rustdoc makes pages of lies elsewhere than the source: only items, anchors and whole addresses are found from there.
        for (path, text) in rust(&folder.join("src")) {
            let text: Vec<&str> = text.lines().filter_map(doc).collect();
            let file = |link: &String| !link.starts_with("https://") && (link.contains(".md") || link.contains(".rs"));
            wrong.extend(links(&text.join("\n")).iter().filter(|link| file(link)).map(|link| {
                format!("{name}: src/{path}: {link} is no address on a page of rustdoc's: write its path as `code`")
            }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn broken_links_are_found() {
    let files = BTreeSet::from(["README.md".to_owned(), "docs/a.md".to_owned()]);
    let read = |file: &str| if file == "docs/a.md" { "# A title: `code`, α\n".to_owned() } else { String::new() };
    let count = |page: &str, text: &str| broken(page, text, &files, &read).len();
    for good in
        ["[a](docs/a.md)", "[a](docs/a.md#a-title-code-α)", "[a](https://a.b/c)", "`[a](b.md)`", "```\n[a](b.md)\n```"]
    {
        assert_eq!(count("README.md", good), 0, "{good}");
    }
    for wrong in
        ["[a](a.md)", "[a](docs)", "[a](docs/a.md#title)", "[a](#a-title)", "[a](http://a.b)", "[`a`](../b/README.md)"]
    {
        assert_eq!(count("README.md", wrong), 1, "{wrong}");
    }
    assert_eq!(
        (count("docs/a.md", "[a](../README.md) [b](#a-title-code-α)"), count("docs/a.md", "[a](README.md)")),
        (0, 1)
    );
}

#[test]
fn every_feature_is_told() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "elbow").unwrap();
    assert_eq!(package["metadata"]["docs"]["rs"]["all-features"], true, "docs.rs shows what needs a feature too");
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(lib.contains("#![cfg_attr(docsrs, feature(doc_cfg))]"), "docs.rs says what needs which feature");
    let guide = fs::read_to_string(root().join("docs/guide.md")).unwrap();
    for (page, text, heading) in [("docs/guide.md", &guide, "## Features"), ("src/lib.rs", &lib, "# Features")] {
        let (_, section) = text.split_once(heading).expect("a list of the features");
        let section = section.split("\n//! # ").next().and_then(|text| text.split("\n## ").next()).unwrap_or_default();
        for feature in package["features"].as_object().unwrap().keys().filter(|feature| *feature != "default") {
            assert!(section.contains(&format!("`{feature}`")), "{page} says nothing of the feature {feature}");
        }
    }
}
