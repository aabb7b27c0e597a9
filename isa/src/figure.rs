//! What is said of a kernel: a row of the table.

use std::fmt;

use crate::{disassembly::Disassembly, failure::Failure, kernels::Named, radv::Code};

/// A generation of chips, and the one that the compiler is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Family {
    Rdna2,
    Rdna3,
    /// RDNA3 by its matrix units, for the kernels that use them, in waves of 32 lanes.
    Rdna3Units,
}

impl Family {
    pub(crate) const ALL: [Family; 3] = [Family::Rdna2, Family::Rdna3, Family::Rdna3Units];
    /// Those that are asked unless one is named.
    pub(crate) const USUAL: [Family; 2] = [Family::Rdna2, Family::Rdna3];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Family::Rdna2 => "rdna2",
            Family::Rdna3 => "rdna3",
            Family::Rdna3Units => "rdna3-units",
        }
    }

    /// What `RADV_FORCE_FAMILY` takes: since Mesa 23.3, the first with cooperative matrices, in small letters.
    pub(crate) const fn asked(self) -> &'static str {
        match self {
            Family::Rdna3Units => "navi31",
            _ => self.chip(),
        }
    }

    /// What the driver then calls the chip.
    pub(crate) const fn chip(self) -> &'static str {
        match self {
            Family::Rdna2 => "NAVI21",
            Family::Rdna3 => "GFX1100",
            Family::Rdna3Units => "NAVI31",
        }
    }

    /// Whether it is asked about matrix units.
    pub(crate) const fn on_matrix_units(self) -> bool {
        matches!(self, Family::Rdna3Units)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Vector registers of a lane.
    Vgprs,
    /// Vector and scalar registers that did not fit.
    Spilled,
    /// Bytes of memory that a lane has for what is not in registers: spilled, or indexed.
    Scratch,
    /// Bytes of workgroup memory.
    Lds,
    /// Waves that a SIMD can hold at a time.
    Waves,
    /// Instructions of the whole text.
    Instructions,
    /// Instructions of the loop over the reduction.
    Loop,
    /// Those of them that multiply and add.
    MultiplyAdds,
    /// Their share of the loop, in percent.
    Share,
    /// Instructions behind the loop for each element that they store; without a loop all of them.
    PerElement,
    /// The compiler's own estimate of the cycles that one wave takes.
    Latency,
    /// Its own estimate of the cycles from one wave to the next.
    Throughput,
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// It says how another one comes about.
    Neither,
    /// Nothing but 0 is good.
    None,
}

impl Figure {
    pub(crate) const ALL: [Figure; 12] = [
        Figure::Vgprs,
        Figure::Spilled,
        Figure::Scratch,
        Figure::Lds,
        Figure::Waves,
        Figure::Instructions,
        Figure::Loop,
        Figure::MultiplyAdds,
        Figure::Share,
        Figure::PerElement,
        Figure::Latency,
        Figure::Throughput,
    ];

    pub(crate) const fn name(self) -> &'static str {
        self.row().0
    }

    pub(crate) const fn better(self) -> Better {
        self.row().1
    }

    pub(crate) const fn decimals(self) -> usize {
        self.row().2
    }

    const fn row(self) -> (&'static str, Better, usize) {
        match self {
            // Registers and workgroup memory cost waves, or nothing.
            Figure::Vgprs => ("vgprs", Better::Neither, 0),
            Figure::Spilled => ("spilled", Better::None, 0),
            Figure::Scratch => ("scratch", Better::None, 0),
            Figure::Lds => ("lds", Better::Neither, 0),
            Figure::Waves => ("waves", Better::More, 0),
            Figure::Instructions => ("instructions", Better::Less, 0),
            // Twice the steps in one trip are twice the instructions, and no worse.
            Figure::Loop => ("loop", Better::Neither, 0),
            Figure::MultiplyAdds => ("fma", Better::Neither, 0),
            Figure::Share => ("fma_%", Better::More, 1),
            Figure::PerElement => ("per_element", Better::Less, 1),
            Figure::Latency => ("latency", Better::Less, 0),
            Figure::Throughput => ("throughput", Better::Less, 0),
        }
    }

    /// The number as it stands in the table.
    pub(crate) fn print(self, value: Option<f64>) -> String {
        value.map_or("-".into(), |value| format!("{value:.*}", self.decimals()))
    }

    /// A number of the table.
    pub(crate) fn read(self, text: &str) -> Option<Option<f64>> {
        if text == "-" {
            return Some(None);
        }
        text.parse().ok().filter(|value: &f64| value.is_finite()).map(Some)
    }
}

/// The figures of one kernel on one family, in the order of [`Figure::ALL`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures([Option<f64>; Figure::ALL.len()]);

impl Figures {
    /// What the compiler says, and what its code is counted to have.
    pub(crate) fn of(named: &Named, code: &Code) -> Result<Self, Failure> {
        let text = Disassembly::parse(&code.assembly);
        let reduction = named.is_product().then(|| text.reduction()).flatten();
        let fma = reduction.map(|r| r.multiply_adds.min(named.most_multiply_adds().unwrap_or(usize::MAX)) as f64);
        let looped = reduction.map(|r| r.instructions as f64);
        let behind = reduction.map_or(text.instructions(), |r| r.behind) as f64;
        let elements = named.elements(text.stored_bytes());
        let mut figures = [None; Figure::ALL.len()];
        for (figure, place) in Figure::ALL.into_iter().zip(&mut figures) {
            let value = match figure {
                Figure::Vgprs => Some(code.statistic("VGPRs")?),
                Figure::Spilled => Some(code.statistic("Spilled VGPRs")? + code.statistic("Spilled SGPRs")?),
                Figure::Scratch => Some(code.statistic("Scratch size")?),
                Figure::Lds => Some(code.statistic("LDS size")?),
                Figure::Waves => Some(code.statistic("Subgroups per SIMD")?),
                Figure::Instructions => Some(code.statistic("Instructions")?),
                Figure::Loop => looped,
                Figure::MultiplyAdds => fma,
                Figure::Share => fma.zip(looped).map(|(fma, all)| 100.0 * fma / all),
                Figure::PerElement => elements.map(|elements| behind / elements),
                Figure::Latency => Some(code.statistic("Latency")?),
                Figure::Throughput => Some(code.statistic("Inverse Throughput")?),
            };
            // As precise as the table, so that what was written is what is found again.
            *place = figure.read(&figure.print(value)).flatten();
        }
        Ok(Figures(figures))
    }

    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        self.0[figure as usize]
    }

    /// One column each, a tab between.
    pub(crate) fn print(&self) -> String {
        let columns: Vec<_> = Figure::ALL.iter().map(|figure| figure.print(self.get(*figure))).collect();
        columns.join("\t")
    }

    pub(crate) fn read(columns: &[&str]) -> Option<Self> {
        let mut figures = [None; Figure::ALL.len()];
        if columns.len() != figures.len() {
            return None;
        }
        for ((figure, column), place) in Figure::ALL.into_iter().zip(columns).zip(&mut figures) {
            *place = figure.read(column)?;
        }
        Some(Figures(figures))
    }
}
