//! What the command says of itself: a guide without arguments, help whose examples work, completions and manual pages.

use std::process::{Command, Output};

use crate::harness::Folder;

/// The commands that `elbow --help` lists.
fn commands(folder: &Folder) -> Vec<String> {
    let help = text(&folder.elbow(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<String> = listed
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   ")))
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 11, "{help}");
    names
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_command_it_says_what_to_do_next() {
    let folder = Folder::new("guide");
    let guide = text(&folder.elbow(&[]));
    for step in ["elbow info", "elbow verify --quick", "elbow bench --mlp", "elbow --help"] {
        assert!(guide.contains(step), "{step}: {guide}");
    }
    // Every command that it names is one.
    let commands = commands(&folder);
    for line in guide.lines().filter_map(|line| line.trim().strip_prefix("elbow ")) {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(name.starts_with('-') || commands.iter().any(|command| command == name), "{line}");
    }
}

/// Pastes the example of each command's help into a shell.
#[cfg(unix)]
#[test]
fn every_example_works_when_pasted() {
    let folder = Folder::new("examples");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_elbow"));
    let path =
        format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
    for command in commands(&folder) {
        let help = text(&folder.elbow(&[&command, "--help"]));
        let example = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
        let example: Vec<&str> = example.take_while(|line| line.starts_with("  ")).collect();
        assert!(example.iter().any(|line| line.contains(&format!("elbow {command}"))), "{command} --help: {help}");
        let output = Command::new("sh")
            .args(["-e", "-c", &example.join("\n")])
            .current_dir(&folder.0)
            .env("PATH", &path)
            .env("XDG_CACHE_HOME", folder.path("cache"))
            .output()
            .expect("a shell");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {example:?}: {stderr}");
    }
    for made in ["out.html", "out.json", "out.safetensors", "elbow.bash", "elbow-bench.1", "run.json"] {
        assert!(folder.path(made).exists(), "{made} is what an example makes");
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = Folder::new("manual");
    let commands = commands(&folder);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&folder.elbow(&["completions", shell]));
        assert!(commands.iter().all(|command| script.contains(command.as_str())), "{shell}: {script}");
        assert!(script.contains("mlp"), "{shell}: options are completed too");
    }
    let page = text(&folder.elbow(&["man"]));
    assert!(page.contains(".TH elbow 1"), "{page}");
    for command in &commands {
        assert!(page.contains(&format!("elbow\\-{command}")), "{command}: {page}");
        let own = text(&folder.elbow(&["man", command]));
        assert!(own.contains(&format!(".TH elbow-{command} 1")), "{command}: {own}");
        assert!(own.contains("Example"), "{command}: {own}");
    }
    let output = folder.elbow(&["man", "bunch"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("expected a command: info") && stderr.contains("got bunch"), "{stderr}");
}
