//! docs/explanation/glossary.md is true: no two public types share a name, but for its exceptions, and nothing bears a word
//! that it retires.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::source::{self, File};

const PAGE: &str = "docs/explanation/glossary.md";

/// The first column of the table below a heading, without its head.
fn column(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(source::root().join(PAGE)).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let found: BTreeSet<_> =
        rows.map(|row| row.split('|').nth(1).unwrap().replace('`', "").trim().to_owned()).collect();
    assert!(!found.is_empty(), "{PAGE}: nothing is below {heading:?}");
    found
}

#[derive(Default)]
struct Names {
    public_types: Vec<String>,
    all: Vec<String>,
}

impl Names {
    fn of(items: &[syn::Item]) -> Self {
        let mut names = Self::default();
        for item in items {
            names.visit_item(item);
        }
        names
    }

    fn named(&mut self, visibility: Option<&syn::Visibility>, ident: &syn::Ident) {
        if visibility.is_some_and(|visibility| !matches!(visibility, syn::Visibility::Inherited)) {
            self.public_types.push(ident.to_string());
        }
        self.all.push(ident.to_string());
    }
}

impl<'tree> Visit<'tree> for Names {
    fn visit_item_struct(&mut self, item: &'tree syn::ItemStruct) {
        self.named(Some(&item.vis), &item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'tree syn::ItemEnum) {
        self.named(Some(&item.vis), &item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'tree syn::ItemTrait) {
        self.named(Some(&item.vis), &item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'tree syn::ItemType) {
        self.named(Some(&item.vis), &item.ident);
    }

    fn visit_item_mod(&mut self, item: &'tree syn::ItemMod) {
        self.named(None, &item.ident);
        visit::visit_item_mod(self, item);
    }

    /// A test's name is a sentence.
    fn visit_item_fn(&mut self, item: &'tree syn::ItemFn) {
        let test = |attribute: &syn::Attribute| {
            attribute
                .path()
                .segments
                .last()
                .is_some_and(|last| last.ident == "test" || last.ident == "rstest")
        };
        if !item.attrs.iter().any(test) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &'tree syn::Signature) {
        self.named(None, &signature.ident);
    }

    fn visit_variant(&mut self, variant: &'tree syn::Variant) {
        self.named(None, &variant.ident);
        visit::visit_variant(self, variant);
    }

    fn visit_field(&mut self, field: &'tree syn::Field) {
        if let Some(ident) = &field.ident {
            self.named(None, ident);
        }
    }

    fn visit_item_const(&mut self, item: &'tree syn::ItemConst) {
        self.named(None, &item.ident);
    }
}

#[test]
fn no_two_public_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for File { path, items } in source::shipped() {
        for name in Names::of(&items).public_types {
            places.entry(name).or_default().push(path.display().to_string());
        }
    }
    places.retain(|_, places| places.len() > 1);
    let may = column("Names that public types share");
    let shared: BTreeSet<_> = places.keys().cloned().collect();
    for name in shared.difference(&may) {
        println!("{name}: {}", places[name].join(", "));
    }
    assert_eq!(shared, may, "{PAGE} lists the names that may be shared, and no other");
}

/// `held_up`, `HeldUp` and `HELD_UP` are `_held_up_`: words between underscores.
fn words(name: &str) -> String {
    let mut words = String::from("_");
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push('_');
        }
        words.extend(c.to_lowercase());
        before = c;
    }
    words.push('_');
    words
}

#[test]
fn nothing_bears_a_word_that_is_retired() {
    let retired: Vec<_> = column("Retired words").iter().map(|word| words(&word.replace(' ', "_"))).collect();
    let stay = column("Names that keep a retired word");
    let mut found = Vec::new();
    for File { path, items } in source::all() {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for name in Names::of(&items).all.into_iter().chain([file]) {
            if !stay.contains(&name) && retired.iter().any(|word| words(&name).contains(word)) {
                found.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{PAGE} retires words of these names:\n{}", found.join("\n"));
}

#[test]
fn words_are_told_apart() {
    for name in ["held_up", "HeldUp", "HELD_UP"] {
        assert_eq!(words(name), "_held_up_");
    }
    assert_eq!(words("Forecast"), "_forecast_");
    let tree = syn::parse_str::<syn::File>(
        "pub(crate) struct Voyage { notes: u8 } enum Pulse { Beat } impl Voyage { fn tell(&self) {} }
         #[test] fn a_voyage_ends() {} mod story {}",
    );
    let names = Names::of(&tree.unwrap().items);
    assert_eq!(names.public_types, ["Voyage"]);
    assert_eq!(names.all, ["Voyage", "notes", "Pulse", "Beat", "tell", "story"]);
}
