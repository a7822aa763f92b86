//! Which file of a package uses which, outside of tests: by a `use`, or by a path where it is needed.
//!
//! A name that is imported from a file that re-exports it counts for that file and for the one that defines it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

use crate::source;

type Segments = Vec<String>;

/// The files below a package's `src`, and for each that uses another one the paths by which it does.
#[derive(Default)]
pub(crate) struct Imports {
    pub(crate) files: BTreeSet<String>,
    pub(crate) arrows: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Imports {
    pub(crate) fn of(package: &Path) -> Self {
        let source = package.join("src");
        let mut tree = Tree { source: source.clone(), modules: Vec::new(), library: None };
        for (name, is_library) in [("lib.rs", true), ("main.rs", false)] {
            if source.join(name).exists() {
                let root = tree.modules.len();
                tree.read(&source.join(name), &source, None);
                if is_library {
                    tree.library = Some((library_name(package), root));
                }
            }
        }
        tree.imports()
    }

    /// The files that each can be reached from each other, for every such circle.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let mut to: HashMap<&str, Vec<&str>> = HashMap::new();
        for (from, used) in self.arrows.keys() {
            to.entry(from).or_default().push(used);
        }
        let reached = |from: &str| {
            let (mut found, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(file) = open.pop() {
                for next in to.get(file).into_iter().flatten() {
                    if found.insert((*next).to_owned()) {
                        open.push(next);
                    }
                }
            }
            found
        };
        let reached: BTreeMap<_, _> = self.files.iter().map(|file| (file.clone(), reached(file))).collect();
        let circle = |(file, ahead): (&String, &BTreeSet<String>)| {
            let back = |other: &&String| reached.get(*other).is_some_and(|ahead| ahead.contains(file));
            ahead.iter().filter(back).cloned().collect()
        };
        let circles: BTreeSet<BTreeSet<String>> = reached.iter().map(circle).collect();
        circles.into_iter().filter(|circle| !circle.is_empty()).collect()
    }
}

/// By which a package's own programs name its library.
fn library_name(package: &Path) -> String {
    let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap_or_default();
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.unwrap_or_default().replace('-', "_")
}

struct Module {
    file: String,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    definitions: HashSet<String>,
    /// What an imported name stands for.
    names: HashMap<String, Segments>,
    globs: Vec<Segments>,
    paths: Vec<Segments>,
}

struct Tree {
    source: std::path::PathBuf,
    modules: Vec<Module>,
    library: Option<(String, usize)>,
}

/// What a path leads to.
struct Found {
    module: usize,
    /// It names this module itself and nothing in it.
    is_module: bool,
    /// The modules that re-export it on the way.
    through: Vec<usize>,
}

impl Tree {
    fn read(&mut self, path: &Path, children: &Path, parent: Option<usize>) -> usize {
        let file = path.strip_prefix(&self.source).unwrap().display().to_string();
        self.add(file, &source::parse(path), children, parent)
    }

    fn add(&mut self, file: String, items: &[syn::Item], children: &Path, parent: Option<usize>) -> usize {
        let this = self.modules.len();
        let mut uses = Uses::default();
        let mut definitions = HashSet::new();
        for item in items {
            uses.visit_item(item);
            definitions.extend(defined(item).map(ToString::to_string));
        }
        let Uses { names, globs, paths } = uses;
        let empty = HashMap::new();
        self.modules.push(Module { file, parent, children: empty, definitions, names, globs, paths });
        for item in items.iter().filter(|item| !source::for_tests(source::attributes(item))) {
            let syn::Item::Mod(module) = item else { continue };
            let name = module.ident.to_string();
            let child = match &module.content {
                Some((_, items)) => {
                    let file = self.modules[this].file.clone();
                    self.add(file, items, &children.join(&name), Some(this))
                }
                None => self.read(&source::file_of(children, &name), &children.join(&name), Some(this)),
            };
            self.modules[this].children.insert(name, child);
        }
        this
    }

    fn imports(&self) -> Imports {
        let mut imports = Imports::default();
        for (index, module) in self.modules.iter().enumerate() {
            imports.files.insert(module.file.clone());
            let globs = module.globs.iter().map(|path| (path, true));
            for (path, is_glob) in module.paths.iter().map(|path| (path, false)).chain(globs) {
                let Some(found) = self.resolve(index, path, &mut HashSet::new()) else { continue };
                // What is used of a module that is imported comes by a path of its own.
                let end = (!found.is_module || is_glob).then_some(found.module);
                for used in found.through.into_iter().chain(end).map(|used| &self.modules[used].file) {
                    if *used != module.file {
                        let arrow = (module.file.clone(), used.clone());
                        imports.arrows.entry(arrow).or_default().insert(path.join("::"));
                    }
                }
            }
        }
        imports
    }

    /// `None` for what another package defines.
    fn resolve(&self, from: usize, path: &[String], seen: &mut HashSet<(usize, Segments)>) -> Option<Found> {
        if !seen.insert((from, path.to_vec())) {
            return None;
        }
        let (mut at, mut rest) = self.start(from, path)?;
        let mut through = Vec::new();
        'path: while let Some((name, after)) = rest.split_first() {
            let module = &self.modules[at];
            let import = module.names.get(name);
            let is_defined = module.definitions.contains(name);
            // A module and a function may share a name.
            if let Some(child) = module.children.get(name)
                && (!after.is_empty() || (!is_defined && import.is_none()))
            {
                (at, rest) = (*child, after);
                continue;
            }
            if let (false, Some(import)) = (is_defined, import) {
                let another_packages = import.first() == Some(name) && !module.children.contains_key(name);
                if another_packages {
                    return (at != from).then_some(Found { module: at, is_module: false, through });
                }
                let target: Segments = import.iter().chain(after).cloned().collect();
                let Some(found) = self.resolve(at, &target, seen) else {
                    // Another package's, which this module re-exports.
                    return (at != from).then_some(Found { module: at, is_module: false, through });
                };
                through.push(at);
                through.extend(found.through);
                return Some(Found { through, ..found });
            }
            if !is_defined {
                for glob in &module.globs {
                    let Some(found) = self.resolve(at, glob, seen) else { continue };
                    if found.is_module && self.modules[found.module].has(name) {
                        through.push(at);
                        through.extend(found.through);
                        at = found.module;
                        continue 'path;
                    }
                }
            }
            return Some(Found { module: at, is_module: false, through });
        }
        Some(Found { module: at, is_module: true, through })
    }

    fn start<'a>(&self, from: usize, path: &'a [String]) -> Option<(usize, &'a [String])> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "self" => Some((from, rest)),
            "super" => {
                let parent = self.modules[from].parent?;
                if rest.first().is_some_and(|next| next == "super") {
                    self.start(parent, rest)
                } else {
                    Some((parent, rest))
                }
            }
            "crate" => {
                let mut root = from;
                while let Some(parent) = self.modules[root].parent {
                    root = parent;
                }
                Some((root, rest))
            }
            name => {
                let module = &self.modules[from];
                if module.children.contains_key(name) || module.names.contains_key(name) {
                    return Some((from, path));
                }
                let (library, root) = self.library.as_ref()?;
                (library == name).then_some((*root, rest))
            }
        }
    }
}

impl Module {
    fn has(&self, name: &str) -> bool {
        self.definitions.contains(name) || self.names.contains_key(name) || self.children.contains_key(name)
    }
}

fn defined(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(item) => Some(&item.ident),
        syn::Item::Enum(item) => Some(&item.ident),
        syn::Item::Fn(item) => Some(&item.sig.ident),
        syn::Item::Macro(item) => item.ident.as_ref(),
        syn::Item::Static(item) => Some(&item.ident),
        syn::Item::Struct(item) => Some(&item.ident),
        syn::Item::Trait(item) => Some(&item.ident),
        syn::Item::Type(item) => Some(&item.ident),
        syn::Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// What one module says.
#[derive(Default)]
struct Uses {
    names: HashMap<String, Segments>,
    globs: Vec<Segments>,
    paths: Vec<Segments>,
}

impl Uses {
    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
            syn::UseTree::Glob(_) => self.globs.push(before.to_vec()),
            syn::UseTree::Name(name) if name.ident == "self" => self.import(before.last(), before.to_vec()),
            syn::UseTree::Name(name) => self.import(Some(&name.ident.to_string()), with(&name.ident)),
            syn::UseTree::Rename(rename) => {
                self.import(Some(&rename.rename.to_string()), with(&rename.ident));
            }
        }
    }

    fn import(&mut self, name: Option<&String>, path: Segments) {
        self.paths.push(path.clone());
        if let Some(name) = name.filter(|name| *name != "_") {
            self.names.entry(name.clone()).or_insert(path);
        }
    }

    fn path(&mut self, path: Segments) {
        let names_something = path.iter().any(|part| !["crate", "self", "super"].contains(&part.as_str()));
        if path.len() > 1 && names_something {
            self.paths.push(path);
        }
    }

    /// The paths in what a macro or an attribute is given.
    fn tokens(&mut self, mut cursor: Cursor<'_>) {
        let mut path = Segments::new();
        // How many colons follow the path's last name.
        let mut colons = 0;
        while !cursor.eof() {
            if let Some((name, next)) = cursor.ident() {
                if colons != 2 {
                    self.path(std::mem::take(&mut path));
                }
                path.push(name.to_string());
                (colons, cursor) = (0, next);
                continue;
            }
            if let Some((punct, next)) = cursor.punct()
                && punct.as_char() == ':'
                && colons < 2
            {
                (colons, cursor) = (colons + 1, next);
                continue;
            }
            self.path(std::mem::take(&mut path));
            colons = 0;
            if let Some((inner, _, _, next)) = cursor.any_group() {
                self.tokens(inner);
                cursor = next;
            } else if let Some((literal, next)) = cursor.literal() {
                self.literal(&literal.to_string());
                cursor = next;
            } else if let Some((_, next)) = cursor.token_tree() {
                cursor = next;
            }
        }
        self.path(path);
    }

    /// serde takes a function as a path in a string.
    fn literal(&mut self, literal: &str) {
        let inner = literal.trim_matches('"');
        if inner.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            self.path(inner.split("::").map(str::to_owned).collect());
        }
    }
}

impl<'tree> Visit<'tree> for Uses {
    fn visit_item(&mut self, item: &'tree syn::Item) {
        // A module inside of a file is a module of its own.
        if !matches!(item, syn::Item::Mod(_)) && !source::for_tests(source::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'tree syn::ImplItemFn) {
        if !source::for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'tree syn::Field) {
        if !source::for_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_item_use(&mut self, item: &'tree syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'tree syn::Path) {
        self.path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'tree syn::Macro) {
        self.tokens(TokenBuffer::new2(invocation.tokens.clone()).begin());
        visit::visit_macro(self, invocation);
    }

    fn visit_meta_list(&mut self, list: &'tree syn::MetaList) {
        self.tokens(TokenBuffer::new2(list.tokens.clone()).begin());
        visit::visit_meta_list(self, list);
    }
}
