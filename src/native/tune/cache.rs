//! Choices that outlive the program: one small JSON file for each adapter in the user's cache folder. What is read is checked
//! as if a stranger had written it; what does not fit is ignored.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    gpu::Gpu,
    plan::{Choices, Form, Size, TILES},
};

/// What the choices were measured on: all of it must be the same.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    elbow: String,
    adapter: String,
    backend: String,
    driver: String,
    /// "size form" to place in [`TILES`].
    choices: BTreeMap<String, usize>,
}

/// Longer files are not ours.
const LONGEST: u64 = 1 << 16;

impl Gpu {
    /// Where the choices of this adapter are kept: `elbow/tuning-ADAPTER.json` in the user's cache folder. None without one.
    pub fn tuning_file(&self) -> Option<PathBuf> {
        let info = self.info();
        let name: String = format!("{}-{:?}", info.name, info.backend)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(80)
            .collect();
        let folder = etcetera::choose_base_strategy().ok()?.cache_dir();
        Some(folder.join("elbow").join(format!("tuning-{name}.json")))
    }

    /// Keeps the present choices for [`Gpu::load_tuning`]: all of the file or nothing of it, readable by its owner alone.
    pub fn save_tuning(&self, path: &Path) -> Result<()> {
        let fail = |error: io::Error| Error::Cache { path: path.display().to_string(), message: error.to_string() };
        let text = serde_json::to_vec_pretty(&self.measured(&self.choices())).map_err(|e| fail(e.into()))?;
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(fail)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        file.write_all(&text).map_err(fail)?;
        file.persist(path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// Takes choices that were kept, if they are for this adapter, driver and version of elbow and every tile can run here.
    /// Says whether it did; a file that is absent or bad changes nothing.
    pub fn load_tuning(&self, path: &Path) -> bool {
        match self.read(path) {
            Ok(choices) => {
                self.set_choices(choices);
                true
            }
            Err(why) => {
                log::info!("tuning cache {} not used: {why}", path.display());
                false
            }
        }
    }

    fn measured(&self, choices: &Choices) -> Measured {
        let info = self.info();
        let all = Size::ALL.into_iter().flat_map(|size| Form::ALL.map(|form| (size, form)));
        Measured {
            elbow: env!("CARGO_PKG_VERSION").into(),
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info),
            choices: all.map(|(size, form)| (key(size, form), choices.get(size, form))).collect(),
        }
    }

    fn read(&self, path: &Path) -> std::result::Result<Choices, String> {
        // A link might lead to a pipe that never ends, or to another user's file.
        let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
        if !meta.is_file() || meta.len() > LONGEST {
            return Err("it is no plain file, or too long".into());
        }
        let mut text = String::new();
        let file = fs::File::open(path).map_err(|e| e.to_string())?;
        file.take(LONGEST).read_to_string(&mut text).map_err(|e| e.to_string())?;
        let found: Measured = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let mut choices = self.choices();
        for size in Size::ALL {
            for form in Form::ALL {
                let tile = *found.choices.get(&key(size, form)).ok_or("a size or form is missing")?;
                let fits = TILES.get(tile).is_some_and(|t| t.fits(&self.caps(), form));
                if !fits {
                    return Err(format!("tile {tile} can't run {}", key(size, form)));
                }
                choices.set(size, form, tile);
            }
        }
        if found != self.measured(&choices) {
            return Err("it was measured on another adapter, driver or version".into());
        }
        Ok(choices)
    }
}

fn key(size: Size, form: Form) -> String {
    format!("{} {}", size.name(), form.name())
}
