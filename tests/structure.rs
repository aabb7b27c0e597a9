//! The rooms of the house and the doors between them: data flows one way. Facts (tables and arithmetic), decisions
//! (kernel, plan, shader), the device, the operations, and what may wait for them; the CPU implementation, the crate elbow-cpu included,
//! sees only facts. Read from the text of `src/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const FACTS: &[&str] = &[
    "activation",
    "criterion",
    "dropout",
    "dtype",
    "error",
    "gate",
    "initialisation",
    "jet",
    "norm",
    "operand",
    "philox",
    "rates",
    "request",
    "rules",
    "setters",
    "shape",
    "storage",
    "text",
    "words",
];
const DECIDE: &[&str] = &["kernel", "plan", "program", "shader"];
const GPU: &[&str] = &["gpu", "view"];
const OPERATIONS: &[&str] = &["affine", "elementwise", "mlp", "network", "operands", "random", "train"];
const CPU: &[&str] = &["cpu"];
const NATIVE: &[&str] = &["native"];

/// No file longer than this: a file is one idea.
const LONGEST: usize = 500;

/// The files that may have unsafe code, each with the argument why it is sound.
const UNSAFE: &[&str] = &["cpu/src/packed.rs", "isa/src/radv.rs", "src/gpu/trusted.rs", "tests/gpu/guest.rs"];

/// All of this is the border to C: pointers, each with its promise.
const BORDER: &str = "integrations/c/src/";

/// What waits, or needs a thread, a file, the environment or a clock: a browser has none of it, and a host's loop no time.
const BLOCKING: &[&str] = &[
    "block_on",
    "pollster",
    "rayon",
    "thread",
    "park",
    "sleep",
    "mpsc",
    "recv",
    "Condvar",
    "Barrier",
    "Instant",
    "SystemTime",
    "Wait",
    "fs",
    "env",
    "process",
    "net",
    "stdin",
];

/// Who may: the room that is not there in a browser.
const MAY_BLOCK: &[&str] = &["native.rs", "native/"];

/// One block for each activation: it grows by a row, not by an idea.
const GROW_BY_ROWS: &[&str] = &["cpu/src/activation/functions.rs"];

/// The rooms that a room may use, itself included; None if nobody has said what the room is.
fn may_use(room: &str) -> Option<Vec<&'static str>> {
    let layers: &[&[&str]] = match layer(room)? {
        Layer::Facts => &[FACTS],
        Layer::Decide => &[FACTS, DECIDE],
        Layer::Gpu => &[FACTS, DECIDE, GPU],
        Layer::Operations => &[FACTS, DECIDE, GPU, OPERATIONS],
        Layer::Cpu => &[FACTS, CPU],
        Layer::Native => &[FACTS, DECIDE, GPU, OPERATIONS, NATIVE],
        Layer::Root => &[FACTS, DECIDE, GPU, OPERATIONS, CPU, NATIVE],
    };
    Some(layers.concat())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Facts,
    Decide,
    Gpu,
    Operations,
    Cpu,
    Native,
    Root,
}

fn layer(room: &str) -> Option<Layer> {
    let layers = [
        (FACTS, Layer::Facts),
        (DECIDE, Layer::Decide),
        (GPU, Layer::Gpu),
        (OPERATIONS, Layer::Operations),
        (CPU, Layer::Cpu),
        (NATIVE, Layer::Native),
        (&["lib"], Layer::Root),
    ];
    // `train_digits` would be a part of the room `train`.
    let stem = |room: &str| room.split('_').next().unwrap_or_default().to_owned();
    layers.into_iter().find(|(rooms, _)| rooms.contains(&room) || rooms.contains(&stem(room).as_str())).map(|(_, l)| l)
}

/// The room a file belongs to: `plan` for `plan.rs` and `plan/tile.rs`. And how deep its module lies.
fn room_of(path: &str) -> (&str, usize) {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    (path.split('/').next().unwrap_or_default(), path.split('/').count())
}

/// Rust text without comments, strings and characters: only code names rooms.
fn code(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut i = 0;
    while i < bytes.len() {
        let rest = |n: usize| bytes.get(i + n).copied().unwrap_or(' ');
        match bytes[i] {
            '/' if rest(1) == '/' => {
                while i < bytes.len() && bytes[i] != '\n' {
                    i += 1;
                }
            }
            '/' if rest(1) == '*' => {
                i += 2;
                while i < bytes.len() && !(bytes[i] == '*' && bytes.get(i + 1) == Some(&'/')) {
                    i += 1;
                }
                i += 2;
            }
            '"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != '"' {
                    i += if bytes[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            // A character; a lifetime has no closing quote so near.
            '\'' if rest(1) == '\\' || rest(2) == '\'' => {
                i += 2;
                while i < bytes.len() && bytes[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// The code as words and single signs; `::` is one.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in code.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if c == ':' && tokens.last().is_some_and(|t| t == ":") {
            tokens.pop();
            tokens.push("::".into());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// The names that stand directly after `at` (just behind `::`): one, or the first of each path in a group.
fn heads(tokens: &[String], mut at: usize) -> Vec<String> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if first != "{" {
        return vec![first.clone()];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = true;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," if depth == 1 => start = true,
            name if depth == 1 && start => {
                names.push(name.to_owned());
                start = false;
            }
            _ => {}
        }
        // The brace that opens the group stands before a name.
        start |= depth == 1 && tokens[at] == "{" && names.is_empty();
        at += 1;
    }
    names
}

/// Every name that the file takes from the root of the crate: after `crate::`, or after enough `super::`.
fn from_root(tokens: &[String], depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let after_path = i > 0 && tokens[i - 1] == "::";
        let mut end = i;
        let mut supers = 0;
        while tokens.get(end).is_some_and(|t| t == "super") && tokens.get(end + 1).is_some_and(|t| t == "::") {
            supers += 1;
            end += 2;
        }
        if tokens[i] == "crate" && tokens.get(i + 1).is_some_and(|t| t == "::") {
            names.extend(heads(tokens, i + 2));
        } else if supers >= depth && supers > 0 && !after_path {
            names.extend(heads(tokens, end));
        }
        i = end.max(i + 1);
    }
    names
}

/// What `lib.rs` exports again: name to room.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let tokens = tokens(&code(lib));
    let mut map = BTreeMap::new();
    for (i, window) in tokens.windows(4).enumerate() {
        if window[0] == "pub" && window[1] == "use" && window[3] == "::" {
            let end = tokens[i..].iter().position(|t| t == ";").map_or(tokens.len(), |n| i + n);
            for name in &tokens[i + 4..end] {
                if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    map.insert(name.clone(), window[2].clone());
                }
            }
        }
        if window[0] == "pub" && window[1] == "use" && window[3] == ";" {
            map.insert(window[2].clone(), window[2].clone());
        }
    }
    map
}

/// Every wrong door of one file.
fn wrong_doors(path: &str, text: &str, exports: &BTreeMap<String, String>) -> Vec<String> {
    let (room, depth) = room_of(path);
    let Some(allowed) = may_use(room) else {
        return vec![format!("{path}: room {room} has no layer: say here which")];
    };
    let tokens = tokens(&code(text));
    let mut wrong = Vec::new();
    for name in from_root(&tokens, depth) {
        let used = exports.get(&name).unwrap_or(&name);
        // Names that are no rooms: macros, the crate's own items of lib.rs.
        let known = layer(used).is_some();
        if known && !allowed.contains(&used.as_str()) {
            wrong.push(format!("{path}: {room} may not use {used}"));
        }
    }
    let may_name_wgpu = matches!(layer(room), Some(Layer::Gpu | Layer::Operations | Layer::Native | Layer::Root));
    if !may_name_wgpu && tokens.iter().any(|t| t == "wgpu") {
        wrong.push(format!("{path}: {room} may not name wgpu"));
    }
    wrong
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// (path within `base`, text) of every Rust file in a folder.
fn rust(base: &Path, folder: &Path) -> Vec<(String, String)> {
    let name = |path: &Path| {
        let inside = path.strip_prefix(base).expect("a path inside");
        inside.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    files(folder, "rs").iter().map(|path| (name(path), fs::read_to_string(path).expect("a source file"))).collect()
}

/// (path within src, text) of every source file.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    rust(&src, &src)
}

/// A file of the crate elbow-cpu as one of the room `cpu`: of elbow it sees what that room may.
fn in_the_room_of_the_cpu(path: &str, text: &str) -> (String, String) {
    (format!("cpu/{path}"), text.replace("crate::", "self::").replace("elbow::", "crate::"))
}

/// The folders of all packages, those outside of the workspace too: where a Cargo.toml lies.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if folder.join("Cargo.toml").is_file() {
        found.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(packages(&entry.path()));
        }
    }
    found
}

fn says_unsafe(text: &str) -> bool {
    tokens(&code(text)).iter().any(|token| token == "unsafe")
}

#[test]
fn data_flows_one_way() {
    let sources = sources();
    let lib = sources.iter().find(|(path, _)| path == "lib.rs").map(|(_, text)| text.as_str()).unwrap_or_default();
    let exports = exports(lib);
    assert_eq!(exports.get("Gpu").map(String::as_str), Some("gpu"), "lib.rs is not read right: {exports:?}");
    let fast = root().join("cpu/src");
    let fast = rust(&fast, &fast).into_iter().map(|(path, text)| in_the_room_of_the_cpu(&path, &text));
    let wrong: Vec<_> =
        sources.into_iter().chain(fast).flat_map(|(path, text)| wrong_doors(&path, &text, &exports)).collect();
    assert!(wrong.is_empty(), "wrong doors:\n{}", wrong.join("\n"));
}

/// Every path that begins at `at`, groups spelt out: `a::{b, c::d}` is a::b and a::c::d.
fn paths(tokens: &[String], at: &mut usize) -> Vec<Vec<String>> {
    let mut head: Vec<String> = Vec::new();
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "{" => {
                let mut all = Vec::new();
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}") {
                    let before = *at;
                    all.extend(paths(tokens, at).into_iter().map(|tail| [head.clone(), tail].concat()));
                    // The comma, or what is no path.
                    *at += usize::from(*at == before || tokens.get(*at).is_some_and(|token| token == ","));
                }
                *at += 1;
                return all;
            }
            "::" => {}
            name if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                let follows = head.is_empty() || tokens[*at - 1] == "::";
                if !follows {
                    break;
                }
                head.push(name.to_owned());
            }
            _ => break,
        }
        *at += 1;
    }
    vec![head]
}

/// The modules that a file names by `crate::` or `super::`, its tests left out; not those above and below it in its own folder.
fn uses<'m>(module: &str, text: &str, modules: &'m [String]) -> Vec<&'m str> {
    let tokens = tokens(&code(text.split("#[cfg(test)]").next().unwrap_or_default()));
    let own: Vec<&str> = module.split("::").collect();
    let mut used = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !matches!(tokens[at].as_str(), "crate" | "super") || (at > 0 && tokens[at - 1] == "::") {
            at += 1;
            continue;
        }
        for path in paths(&tokens, &mut at) {
            let up = path.iter().take_while(|name| *name == "super").count();
            let base = if path[0] == "crate" { &[][..] } else { &own[..own.len().saturating_sub(up)] };
            let tail = path[up.max(1)..].iter().map(String::as_str);
            let full: Vec<&str> = base.iter().copied().chain(tail).collect();
            let known =
                (1..=full.len()).rev().find_map(|n| modules.iter().find(|module| **module == full[..n].join("::")));
            used.extend(known.map(String::as_str));
        }
    }
    let above = |a: &str, b: &str| a == b || b.strip_prefix(a).is_some_and(|rest| rest.starts_with("::"));
    used.retain(|other| !above(module, other) && !above(other, module));
    used
}

/// The modules that are left when those that use no other that is left, or are used by none, are taken away, again and again: they go round.
fn circles(sources: &[(String, String)]) -> Vec<String> {
    let name = |path: &str| path.trim_end_matches(".rs").replace('/', "::");
    let modules: Vec<String> = sources.iter().map(|(path, _)| name(path)).filter(|name| name != "lib").collect();
    let mut left: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (module, (_, text)) in modules.iter().zip(sources.iter().filter(|(path, _)| path != "lib.rs")) {
        left.insert(module, uses(module, text, &modules));
    }
    loop {
        let used = |module: &str| left.values().flatten().any(|used| *used == module);
        let uses = |module: &str| left[module].iter().any(|used| left.contains_key(used));
        let done: Vec<&str> = left.keys().copied().filter(|module| !uses(module) || !used(module)).collect();
        if done.is_empty() {
            break;
        }
        left.retain(|module, _| !done.contains(module));
    }
    left.into_iter().map(|(module, uses)| format!("{module} uses {}", uses.join(", "))).collect()
}

#[test]
fn no_file_comes_back_to_itself() {
    let circles = circles(&sources());
    assert!(circles.is_empty(), "files that use each other:\n{}", circles.join("\n"));
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let planted = [
        file("a.rs", "use crate::{b::{self, c::X}, d};"),
        file("b.rs", "mod c; fn f() { super::d::g() }"),
        file("b/c.rs", "use super::Y; use crate::e::Z;"),
        file("d.rs", "use crate::b::c::X;"),
        file("e.rs", "use super::d;"),
    ];
    let found = self::circles(&planted).join("; ");
    assert!(found.contains("b::c") && found.contains("d") && !found.contains("a uses"), "{found}");
    assert_eq!(self::circles(&planted[..4]), Vec::<String>::new());
}

/// What a file names of [`BLOCKING`], its tests left out.
fn blocks(path: &str, text: &str) -> Vec<String> {
    let tests = path.ends_with("tests.rs");
    if tests || MAY_BLOCK.iter().any(|room| path == *room || room.ends_with('/') && path.starts_with(room)) {
        return Vec::new();
    }
    let before = text.split("#[cfg(test)]").next().unwrap_or_default();
    let named = tokens(&code(before)).into_iter().filter(|token| BLOCKING.contains(&token.as_str()));
    named.map(|token| format!("{path}: {token} belongs to src/native")).collect()
}

#[test]
fn only_the_native_room_waits() {
    let wrong: Vec<_> = sources().iter().flat_map(|(path, text)| blocks(path, text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for text in [
        "pollster::block_on(f)",
        "use std::{fs, io};",
        "let t = std::time::Instant::now();",
        "std::thread::yield_now()",
    ] {
        assert!(!blocks("gpu/record.rs", text).is_empty(), "{text}");
        assert!(blocks("native/wait.rs", text).is_empty(), "{text}");
        assert!(!blocks("cpu/reference.rs", text).is_empty() && !blocks("nativeness.rs", text).is_empty(), "{text}");
    }
    for text in [
        "// block_on",
        "fn f() {}\n#[cfg(test)]\nmod tests { fn f() { std::fs::read(\"x\"); } }",
        "fn block_on_it() {}",
    ] {
        assert!(blocks("gpu/record.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn files_are_short_and_none_is_called_mod() {
    let mut wrong = Vec::new();
    let folders = packages(root()).into_iter().map(|package| package.join("src")).filter(|folder| folder.is_dir());
    for (path, text) in folders.flat_map(|folder| rust(root(), &folder)) {
        let lines = text.lines().count();
        if lines >= LONGEST && !GROW_BY_ROWS.contains(&path.as_str()) {
            wrong.push(format!("{path}: {lines} lines, {LONGEST} is too many"));
        }
        if path.ends_with("mod.rs") {
            wrong.push(format!("{path}: call it by its folder's name, beside the folder"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_where_it_is_argued_for() {
    let mut folders = Vec::new();
    for package in packages(root()) {
        folders.extend(["src", "tests", "benches", "examples", "fuzz_targets"].map(|folder| package.join(folder)));
    }
    folders.retain(|folder| folder.is_dir());
    assert!(folders.len() >= 6, "src, tests, benches, examples and those of the command: {folders:?}");
    let mut found: Vec<_> = folders.iter().flat_map(|folder| rust(root(), folder)).collect();
    found.retain(|(path, text)| says_unsafe(text) && !path.starts_with(BORDER));
    found.sort();
    let found: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(found, UNSAFE, "files with unsafe code, and those that may have some");
}

#[test]
fn nothing_of_ours_runs_while_building() {
    let mut wrong = Vec::new();
    for package in packages(root()) {
        let manifest = fs::read_to_string(package.join("Cargo.toml")).expect("a manifest");
        let key = manifest.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == "build"));
        if key || package.join("build.rs").exists() {
            wrong.push(format!("{}: no build scripts: see CONTRIBUTING.md", package.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shader_file_is_used() {
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    let shaders = root().join("shaders");
    let texts: Vec<(PathBuf, String)> = files(&shaders, "wgsl")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a shader file");
            (path, text)
        })
        .collect();
    let used_by_wgsl = |stem: &str| texts.iter().any(|(_, t)| t.lines().any(|l| l.trim() == format!("#use {stem}")));
    let mut unused = Vec::new();
    for (path, _) in &texts {
        let stem = path.file_stem().expect("a file name").to_string_lossy();
        let folder = path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        // Named in full, or by a macro that puts the folder before the stem.
        let included = sources.contains(&format!("shaders/{folder}/{stem}.wgsl\""))
            || (sources.contains(&format!("shaders/{folder}/\"")) && sources.contains(&format!("!(\"{stem}\")")));
        // The assembler itself pastes the parameter block into every kernel, and what a program's steps call.
        let pasted =
            folder != "shared" || ["params", "passed", "limits", "dropout"].contains(&&*stem) || used_by_wgsl(&stem);
        if !included || !pasted {
            unused.push(format!("shaders/{folder}/{stem}.wgsl"));
        }
    }
    assert!(unused.is_empty(), "files that no kernel is made of: {}", unused.join(", "));
    assert!(texts.len() > 10, "only {} shader files found", texts.len());
}

#[test]
fn planted_unsafe_code_is_found() {
    for text in [
        "unsafe { f() }",
        "pub unsafe fn f() {}",
        "#[unsafe(no_mangle)]",
        "let c = '\"'; unsafe{}",
        "/* \" */ unsafe {}",
    ] {
        assert!(says_unsafe(text), "{text}");
    }
    for text in
        ["// unsafe", "/// # unsafe {}", "#![forbid(unsafe_code)]", "let s = \"unsafe {\";", "/* unsafe */ fn f() {}"]
    {
        assert!(!says_unsafe(text), "{text}");
    }
}

/// The checker itself: planted violations are found, innocent text is not.
#[test]
fn planted_violations_are_found() {
    let exports =
        exports("pub use gpu::{Checks, Gpu,\n record::{Target, View}};\npub use error::Error;\npub use wgpu;\n");
    let wrong = |path: &str, text: &str| wrong_doors(path, text, &exports);
    for (path, text) in [
        ("plan.rs", "use crate::gpu::Gpu;"),
        ("plan/tile.rs", "use crate::{kernel::Params, gpu::{Gpu, record}};"),
        ("plan/tile.rs", "fn f() { crate::affine::weight_shape(); }"),
        ("plan/tile.rs", "use super::super::gpu;"),
        ("plan.rs", "use super::{error::Error, elementwise};"),
        ("kernel.rs", "use crate::View;"),
        ("request.rs", "use crate::plan::Plan;"),
        ("shape.rs", "fn limits() -> wgpu::Limits { todo() }"),
        ("cpu.rs", "use crate::plan::Tile;"),
        ("cpu/operands.rs", "use crate::gpu;"),
        ("cpu/reference.rs", "use crate::wgpu;"),
        ("gpu/record.rs", "use crate::affine::Forward;"),
        ("affine.rs", "use crate::cpu::reference;"),
        ("gpu/poll.rs", "use crate::native;"),
        ("mlp.rs", "use crate::native::adapters;"),
        ("novelty.rs", "fn f() {}"),
    ] {
        assert_eq!(wrong(path, text).len(), 1, "{path}: {text} gives {:?}", wrong(path, text));
    }
    for (path, text) in [
        (
            "plan.rs",
            "// crate::gpu and wgpu in a comment\nuse crate::{error::{Error, Result}, kernel::{Elem, gpu_like}};",
        ),
        ("error.rs", "#[error(\"crate::gpu, wgpu: \\\" {x}\")] enum Error { Wgpu }"),
        ("plan/tile.rs", "use super::{Caps, gpu}; mod tests { use super::*; }"),
        ("gpu/record.rs", "use super::Gpu; use crate::{plan::Plan, shape}; fn f(d: &wgpu::Device) {}"),
        ("mlp.rs", "use crate::{Gpu, affine, wgpu};"),
        ("train/step.rs", "use crate::{Gpu, mlp::Mlp};"),
        ("native/tune.rs", "use crate::{Gpu, affine::Forward, native::wait};"),
        (
            "cpu/reference.rs",
            "use crate::{activation::Activation, request::Saved}; fn f<'a>(c: char) -> bool { c == '\"' }",
        ),
        ("lib.rs", "pub mod gpu; pub use wgpu; use crate::cpu;"),
    ] {
        assert!(wrong(path, text).is_empty(), "{path}: {text} gives {:?}", wrong(path, text));
    }
    for (text, count) in [
        ("use elbow::{error::Error, gpu};", 1),
        ("fn f(d: &elbow::wgpu::Device) {}", 1),
        ("use elbow::cpu::operands; use crate::affine::forward; use elbow_cpu::gpu;", 0),
    ] {
        let (path, text) = in_the_room_of_the_cpu("affine.rs", text);
        assert_eq!(wrong(&path, &text).len(), count, "{text} gives {:?}", wrong(&path, &text));
    }
}

/// The rows of a table of docs/testing.md, and the text of all tests.
fn table_of_tests(name: &str) -> (Vec<Vec<String>>, String) {
    let page = fs::read_to_string(root().join("docs/testing.md")).expect("docs/testing.md");
    let (_, table) = page.split_once(&format!("<!-- {name}:begin -->")).expect("the table's begin");
    let (table, _) = table.split_once(&format!("<!-- {name}:end -->")).expect("the table's end");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        assert_eq!(cells.len(), 4, "{line}");
        cells
    };
    let code = ["tests", "src/gpu", "src/native"].into_iter().flat_map(|folder| files(&root().join(folder), "rs"));
    (rows.map(cells).collect(), code.map(|path| fs::read_to_string(path).expect("a source file")).collect())
}

/// The tests named in the last cells that are not there.
fn missing_tests(rows: &[Vec<String>], code: &str) -> Vec<String> {
    let named = rows.iter().map(|cells| cells[3].trim_matches('`')).filter(|test| *test != "–");
    let name = |test: &str| test.rsplit("::").next().unwrap_or_default().to_owned();
    named.filter(|test| !code.contains(&format!("fn {}()", name(test)))).map(str::to_owned).collect()
}

/// The table of bad inputs: 1 to 64, each once, and every test that it names is there.
#[test]
fn every_bad_input_has_its_test() {
    let (rows, code) = table_of_tests("bad-inputs");
    let numbers: Vec<u32> = rows.iter().map(|cells| cells[0].parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    assert_eq!(missing_tests(&rows, &code), [""; 0]);
}

#[test]
fn every_case_from_another_project_has_its_test() {
    let (rows, code) = table_of_tests("other-projects");
    assert!(rows.len() >= 20, "{} rows", rows.len());
    assert_eq!(missing_tests(&rows, &code), [""; 0]);
}

/// A planted defect whose text has been reworded or has moved would be found when somebody plants it: here it is found at once.
#[test]
fn planted_defects_have_their_text() {
    let table = fs::read_to_string(root().join("scripts/mutants")).unwrap_or_default();
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("    '")?.strip_suffix('\''))
        .filter(|row| row.matches('|').count() == 3)
        .collect();
    assert!(rows.len() > 150, "{} rows", rows.len());
    let gone = |row: &&&str| {
        let mut parts = row.split('|').skip(1);
        let (file, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let path = if file.starts_with("src/") { file.into() } else { format!("shaders/{file}") };
        !fs::read_to_string(root().join(path)).is_ok_and(|source| source.contains(text))
    };
    let wrong: Vec<&&str> = rows.iter().filter(gone).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
