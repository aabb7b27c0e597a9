//! Results that nobody measured, of a GPU that wins from a batch of 256 on.

use elbow_measure::{About, Comparison, Errors, Estimate, Footprint, Loss, Part, Road, Shape, probe::Ceilings};

use super::results::{BatchResult, LayerResult, NetworkResult, PartResult, Results};

/// A median known to this share.
fn about(median: f64, noise: f64) -> Estimate {
    Estimate { median, low: median * (1.0 - noise), high: median * (1.0 + 2.0 * noise), samples: 20 }
}

/// The GPU takes a while to start, the CPU as long as its rows; at 64 rows something disturbed the machine.
fn times(batch: usize, work: f64) -> Comparison {
    let noise = if batch == 64 { 0.6 } else { 0.02 };
    let (gpu, cpu) = (6e-5 + work * batch as f64 * 2e-9, work * batch as f64 * 2.5e-8 + 2e-6);
    let transfers = gpu * 1.3 + 5e-5;
    Comparison {
        gpu_device: Some(about(gpu - 4e-5, noise)),
        gpu_wall: about(gpu, noise),
        gpu_transfers: about(transfers, noise),
        cpu: about(cpu, noise),
        speedup: about(cpu / gpu, noise),
        speedup_with_transfers: about(cpu / transfers, noise),
        attempts: 1,
    }
}

pub(super) fn results(software: bool) -> Results {
    let batches = [1, 16, 64, 256, 1024, 4096, 16_384];
    let shapes = [(8, 64, "gelu_erf"), (64, 64, "gelu_erf"), (64, 1, "identity")];
    let layers = shapes.iter().flat_map(|&(k, n, activation)| {
        batches.iter().map(move |&m| LayerResult {
            shape: Shape { m, k, n },
            activation: activation.into(),
            alpha: "constant".into(),
            saved: "z".into(),
            parts: [Part::Forward, Part::Backward, Part::Step]
                .iter()
                .map(|&part| PartResult {
                    part,
                    operations: part.operations(Shape { m, k, n }),
                    bytes: 4 * (m * k + k * n + m * n) as u64,
                    times: times(m, (k * n) as f64 / 400.0),
                })
                .collect(),
            fused: about(1e-4, 0.02),
            unfused: about(1.5e-4, 0.02),
            errors: Errors::default(),
            ulp: 1.5,
            of_bound: 0.02,
            cpu_ulp: 1.2,
        })
    });
    let text = |text: &str| text.to_owned();
    let results = Results {
        answer: String::new(),
        answers: Vec::new(),
        about: About {
            elbow: text("0.1.0"),
            date: text("2026-11-28"),
            command: text("elbow bench --mlp 8,64,64,1 --activation gelu"),
            adapter: text("Made-up GPU"),
            backend: text("Vulkan"),
            driver: text("made up 1.0"),
            device_type: text(if software { "Cpu" } else { "DiscreteGpu" }),
            software,
            threads: 16,
            cpu: text("Made-up CPU"),
        },
        matrix_units: text("off"),
        tuning: text("off"),
        dtype: text("f32"),
        ceilings: Ceilings { gpu_bytes: 4e11, gpu_flops: 2e13, cpu_bytes: 5e10, device_time: true },
        network: Some(NetworkResult {
            name: text("8-64-64-1, gelu_erf"),
            sizes: vec![8, 64, 64, 1],
            activation: text("gelu_erf"),
            alpha: text("constant"),
            loss: Loss::Mse,
            weights: 4801,
            file: None,
            batches: batches
                .iter()
                .map(|&batch| BatchResult {
                    batch,
                    inference: times(batch, 12.0),
                    training: times(batch, 50.0),
                    cpu_road: if batch > 64 { Road::Blocks } else { Road::Layers },
                    of_bound: [0.02, 0.03],
                })
                .collect(),
        }),
        layers: layers.collect(),
        alone: Vec::new(),
        memory: vec![Footprint {
            activation: text("gelu_erf"),
            saved: text("z"),
            sizes: vec![8, 64, 64, 1],
            batch: 16_384,
            parameters: 20_000,
            copy: 0,
            gradients: 20_000,
            optimiser: 40_000,
            outputs: 8 << 20,
            kept: 8 << 20,
            dz: 8 << 20,
            batch_bytes: 1 << 20,
            scratch: 1 << 20,
            total: 26 << 20,
        }],
    };
    results.answered()
}

#[test]
fn the_first_line_answers() {
    let results = results(false);
    assert_eq!(
        results.answer,
        "Training: the GPU is 3.8x to 12x faster from a batch of 256 on; the CPU is 2.8x to 18x faster up to a batch of 16; too noisy to \
         say at 64. With transfers: the GPU is 2.0x to 9.1x faster from a batch of 256 on; the CPU is 5.9x to 39x faster up to a batch \
         of 16; too noisy to say at 64.\n\
         Inference: the GPU is 1.2x to 11x faster from a batch of 256 on; the CPU is 2.9x to 26x faster up to a batch of 64. \
         With transfers: the GPU is 1.9x to 7.7x faster from a batch of 1024 on; the CPU is 1.7x to 56x faster up to a batch of 256.\n\
         Where it is too noisy to say, something else used the machine: run it again while nothing does."
    );
    let text = super::tables::text(&results, crate::table::Format::Table);
    assert!(text.starts_with(&results.answer), "{text}");
    let tables = text.lines().skip_while(|line| !line.contains("training step")).skip(1);
    assert!(tables.clone().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("noisy") && text.contains("the CPU infers by blocks of rows at 256"), "{text}");
    let markdown = super::tables::text(&results, crate::table::Format::Md);
    assert!(markdown.contains("| batch |") && markdown.contains("|---|---:|"), "{markdown}");
}

#[test]
fn a_page_has_the_answer_on_top_and_one_legend_for_charts_that_are_compared() {
    let results = results(false);
    let page = super::page::html(&results);
    let at = |what: &str| page.find(what).unwrap_or(usize::MAX);
    assert!(at("class=\"answer\"") < at("<svg") && at("<svg") < at("<table"), "the answer, then charts, then tables");
    let questions = &page[at("<h2>From which")..at("<h2>The whole network")];
    assert_eq!((questions.matches("class=\"legend\"").count(), questions.matches("viewBox=\"0 0 400").count()), (1, 2));
    assert!(questions.contains("class=\"whisker cpu\""), "what was disturbed has whiskers");
    assert_eq!(page.matches("viewBox=\"0 0 300").count(), 3, "a small chart for each layer");
}

#[test]
fn a_software_adapter_has_no_verdict_anywhere() {
    let results = results(true);
    assert!(results.answer.starts_with("No verdict: Made-up GPU is a software adapter"), "{}", results.answer);
    let json = serde_json::to_string(&results).unwrap_or_default();
    let text = super::tables::text(&results, crate::table::Format::Table) + &super::page::html(&results) + &json;
    for verdict in ["the GPU is", "the CPU is", "GPU 3.", ">faster<", "noisy", "even"] {
        assert!(!text.contains(verdict), "{verdict}");
    }
    assert!(json.contains("\"gpu_from\":null") && !json.contains("\"gpu_from\":2"));
}

#[test]
fn results_are_read_as_they_were_written() {
    let written = results(false);
    let json = serde_json::to_string(&written).unwrap_or_default();
    let read: Results = serde_json::from_str(&json).expect("our own JSON");
    assert_eq!((&read.answer, &read.answers), (&written.answer, &written.answers));
    assert_eq!(
        super::tables::text(&read, crate::table::Format::Md),
        super::tables::text(&written, crate::table::Format::Md)
    );
}
