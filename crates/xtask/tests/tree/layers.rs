//! The tables below "Layers" in docs/explanation/architecture.md are true: a part, and a crate, uses only what stands above it
//! there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::circles::planted;
use crate::imports::Imports;
use crate::source;

const PAGE: &str = "docs/explanation/architecture.md";

/// The arrows to a higher part that are left, by package. One that is gone has to go from here as well.
const KNOWN: &[(&str, &str, &str)] = &[];

/// What stands between backticks in a table, by row and cell.
fn rows(page: &str, heading: &str) -> Vec<Vec<Vec<String>>> {
    let (_, section) = page.split_once("\n## Layers\n").unwrap();
    let (_, section) = section.split_once(&format!("\n### {heading}\n")).unwrap();
    let lines =
        section.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    lines.skip(2).map(|line| line.trim_matches('|').split('|').map(quoted).collect()).collect()
}

fn page() -> String {
    std::fs::read_to_string(source::root().join(PAGE)).unwrap()
}

/// The parts of a package in their order, each by its files and folders; the lowest is the first.
struct Parts(Vec<Vec<String>>);

impl Parts {
    fn read(page: &str, package: &str) -> Self {
        Self(rows(page, package).into_iter().map(|cells| cells[1].clone()).collect())
    }

    /// The place of a file's part: that of the longest entry that holds it.
    fn of(&self, file: &str) -> Option<usize> {
        let holds = |entry: &String| *entry == file || (entry.ends_with('/') && file.starts_with(entry));
        let entries =
            self.0.iter().enumerate().flat_map(|(at, part)| part.iter().map(move |entry| (at, entry)));
        entries.filter(|(_, entry)| holds(entry)).max_by_key(|(_, entry)| entry.len()).map(|(at, _)| at)
    }

    /// What the table says wrongly, in sentences.
    fn mistakes(&self, files: &BTreeSet<String>) -> Vec<String> {
        let mut mistakes: Vec<_> = files
            .iter()
            .filter(|file| self.of(file).is_none())
            .map(|file| format!("{file} is in no part"))
            .collect();
        let mut seen = BTreeSet::new();
        for entry in self.0.iter().flatten() {
            if !seen.insert(entry) {
                mistakes.push(format!("{entry} is in two parts"));
            }
            if !files.iter().any(|file| file == entry || (entry.ends_with('/') && file.starts_with(entry))) {
                mistakes.push(format!("{entry} does not exist"));
            }
        }
        mistakes
    }

    /// The arrows from a part to a higher one.
    fn upward<'a>(&self, imports: &'a Imports) -> BTreeMap<(&'a str, &'a str), &'a BTreeSet<String>> {
        let is_upward = |(from, to): &(&str, &str)| self.of(from) < self.of(to);
        let arrows = imports.arrows.iter().map(|((from, to), paths)| ((from.as_str(), to.as_str()), paths));
        arrows.filter(|(arrow, _)| is_upward(arrow)).collect()
    }
}

#[test]
fn no_part_uses_a_higher_one() {
    let page = page();
    let mut wrong = Vec::new();
    for package in ["relayd", "dispatcherd"] {
        let imports = Imports::of(&source::root().join(package));
        let parts = Parts::read(&page, package);
        wrong.extend(
            parts.mistakes(&imports.files).into_iter().map(|mistake| format!("{package}: {mistake}")),
        );
        let found = parts.upward(&imports);
        let known: BTreeSet<_> =
            KNOWN.iter().filter(|known| known.0 == package).map(|known| (known.1, known.2)).collect();
        for ((from, to), paths) in found.iter().filter(|(arrow, _)| !known.contains(*arrow)) {
            wrong.push(format!("(\"{package}\", \"{from}\", \"{to}\"), // {paths:?}"));
        }
        let gone = known.iter().filter(|arrow| !found.contains_key(*arrow));
        wrong.extend(gone.map(|arrow| format!("{package}: {arrow:?} is gone: take it out of KNOWN")));
    }
    assert!(wrong.is_empty(), "{PAGE} has an order that the tree does not keep:\n{}", wrong.join("\n"));
}

/// The workspace's packages, each with those of the workspace that it is built with, or tested with unless that is the test
/// kit: its own users may be tested with it.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(source::root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> = packages.iter().map(|package| text(&package["name"])).collect();
    let needs = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let counts =
            |dependency: &&Value| dependency["kind"] != "dev" || dependency["name"] != "aegir-testkit";
        dependencies
            .filter(counts)
            .map(|dependency| text(&dependency["name"]))
            .filter(|name| names.contains(name))
            .collect()
    };
    packages.iter().map(|package| (text(&package["name"]), needs(package))).collect()
}

#[test]
fn no_crate_uses_a_higher_one() {
    let page = page();
    let order: Vec<BTreeSet<String>> =
        rows(&page, "Crates").into_iter().map(|cells| cells[0].iter().cloned().collect()).collect();
    let place = |name: &String| order.iter().position(|row| row.contains(name));
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, needs) in &packages {
        match place(name) {
            None => wrong.push(format!("{name} is not in the table")),
            Some(own) => {
                let upward = needs.iter().filter(|used| place(used).is_some_and(|used| used >= own));
                wrong.extend(upward.map(|used| format!("{name} uses {used}")));
            }
        }
    }
    let gone = order.iter().flatten().filter(|name| !packages.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} does not exist")));
    assert!(wrong.is_empty(), "{PAGE} has an order that the crates do not keep:\n{}", wrong.join("\n"));
}

#[test]
fn an_arrow_to_a_higher_part_is_found() {
    let package = planted(&[
        ("src/lib.rs", "mod app; mod config; mod store;"),
        ("src/app.rs", "use crate::store::Store; use crate::config::Config;"),
        ("src/config.rs", "pub struct Config;"),
        ("src/store/mod.rs", "mod read; pub use read::Read; pub struct Store;"),
        ("src/store/read.rs", "use crate::app; pub struct Read(app::App);"),
    ]);
    let imports = Imports::of(package.path());
    let page = "\n## Layers\n\n### it\n\n| part | files |\n|---|---|\n| base | `config.rs` |\n| store | `store/` |\n\
                | app | `app.rs`, `lib.rs` |\n\nMore.\n";
    let parts = Parts::read(page, "it");
    assert_eq!(parts.mistakes(&imports.files), Vec::<String>::new());
    assert_eq!(parts.upward(&imports).into_keys().collect::<Vec<_>>(), [("store/read.rs", "app.rs")]);
    let parts = Parts::read(&page.replace("`config.rs`", "`store/`, `gone.rs`"), "it");
    let mistakes = ["config.rs is in no part", "gone.rs does not exist", "store/ is in two parts"];
    assert_eq!(parts.mistakes(&imports.files), mistakes);
}
