//! The JSON Schemas of every format, as files that frontends in other languages can use.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::workspace;

/// `cargo xtask schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if a file is stale
    #[arg(long)]
    check: bool,
}

/// Writes the files, or compares them.
///
/// # Errors
/// When they can't be written, or are stale.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stale = stale()?;
    if arguments.check {
        if !stale.is_empty() {
            bail!("stale in docs/reference/schema/: {}; run `cargo xtask schema`", names(&stale));
        }
        return Ok(());
    }
    fs::create_dir_all(directory()).context("can't make docs/reference/schema")?;
    for (name, text) in &stale {
        let path = directory().join(name);
        match text {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("can't change {}", path.display()))?;
    }
    println!("{} schemas, {} changed", wanted()?.len(), stale.len());
    Ok(())
}

fn directory() -> PathBuf {
    workspace::root().join("docs/reference/schema")
}

fn names(stale: &BTreeMap<String, Option<String>>) -> String {
    stale.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Every file with its text.
fn wanted() -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (name, schema) in
        [aegir_protocol::schema::all(), aegir_catalog::schema::all(), aegir_api::schema::all()].concat()
    {
        let text = serde_json::to_string_pretty(&schema).with_context(|| format!("schema {name}"))?;
        files.insert(format!("{name}.json"), text + "\n");
    }
    Ok(files)
}

/// The files that are not as they should be, with the text that they should have; none for one too many.
fn stale() -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let wanted = wanted()?;
    let mut stale = BTreeMap::new();
    for (name, text) in &wanted {
        if fs::read_to_string(directory().join(name)).ok().as_ref() != Some(text) {
            stale.insert(name.clone(), Some(text.clone()));
        }
    }
    for entry in fs::read_dir(directory()).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") && !wanted.contains_key(&name) {
            stale.insert(name, None);
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_the_documentation_are_those_of_the_code() {
        let stale = stale().unwrap();
        assert!(stale.is_empty(), "stale: {}; run `cargo xtask schema`", names(&stale));
    }
}
