//! A layer in Burn's graph of gradients: one node of up to six parents, whose backward is elbow's fused one.

use burn::backend::{
    Backend,
    autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::FloatTensor,
};
use elbow::Saved;

use crate::ops::{Choices, Kept, Kernels, LayerOps, Operands, Optional};

impl<B: Kernels, C: CheckpointStrategy> LayerOps for Autodiff<B, C> {
    fn elbow_layer(operands: Operands<Self>, choices: Choices) -> FloatTensor<Self> {
        let Operands { x, w, b, alpha, w_up, b_up } = &operands;
        // Burn counts the parents of an operator when it compiles: where an operand is absent x stands in, and receives nothing.
        let node = |operand: &Optional<Self>| operand.as_option().unwrap_or(x).node();
        let nodes = [x.node(), w.node(), node(b), node(alpha), node(w_up), node(b_up)];
        let inner = |operand: &Optional<Self>| Optional::from(operand.as_option().map(|o| o.primitive().clone()));
        let operands = Operands::<B> {
            x: x.primitive().clone(),
            w: w.primitive().clone(),
            b: inner(b),
            alpha: inner(alpha),
            w_up: inner(w_up),
            b_up: inner(b_up),
        };
        match LayerBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let made = B::elbow_forward(operands.clone(), choices);
                let kept = match choices.saved {
                    Saved::Y => Kept::Numbers(made.y.clone()),
                    _ => made.kept,
                };
                prepared.finish(State { operands, kept, choices }, made.y)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::elbow_forward(operands, Choices { saved: Saved::None, ..choices }).y)
            }
        }
    }
}

#[derive(Debug)]
struct LayerBackward;

/// What forward leaves for backward.
#[derive(Debug, Clone)]
struct State<B: Backend> {
    operands: Operands<B>,
    kept: Kept<B>,
    choices: Choices,
}

impl<B: Kernels> Backward<B, 6> for LayerBackward {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let State { operands, kept, choices } = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let made = B::elbow_backward(operands, kept, dy, choices, wanted);
        let made = [made.x, made.w, made.b, made.alpha, made.w_up, made.b_up];
        for (parent, made) in ops.parents.iter().zip(made) {
            if let (Some(parent), Optional::Given(gradient)) = (parent, made) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
