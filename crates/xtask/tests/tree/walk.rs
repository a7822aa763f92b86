//! The way from the submit call to the browser, as docs/explanation/architecture.md tells it: short, and along files that exist.

use std::collections::BTreeSet;

use crate::source;

const PAGE: &str = "docs/explanation/architecture.md";
/// More than that nobody follows.
const MOST: usize = 30;

#[test]
fn the_walk_from_the_submit_call_to_the_browser_is_short_and_there() {
    let page = std::fs::read_to_string(source::root().join(PAGE)).unwrap();
    let (_, section) = page.split_once("\n## From the submit call to the browser\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let quoted = section.split('`').skip(1).step_by(2);
    let files: Vec<_> = quoted.filter(|word| word.ends_with(".rs") || word.ends_with(".js")).collect();
    let once: BTreeSet<_> = files.iter().collect();
    assert_eq!(once.len(), files.len(), "{PAGE} enters a file twice");
    assert!((20..=MOST).contains(&files.len()), "{PAGE} walks through {} files", files.len());
    for file in files {
        assert!(source::root().join(file).is_file(), "{PAGE}: there is no {file}");
    }
}
