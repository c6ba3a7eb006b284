//! The public API against `tests/corpus/public-api.txt`, so that a change of it is seen in review, and
//! named in `CHANGELOG.md`. Write the list anew with
//!
//! ```text
//! BLESS=1 cargo test --test public_api
//! ```
//!
//! The list is read from the sources, all features on: what is `pub` in a public module, and what a public
//! `use` takes out of a private one. Implementations of traits are named, those that are derived as well.

use quote::ToTokens;
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Fields, ImplItem, Item, Meta, TraitItem, UseTree, Visibility, parse::Parser,
    punctuated::Punctuated,
};

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Tokens as one writes them, nearly.
fn text(tokens: &dyn ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (spaced, tight) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" :", ":"),
        ("& ", "&"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("' ", "'"),
        (" ;", ";"),
        ("- >", "->"),
        (" !", "!"),
    ] {
        text = text.replace(spaced, tight);
    }
    text.replace("->", " ->").replace("  ", " ")
}

/// Whether a build that is no test has a module.
fn is_built(attributes: &[Attribute]) -> bool {
    let texts = attributes.iter().map(|attribute| text(&attribute.meta));
    let mut conditions = texts.filter(|text| text.starts_with("cfg("));
    conditions.all(|text| {
        let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        !words.any(|word| matches!(word, "test" | "doctest"))
    })
}

/// The lines, item by item.
#[derive(Default)]
struct Api {
    /// Names that a public `use` takes out of a private module.
    exported: BTreeSet<String>,
    lines: BTreeSet<String>,
}

impl Api {
    fn names(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.names(&path.tree),
            UseTree::Name(name) => drop(self.exported.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.exported.insert(rename.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.names(tree)),
            UseTree::Glob(_) => {}
        }
    }

    fn line(&mut self, place: &str, line: String) {
        self.lines.insert(format!("{place}: {line}"));
    }

    /// The lines of an item.
    fn item(&mut self, item: &Item, place: &str, public: bool) {
        let named = |api: &Self, visibility: &Visibility, name: &dyn ToString| {
            is_public(visibility) && (public || api.exported.contains(&name.to_string()))
        };
        match item {
            Item::Use(item) if public && is_public(&item.vis) => {
                self.line(place, format!("use {}", text(&item.tree)));
            }
            Item::Const(item) if named(self, &item.vis, &item.ident) => {
                self.line(place, format!("const {}: {}", item.ident, text(&item.ty)));
            }
            Item::Type(item) if named(self, &item.vis, &item.ident) => {
                let (name, generics) = (&item.ident, text(&item.generics));
                self.line(place, format!("type {name}{generics} = {}", text(&item.ty)));
            }
            Item::Fn(item) if named(self, &item.vis, &item.sig.ident) => {
                self.line(place, text(&item.sig));
            }
            Item::Struct(item) if named(self, &item.vis, &item.ident) => {
                let name = format!("struct {}{}", item.ident, text(&item.generics));
                self.attributes(place, &name, &item.attrs);
                self.fields(place, &name, &item.fields, false);
                self.line(place, name);
            }
            Item::Enum(item) if named(self, &item.vis, &item.ident) => {
                let name = format!("enum {}{}", item.ident, text(&item.generics));
                self.attributes(place, &name, &item.attrs);
                for variant in &item.variants {
                    let variant_name = format!("{name}::{}", variant.ident);
                    self.fields(place, &variant_name, &variant.fields, true);
                    self.line(place, variant_name);
                }
                self.line(place, name);
            }
            Item::Trait(item) if named(self, &item.vis, &item.ident) => {
                let bounds = text(&item.supertraits);
                let name = format!("trait {}{}", item.ident, text(&item.generics));
                for part in &item.items {
                    let (kind, part) = match part {
                        TraitItem::Fn(part) if part.default.is_some() => {
                            ("provided", text(&part.sig))
                        }
                        TraitItem::Fn(part) => ("required", text(&part.sig)),
                        other => ("item", text(other)),
                    };
                    self.line(place, format!("{name}, {kind} {part}"));
                }
                self.line(place, format!("{name}: {bounds}"));
            }
            Item::Impl(item) => {
                let subject = text(&item.self_ty);
                let name = subject
                    .split(['<', ' '])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                if !(public || self.exported.contains(&name)) {
                    return;
                }
                if let Some((_, of, _)) = &item.trait_ {
                    self.line(place, format!("impl {} for {subject}", text(of)));
                    return;
                }
                for part in &item.items {
                    match part {
                        ImplItem::Fn(part) if is_public(&part.vis) => {
                            self.line(place, format!("{subject}, {}", text(&part.sig)));
                        }
                        ImplItem::Const(part) if is_public(&part.vis) => {
                            let (name, of) = (&part.ident, text(&part.ty));
                            self.line(place, format!("{subject}, const {name}: {of}"));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// What attributes promise: derived traits, and that there may be more.
    fn attributes(&mut self, place: &str, name: &str, attributes: &[Attribute]) {
        for attribute in attributes {
            match &attribute.meta {
                Meta::Path(path) if path.is_ident("non_exhaustive") => {
                    self.line(place, format!("{name}, non-exhaustive"));
                }
                Meta::List(list) if list.path.is_ident("derive") => {
                    let paths = Punctuated::<syn::Path, syn::Token![,]>::parse_terminated;
                    for derived in paths.parse2(list.tokens.clone()).expect("paths") {
                        self.line(place, format!("{name}, derives {}", text(&derived)));
                    }
                }
                _ => {}
            }
        }
    }

    fn fields(&mut self, place: &str, name: &str, fields: &Fields, all: bool) {
        for (index, field) in fields.iter().enumerate() {
            if all || is_public(&field.vis) {
                let field_name = match &field.ident {
                    Some(ident) => ident.to_string(),
                    None => index.to_string(),
                };
                self.line(place, format!("{name}.{field_name}: {}", text(&field.ty)));
            }
        }
    }
}

/// Puts the items of a module and of all below it into `found`: each with where it stands, and whether that
/// is public.
fn collect(
    file: &Path,
    items: Vec<Item>,
    place: &str,
    public: bool,
    found: &mut Vec<(Item, String, bool)>,
) {
    for item in items {
        let Item::Mod(module) = item else {
            found.push((item, place.to_owned(), public));
            continue;
        };
        if !is_built(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let below = format!("{place}::{name}");
        let public = public && is_public(&module.vis);
        if let Some((_, items)) = module.content {
            collect(file, items, &below, public, found);
            continue;
        }
        let stem = file.file_stem().unwrap_or_default();
        let folder = file.parent().expect("a file is in a folder");
        let folder = match stem == "mod" || stem == "lib" {
            true => folder.to_owned(),
            false => folder.join(stem),
        };
        let candidates = [
            folder.join(format!("{name}.rs")),
            folder.join(&name).join("mod.rs"),
        ];
        let path = candidates.into_iter().find(|path| path.is_file());
        let path = path.unwrap_or_else(|| panic!("{below} has no file"));
        collect(&path, parse(&path), &below, public, found);
    }
}

fn parse(path: &Path) -> Vec<Item> {
    let source = fs::read_to_string(path).expect("readable");
    let file = syn::parse_file(&source);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .items
}

/// The API of the crate whose root this is.
fn api(root: &Path) -> String {
    let mut items = Vec::new();
    collect(root, parse(root), "crate", true, &mut items);
    let mut api = Api::default();
    for (item, _, public) in &items {
        if let Item::Use(item) = item
            && *public
            && is_public(&item.vis)
        {
            api.names(&item.tree);
        }
    }
    for (item, place, public) in &items {
        api.item(item, place, *public);
    }
    let mut text = String::from("# Written by `BLESS=1 cargo test --test public_api`.\n");
    for line in &api.lines {
        text += line;
        text += "\n";
    }
    text
}

#[test]
fn the_public_api_is_the_one_that_was_agreed_on() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let list = folder.join("tests/corpus/public-api.txt");
    let found = api(&folder.join("src/lib.rs"));
    for known in [
        "crate::backend: JitBackend, fn new(config: RuntimeConfig) -> Result<Self>",
        "crate::config: struct RuntimeConfig.store: Option<TrustedStore>",
    ] {
        assert!(found.lines().any(|line| line == known), "{known}\n{found}");
    }
    if env::var_os("BLESS").is_some() {
        fs::write(&list, &found).expect("writable");
        return;
    }
    let agreed = fs::read_to_string(&list).expect("tests/corpus/public-api.txt");
    let (agreed, found): (BTreeSet<_>, BTreeSet<_>) =
        (agreed.lines().collect(), found.lines().collect());
    let gone: Vec<_> = agreed.difference(&found).collect();
    let new: Vec<_> = found.difference(&agreed).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "the public API has changed; name it in CHANGELOG.md, then \
         `BLESS=1 cargo test --test public_api`\ngone: {gone:#?}\nnew: {new:#?}"
    );
}
