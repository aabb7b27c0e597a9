//! The network on the CPU, by elbow-cpu: what a fair opponent does.

use std::{hint::black_box, ops::Range, time::Instant};

use elbow::{
    Saved, Want,
    criterion::Reduction,
    network::Layers,
    rates::Rates,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, RUN, SavedIn, SavedOut, Updated, Workspace,
};
use serde::{Deserialize, Serialize};

use super::{Data, Perceptron, RATES, RULE, Targets, judge::Expected};
use crate::error::Result;

/// How the CPU infers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Road {
    /// All rows through a layer, then through the next.
    Layers,
    /// A block of rows through all layers, which stays in the cache.
    Blocks,
}

/// The memory that the CPU writes.
#[derive(Debug)]
pub(super) struct OnCpu<'a> {
    network: &'a Perceptron,
    data: &'a Data,
    whole: Option<Layers>,
    pub(super) road: Road,
    pub(super) rates: Rates,
    pub(super) parameters: Vec<f32>,
    pub(super) gradients: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    factors: Vec<f32>,
    steps: u32,
    layers: Vec<Layer>,
    loss: Vec<f32>,
    /// dz of the layer that backward stands at, and of the one below it.
    dz: [Vec<f32>; 2],
    workspace: Workspace,
}

/// What a layer writes.
#[derive(Debug)]
struct Layer {
    request: AffineRequest,
    y: Vec<f32>,
    z: Vec<f32>,
    mask: Vec<u32>,
}

impl Layer {
    fn saved(&self) -> SavedIn<'_> {
        match self.request.saved {
            Saved::Z => SavedIn::Z(&self.z),
            Saved::Y => SavedIn::Y(&self.y),
            Saved::Mask => SavedIn::Mask(&self.mask),
            _ => SavedIn::None,
        }
    }
}

impl<'a> OnCpu<'a> {
    pub(super) fn new(network: &'a Perceptron, data: &'a Data) -> Result<Self> {
        let m = data.rows;
        let layers = (0..network.layers()).map(|l| {
            let [k, n] = network.shape(l);
            let alpha = network.design().alpha_of(l);
            let mut request = AffineRequest::new(m, n, k, network.activation_of(l)).alpha(alpha);
            request.saved = request.resolve_saved(false)?;
            let of = |saved, length: usize| if request.saved == saved { length } else { 0 };
            let z = vec![0.0; of(Saved::Z, m * n)];
            let mask = vec![0; of(Saved::Mask, m * n.div_ceil(32))];
            Ok(Layer { request, y: vec![0.0; m * n], z, mask })
        });
        let layers = layers.collect::<Result<Vec<Layer>>>()?;
        // As an Mlp has it: weights decay, biases and α do not.
        let mut factors = [1.0f32, 0.0, 0.0, 0.0].repeat(network.elements().div_ceil(RUN));
        for l in 0..network.layers() {
            let runs = network.weight(l).start / RUN..network.bias(l).start / RUN;
            runs.for_each(|run| factors[4 * run + 1] = 1.0);
        }
        let zeros = vec![0.0; network.elements()];
        let widest = network.sizes().iter().max().copied().unwrap_or(0);
        Ok(OnCpu {
            network,
            data,
            whole: network.whole(),
            road: Road::Layers,
            rates: RATES,
            parameters: network.parameters().to_vec(),
            gradients: zeros.clone(),
            first: zeros.clone(),
            second: zeros,
            factors,
            steps: 0,
            layers,
            loss: vec![0.0; m],
            dz: [vec![0.0; m * widest], vec![0.0; m * widest]],
            workspace: Workspace::new(),
        })
    }

    /// y of the batch, by the road that was chosen.
    pub(super) fn infer(&mut self) -> Result<()> {
        match (self.road, &self.whole, self.layers.last_mut()) {
            (Road::Blocks, Some(whole), Some(last)) => {
                elbow_cpu::network(whole, self.data.rows, &self.data.x, &self.parameters, &mut last.y)?;
            }
            _ => self.forward(false)?,
        }
        black_box(&self.layers);
        Ok(())
    }

    /// Forward, loss, backward, update.
    pub(super) fn step(&mut self) -> Result<()> {
        self.forward(true)?;
        self.losses()?;
        self.backward()?;
        self.steps += 1;
        let (parameter, first, second) = (&mut self.parameters[..], &mut self.first[..], &mut self.second[..]);
        let state = Updated { parameter, first, second };
        elbow_cpu::update(RULE, &self.rates, self.steps, &self.gradients, Some(&self.factors), state)?;
        black_box((&self.parameters, &self.loss));
        Ok(())
    }

    fn forward(&mut self, keep: bool) -> Result<()> {
        for l in 0..self.layers.len() {
            let (below, here) = self.layers.split_at_mut(l);
            let x = below.last().map_or(&self.data.x, |below| &below.y);
            let Layer { request, y, z, mask } = &mut here[0];
            let saved = match request.saved {
                Saved::Z if keep => SavedOut::Z(z),
                Saved::Mask if keep => SavedOut::Mask(mask),
                _ => SavedOut::None,
            };
            let request = if keep { *request } else { request.saved(Saved::None) };
            let w = &self.parameters[self.network.weight(l)];
            let b = &self.parameters[self.network.bias(l)];
            let alpha = self.network.alpha(l).map(|place| &self.parameters[place]);
            let inputs = ForwardInputs::new(x, w).b(Some(b)).alpha(alpha);
            elbow_cpu::forward(&request, inputs, ForwardOutputs { y, saved, ..Default::default() })?;
        }
        Ok(())
    }

    /// The losses, and dy of the last layer.
    fn losses(&mut self) -> Result<()> {
        let Some(last) = self.layers.last() else { return Ok(()) };
        let columns = self.network.outputs();
        let dy = &mut self.dz[0][..self.data.rows * columns];
        match (&self.data.targets, self.network.design().loss.criterion()) {
            (Targets::Numbers(targets), Some(criterion)) => {
                let operands: [&[f32]; 2] = [&last.y, targets];
                elbow_cpu::elementwise_loss(
                    criterion,
                    Reduction::Mean,
                    columns,
                    operands,
                    None,
                    None,
                    &mut self.loss,
                    dy,
                )?;
            }
            (Targets::Classes(labels), _) => {
                let request = elbow::cpu::CrossEntropy::new(columns);
                elbow_cpu::cross_entropy(&request, &last.y, labels, &mut self.loss, dy)?;
            }
            (Targets::Numbers(_), None) => {}
        }
        Ok(())
    }

    fn backward(&mut self) -> Result<()> {
        let rows = self.data.rows;
        let [mut upstream, mut below_dz] = self.dz.each_mut().map(|dz| &mut dz[..]);
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let top = l + 1 == self.layers.len();
            let below = l.checked_sub(1).map(|below| (below, &self.layers[below]));
            let [k, n] = self.network.shape(l);
            let wanted = |alpha: &Option<Range<usize>>| alpha.as_ref().map_or(Want::No, |_| Want::Overwrite);
            // α of the other layers comes from the call above them.
            let of_top = self.network.alpha(l).filter(|_| top);
            let of_below = below.and_then(|(below, _)| self.network.alpha(below));
            let gradients = Gradients::default().w(Want::Overwrite).b(Want::Overwrite).alpha(wanted(&of_top));
            let gradients = if below.is_some() { gradients.x(Want::Overwrite) } else { gradients };
            let slope = below.map(|(_, below)| {
                let AffineRequest { activation, alpha, saved, .. } = below.request;
                Below::new(activation, saved).alpha(alpha).dalpha(wanted(&of_below))
            });
            let request = BackwardRequest::new(layer.request, gradients).upstream_is_dz(!top).below(slope);
            let inputs = BackwardInputs {
                x: below.map_or(&self.data.x, |(_, below)| &below.y),
                w: &self.parameters[self.network.weight(l)],
                alpha: self.network.alpha(l).map(|place| &self.parameters[place]),
                dy: &upstream[..rows * n],
                saved: if top { layer.saved() } else { SavedIn::None },
                saved_below: below.map_or(SavedIn::None, |(_, below)| below.saved()),
                alpha_below: of_below.clone().map(|place| &self.parameters[place]),
                ..BackwardInputs::default()
            };
            // The α below lies before W, W before b, b before the own α.
            let mut rest = &mut self.gradients[..];
            let mut taken = 0;
            let mut take = |place: Range<usize>| {
                let (_, here) = std::mem::take(&mut rest).split_at_mut(place.start - taken);
                let (here, behind) = here.split_at_mut(place.len());
                (rest, taken) = (behind, place.end);
                here
            };
            let dalpha_below = of_below.map(&mut take);
            let (dw, db) = (take(self.network.weight(l)), take(self.network.bias(l)));
            let outputs = BackwardOutputs {
                dx: below.is_some().then(|| &mut below_dz[..rows * k]),
                dw: Some(dw),
                db: Some(db),
                dalpha: of_top.map(take),
                dalpha_below,
                ..BackwardOutputs::default()
            };
            elbow_cpu::backward(&request, inputs, outputs, &mut self.workspace)?;
            std::mem::swap(&mut upstream, &mut below_dz);
        }
        Ok(())
    }

    /// Everything against the reference; the largest error as a share of what is allowed.
    pub(super) fn verify(&mut self, expected: &Expected<'_>) -> Result<f64> {
        let mut worst = 0.0f64;
        for road in [Road::Blocks, Road::Layers] {
            self.road = road;
            self.infer()?;
            worst = worst.max(expected.judge_inference("CPU", self.y())?);
        }
        self.step()?;
        worst = worst.max(expected.judge_y("CPU", self.y())?);
        worst = worst.max(expected.judge_loss("CPU", &self.loss)?);
        worst = worst.max(expected.judge_gradients("CPU", &self.gradients)?);
        Ok(worst.max(expected.judge_update("CPU", &self.gradients, &self.parameters)?))
    }

    fn y(&self) -> &[f32] {
        self.layers.last().map_or(&[], |last| &last.y)
    }

    /// The road that is faster here, the least of three times each.
    pub(super) fn faster_road(&mut self) -> Result<Road> {
        if self.whole.is_none() {
            return Ok(Road::Layers);
        }
        let mut least = [f64::INFINITY; 2];
        for _ in 0..3 {
            for (road, least) in [Road::Layers, Road::Blocks].into_iter().zip(&mut least) {
                self.road = road;
                let start = Instant::now();
                self.infer()?;
                *least = least.min(start.elapsed().as_secs_f64());
            }
        }
        Ok(if least[1] < least[0] { Road::Blocks } else { Road::Layers })
    }
}
