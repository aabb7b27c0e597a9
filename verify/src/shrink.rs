//! Finds a smaller case that still fails.

use elbow::{
    AlphaSource, Float, Saved, Want, WeightLayout,
    plan::Pin,
    request::{Gradients, Returning, SecondGradients, Statistics},
};

use crate::{run::Failure, second::Second, spec::Spec};

/// The most smaller cases that are tried: each may compile kernels.
const TRIES: usize = 80;

/// Makes a failing case smaller as long as it fails: first its sizes, then everything that can be left out. Returns the given failure if
/// nothing smaller fails. `fails` runs a case and returns its failure, if there is one.
pub async fn smallest(failure: &Failure, fails: impl AsyncFn(Spec) -> Option<Failure>) -> Failure {
    let mut found = failure.clone();
    let mut tries = 0;
    loop {
        let before = found.spec;
        for candidate in smaller(&before) {
            if tries == TRIES {
                return found;
            }
            tries += 1;
            if let Some(failure) = fails(candidate).await {
                found = failure;
                break;
            }
        }
        if found.spec == before {
            return found;
        }
    }
}

/// All cases that are one step simpler.
fn smaller(spec: &Spec) -> Vec<Spec> {
    let mut list = Vec::new();
    let mut add = |change: &dyn Fn(&mut Spec)| {
        let mut candidate = *spec;
        change(&mut candidate);
        if candidate != *spec && candidate.keeps_enough() {
            list.push(candidate);
        }
    };
    let members = spec.forward.jet.map_or(1, |jet| jet.members());
    for less in [|v: usize| v / 2, |v: usize| v.saturating_sub(1)] {
        add(&|s| s.forward.m = less(s.forward.m / members).max(1) * members);
        add(&|s| *s = s.sized(s.forward.m / members, less(s.forward.n).max(1), s.forward.k));
        add(&|s| *s = s.sized(s.forward.m / members, s.forward.n, less(s.forward.k).max(1)));
    }
    add(&|s| s.below = None);
    add(&|s| s.skip = false);
    add(&|s| s.second = None);
    let returning: [fn(Returning) -> Returning; 5] =
        [|r| r.x(false), |r| r.w(false), |r| r.b(false), |r| r.alpha(false), |r| r.residual(false)];
    for less in returning {
        add(&|s| s.second = s.second.map(|second| Second { returning: less(second.returning), ..second }));
    }
    let wants: [fn(SecondGradients) -> SecondGradients; 6] = [
        |w| w.dy(Want::No),
        |w| w.x(Want::No),
        |w| w.w(Want::No),
        |w| w.b(Want::No),
        |w| w.alpha(Want::No),
        |w| w.residual(Want::No),
    ];
    for less in wants {
        add(&|s| s.second = s.second.map(|second| Second { gradients: less(second.gradients), ..second }));
    }
    add(&|s| (s.skip, s.gradients) = (false, Gradients::default()));
    add(&|s| (s.skip, s.gradients.x) = (false, Want::No));
    add(&|s| s.gradients.w = Want::No);
    add(&|s| s.gradients.b = Want::No);
    add(&|s| s.gradients.w_up = Want::No);
    add(&|s| s.gradients.b_up = Want::No);
    add(&|s| s.gradients.residual = Want::No);
    add(&|s| (s.gradients.alpha, s.forward.alpha) = (Want::No, AlphaSource::Constant));
    add(&|s| (s.forward.jet, s.below) = (None, None));
    add(&|s| s.forward.dropout = None);
    add(&|s| (s.forward.gate, s.gradients.w_up, s.gradients.b_up) = (None, Want::No, Want::No));
    add(&|s| {
        (s.forward.front, s.gradients) = (None, s.gradients.scale(Want::No).shift(Want::No).front_alpha(Want::No));
    });
    add(&|s| s.forward.front = s.forward.front.map(|front| front.norm(None).running(false)));
    add(&|s| s.gradients.scale = Want::No);
    add(&|s| s.gradients.shift = Want::No);
    add(&|s| s.gradients.front_alpha = Want::No);
    add(&|s| (s.skip, s.forward.residual) = (false, None));
    add(&|s| s.forward.statistics = Statistics::default());
    add(&|s| (s.gradients.row_weight, s.forward.row_weight) = (Want::No, false));
    add(&|s| s.forward.bias = false);
    add(&|s| s.forward.layout = WeightLayout::OutIn);
    add(&|s| s.forward.saved = Saved::Z);
    add(&|s| s.misalign = 0);
    add(&|s| s.dtype = Float::F32);
    add(&|s| s.gap = 0);
    add(&|s| s.shared = false);
    add(&|s| s.pin = Pin::default());
    add(&|s| s.pin.splits = s.pin.splits.map(|_| 1));
    list
}

#[cfg(test)]
mod tests {
    use elbow::{Activation, ResidualAt};

    use super::*;
    use crate::spec::Data;

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let mut spec = Spec { data: Data::Integers, misalign: 3, ..Spec::new(97, 33, 50, Activation::RELU) };
        (spec.forward.residual, spec.pin.tile) = (Some(ResidualAt::AfterActivation), Some(3));
        // A kernel that goes wrong in the 17th row of a layer with a residual.
        let fails = |spec: Spec| {
            let wrong = spec.forward.m >= 17 && spec.forward.residual.is_some();
            wrong.then(|| Failure { spec, message: "wrong".into() })
        };
        let failure = fails(spec).unwrap_or_else(|| unreachable!());
        let found = pollster::block_on(smallest(&failure, async |spec| fails(spec))).spec;
        assert_eq!((found.forward.m, found.forward.n, found.forward.k), (17, 1, 1), "{found}");
        assert!(
            found.forward.residual.is_some()
                && !found.forward.bias
                && found.misalign == 0
                && found.pin == Pin::default()
        );
        assert!(!found.gradients.x.wanted() && !found.gradients.w.wanted() && found.data == Data::Integers);
    }
}
