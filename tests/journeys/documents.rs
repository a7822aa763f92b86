//! What the documentation says is there, is there; what it shows, works.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks on a page.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_code_map_names_what_exists() -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/explanation/architecture.md"))?;
    let map = page.split("## Code map").nth(1).context("no code map")?;
    let map = map.split("\n## ").next().context("no code map")?;
    for word in quoted(map) {
        if word.contains('/') {
            ensure!(root().join(word).exists(), "{word} does not exist");
        } else if word.starts_with(char::is_uppercase) {
            let found = Command::new("git")
                .args(["grep", "-qE", &format!(r"pub (struct|enum|trait|type) {word}\b")])
                .current_dir(root())
                .status()?;
            ensure!(found.success(), "{word} is not a public type");
        }
    }
    Ok(())
}

#[test]
fn links_between_pages_lead_somewhere() -> Result<()> {
    let mut pages = vec![root().join("README.md")];
    let mut open = vec![root().join("docs")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    for page in pages {
        let text = std::fs::read_to_string(&page)?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            // A link may be broken over two lines.
            let target = target.replace(char::is_whitespace, "");
            let path = page.parent().context("no directory")?.join(&target);
            ensure!(path.exists(), "{} links to {target}, which does not exist", page.display());
        }
    }
    Ok(())
}
