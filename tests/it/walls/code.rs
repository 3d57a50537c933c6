//! Reads a Rust file as far as the walls need: the paths that its code names and the modules that it declares, nothing inside comments or
//! literals. Knows no rule.

use std::fmt;

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::{
    Attribute, ItemExternCrate, ItemMod, ItemUse, Macro, Path, UseTree,
    ext::IdentExt,
    visit::{self, Visit},
};

/// What one file names and declares.
#[derive(Default)]
pub(super) struct Code {
    /// Every path with more than one segment, and every import.
    pub(super) references: Vec<Reference>,
    /// Path of each module declared by `mod x;`, from the root of the crate.
    pub(super) modules: Vec<Vec<String>>,
}

/// A path in the code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) line: usize,
    /// True if it leads into this crate (`crate`, `self`, `super`); `path` is then counted from the root.
    pub(super) local: bool,
    pub(super) path: Vec<String>,
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

/// The module that a file holds, from the root of its crate: `src/a/b.rs` in `src` is `[a, b]`.
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
        let mut reader = Reader { module: module.to_vec(), code: Self::default() };
        reader.visit_file(&syn::parse_file(text)?);
        Ok(reader.code)
    }
}

struct Reader {
    /// The module at this point: that of the file and the inline ones around.
    module: Vec<String>,
    code: Code,
}

// === impl Reader ===

impl Reader {
    // One branch of an import, after `prefix`.
    fn import(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.unraw().to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree)),
            UseTree::Glob(glob) => {
                self.add(glob.star_token.spans[0], [prefix, &["*".to_owned()]].concat());
            }
            UseTree::Name(syn::UseName { ident }) | UseTree::Rename(syn::UseRename { ident, .. }) => {
                // Unlike in expressions, a `self` behind other names only repeats them.
                let repeats = ident == "self" && !prefix.is_empty();
                self.add(ident.span(), if repeats { prefix.to_vec() } else { with(ident) });
            }
        }
    }

    // What a macro is given or an attribute says: nobody knows what it is, but a path looks like one.
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
            // A name in the middle of a path, as `new` in `Vec::<u8>::new`, begins none.
            let inside = begin >= 3
                && separator(begin - 2)
                && matches!(&tokens[begin - 3], TokenTree::Punct(p) if p.as_char() == '>');
            if !inside && (path.len() > 1 || separator(at)) {
                self.add(tokens[begin].span(), path);
            }
        }
    }

    fn add(&mut self, at: Span, path: Vec<String>) {
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
        self.code.references.push(Reference { line: at.start().line, local, path });
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.unraw().to_string());
        if item.content.is_none() {
            self.code.modules.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        self.add(item.ident.span(), vec![item.ident.unraw().to_string()]);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if let (Some(first), true) = (path.segments.first(), path.segments.len() > 1) {
            let names = path.segments.iter().map(|segment| segment.ident.unraw().to_string());
            self.add(first.ident.span(), names.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
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
