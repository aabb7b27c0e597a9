//! Expands WGSL text with three directives, for what WGSL itself cannot express. Each has a line of its own.
//!
//! - `#if FLAG`, `#if !FLAG`, `#else`, `#end`: lines of some variants. A flag is on if it is defined and not 0;
//!   its name may have numbers of the loops around it, `#if C{i}{j}`.
//! - `#for i in NAME` .. `#end`: the lines repeated for i = 0, 1, .. (NAME is a flag or a number), with `{i}` replaced by
//!   the number, `{i:vec}` by i/4, `{i:lane}` by the vector component x, y, z or w of i%4, `{i:quarter}` by 2·(i%4), and
//!   `{i:behind}` by i + 4. naga unrolls no loops, and only named variables stay in registers.
//! - `#use NAME`: the assembler puts a shared file, once, before the file that uses it.

use crate::kernel::Flags;

/// Expands `#if` and `#for`; a misspelt directive or a missing `#end` is an error text.
pub(super) fn expand(text: &str, flags: &Flags) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len() * 2);
    let used = block(&lines, 0, flags, &mut Vec::new(), true, &mut out)?;
    if used == lines.len() { Ok(out) } else { Err(format!("line {}: {:?} closes nothing", used + 1, lines[used])) }
}

/// Handles lines from `at` to the `#else` or `#end` that closes the block, and returns that line's index.
fn block(
    lines: &[&str],
    mut at: usize,
    flags: &Flags,
    loops: &mut Vec<(String, u32)>,
    live: bool,
    out: &mut String,
) -> Result<usize, String> {
    while at < lines.len() {
        let line = lines[at].trim();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("#if") => {
                let condition = words.next().ok_or_else(|| format!("line {}: #if without a flag", at + 1))?;
                let condition = substitute(condition, loops);
                let on = match condition.strip_prefix('!') {
                    Some(flag) => flags.get(flag).copied().unwrap_or(0) == 0,
                    None => flags.get(condition.as_str()).copied().unwrap_or(0) != 0,
                };
                let mut close = block(lines, at + 1, flags, loops, live && on, out)?;
                if lines.get(close).map(|l| l.trim()) == Some("#else") {
                    close = block(lines, close + 1, flags, loops, live && !on, out)?;
                }
                at = expect_end(lines, close, at)? + 1;
            }
            Some("#for") => {
                let (name, count) = match (words.next(), words.next(), words.next()) {
                    (Some(name), Some("in"), Some(count)) => (name, count),
                    _ => return Err(format!("line {}: expected `#for NAME in COUNT`, got {line:?}", at + 1)),
                };
                let count = match count.parse() {
                    Ok(number) => number,
                    Err(_) if !live => 0,
                    Err(_) => *flags.get(count).ok_or_else(|| format!("line {}: no flag {count}", at + 1))?,
                };
                let mut close = block(lines, at + 1, flags, loops, false, &mut String::new())?;
                for i in 0..count {
                    loops.push((name.to_owned(), i));
                    close = block(lines, at + 1, flags, loops, live, out)?;
                    loops.pop();
                }
                at = expect_end(lines, close, at)? + 1;
            }
            Some("#else" | "#end") => return Ok(at),
            Some(word) if word.starts_with('#') && word != "#use" => {
                return Err(format!("line {}: unknown directive {word:?}", at + 1));
            }
            Some("#use") => at += 1,
            _ => {
                if live {
                    out.push_str(&substitute(lines[at], loops));
                    out.push('\n');
                }
                at += 1;
            }
        }
    }
    Ok(at)
}

fn expect_end(lines: &[&str], close: usize, open: usize) -> Result<usize, String> {
    match lines.get(close).map(|l| l.trim()) {
        Some("#end") => Ok(close),
        _ => Err(format!("line {}: {:?} has no #end", open + 1, lines[open].trim())),
    }
}

fn substitute(line: &str, loops: &[(String, u32)]) -> String {
    let mut line = line.to_owned();
    for (name, i) in loops {
        if line.contains('{') {
            let lane = ["x", "y", "z", "w"][(i % 4) as usize];
            line = line
                .replace(&format!("{{{name}}}"), &i.to_string())
                .replace(&format!("{{{name}:vec}}"), &(i / 4).to_string())
                .replace(&format!("{{{name}:lane}}"), lane)
                .replace(&format!("{{{name}:quarter}}"), &(i % 4 * 2).to_string())
                .replace(&format!("{{{name}:behind}}"), &(i + 4).to_string());
        }
    }
    line
}

/// The names after `#use`, in order.
pub(super) fn uses(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("#use ")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_and_conditions_expand() {
        let flags = Flags::from([("TM", 2), ("ON", 1), ("OFF", 0)]);
        let text = "#for i in TM\n#for j in 5\n#if ON\na_{i}_{j:vec}.{j:lane}\n#else\nno\n#end\n#end\n#end\n#if OFF\nno\n#else\nyes\n#end\n";
        let out = expand(text, &flags).unwrap();
        assert_eq!(out.lines().count(), 11, "{out}");
        assert!(out.starts_with("a_0_0.x\na_0_0.y\n") && out.ends_with("a_1_1.x\nyes\n"), "{out}");
    }

    #[test]
    fn mistakes_are_errors() {
        for text in ["#if A\n", "#end\n", "#for i in NONE\n#end\n", "#for i\n#end\n", "#els\n", "#if\n#end\n"] {
            assert!(expand(text, &Flags::new()).is_err(), "{text:?}");
        }
    }
}
