//! The structure of the sources: no import cycles, and each kind of code in its folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// Files by their path from the project's folder, with the files that each imports.
type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of the extensions, relative to the project's folder.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let relative = path.strip_prefix(root()).expect("below the root");
            if path.is_dir() {
                folders.push(path);
            } else if extensions
                .iter()
                .any(|end| path.to_string_lossy().ends_with(end))
            {
                found.push(relative.to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).expect("a text file")
}

/// Returns the sets of files in which each file reaches all others. Tarjan's algorithm would be faster; these graphs have a hundred files.
fn cycles(graph: &Graph) -> Vec<BTreeSet<PathBuf>> {
    let reach = |start: &PathBuf| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> = graph[start].iter().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.clone()) {
                next.extend(graph.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (file, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(*file) {
            let cycle = others
                .iter()
                .filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)));
            found.insert(cycle.cloned().collect::<BTreeSet<_>>());
        }
    }
    found.into_iter().collect()
}

/// The modules of the crate and of its command line, by path: `["net", "cpu"]` is `src/net/cpu/mod.rs`.
struct Modules(BTreeMap<Vec<String>, PathBuf>);

impl Modules {
    fn new() -> Modules {
        let module = |file: PathBuf| {
            let path = file.with_extension("");
            let mut path: Vec<_> = path
                .iter()
                .skip(1)
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            match path.last().map(String::as_str) {
                Some("mod") => _ = path.pop(),
                Some("lib") => path.clear(),
                _ => {}
            }
            (path, file)
        };
        Modules(files("src", &[".rs"]).into_iter().map(module).collect())
    }

    /// The file that a path in module `from` refers to.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<&PathBuf> {
        let mut absolute = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" | "inception_web" => {
                absolute.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    absolute.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                absolute.push(child.into());
                if !self.0.contains_key(&absolute) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        absolute.extend(rest.iter().cloned());
        (0..=absolute.len())
            .rev()
            .find_map(|length| self.0.get(&absolute[..length]))
    }
}

/// Collects the paths of a file, without those of its tests.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add_tree(&mut self, mut prefix: Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(prefix, &path.tree);
            }
            syn::UseTree::Group(group) => {
                group
                    .items
                    .iter()
                    .for_each(|tree| self.add_tree(prefix.clone(), tree));
            }
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.found.push(prefix);
            }
            syn::UseTree::Rename(name) => {
                prefix.push(name.ident.to_string());
                self.found.push(prefix);
            }
            syn::UseTree::Glob(_) => self.found.push(prefix),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| list.tokens.to_string() == "test")
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.found.push(
                path.segments
                    .iter()
                    .map(|segment| segment.ident.to_string())
                    .collect(),
            );
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn rust_graph() -> Graph {
    let modules = Modules::new();
    let mut graph = Graph::new();
    for (module, file) in &modules.0 {
        let parsed = syn::parse_file(&text(file)).expect("Rust");
        let mut paths = Paths::default();
        paths.visit_file(&parsed);
        let imports = paths
            .found
            .iter()
            .filter_map(|path| modules.resolve(module, path));
        graph.insert(
            file.clone(),
            imports.filter(|import| *import != file).cloned().collect(),
        );
    }
    graph
}

/// Imports of JavaScript and of its type declarations: `from "./x.js"`, `import("./x.js")` and `import "./x.js"`, types in JSDoc included.
fn javascript_graph() -> Graph {
    let mut graph = Graph::new();
    for file in files("www", &[".js", ".d.ts"]) {
        let text = text(&file);
        let mut imports = BTreeSet::new();
        for marker in ["from \"", "import(\"", "import \""] {
            for part in text.split(marker).skip(1) {
                let target = part.split('"').next().unwrap_or_default();
                if !target.starts_with('.') {
                    continue;
                }
                let mut path = file.parent().expect("a folder").to_path_buf();
                for part in Path::new(target).components() {
                    match part {
                        std::path::Component::ParentDir => _ = path.pop(),
                        std::path::Component::Normal(name) => path.push(name),
                        _ => {}
                    }
                }
                // Types of a declaration file are imported by the name that its module would have.
                let declaration = path.with_extension("d.ts");
                let path = if root().join(&path).exists() {
                    path
                } else {
                    declaration
                };
                if path != file && root().join(&path).exists() {
                    imports.insert(path);
                }
            }
        }
        graph.insert(file, imports);
    }
    graph
}

#[test]
fn no_rust_file_imports_itself_through_others() {
    let graph = rust_graph();
    let import = |from: &str, to: &str| graph[Path::new(from)].contains(Path::new(to));
    assert!(
        import("src/weights/stream.rs", "src/weights/file.rs"),
        "the graph has edges"
    );
    assert_eq!(cycles(&graph), []);
}

#[test]
fn no_javascript_file_imports_itself_through_others() {
    let graph = javascript_graph();
    let import = |from: &str, to: &str| graph[Path::new(from)].contains(Path::new(to));
    assert!(
        import("www/app/app.js", "www/engine/engine.js"),
        "the graph has edges"
    );
    assert_eq!(cycles(&graph), []);
}

#[test]
fn a_cycle_is_found() {
    let graph: Graph = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]
        .map(|(from, to)| (from.into(), [to.into()].into()))
        .into();
    assert_eq!(cycles(&graph), [["b".into(), "c".into()].into()]);
}

/// Returns the lines that contain one of the words, in the files below `folder`, without comments, tests and the `allowed` folders.
fn lines_with(folder: &str, extension: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(folder, &[extension]) {
        if allowed.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let text = text(&file);
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for (number, line) in (1..).zip(code.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            if !is_comment && words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_web_exports_and_the_gpu_use_javascript() {
    let words = ["wasm_bindgen", "js_sys", "web_sys"];
    let allowed = ["src/web", "src/net/gpu", "src/cli/site/wasm.rs"];
    assert_eq!(
        lines_with("src", ".rs", &words, &allowed),
        Vec::<String>::new()
    );
}

#[test]
fn only_the_command_line_uses_the_file_system() {
    assert_eq!(
        lines_with("src", ".rs", &["std::fs", "fs::"], &["src/cli"]),
        Vec::<String>::new()
    );
}

#[test]
fn the_page_makes_no_markup_from_strings() {
    let words = ["innerHTML", "insertAdjacentHTML", "document.write"];
    assert_eq!(lines_with("www", ".js", &words, &[]), Vec::<String>::new());
}

#[test]
fn only_the_worker_imports_the_wasm_builds() {
    let imports = lines_with(
        "www",
        ".js",
        &[
            "import(\"../pkg",
            "import(`../pkg",
            "from \"../pkg",
            "from \"../../pkg",
        ],
        &["www/worker"],
    );
    let code: Vec<_> = imports
        .into_iter()
        .filter(|line| !line.contains("@import") && !line.contains("@typedef"))
        .collect();
    assert_eq!(code, Vec::<String>::new());
}

/// The directives of a Content-Security-Policy, by name.
fn directives(policy: &str) -> BTreeMap<String, String> {
    let directives = policy.split(';').map(str::trim);
    directives
        .filter_map(|directive| directive.split_once(' '))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The policy in a string constant of `serve.rs`, which is sent as a header.
fn header_policy(constant: &str) -> BTreeMap<String, String> {
    let parsed = syn::parse_file(&text(Path::new("src/cli/serve.rs"))).expect("Rust");
    let policy = parsed.items.iter().find_map(|item| match item {
        syn::Item::Const(item) if item.ident == constant => match &*item.expr {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(policy),
                ..
            }) => Some(policy.value()),
            _ => None,
        },
        _ => None,
    });
    directives(&policy.expect("a string constant"))
}

/// The policy in the meta tag of a page.
fn meta_policy(page: &Path) -> BTreeMap<String, String> {
    let text = text(page);
    let (_, rest) = text
        .split_once("<meta http-equiv=\"Content-Security-Policy\" content=\"")
        .expect("a meta tag with a policy");
    directives(rest.split('"').next().unwrap_or_default())
}

#[test]
fn the_content_policies_agree() {
    // Meta tags cannot have `frame-ancestors`; no page has the other two.
    const HEADER_ONLY: [&str; 3] = ["base-uri", "form-action", "frame-ancestors"];
    const HUGGING_FACE: &str = "https://huggingface.co https://*.huggingface.co https://*.hf.co";
    // The last column is a directive of the header that the page has with another value or, if there is none, not at all.
    let pages = [
        (
            "www/bench.html",
            "CONTENT_SECURITY_POLICY",
            Some(("frame-src", None)),
        ),
        ("www/fetch/any.html", "FETCH_POLICY", None),
        (
            "www/fetch/hub.html",
            "FETCH_POLICY",
            Some(("connect-src", Some(HUGGING_FACE))),
        ),
        ("www/index.html", "CONTENT_SECURITY_POLICY", None),
    ];
    assert_eq!(
        files("www", &[".html"]),
        pages.map(|(page, ..)| PathBuf::from(page))
    );
    for (page, constant, difference) in pages {
        let mut expected = header_policy(constant);
        for name in HEADER_ONLY {
            assert!(expected.remove(name).is_some(), "{constant} has no {name}");
        }
        if let Some((name, value)) = difference {
            assert!(expected.remove(name).is_some(), "{constant} has no {name}");
            expected.extend(value.map(|value| (String::from(name), String::from(value))));
        }
        assert_eq!(meta_policy(Path::new(page)), expected, "{page}");
    }
}
