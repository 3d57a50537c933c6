//! Reads a Rust file as far as the dependency rules need: the paths that its code names and the items that it
//! defines, without comments and literals. Knows no rule.

use std::{collections::BTreeSet, fmt};

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprCall, Ident, ImplItemFn, Item, ItemExternCrate, ItemMod, ItemUse, Macro, PatIdent,
    Path, UseTree, Visibility,
    ext::IdentExt,
    visit::{self, Visit},
};

/// The names and declarations in one file.
#[derive(Default)]
pub(super) struct Code {
    /// Every path with more than one segment, and every import.
    pub(super) references: Vec<Reference>,
    /// Paths of one segment, outside of tests, that may name an item.
    pub(super) names: Vec<Reference>,
    pub(super) modules: Vec<Module>,
    /// Items outside of tests and of functions, each with its module.
    pub(super) definitions: Vec<(Vec<String>, String)>,
}

/// A module that the file declares.
pub(super) struct Module {
    /// The path from the root of the crate.
    pub(super) path: Vec<String>,
    /// Declared by `mod x;`, so it is in another file.
    pub(super) apart: bool,
    pub(super) test: bool,
}

/// A path in the code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) line: usize,
    /// True if the path leads into this crate (`crate`, `self`, `super`). `path` then begins at the root.
    pub(super) local: bool,
    pub(super) path: Vec<String>,
    /// The module in which the path is.
    pub(super) module: Vec<String>,
    /// The code is compiled only for tests.
    pub(super) test: bool,
    /// The import, if the path is one.
    pub(super) import: Option<Import>,
}

/// The name that an import has in its module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// `*` if it imports everything.
    pub(super) name: String,
    /// A re-export, so that other modules may name it there.
    pub(super) passed_on: bool,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.local && self.path.is_empty() {
            "crate"
        } else if self.local {
            "crate::"
        } else {
            ""
        };
        write!(f, "{prefix}{}", self.path.join("::"))
    }
}

/// The module of a file, from the root of its crate: `src/a/b.rs` in `src` is `[a, b]`.
pub(super) fn module_of(path: &str, root: &str) -> Vec<String> {
    let inside = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').trim_end_matches(".rs");
    if inside == "main" || inside == "lib" {
        Vec::new()
    } else {
        inside.split('/').map(str::to_owned).collect()
    }
}

// === impl Code ===

impl Code {
    /// Reads `text`, the file of the module `module`. Fails if it is not Rust.
    pub(super) fn read(module: &[String], text: &str) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let mut reader = Reader { module: module.to_vec(), ..Reader::default() };
        reader.test = file.attrs.iter().any(is_for_tests);
        reader.visit_file(&file);
        let Reader { mut code, unsure, bound, .. } = reader;
        code.names.extend(unsure.into_iter().filter(|name| !bound.contains(&name.path[0])));
        Ok(code)
    }
}

#[derive(Default)]
struct Reader {
    /// The module at this point: that of the file and the inline modules around it.
    module: Vec<String>,
    /// Inside code that is compiled only for tests.
    test: bool,
    /// How many blocks surround this point.
    blocks: usize,
    /// Names that may be names of variables.
    unsure: Vec<Reference>,
    /// Names of variables, anywhere in the file.
    bound: BTreeSet<String>,
    code: Code,
}

// === impl Reader ===

impl Reader {
    // One branch of an import, after `prefix`.
    fn import(&mut self, prefix: &[String], tree: &UseTree, passed_on: bool) {
        let with = |name: &Ident| [prefix, &[name.unraw().to_string()]].concat();
        let (at, path, name) = match tree {
            UseTree::Path(path) => return self.import(&with(&path.ident), &path.tree, passed_on),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(prefix, tree, passed_on));
            }
            UseTree::Glob(glob) => {
                (glob.star_token.spans[0], [prefix, &["*".to_owned()]].concat(), "*".to_owned())
            }
            // Unlike in an expression, a `self` after other segments only repeats them.
            UseTree::Name(leaf) if leaf.ident == "self" && !prefix.is_empty() => {
                (leaf.ident.span(), prefix.to_vec(), prefix[prefix.len() - 1].clone())
            }
            UseTree::Rename(leaf) if leaf.ident == "self" && !prefix.is_empty() => {
                (leaf.ident.span(), prefix.to_vec(), leaf.rename.unraw().to_string())
            }
            UseTree::Name(leaf) => (leaf.ident.span(), with(&leaf.ident), leaf.ident.unraw().to_string()),
            UseTree::Rename(leaf) => (leaf.ident.span(), with(&leaf.ident), leaf.rename.unraw().to_string()),
        };
        let reference = self.reference(at, path, Some(Import { name, passed_on }));
        self.code.references.push(reference);
    }

    // The arguments of a macro or an attribute. Their meaning is unknown, but a path can be recognized.
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let separator = |at: usize| {
            let colon = |at: usize| match tokens.get(at) {
                Some(TokenTree::Punct(p)) if p.as_char() == ':' => Some(p.spacing()),
                _ => None,
            };
            colon(at) == Some(Spacing::Joint) && colon(at + 1).is_some()
        };
        let name = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => Some(ident.unraw().to_string()),
            _ => None,
        };
        let mut at = 0;
        while at < tokens.len() {
            if let TokenTree::Group(group) = &tokens[at] {
                self.tokens(group.stream());
            }
            let Some(first) = name(at) else {
                at += 1;
                continue;
            };
            let begin = at;
            if first == "use" {
                let ends = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ';');
                let length = tokens[at..].iter().position(ends).map_or(0, |end| end + 1);
                let import: TokenStream = tokens[at..at + length].iter().cloned().collect();
                if let Ok(import) = syn::parse2::<ItemUse>(import) {
                    self.visit_item_use(&import);
                    at += length;
                    continue;
                }
            }
            let mut path = vec![first];
            while let (true, Some(next)) = (separator(at + 1), name(at + 3)) {
                path.push(next);
                at += 3;
            }
            at += 1;
            // A name in the middle of a path, for example `new` in `Vec::<u8>::new`, begins no path.
            let inside = begin >= 3
                && separator(begin - 2)
                && matches!(&tokens[begin - 3], TokenTree::Punct(p) if p.as_char() == '>');
            let called = match tokens.get(at) {
                Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
                Some(TokenTree::Punct(p)) => p.as_char() == '!' && p.spacing() == Spacing::Alone,
                _ => false,
            };
            let of_value =
                begin > 0 && matches!(&tokens[begin - 1], TokenTree::Punct(p) if p.as_char() == '.');
            if inside || of_value {
                continue;
            }
            if path.len() > 1 || separator(at) {
                self.add(tokens[begin].span(), path);
            } else if called || is_upper(&path[0]) {
                self.name(tokens[begin].span(), path, true);
            }
        }
    }

    fn add(&mut self, at: Span, path: Vec<String>) {
        let reference = self.reference(at, path, None);
        self.code.references.push(reference);
    }

    fn name(&mut self, at: Span, path: Vec<String>, sure: bool) {
        let reference = self.reference(at, path, None);
        if !self.test && !reference.local {
            if sure { self.code.names.push(reference) } else { self.unsure.push(reference) }
        }
    }

    fn reference(&self, at: Span, path: Vec<String>, import: Option<Import>) -> Reference {
        let local = matches!(path.first().map(String::as_str), Some("crate" | "self" | "super"));
        let mut from =
            if path.first().is_some_and(|p| p == "crate") { Vec::new() } else { self.module.clone() };
        let mut rest = path.into_iter().peekable();
        if local {
            while let Some(step) = rest.next_if(|name| matches!(name.as_str(), "crate" | "self" | "super")) {
                if step == "super" {
                    from.pop();
                }
            }
        }
        let path = if local { from.into_iter().chain(rest).collect() } else { rest.collect() };
        let line = at.start().line;
        Reference { line, local, path, module: self.module.clone(), test: self.test, import }
    }

    fn inside(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let around = self.test;
        self.test |= attributes.iter().any(is_for_tests);
        visit(self);
        self.test = around;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = about(item);
        self.inside(attributes, |reader| {
            if let (Some(name), false, 0) = (name, reader.test, reader.blocks) {
                reader.code.definitions.push((reader.module.clone(), name.unraw().to_string()));
            }
            visit::visit_item(reader, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.inside(&item.attrs, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.unraw().to_string());
        let (path, apart) = (self.module.clone(), item.content.is_none());
        self.code.modules.push(Module { path, apart, test: self.test });
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&[], &item.tree, !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        self.add(item.ident.span(), vec![item.ident.unraw().to_string()]);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.blocks += 1;
        visit::visit_block(self, block);
        self.blocks -= 1;
    }

    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        self.bound.insert(pattern.ident.unraw().to_string());
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && let Some(ident) = path.path.get_ident()
        {
            self.name(ident.span(), vec![ident.unraw().to_string()], true);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.unraw().to_string()).collect();
        let at = path.segments[0].ident.span();
        if names.len() > 1 {
            self.add(at, names);
        } else {
            let sure = is_upper(&names[0]);
            self.name(at, names, sure);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if let Some(ident) = called.path.get_ident() {
            self.name(ident.span(), vec![ident.unraw().to_string()], true);
        }
        self.visit_path(&called.path);
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

fn about(item: &Item) -> (&[Attribute], Option<&Ident>) {
    match item {
        Item::Const(i) => (&i.attrs, Some(&i.ident)),
        Item::Enum(i) => (&i.attrs, Some(&i.ident)),
        Item::Fn(i) => (&i.attrs, Some(&i.sig.ident)),
        Item::Macro(i) => (&i.attrs, i.ident.as_ref()),
        Item::Static(i) => (&i.attrs, Some(&i.ident)),
        Item::Struct(i) => (&i.attrs, Some(&i.ident)),
        Item::Trait(i) => (&i.attrs, Some(&i.ident)),
        Item::Type(i) => (&i.attrs, Some(&i.ident)),
        Item::Union(i) => (&i.attrs, Some(&i.ident)),
        Item::Impl(i) => (&i.attrs, None),
        Item::Mod(i) => (&i.attrs, None),
        Item::Use(i) => (&i.attrs, None),
        _ => (&[], None),
    }
}

/// True for `#[test]`, and for `#[cfg(test)]` with or without further conditions.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
    let names = |stream: TokenStream, name: &str| {
        stream.into_iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == name))
    };
    let mut inside = list.tokens.clone().into_iter();
    list.path.is_ident("cfg")
        && match (inside.next(), inside.next()) {
            (Some(TokenTree::Ident(all)), Some(TokenTree::Group(group))) => {
                all == "all" && names(group.stream(), "test")
            }
            (Some(TokenTree::Ident(name)), _) => name == "test",
            _ => false,
        }
}

fn is_upper(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}
