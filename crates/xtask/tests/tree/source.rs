//! The workspace's Rust files, parsed.

use std::path::{Path, PathBuf};

/// A file, by its path from the repository's root.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) items: Vec<syn::Item>,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file, those of tests too.
pub(crate) fn all() -> Vec<File> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                let items = parse(&path);
                found.push(File { path: path.strip_prefix(root()).unwrap().to_owned(), items });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The folders of the packages that have a source of their own.
pub(crate) fn packages() -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = crates.chain(["relayd", "dispatcherd"].map(|name| root().join(name))).collect();
    all.sort();
    all
}

/// What is compiled into the packages themselves: from each root on, the files that its modules name, without what stands
/// behind `cfg(test)`.
pub(crate) fn shipped() -> Vec<File> {
    let mut found = Vec::new();
    for package in packages() {
        for start in ["src/lib.rs", "src/main.rs"] {
            if package.join(start).exists() {
                modules(&package.join(start), &package.join("src"), &mut found);
            }
        }
    }
    found
}

fn modules(path: &Path, children: &Path, found: &mut Vec<File>) {
    let items: Vec<_> = parse(path).into_iter().filter(|item| !for_tests(attributes(item))).collect();
    for item in &items {
        let syn::Item::Mod(module) = item else { continue };
        if module.content.is_some() {
            continue;
        }
        let name = module.ident.to_string();
        modules(&file_of(children, &name), &children.join(&name), found);
    }
    found.push(File { path: path.strip_prefix(root()).unwrap().to_owned(), items });
}

/// The file of the module `name` whose parent's modules lie in `children`.
pub(crate) fn file_of(children: &Path, name: &str) -> PathBuf {
    let file = children.join(format!("{name}.rs"));
    if file.exists() { file } else { children.join(name).join("mod.rs") }
}

pub(crate) fn parse(path: &Path) -> Vec<syn::Item> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items
}

/// Whether what has these attributes is compiled for tests alone.
pub(crate) fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
