//! Choices kept in a file: a small JSON file for each adapter in the user's cache folder. A file is not trusted: everything in it is
//! checked, and a file that does not fit is ignored.

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

/// The choices, and what they were measured on, which must be the same when they are read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    elbow: String,
    adapter: String,
    backend: String,
    driver: String,
    /// From "size form", such as "many NT", to the tile's place in [`TILES`].
    choices: BTreeMap<String, usize>,
    /// How many fill the device.
    workgroups: u32,
}

/// The longest file that is read, in bytes; elbow's own are far shorter.
const LONGEST: u64 = 1 << 16;

impl Gpu {
    /// The usual file for the choices of this adapter: `elbow/tuning-ADAPTER.json` in the user's cache folder; None if there is no such
    /// folder.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{:?}", gpu.tuning_file());
    /// # Ok::<(), elbow::Error>(())
    /// ```
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

    /// Writes the present choices to a file for [`Gpu::load_tuning`], readable by its owner alone. The file is replaced as a whole or not
    /// at all; [`Error::Cache`] says why not.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// gpu.tune(&Default::default(), &mut |_| ())?;
    /// gpu.save_tuning("tuning.json".as_ref())?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
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

    /// Reads choices from a file and uses them in plans from now on, if they are for this adapter, driver and version of elbow and every
    /// tile can run here. Returns whether it did; a file that is missing or bad changes nothing.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// if !gpu.load_tuning("tuning.json".as_ref()) {
    ///     println!("not tuned for this device");
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
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

    /// Uses the choices that `elbow tune` has kept for this adapter, driver and version ([`Gpu::load_tuning`] of [`Gpu::tuning_file`]), and
    /// returns their file; None if there are none, and then nothing changes.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// match gpu.use_tuning() {
    ///     Some(file) => println!("tuned: {}", file.display()),
    ///     None => println!("not tuned for this device"),
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn use_tuning(&self) -> Option<PathBuf> {
        self.tuning_file().filter(|file| self.load_tuning(file))
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
            workgroups: choices.workgroups(),
        }
    }

    fn read(&self, path: &Path) -> std::result::Result<Choices, String> {
        // No links: one might lead to a pipe that never ends, or to another user's file.
        let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
        if !meta.is_file() || meta.len() > LONGEST {
            return Err("it is not a plain file of at most 64 KiB".into());
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
        choices.set_workgroups(found.workgroups);
        if found != self.measured(&choices) {
            return Err("it was measured on another adapter, driver or version".into());
        }
        Ok(choices)
    }
}

fn key(size: Size, form: Form) -> String {
    format!("{} {}", size.name(), form.name())
}
