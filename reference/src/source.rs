//! The sources of the crates, as far as they say what can be set: types with their fields, and words that functions give.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Fields, ImplItemFn, Item, Lit, Meta, Type};

/// Crates whose types stand in a configuration.
const CRATES: [&str; 5] = ["agent", "relay", "sink", "kafka", "service"];

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Every type of the crates.
pub struct Sources(Vec<Found>);

struct Found {
    krate: String,
    /// The modules above it.
    modules: Vec<String>,
    item: Item,
}

/// A type of a configuration.
#[derive(Clone)]
pub(crate) enum Shape {
    /// A table.
    Table(Vec<Field>),
    /// One of some words, each with what it does.
    Choice(Vec<(String, String)>),
    /// Anything else.
    Leaf,
}

/// A key of a table.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: String,
    /// The module of serde that reads it: `duration`, `bytes`.
    pub(crate) with: Option<String>,
    pub(crate) is_optional: bool,
    pub(crate) ty: Type,
}

impl Sources {
    /// Reads them.
    pub fn read() -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for krate in CRATES {
            let src = root().join(krate).join("src");
            gather(krate, &src, &src, &mut found)?;
        }
        Ok(Self(found))
    }

    /// The shape of `ty`, as it is written in crate `krate`; with the crate that has it.
    pub(crate) fn shape(&self, krate: &str, ty: &Type) -> anyhow::Result<(Shape, String)> {
        let Type::Path(path) = ty else { return Ok((Shape::Leaf, krate.to_owned())) };
        let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.named(krate, &names)
    }

    /// The shape of the type that is called so.
    pub(crate) fn named(&self, krate: &str, names: &[String]) -> anyhow::Result<(Shape, String)> {
        let (name, above) = names.split_last().context("a type without a name")?;
        let fits = |found: &&Found| {
            let is_it = match &found.item {
                Item::Struct(item) => item.ident == name && derives(&item.attrs, "Deserialize"),
                Item::Enum(item) => item.ident == name && derives(&item.attrs, "Deserialize"),
                _ => false,
            };
            is_it && above.last().is_none_or(|module| found.modules.contains(module) || module.starts_with("gaitway_"))
        };
        let own: Vec<_> = self.0.iter().filter(fits).filter(|found| found.krate == krate).collect();
        let all: Vec<_> = self.0.iter().filter(fits).collect();
        let chosen = if own.is_empty() { all } else { own };
        let [found] = chosen.as_slice() else {
            ensure!(chosen.is_empty(), "{name} of {krate} may be {} types: name its module too", chosen.len());
            return Ok((Shape::Leaf, krate.to_owned()));
        };
        Ok((shape(&found.item)?, found.krate.clone()))
    }
}

/// The words that the functions called `name` in `file` give, of all types or as `Type::name` of one; or that are handed to methods
/// of that name.
pub(crate) fn words(file: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let path = root().join(file);
    let parsed = parse(&path)?;
    let (of, name) = name.rsplit_once("::").map_or((None, name), |(of, name)| (Some(of), name));
    let mut words = Words { of, name, is_inside: false, found: Vec::new() };
    words.visit_file(&parsed);
    ensure!(!words.found.is_empty(), "{file} has nothing called {name} that gives words");
    Ok(words.found)
}

struct Words<'a> {
    of: Option<&'a str>,
    name: &'a str,
    is_inside: bool,
    found: Vec<String>,
}

impl Words<'_> {
    fn inside(&mut self, is_it: bool, visit: impl FnOnce(&mut Self)) {
        let before = self.is_inside;
        self.is_inside |= is_it;
        visit(self);
        self.is_inside = before;
    }
}

impl<'ast> Visit<'ast> for Words<'_> {
    fn visit_item_impl(&mut self, all: &'ast syn::ItemImpl) {
        if self.of.is_none_or(|of| crate::keys::name(&all.self_ty) == of) {
            visit::visit_item_impl(self, all);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        let is_it = function.sig.ident == self.name;
        self.inside(is_it, |words| visit::visit_impl_item_fn(words, function));
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let is_it = function.sig.ident == self.name;
        self.inside(is_it, |words| visit::visit_item_fn(words, function));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_it = call.method == self.name;
        self.inside(is_it, |words| visit::visit_expr_method_call(words, call));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        if self.is_inside {
            self.found.push(text.value());
        }
    }
}

fn parse(path: &Path) -> anyhow::Result<syn::File> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    syn::parse_file(&text).with_context(|| format!("{} is no Rust", path.display()))
}

fn gather(krate: &str, src: &Path, dir: &Path, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            gather(krate, src, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let modules = path.strip_prefix(src)?.with_extension("");
            let modules: Vec<String> = modules.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            for item in parse(&path)?.items {
                if matches!(item, Item::Struct(_) | Item::Enum(_)) {
                    found.push(Found { krate: krate.to_owned(), modules: modules.clone(), item });
                }
            }
        }
    }
    Ok(())
}

fn shape(item: &Item) -> anyhow::Result<Shape> {
    match item {
        Item::Struct(item) => {
            let settings = serde(&item.attrs)?;
            let Fields::Named(fields) = &item.fields else { return Ok(Shape::Leaf) };
            if settings.iter().any(|(key, _)| matches!(key.as_str(), "try_from" | "from" | "transparent")) {
                return Ok(Shape::Leaf);
            }
            let fields = fields.named.iter().filter_map(|field| key(field).transpose());
            Ok(Shape::Table(fields.collect::<anyhow::Result<_>>()?))
        }
        Item::Enum(item) => {
            let settings = serde(&item.attrs)?;
            let rule = settings.iter().find(|(key, _)| key == "rename_all").map(|(_, rule)| rule.as_str());
            let words = item.variants.iter().map(|variant| {
                ensure!(variant.fields.is_empty(), "{}::{} holds something", item.ident, variant.ident);
                let own = serde(&variant.attrs)?.into_iter().find(|(key, _)| key == "rename").map(|(_, name)| name);
                let word = match own {
                    Some(word) => word,
                    None => spelled(&variant.ident.to_string(), rule)?,
                };
                Ok((word, doc(&variant.attrs)))
            });
            Ok(Shape::Choice(words.collect::<anyhow::Result<_>>()?))
        }
        _ => Ok(Shape::Leaf),
    }
}

/// None of what is never in a file.
fn key(field: &syn::Field) -> anyhow::Result<Option<Field>> {
    let settings = serde(&field.attrs)?;
    let of = |name: &str| settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if of("skip").is_some() {
        return Ok(None);
    }
    let ident = field.ident.as_ref().context("a key without a name")?.to_string();
    let (ty, is_optional) = match inner(&field.ty, "Option") {
        Some(inner) => (inner, true),
        None => (field.ty.clone(), false),
    };
    let with = of("with").and_then(|path| path.rsplit("::").next().map(str::to_owned));
    Ok(Some(Field { name: of("rename").unwrap_or(ident), doc: doc(&field.attrs), with, is_optional, ty }))
}

fn inner(ty: &Type, of: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == of)?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) => Some(inner.clone()),
        _ => None,
    }
}

/// How serde spells a variant.
fn spelled(name: &str, rule: Option<&str>) -> anyhow::Result<String> {
    let mut words = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            words.push('_');
        }
        words.push(letter);
    }
    Ok(match rule {
        None => name.to_owned(),
        Some("snake_case") => words.to_lowercase(),
        Some("SCREAMING_SNAKE_CASE") => words.to_uppercase(),
        Some("lowercase") => name.to_lowercase(),
        Some("kebab-case") => words.to_lowercase().replace('_', "-"),
        Some(rule) => bail!("how {rule} spells is not known here"),
    })
}

fn derives(attributes: &[Attribute], what: &str) -> bool {
    let mut does = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let look = attribute.parse_nested_meta(|meta| {
            does |= meta.path.is_ident(what);
            Ok(())
        });
        does &= look.is_ok();
    }
    does
}

/// What `#[serde(…)]` says: names with their values, empty where there is none.
fn serde(attributes: &[Attribute]) -> anyhow::Result<Vec<(String, String)>> {
    let mut said = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let value = match meta.value() {
                Ok(value) => value.parse::<syn::LitStr>()?.value(),
                Err(_) => String::new(),
            };
            said.push((name, value));
            Ok(())
        })?;
    }
    Ok(said)
}

/// The doc comment as one text; an empty line divides paragraphs.
fn doc(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(syn::ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line.value().trim());
    }
    text
}
