//! What is hardly meant as it is written: lints of classes, lenses and manifests that can all be read.

mod compat;
mod graph;
mod laws;
mod merging;
mod shapes;

use crate::{
    lens::Lens,
    schema::{Apps, Flaw, Place, Registry, Rule},
};

pub use compat::{Change, Impact, changes};
pub use laws::try_out;

/// The lints that cost next to nothing: `serve` runs them too.
pub fn at_once(registry: &Registry, lenses: &[Lens], apps: &Apps) -> Vec<(Place, Flaw)> {
    let mut flaws = graph::lint(registry, apps);
    flaws.extend(merging::lint(registry));
    flaws.extend(shapes::lint(registry, lenses));
    for (n, lens) in lenses.iter().enumerate() {
        if lens.examples().is_empty() && !lens.step().is_end() {
            let mend = "add documents that belong together under `examples`: they are tried in both directions";
            flaws.push((
                Place::Step(n),
                Rule::NoExample.flaw("", "nothing shows what the lens does", mend),
            ));
        }
    }
    flaws
}
