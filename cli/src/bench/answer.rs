//! "Is my GPU worth it?", in a sentence: from which batch on, how much, and where the measurement does not say. On a software adapter none.

use elbow_measure::{Estimate, Part, Verdict};
use serde::{Deserialize, Serialize};

use super::results::{Curve, Results};
use crate::numbers::times;

/// What there is on a software adapter.
const NONE: &str = "no verdict on a software adapter";

/// What there is where the interval of a ratio has both.
const NOISY: &str = "too noisy to say";

/// What to do about it, once.
const QUIETER: &str = "Where it is too noisy to say, something else used the machine: run it again while nothing does.";

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The network, or the layer.
    pub(crate) of: String,
    pub(crate) part: Part,
    /// Everything stays on the device.
    pub(crate) resident: Range,
    /// What the host makes and wants travels.
    pub(crate) with_transfers: Range,
}

/// What was found over the batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// The smallest batch from which on the GPU is faster at every one.
    pub(crate) gpu_from: Option<usize>,
    /// The largest batch up to which the CPU is faster at every one.
    pub(crate) cpu_to: Option<usize>,
    /// In words.
    pub(crate) says: String,
}

impl Answer {
    pub(super) fn of(curve: &Curve, software: bool) -> Self {
        let range = |ratio: fn(&elbow_measure::Comparison) -> Estimate| {
            let points: Vec<_> = curve.points.iter().map(|(batch, times)| (*batch, ratio(times))).collect();
            if software { Range::none() } else { Range::of(&points) }
        };
        Answer {
            of: curve.of.clone(),
            part: curve.part,
            resident: range(|times| times.speedup),
            with_transfers: range(|times| times.speedup_with_transfers),
        }
    }

    /// Both in a sentence without a stop.
    pub(crate) fn says(&self) -> String {
        let (resident, with) = (&self.resident.says, &self.with_transfers.says);
        match resident == with {
            true if resident == NONE => NONE.into(),
            true => format!("{resident}, with transfers too"),
            false => format!("{resident}. With transfers: {with}"),
        }
    }
}

/// The sentence that answers, one a line: about training and inference of the network, or about the layers.
pub(super) fn sentence(results: &Results) -> String {
    if results.about.software {
        return format!(
            "No verdict: {} is a software adapter, a CPU that plays GPU, so its times say nothing about a GPU.",
            results.about.adapter
        );
    }
    let answer = |answer: &Answer| {
        let question = match (results.network.is_some(), answer.part) {
            (true, Part::Step) => "Training".into(),
            (true, _) => "Inference".into(),
            (false, Part::Step) => format!("Training step of a {}", answer.of),
            (false, part) => format!("{} of a {}", capital(part.name()), answer.of),
        };
        format!("{question}: {}.", answer.says())
    };
    match results.answers.is_empty() {
        true => "No verdict: fewer than three batches of one layer were measured (--shapes), and no network (--mlp, --model)."
            .into(),
        false => {
            let mut lines: Vec<String> = results.answers.iter().map(answer).collect();
            if lines.iter().any(|line| line.contains(NOISY)) {
                lines.push(QUIETER.into());
            }
            lines.join("\n")
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Neighbouring batches with the same verdict.
struct Run {
    verdict: Verdict,
    first: usize,
    last: usize,
    /// The least and the most that the faster side wins.
    factors: [f64; 2],
}

impl Range {
    /// Of a software adapter.
    fn none() -> Self {
        Range { gpu_from: None, cpu_to: None, says: NONE.into() }
    }

    /// From the ratios CPU/GPU of batches in ascending order.
    fn of(points: &[(usize, Estimate)]) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (batch, ratio) in points {
            let verdict = ratio.verdict();
            let factor = if verdict == Verdict::Slower { 1.0 / ratio.median } else { ratio.median };
            match runs.last_mut().filter(|run| run.verdict == verdict) {
                Some(run) => {
                    run.last = *batch;
                    run.factors = [run.factors[0].min(factor), run.factors[1].max(factor)];
                }
                None => runs.push(Run { verdict, first: *batch, last: *batch, factors: [factor; 2] }),
            }
        }
        let of = |run: Option<&Run>, verdict| run.is_some_and(|run| run.verdict == verdict);
        Range {
            gpu_from: runs.last().filter(|run| of(Some(run), Verdict::Faster)).map(|run| run.first),
            cpu_to: runs.first().filter(|run| of(Some(run), Verdict::Slower)).map(|run| run.last),
            says: says(&runs),
        }
    }
}

/// What the GPU wins, from the largest batches down; then what the CPU does; then where there is nothing to say.
fn says(runs: &[Run]) -> String {
    let place = |i: usize| {
        let Run { first, last, .. } = runs[i];
        match (i, i + 1 == runs.len()) {
            (0, true) if first == last => format!("at a batch of {first}, the only one measured"),
            (0, true) => format!("at every batch measured, {first} to {last}"),
            (_, true) => format!("from a batch of {first} on"),
            (0, false) => format!("up to a batch of {last}"),
            _ if first == last => format!("at {first}"),
            _ => format!("at {first} to {last}"),
        }
    };
    let wins = |i: usize| match runs[i].factors.map(times) {
        [least, most] if least == most => format!("{least} faster {}", place(i)),
        [least, most] => format!("{least} to {most} faster {}", place(i)),
    };
    let all = |verdict| (0..runs.len()).filter(move |&i| runs[i].verdict == verdict);
    let said = |lead: &str, each: Vec<String>| (!each.is_empty()).then(|| format!("{lead} {}", each.join(" and ")));
    let never = all(Verdict::Slower).count() == runs.len() && !runs.is_empty();
    let parts = [
        never.then(|| "the GPU is never faster".to_owned()),
        said("the GPU is", all(Verdict::Faster).rev().map(wins).collect()),
        said("the CPU is", all(Verdict::Slower).map(wins).collect()),
        said("no difference that matters", all(Verdict::Even).map(place).collect()),
        said(NOISY, all(Verdict::Noisy).map(place).collect()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing was measured".into() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches 16, 64, 256, 1024 with these ratios, each known to 2 % or (0) not at all.
    fn range(ratios: &[f64]) -> Range {
        let point = |(i, &ratio): (usize, &f64)| {
            let estimate = match ratio {
                0.0 => Estimate { median: 3.0, low: 0.1, high: 97.0, samples: 20 },
                _ => Estimate { median: ratio, low: ratio / 1.02, high: ratio * 1.02, samples: 20 },
            };
            (16 << (2 * i), estimate)
        };
        Range::of(&ratios.iter().enumerate().map(point).collect::<Vec<_>>())
    }

    #[test]
    fn a_sentence_says_where_who_wins_and_where_nobody_knows() {
        for (ratios, gpu_from, cpu_to, expected) in [
            (
                &[0.2, 0.5, 1.4, 3.12][..],
                Some(256),
                Some(64),
                "the GPU is 1.4x to 3.1x faster from a batch of 256 on; the CPU is 2.0x to 5.0x faster up to a batch of 64",
            ),
            (
                &[0.2, 0.0, 1.0, 3.1],
                Some(1024),
                Some(16),
                "the GPU is 3.1x faster from a batch of 1024 on; the CPU is 5.0x faster up to a batch of 16; \
                 no difference that matters at 256; too noisy to say at 64",
            ),
            (
                &[0.1, 0.1, 0.5],
                None,
                Some(256),
                "the GPU is never faster; the CPU is 2.0x to 10x faster at every batch measured, 16 to 256",
            ),
            (&[2.0, 20.0], Some(16), None, "the GPU is 2.0x to 20x faster at every batch measured, 16 to 64"),
            (&[1.0, 1.0], None, None, "no difference that matters at every batch measured, 16 to 64"),
            (&[0.0, 0.0], None, None, "too noisy to say at every batch measured, 16 to 64"),
            (&[0.0], None, None, "too noisy to say at a batch of 16, the only one measured"),
            (
                &[0.5, 0.0],
                None,
                Some(16),
                "the CPU is 2.0x faster up to a batch of 16; too noisy to say from a batch of 64 on",
            ),
            // A win that a later measurement does not confirm is not one from there on.
            (
                &[2.0, 2.0, 0.0],
                None,
                None,
                "the GPU is 2.0x faster up to a batch of 64; too noisy to say from a batch of 256 on",
            ),
            (
                &[3.0, 0.5, 3.0],
                Some(256),
                None,
                "the GPU is 3.0x faster from a batch of 256 on and 3.0x faster up to a batch of 16; the CPU is 2.0x faster at 64",
            ),
            (
                &[0.0, 0.5, 0.0, 2.0],
                Some(1024),
                None,
                "the GPU is 2.0x faster from a batch of 1024 on; the CPU is 2.0x faster at 64; too noisy to say up to a batch \
                 of 16 and at 256",
            ),
            (&[], None, None, "nothing was measured"),
        ] {
            let found = range(ratios);
            assert_eq!((found.gpu_from, found.cpu_to, &found.says[..]), (gpu_from, cpu_to, expected), "{ratios:?}");
        }
    }

    #[test]
    fn transfers_are_told_apart_only_where_they_change_something() {
        let answer = |with: &[f64]| Answer {
            of: "8-64-1, gelu".into(),
            part: Part::Step,
            resident: range(&[2.0]),
            with_transfers: range(with),
        };
        assert_eq!(
            answer(&[2.0]).says(),
            "the GPU is 2.0x faster at a batch of 16, the only one measured, with transfers too"
        );
        assert_eq!(
            answer(&[0.5]).says(),
            "the GPU is 2.0x faster at a batch of 16, the only one measured. With transfers: the GPU is never faster; the CPU is \
             2.0x faster at a batch of 16, the only one measured"
        );
    }
}
