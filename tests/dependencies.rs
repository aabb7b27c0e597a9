//! What elbow depends on, as `deny.toml` allows it: licences, sources and versions, read from `cargo metadata` in a second.
//! cargo-deny reads the same file and knows more (advisories); building it takes longer than all of elbow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// The list `key = [...]` of deny.toml.
fn allowed(key: &str) -> Vec<String> {
    let text = include_str!("../deny.toml");
    let (_, rest) = text.split_once(&format!("\n{key} = [")).expect("the list is in deny.toml");
    let (list, _) = rest.split_once(']').unwrap();
    list.split(',').map(|item| item.trim().trim_matches('"').to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Every package that any platform, feature, test or example of the workspace takes.
fn packages() -> Vec<Value> {
    let arguments = ["metadata", "--format-version", "1", "--all-features", "--locked"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn licences_are_those_that_a_person_has_looked_at() {
    let allowed = allowed("allow");
    let mut used = BTreeSet::new();
    let mut failures = Vec::new();
    let packages = packages();
    for package in &packages {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
            failures.push(format!("{name}: {licence:?} is no licence"));
            continue;
        };
        let accepted = expression.evaluate(|requirement| {
            let good = requirement.addition.is_none() && allowed.contains(&requirement.license.to_string());
            if good {
                used.insert(requirement.license.to_string());
            }
            good
        });
        if !accepted {
            failures.push(format!("{name}: {licence}"));
        }
    }
    let unused: Vec<_> = allowed.iter().filter(|licence| !used.contains(*licence)).collect();
    println!("{} packages", packages.len());
    assert!(packages.len() > 100 && failures.is_empty() && unused.is_empty(), "{failures:?}; nobody has {unused:?}");
}

#[test]
fn all_of_it_comes_from_the_registry_in_versions_that_are_said() {
    let registries: Vec<String> = allowed("allow-registry").iter().map(|url| format!("registry+{url}")).collect();
    let mut failures = Vec::new();
    for package in packages() {
        let name = &package["name"];
        // The workspace's own packages have no source; what they ask for is ours to say.
        match package["source"].as_str() {
            Some(source) if !registries.iter().any(|r| r == source) => failures.push(format!("{name}: from {source}")),
            Some(_) => {}
            None => {
                for dependency in package["dependencies"].as_array().unwrap() {
                    if dependency["req"] == "*" && dependency["path"].is_null() {
                        failures.push(format!("{name}: any version of {}", dependency["name"]));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}
