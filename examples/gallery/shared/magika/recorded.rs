//! What onnxruntime computed of the files in `examples/data/file_types`.

use std::path::Path;

use super::Magika;
use crate::shared::Result;

/// A file, and its five best labels with their scores.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) scores: Vec<(String, f64)>,
}

impl Recorded {
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut files: Vec<Recorded> = Vec::new();
        let mut lines = csv::ReaderBuilder::new().delimiter(b'\t').from_path(folder.join("scores.tsv"))?;
        for line in lines.deserialize() {
            let (name, label, score): (String, String, f64) = line?;
            match files.last_mut() {
                Some(file) if file.name == name => file.scores.push((label, score)),
                _ => files.push(Recorded { name, scores: vec![(label, score)] }),
            }
        }
        Ok(files)
    }

    /// Each score that was recorded, and how far another is from it: dots of a chart.
    pub(crate) fn beside(&self, magika: &Magika, scores: &[f64]) -> Result<Vec<(f64, f64, f64)>> {
        let dot = |(label, score): &(String, f64)| {
            let at = magika.labels.iter().position(|one| one == label).ok_or("a label that Magika does not have")?;
            Ok((*score, (scores[at] - score).abs(), 0.0))
        };
        self.scores.iter().map(dot).collect()
    }
}
