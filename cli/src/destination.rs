//! A file that the command will write: all of it or nothing.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{failure::Failure, interrupt};

/// A place that can be written, found out by trying: the file beside it is there from the beginning, so that no work is done
/// for nothing.
#[derive(Debug)]
pub(crate) struct Destination {
    /// As the user calls it, and every message.
    asked: PathBuf,
    /// What is replaced, behind a link if it is one.
    target: PathBuf,
    /// What will become it. Nobody else has its name; it is removed when it is dropped, and by an interrupt.
    temporary: NamedTempFile,
}

impl Destination {
    /// An existing file is replaced, through a link if it is one; a folder or a device is refused.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let target = target(path).map_err(|got| refused(path, got))?;
        let temporary = interrupt::uninterrupted(|left| {
            let file = temporary(folder(&target))?;
            *left = Some(file.path().to_owned());
            Ok(file)
        });
        let temporary = temporary.map_err(|error: io::Error| refused(path, error))?;
        Ok(Destination { asked: path.to_owned(), target, temporary })
    }

    /// Whether a file can be written there, for those who write it themselves.
    pub(crate) fn check(path: &Path) -> Result<(), Failure> {
        Self::new(path).map(drop)
    }

    /// The path as the user gave it.
    pub(crate) fn name(&self) -> String {
        self.asked.display().to_string()
    }

    /// Writes these bytes, then renames.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let Destination { asked, target, mut temporary } = self;
        let written = temporary.write_all(bytes).and_then(|()| temporary.as_file().sync_all());
        let renamed = written.and_then(|()| {
            interrupt::uninterrupted(|left| {
                temporary.persist(&target).map_err(|error| error.error)?;
                *left = None;
                Ok(())
            })
        });
        renamed.map_err(|error| refused(&asked, error))
    }
}

fn refused(path: &Path, got: impl std::fmt::Display) -> Failure {
    Failure::mismatch(path.display(), "a place for the output file", got)
}

/// A new file in this folder, with the permissions of any new file.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".elbow-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|error| {
        // The crate adds the name of the temporary file, which means nothing to the user.
        let text = error.to_string();
        let system = text.split_once(" at path ").map_or(text.as_str(), |(system, _)| system);
        io::Error::new(error.kind(), system)
    })
}

fn target(path: &Path) -> Result<PathBuf, String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => fs::canonicalize(path).map_err(|error| error.to_string()),
        Ok(meta) if meta.is_dir() => Err("a folder".to_owned()),
        Ok(_) => Err("something that is no plain file".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::metadata(folder(path)) {
            Ok(meta) if meta.is_dir() && path.file_name().is_some() => Ok(path.to_owned()),
            _ => Err(format!("no folder {}", folder(path).display())),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// The folder a path lies in; a bare name lies in the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
