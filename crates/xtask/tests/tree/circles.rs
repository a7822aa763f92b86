//! No file uses itself through others: each can be read with only those below it.

use std::collections::BTreeSet;

use tempfile::TempDir;

use crate::imports::Imports;
use crate::source;

/// The circles that are left, by package. A circle that is gone has to go from here as well.
const KNOWN: &[(&str, &[&str])] = &[];

#[test]
fn no_file_uses_itself_through_others() {
    let mut found = BTreeSet::new();
    let mut shown = String::new();
    for package in source::packages() {
        let name = package.strip_prefix(source::root()).unwrap().display().to_string();
        let imports = Imports::of(&package);
        for circle in imports.circles() {
            let files: Vec<_> = circle.iter().map(String::as_str).collect();
            shown.push_str(&format!("(\"{name}\", &{files:?})\n"));
            for ((from, to), paths) in &imports.arrows {
                if circle.contains(from) && circle.contains(to) {
                    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
                    shown.push_str(&format!("    {from} -> {to}: {}\n", paths.join(", ")));
                }
            }
            found.insert((name.clone(), circle));
        }
    }
    let known = |(package, files): &(&str, &[&str])| {
        ((*package).to_owned(), files.iter().map(|file| (*file).to_owned()).collect())
    };
    let known: BTreeSet<(String, BTreeSet<String>)> = KNOWN.iter().map(known).collect();
    println!("{shown}");
    for circle in known.difference(&found) {
        println!("is gone: {circle:?}");
    }
    assert!(
        known == found,
        "KNOWN lists the circles that are left, and no other; those of the tree are above"
    );
}

/// A package with these files.
pub(crate) fn planted(files: &[(&str, &str)]) -> TempDir {
    let package = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = package.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    package
}

#[track_caller]
fn check(files: &[(&str, &str)], circles: &[&[&str]]) {
    let found = Imports::of(planted(files).path()).circles();
    let found: Vec<Vec<_>> = found.iter().map(|circle| circle.iter().map(String::as_str).collect()).collect();
    assert_eq!(found, circles);
}

#[test]
fn a_circle_is_found_however_the_files_name_each_other() {
    let library = ("src/lib.rs", "mod a; mod b; mod c;");
    let other = ("src/c.rs", "use crate::a::A;");
    let a = ("src/a.rs", "use crate::b::B; pub struct A;");
    for b in [
        "use crate::a::A; pub struct B;",
        "use super::a; pub struct B(a::A);",
        "pub struct B; impl B { fn a(&self) { matches!(self.0, crate::a::A); } }",
        "#[derive(Deserialize)] pub struct B { #[serde(default = \"crate::a::value\")] a: u8 }",
        "pub use crate::a::A; pub struct B;",
        "pub struct B; fn f() { use crate::a::A as Other; }",
        "use crate::a::*; pub struct B;",
    ] {
        check(&[library, a, ("src/b.rs", b), other], &[&["a.rs", "b.rs"]]);
    }
    for b in [
        "use crate::a; pub struct B;",
        "#[cfg(test)] mod tests { use crate::a::A; } pub struct B;",
        "pub struct B;",
    ] {
        check(&[library, a, ("src/b.rs", b), other], &[]);
    }
}

#[test]
fn a_name_counts_for_the_file_that_re_exports_it_and_for_the_one_that_defines_it() {
    let library = ("src/lib.rs", "mod window; pub mod other;");
    let parent = ("src/window/mod.rs", "mod size; mod user; pub use size::Size; pub use user::User;");
    let size = ("src/window/size.rs", "pub struct Size;");
    check(
        &[
            library,
            parent,
            size,
            ("src/window/user.rs", "use super::Size; pub struct User;"),
            ("src/other.rs", ""),
        ],
        &[&["window/mod.rs", "window/user.rs"]],
    );
    let user = ("src/window/user.rs", "use super::size::Size; pub struct User;");
    check(&[library, parent, size, user, ("src/other.rs", "")], &[]);
    let other = ("src/other.rs", "use crate::window::Size; pub struct Other;");
    let size = ("src/window/size.rs", "use crate::other::Other; pub struct Size;");
    check(
        &[library, parent, size, user, other],
        &[&["other.rs", "window/mod.rs", "window/size.rs", "window/user.rs"]],
    );
}
