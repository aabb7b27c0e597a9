//! Runs many cases in few submissions.

use elbow::Gpu;

use crate::{
    batch::Batch,
    case::Case,
    factors::Units,
    spec::{Data, Spec},
};

/// A case that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The case.
    pub spec: Spec,
    /// Which element is wrong, its value, and the expected one.
    pub message: String,
}

/// The largest error as a fraction of its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    /// From 0 to 1, where 1 is the bound.
    pub fraction: f64,
    /// The output and its element.
    pub place: String,
    /// The case.
    pub spec: Spec,
}

/// The result of a list of cases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Number of cases.
    pub cases: usize,
    /// Number of cases whose results had to be exact.
    pub exact: usize,
    /// The cases that failed.
    pub failures: Vec<Failure>,
    /// The largest error of the cases with a bound.
    pub worst: Option<Worst>,
}

impl Outcome {
    /// Before its cases have run.
    pub(crate) fn of(specs: &[Spec]) -> Self {
        let exact = specs.iter().filter(|s| s.data == Data::Integers).count();
        Outcome { cases: specs.len(), exact, ..Outcome::default() }
    }

    /// All of its cases failed.
    pub(crate) fn failed(specs: &[Spec], message: &str) -> Self {
        let failures = specs.iter().map(|&spec| Failure { spec, message: message.to_owned() }).collect();
        Outcome { failures, ..Outcome::of(specs) }
    }

    /// The two outcomes as one.
    pub fn and(mut self, other: Outcome) -> Self {
        self.cases += other.cases;
        self.exact += other.exact;
        self.failures.extend(other.failures);
        let fraction = |worst: &Option<Worst>| worst.as_ref().map_or(-1.0, |w| w.fraction);
        if fraction(&other.worst) > fraction(&self.worst) {
            self.worst = other.worst;
        }
        self
    }
}

/// The most cases in one submission.
const BATCH: usize = 64;

/// Runs the cases. An error of the device is a failure of all cases of its submission, a refused call a failure of its case alone. The
/// crate's first page has an example.
pub async fn run_async(gpu: &Gpu, specs: &[Spec]) -> Outcome {
    let mut outcome = Outcome::default();
    for shared in [false, true] {
        let chosen: Vec<Spec> = specs.iter().copied().filter(|s| s.shared == shared).collect();
        for specs in chosen.chunks(BATCH) {
            outcome = outcome.and(run_batch(gpu, specs, shared).await);
        }
    }
    outcome
}

async fn run_batch(gpu: &Gpu, specs: &[Spec], shared: bool) -> Outcome {
    let mut outcome = Outcome::of(specs);
    let mut batch = Batch::new(gpu, shared);
    let cases: Vec<Case> = specs.iter().map(|spec| Case::new(*spec, &mut batch)).collect();
    let ran = async {
        let buffers = batch.buffers(gpu)?;
        let refused = gpu.submit_pass(|pass| {
            Ok(cases.iter().map(|case| case.record(gpu, &buffers, pass).err()).collect::<Vec<_>>())
        })?;
        let (results, dead) = batch.results(gpu, &buffers).await?;
        Ok::<_, elbow::Error>((refused, results, dead))
    };
    let (refused, results, dead) = match ran.await {
        Ok(ran) => ran,
        Err(error) => return Outcome::failed(specs, &error.to_string()),
    };
    for (case, refused) in cases.iter().zip(refused) {
        let checked = match refused {
            Some(error) => Err(error.to_string()),
            None => case.check(&results, Units::of(&gpu.caps())),
        };
        match checked {
            Err(message) => outcome.failures.push(Failure { spec: case.spec, message }),
            Ok((fraction, place)) => {
                let worst = Worst { fraction, place, spec: case.spec };
                outcome = outcome.and(Outcome { worst: Some(worst), ..Outcome::default() });
            }
        }
    }
    if let (Some(message), true) = (dead, outcome.failures.is_empty()) {
        return Outcome::failed(specs, &message);
    }
    outcome
}
