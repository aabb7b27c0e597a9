//! docs/gallery.md and its pictures.

use std::{fs, path::Path};

use super::{Lab, Report, Result};

/// Name, title and report of each experiment.
pub(crate) fn write(folder: &Path, lab: &Lab, done: &[(&str, &str, Report)]) -> Result<()> {
    let pictures = folder.join("gallery");
    fs::create_dir_all(&pictures)?;
    let mut text = String::from(
        "# Gallery: the science of rectified units\n\nMade by `scripts/gallery`: each section is a program in `examples/gallery`, which runs on \
         elbow's kernels, and each figure is predicted before it is measured. *Error* is one standard error of what was measured, or a bound of \
         rounding that its program gives reasons for.\n\n",
    );
    text +=
        &format!("Run on {}{}.\n\n", lab.gpu, if lab.is_quick() { ", with the small sizes of `--quick`" } else { "" });
    for (name, title, _) in done {
        text += &format!("- [{title}](#{name})\n");
    }
    for (name, title, report) in done {
        for (index, (_, svg)) in report.pictures.iter().enumerate() {
            fs::write(pictures.join(format!("{name}-{index}.svg")), svg)?;
        }
        text += &format!(
            "\n## <a id=\"{name}\"></a>{title}\n\n`cargo run --release -p elbow-gallery -- {name}` · [source](../examples/gallery/{name}.rs)\n\n{}",
            report.markdown(name)
        );
    }
    fs::write(folder.join("gallery.md"), text)?;
    Ok(())
}
