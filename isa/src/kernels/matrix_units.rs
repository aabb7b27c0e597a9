//! Products and whole networks on matrix units. They are asked about apart from all others: another driver knows them.

use elbow::{
    Activation, Caps, Float, Gate, Jet, MatrixUnits, Pin, Saved, Want, WeightLayout,
    network::Layers,
    plan::{self, NetworkBackward, NetworkForward},
    request::{AffineRequest, BackwardRequest, Gradients},
    storage::Storage,
};

use super::{Collected, SHAPES, caps};
use crate::failure::Failure;

/// A GPU whose matrix units elbow takes: matrices of 16×16, and subgroups of 32 lanes alone.
const fn with_matrices(units: MatrixUnits) -> Caps {
    caps().subgroup(32).matrix_size(16).matrix_units(units).workgroup_bytes(64 * 1024)
}

impl Collected {
    /// Products on matrix units, of the large layer and of one that takes the smaller tile: the three forms, and gated layers.
    pub(super) fn on_matrix_units(&mut self) -> Result<(), Failure> {
        let kinds =
            [(MatrixUnits::Stored, Float::F16), (MatrixUnits::Rounded, Float::F32), (MatrixUnits::Split, Float::F32)];
        for ((units, dtype), [m, k, n]) in kinds.into_iter().flat_map(|kind| [(kind, SHAPES[0]), (kind, SHAPES[1])]) {
            self.caps = with_matrices(units);
            let name = format!("{units} {dtype} {m}x{k}x{n}");
            let layer = |n| AffineRequest::new(m, n, k, Activation::SILU).saved(Saved::Z).storage(Storage::all(dtype));
            self.forward(&format!("forward silu {name}"), &layer(n))?;
            let gradients = Gradients::default().x(Want::Overwrite).w(Want::Overwrite);
            let request = BackwardRequest::new(layer(n), gradients).upstream_is_dz(true);
            self.add(&format!("backward {name}"), plan::backward(&request, true, &self.caps, &Pin::default()))?;
            let limited = Gate::interleaved().limited(7.0)?;
            for gate in [Gate::stacked(), limited, Gate::apart()] {
                self.forward(&format!("gated forward silu {gate} {name}"), &layer(n / 2).gate(gate))?;
            }
            for gate in [Gate::stacked(), Gate::apart()] {
                let across = layer(n / 2).layout(WeightLayout::InOut).gate(gate);
                self.forward(&format!("gated forward silu {gate} in_out {name}"), &across)?;
            }
        }
        self.networks_on_matrix_units()
    }

    /// Whole networks on matrix units.
    fn networks_on_matrix_units(&mut self) -> Result<(), Failure> {
        for units in [MatrixUnits::Rounded, MatrixUnits::Split] {
            self.caps = with_matrices(units);
            let of =
                |layers: Layers| NetworkForward { rows: 1 << 20, layers, copy: false, storage: Storage::default() };
            for width in [32, 64, 128] {
                for activation in [Activation::RELU, Activation::SILU] {
                    let layers = Layers::new(&[width, width, width, width], activation)?;
                    let (forward, name) = (of(layers), format!("{} {width} {units} f32", activation.name()));
                    self.add(&format!("network {name}"), plan::network_forward(&forward, true, &self.caps))?;
                    let request = NetworkBackward { forward, dx: Want::Overwrite, parameters: Want::Overwrite };
                    let gradients = plan::network_backward(&request, true, &self.caps);
                    self.add(&format!("network backward {name}"), gradients)?;
                }
            }
            for inputs in [2, 3] {
                let layers = Layers::new(&[20, 64, 64, 64, 17], Activation::TANH)?.jet(Jet::laplacian(inputs)?);
                let (forward, name) = (of(layers), format!("of {inputs} tanh 64 {units} f32"));
                self.add(&format!("network jet {name}"), plan::network_forward(&forward, true, &self.caps))?;
                let request = NetworkBackward { forward, dx: Want::Overwrite, parameters: Want::Overwrite };
                let gradients = plan::network_backward(&request, true, &self.caps);
                self.add(&format!("network jet backward {name}"), gradients)?;
            }
        }
        Ok(())
    }
}
