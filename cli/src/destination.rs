//! An output file, written as a whole or not at all.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{failure::Failure, interrupt};

/// An output file that can be written. A temporary file beside it is made at the beginning, so that a place that cannot be written is found
/// before any work is done.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The path as the user gave it, for messages.
    asked: PathBuf,
    /// The file that is replaced: the target of the path if it is a link.
    target: PathBuf,
    /// The temporary file that replaces it. Its name is unique; it is removed when it is dropped, and by an interrupt.
    temporary: NamedTempFile,
}

impl Destination {
    /// Makes the temporary file. An existing file will be replaced, through a link if it is one; a folder or a device is an error.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let target = target(path).map_err(|got| refused(path, got))?;
        let temporary = interrupt::uninterrupted(|left| {
            let file = temporary(folder(&target))?;
            left.push(file.path().to_owned());
            Ok(file)
        });
        let temporary = temporary.map_err(|error: io::Error| refused(path, error))?;
        Ok(Destination { asked: path.to_owned(), target, temporary })
    }

    /// Checks that a file can be written there, for callers that write it themselves.
    pub(crate) fn check(path: &Path) -> Result<(), Failure> {
        Self::new(path).map(drop)
    }

    /// The path as the user gave it.
    pub(crate) fn name(&self) -> String {
        self.asked.display().to_string()
    }

    /// Writes these bytes and moves the file to its place.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let Destination { asked, target, mut temporary } = self;
        let written = temporary.write_all(bytes).and_then(|()| temporary.as_file().sync_all());
        let renamed = written.and_then(|()| {
            interrupt::uninterrupted(|left| {
                let name = temporary.path().to_owned();
                temporary.persist(&target).map_err(|error| error.error)?;
                left.retain(|path| *path != name);
                Ok(())
            })
        });
        renamed.map_err(|error| refused(&asked, error))
    }
}

fn refused(path: &Path, got: impl std::fmt::Display) -> Failure {
    Failure::mismatch(path.display(), "a place for the output file", got)
}

/// A new temporary file in this folder, with the usual permissions of a new file.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".elbow-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|error| {
        // Without the name of the temporary file, which the crate adds and the user does not know.
        let text = error.to_string();
        let system = text.split_once(" at path ").map_or(text.as_str(), |(system, _)| system);
        io::Error::new(error.kind(), system)
    })
}

fn target(path: &Path) -> Result<PathBuf, String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => fs::canonicalize(path).map_err(|error| error.to_string()),
        Ok(meta) if meta.is_dir() => Err("a folder".to_owned()),
        Ok(_) => Err("something that is not a plain file".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::metadata(folder(path)) {
            Ok(meta) if meta.is_dir() && path.file_name().is_some() => Ok(path.to_owned()),
            _ => Err(format!("no folder {}", folder(path).display())),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// The folder of a path; the current one for a bare name.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path of a page's JSON twin: the same name with `.json`.
pub(crate) fn twin(page: &Path) -> Result<PathBuf, Failure> {
    let twin = page.with_extension("json");
    match twin == page {
        true => Err(Failure::mismatch(page.display(), "the name of a page, such as out.html", "that of its JSON twin")),
        false => Ok(twin),
    }
}
