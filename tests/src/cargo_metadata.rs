//! What Cargo knows about the workspace and everything it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// How one package needs another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Linked into it.
    Normal,
    /// Run to build it.
    Build,
    /// Only its tests, examples and benchmarks use it.
    Dev,
}

/// A package as Cargo resolved it.
#[derive(Clone, Debug)]
pub struct Package {
    /// As published.
    pub name: String,
    /// The resolved version.
    pub version: String,
    /// An SPDX expression; empty if the package names none.
    pub license: String,
    /// The registry or repository it comes from; none for a path.
    pub source: Option<String>,
    /// Dependencies by package id, for every target platform.
    pub needs: Vec<(String, Kind)>,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// All packages of the resolved workspace, by package id.
#[derive(Clone, Debug)]
pub struct Packages(BTreeMap<String, Package>);

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    folder.canonicalize().unwrap_or(folder)
}

impl Packages {
    /// Asks Cargo, with the default features of every crate of the workspace and the client's optional ones, without touching
    /// `Cargo.lock`.
    ///
    /// # Errors
    /// Cargo failed (an outdated lock file, for instance), or its answer has another shape.
    pub fn of_the_workspace() -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--features", "milena/metrics"])
            .current_dir(workspace())
            .output()
            .map_err(|error| format!("start cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let answer = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        Self::read(&answer).ok_or_else(|| "cargo metadata has a shape that this test does not know".to_owned())
    }

    fn read(answer: &Value) -> Option<Self> {
        let mut needs = BTreeMap::new();
        for node in answer["resolve"]["nodes"].as_array()? {
            needs.insert(node["id"].as_str()?, dependencies(node)?);
        }
        let mut packages = BTreeMap::new();
        for package in answer["packages"].as_array()? {
            let text = |field: &str| package[field].as_str().map(str::to_owned);
            let id = text("id")?;
            let Some(needs) = needs.remove(id.as_str()) else { continue }; // not used with these features
            let license = text("license").unwrap_or_default();
            let package =
                Package { name: text("name")?, version: text("version")?, license, source: text("source"), needs };
            packages.insert(id, package);
        }
        Some(Self(packages))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Package> {
        self.0.values()
    }

    /// What a crate of the workspace needs in these ways, directly and indirectly, itself included.
    ///
    /// # Errors
    /// There is no such crate.
    pub fn tree(&self, name: &str, kinds: &[Kind]) -> Result<Vec<&Package>, String> {
        let is_it = |(_, package): &(&String, &Package)| package.name == name && package.source.is_none();
        let (root, _) = self.0.iter().find(is_it).ok_or_else(|| format!("the workspace has no crate {name}"))?;
        let mut seen = BTreeSet::from([root]);
        let mut open = vec![root];
        while let Some(package) = open.pop().and_then(|id| self.0.get(id)) {
            for (id, kind) in &package.needs {
                if kinds.contains(kind) && seen.insert(id) {
                    open.push(id);
                }
            }
        }
        Ok(seen.into_iter().filter_map(|id| self.0.get(id)).collect())
    }
}

fn dependencies(node: &Value) -> Option<Vec<(String, Kind)>> {
    let mut needs = Vec::new();
    for dependency in node["deps"].as_array()? {
        let id = dependency["pkg"].as_str()?;
        for kind in dependency["dep_kinds"].as_array()? {
            let kind = match kind["kind"].as_str() {
                None => Kind::Normal,
                Some("build") => Kind::Build,
                Some("dev") => Kind::Dev,
                Some(_) => return None,
            };
            needs.push((id.to_owned(), kind));
        }
    }
    Some(needs)
}
