//! Whole networks in files: the architecture in the metadata, training that goes on with the same bits, a writer that is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use elbow::{
    Activation, AlphaSource, Error, Float, Gpu, Jet,
    criterion::Criterion,
    mlp::{Architecture, Batch, Contents, Description, Mlp, Objective, Optimiser, noted_tensors},
    rates::{Rates, Rule},
};
use safetensors::SafeTensors;

const ROWS: usize = 12;

fn activations(specs: &[&str]) -> Vec<Activation> {
    specs.iter().map(|spec| spec.parse().unwrap()).collect()
}

/// Every part of a description, each with another value than its default.
fn architectures<'a>(sizes: &'a [usize], each: &'a [Activation]) -> Vec<Architecture<'a>> {
    let plain = Architecture::new(sizes, Activation::SILU, ROWS);
    let sgd = Optimiser::new(Rule::Sgd, Rates::sgd(0.05).momentum(0.9));
    let nesterov = Optimiser::new(Rule::Nesterov, Rates::sgd(0.05).momentum(0.9).max_norm(0.5));
    let adamw = Optimiser::new(Rule::AdamW, Rates::adamw(0.01).weight_decay(0.1).max_norm(1.0));
    vec![
        plain,
        plain.optimiser(sgd),
        plain.activations(each).alpha(AlphaSource::PerChannel).optimiser(adamw),
        plain
            .activations(each)
            .alpha(AlphaSource::PerLayer)
            .objective(Criterion::Huber { delta: 0.3 })
            .optimiser(nesterov),
        plain.storage(Float::F16).optimiser(adamw).ignore_index(2),
        plain.storage(Float::Bf16).optimiser(sgd).objective(Objective::Classes { label_smoothing: 0.1 }),
        plain.objective(Criterion::BinaryCrossEntropy).optimiser(adamw),
        plain.objective(Criterion::SquaredError).optimiser(sgd),
    ]
}

/// Batches on the device, and what a step of this network is.
struct Trainer<'a> {
    gpu: &'a Gpu,
    mlp: Mlp,
    learns: bool,
}

impl Trainer<'_> {
    /// So many steps; the bits of all parameters then.
    fn steps(&self, count: usize, first: usize) -> Vec<u32> {
        let classes = matches!(self.mlp.description().objective, Objective::Classes { .. });
        let storage = self.mlp.description().storage;
        for step in first..first + count {
            let number = |i: usize| ((i * 37 + step * 11) % 23) as f32 / 8.0 - 1.4;
            let x: Vec<f32> = (0..ROWS * 5).map(number).collect();
            let x = self.gpu.upload_as(storage, &x, &[ROWS, 5]).unwrap();
            let labels: Vec<u32> = (0..ROWS).map(|i| (i + step) as u32 % 3).collect();
            let targets: Vec<f32> = (0..ROWS * 3).map(|i| number(i + 5).fract().abs()).collect();
            let targets = match classes {
                true => self.gpu.upload_words(&labels, &[ROWS]).unwrap(),
                false => self.gpu.upload(&targets, &[ROWS, 3]).unwrap(),
            };
            let loss = self.gpu.zeros(&[ROWS]).unwrap();
            self.gpu
                .submit_pass(|pass| match self.learns {
                    true => self.mlp.learn(self.gpu, pass, &Batch::new(&x, &targets, &loss)),
                    false => {
                        let step = elbow::mlp::Step::new(&x, &targets, &loss, 0.1).momentum(0.9);
                        self.mlp.train(self.gpu, pass, &step)
                    }
                })
                .unwrap();
        }
        self.gpu.download(self.mlp.all_parameters()).unwrap().into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn training_goes_on_from_a_checkpoint_with_the_same_bits() {
    let gpu = Gpu::new().unwrap();
    let each = activations(&["prelu(0.25)", "tanh", "identity"]);
    for (index, architecture) in architectures(&[5, 8, 4, 3], &each).into_iter().enumerate() {
        let learns = architecture.optimiser.is_some();
        let mlp = Mlp::seeded(&gpu, &architecture, 7).unwrap();
        let trainer = Trainer { gpu: &gpu, mlp, learns };
        // Its scale is another than at the beginning, which takes hundreds of steps by itself.
        if let Some(scale) = trainer.mlp.loss_scale() {
            gpu.write(scale.view().slice(0, 0..1).unwrap(), &[32.0]).unwrap();
        }
        trainer.steps(4, 0);
        let save = |contents: &Contents<'_>| gpu.block_on(trainer.mlp.to_safetensors_async(&gpu, contents)).unwrap();
        let checkpoint = save(&Contents::checkpoint().notes(&[("epoch", "4")]));
        let model = save(&Contents::model());
        let went_on = trainer.steps(4, 4);

        let resumed = Mlp::from_safetensors(&gpu, &checkpoint, ROWS).unwrap();
        let scale = |mlp: &Mlp| mlp.loss_scale().map(|scale| gpu.download(scale).unwrap()[0]);
        assert_eq!(scale(&resumed), architecture.storage.eq(&Float::F16).then_some(32.0), "architecture {index}");
        let resumed = Trainer { gpu: &gpu, mlp: resumed, learns };
        assert_eq!(resumed.steps(4, 4), went_on, "architecture {index}: other bits than without a break");

        // The state matters: the parameters alone go on differently.
        let without = Mlp::seeded(&gpu, &architecture, 7).unwrap();
        without.load_safetensors(&gpu, &model).unwrap();
        let without = Trainer { gpu: &gpu, mlp: without, learns };
        assert_ne!(without.steps(4, 4), went_on, "architecture {index}: nothing depends on the optimiser's state");

        // A model or a checkpoint: the parameters of either load.
        let other = Mlp::seeded(&gpu, &architecture, 8).unwrap();
        other.load_safetensors(&gpu, &checkpoint).unwrap();
        assert!(other.to_safetensors(&gpu).unwrap() == model, "architecture {index}");
    }
}

#[test]
fn the_metadata_says_the_whole_architecture() {
    let gpu = Gpu::new().unwrap();
    let each = activations(&["prelu(0.25)", "elu(0.5)", "sigmoid"]);
    let mut all = architectures(&[5, 8, 4, 3], &each);
    all.push(Architecture::new(&[2, 3], Activation::TANH, ROWS).jet(Jet::two([0.0, 0.5, 1.0]).unwrap()));
    all.push(Architecture::new(&[2, 3, 1], Activation::RELU, ROWS).jet(Jet::laplacian(2).unwrap().even_if_flat()));
    for architecture in all {
        let mlp = Mlp::seeded(&gpu, &architecture, 7).unwrap();
        let notes = [("epoch", "3"), ("", "\"\n\u{1F600}")];
        let file = gpu.block_on(mlp.to_safetensors_async(&gpu, &Contents::checkpoint().notes(&notes))).unwrap();
        let read = Description::read(&file).unwrap();
        assert_eq!(read.sizes, architecture.sizes);
        assert_eq!(read.optimiser, architecture.optimiser);
        let of = |a: &Architecture<'_>| (a.storage, a.jet, a.ignore_index, a.objective);
        assert_eq!(of(&read.architecture(ROWS)), of(&architecture));
        assert_eq!(read.notes.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect::<Vec<_>>(), [notes[1], notes[0]]);
        let loaded = Mlp::from_safetensors(&gpu, &file, ROWS).unwrap();
        assert_eq!(loaded.description(), mlp.description());
        let again = gpu.block_on(loaded.to_safetensors_async(&gpu, &Contents::checkpoint().notes(&notes))).unwrap();
        assert!(file == again, "the same network is another file: {:?}", read.sizes);
        // What PyTorch's world reads: the format's name, and parameters by their names.
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    }
}

#[test]
fn tensors_of_the_caller_come_back_and_disturb_nothing() {
    let gpu = Gpu::new().unwrap();
    let adamw = Optimiser::new(Rule::AdamW, Rates::adamw(0.01));
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 3, 1], Activation::SILU, 4).optimiser(adamw), 7).unwrap();
    let save = |contents: &Contents<'_>| gpu.block_on(mlp.to_safetensors_async(&gpu, contents));
    // Names that parameters and state have too, special numbers, shapes without elements and without dimensions.
    let values = [1.5f32, -0.0, f32::INFINITY, f32::MIN_POSITIVE, 1e-45, f32::from_bits(0x7fc0_1234)];
    let (matrix, empty, one) = ([2, 3], [0, 7], []);
    let tensors: [(&str, &[usize], &[f32]); 4] = [
        ("0.weight", &matrix, &values),
        ("optimiser.rates", &empty, &[]),
        ("", &one, &values[..1]),
        ("notes.loss", &[6], &values),
    ];
    for contents in [Contents::checkpoint(), Contents::model()] {
        let plain = save(&contents).unwrap();
        let file = save(&contents.tensors(&tensors)).unwrap();
        assert_eq!(file, save(&contents.tensors(&tensors)).unwrap(), "the same contents are another file");
        let read = noted_tensors(&file).unwrap();
        assert_eq!(read.len(), 4);
        for (name, shape, values) in tensors {
            let (read_shape, read_values) = &read[name];
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!((&read_shape[..], bits(read_values)), (shape, bits(values)), "{name}");
        }
        assert!(noted_tensors(&plain).unwrap().is_empty());
        let opened = Mlp::from_safetensors(&gpu, &file, 4).unwrap();
        let again = gpu.block_on(opened.to_safetensors_async(&gpu, &contents)).unwrap();
        assert!(again == plain, "the network is another one");
        mlp.load_safetensors(&gpu, &file).unwrap();
        assert!(save(&contents).unwrap() == plain);
    }
    for (tensors, name) in [
        (&[("a", &matrix[..], &values[..5])][..], "a"),
        (&[("a", &[usize::MAX, 2], &values)], "a"),
        (&[("a", &[6], &values), ("b", &[6], &values), ("a", &[6], &values)], "a"),
    ] {
        match save(&Contents::model().tensors(tensors)) {
            Err(Error::File { entry, .. }) => assert_eq!(entry, name),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(noted_tensors(b"no file"), Err(Error::File { .. })));
}

/// A file with other entries.
fn with_entries(file: &[u8], change: impl Fn(&mut std::collections::HashMap<String, String>)) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let mut entries = header.metadata().clone().unwrap();
    change(&mut entries);
    let tensors = SafeTensors::deserialize(file).unwrap();
    safetensors::serialize(tensors.tensors(), Some(entries)).unwrap()
}

#[test]
fn what_the_metadata_says_wrongly_is_named() {
    let gpu = Gpu::new().unwrap();
    let adamw = Optimiser::new(Rule::AdamW, Rates::adamw(0.01));
    let architecture = Architecture::new(&[5, 4, 3], Activation::SILU, ROWS).optimiser(adamw);
    let mlp = Mlp::seeded(&gpu, &architecture, 7).unwrap();
    let file = gpu.block_on(mlp.to_safetensors_async(&gpu, &Contents::checkpoint())).unwrap();
    let refused = |file: &[u8], name: &str| {
        match Mlp::from_safetensors(&gpu, file, ROWS) {
            Err(Error::File { entry, expected, got }) => {
                assert_eq!(entry, name, "expected {expected}, got {got}");
                assert!(!expected.is_empty() && !got.is_empty());
            }
            other => panic!("{name}: {other:?}"),
        };
    };
    for name in ["mlp", "sizes", "activations", "alpha", "storage", "objective"] {
        let name = format!("elbow.{name}");
        refused(&with_entries(&file, |entries| drop(entries.remove(&name))), &name);
    }
    for (name, text) in [
        ("elbow.mlp", "2"),
        ("elbow.sizes", ""),
        ("elbow.sizes", "5"),
        ("elbow.sizes", "5,4,-3"),
        ("elbow.sizes", "5,4,99999999999999999999"),
        ("elbow.activations", "silu;relux"),
        ("elbow.activations", "silu;leaky_relu(nan)"),
        ("elbow.alpha", "both"),
        ("elbow.storage", "f8"),
        ("elbow.jet", "1,2"),
        ("elbow.ignore_index", "-1"),
        ("elbow.objective", "classes(x)"),
        ("elbow.objective", "huber"),
        ("elbow.objective", "squared_error(1)"),
        ("elbow.optimiser", "adam"),
        // Sizes that the tensors have not: refused before anything is allocated.
        ("elbow.sizes", "5,4,18446744073709551615"),
        ("elbow.sizes", "4,5,3"),
    ] {
        let other = with_entries(&file, |entries| drop(entries.insert(name.into(), text.into())));
        let name = match (name, text) {
            ("elbow.sizes", "5,4,18446744073709551615") => "2.weight",
            ("elbow.sizes", "4,5,3") => "0.weight",
            _ => name,
        };
        refused(&other, name);
    }
    // One activation for two layers, and none for the third.
    let fewer = with_entries(&file, |entries| drop(entries.insert("elbow.activations".into(), "silu".into())));
    refused(&fewer, "elbow.sizes");
    // The optimiser's state without an optimiser, and an optimiser without its state.
    match Mlp::from_safetensors(&gpu, &with_entries(&file, |entries| drop(entries.remove("elbow.optimiser"))), ROWS) {
        Err(Error::File { entry, .. }) => assert!(entry.starts_with("optimiser."), "{entry}"),
        other => panic!("{other:?}"),
    }
    let model = mlp.to_safetensors(&gpu).unwrap();
    let claims = with_entries(&model, |entries| drop(entries.insert("elbow.optimiser".into(), "adamw".into())));
    refused(&claims, "optimiser.rates");
    refused(b"no file", "");
    refused(&safetensors::serialize(SafeTensors::deserialize(&model).unwrap().tensors(), None).unwrap(), "elbow.mlp");
    for name in ["elbow.sizes", "elbow.other", "format"] {
        let notes = [(name, "1")];
        let error = gpu.block_on(mlp.to_safetensors_async(&gpu, &Contents::model().notes(&notes))).unwrap_err();
        assert!(matches!(error, Error::File { entry, .. } if entry == name));
    }
}

/// Numbers of a checkpoint that cannot be rates.
#[test]
fn a_checkpoint_with_impossible_rates_is_refused() {
    let gpu = Gpu::new().unwrap();
    let sgd = Optimiser::new(Rule::Sgd, Rates::sgd(0.1));
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 1], Activation::SILU, 4).optimiser(sgd), 7).unwrap();
    for (place, number) in [(0, f32::NAN), (1, 1.5), (3, 0.0), (6, -1.0), (7, -1.0), (7, f32::INFINITY)] {
        let rates = mlp.rates().unwrap();
        let before = gpu.download(rates).unwrap();
        gpu.write(rates.view().slice(0, place..place + 1).unwrap(), &[number]).unwrap();
        let file = gpu.block_on(mlp.to_safetensors_async(&gpu, &Contents::checkpoint())).unwrap();
        gpu.write(rates, &before).unwrap();
        match Mlp::from_safetensors(&gpu, &file, 4) {
            Err(Error::File { entry, .. }) => assert_eq!(entry, "optimiser.rates", "{place}: {number}"),
            other => panic!("{place}: {number}: {other:?}"),
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_are_written_and_opened_and_what_cannot_be_is_said() {
    let gpu = Gpu::new().unwrap();
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 3, 1], Activation::SILU, 4), 7).unwrap();
    let folder = folder("files");
    let path = folder.join("model.safetensors");
    mlp.save(&gpu, &path, &Contents::model()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), mlp.to_safetensors(&gpu).unwrap());
    assert_eq!(Mlp::open(&gpu, &path, 8).unwrap().max_batch(), 8);
    #[cfg(unix)]
    {
        // A link stays one, and a file has the permissions of a file.
        let link = folder.join("link");
        std::os::unix::fs::symlink("model.safetensors", &link).unwrap();
        mlp.save(&gpu, &link, &Contents::checkpoint()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(Description::read(&fs::read(&path).unwrap()).is_ok());
        let mode = |path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        fs::write(folder.join("other"), "").unwrap();
        assert_eq!(mode(path.clone()), mode(folder.join("other")));
        fs::remove_file(link).unwrap();
        fs::remove_file(folder.join("other")).unwrap();
    }
    for (wrong, part) in [(folder.join("nowhere/model"), "nowhere"), (folder.clone(), "files-")] {
        for error in [mlp.save(&gpu, &wrong, &Contents::model()).unwrap_err(), Mlp::open(&gpu, &wrong, 8).unwrap_err()]
        {
            assert!(matches!(&error, Error::File { .. }) && error.to_string().contains(part), "{error}");
        }
    }
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["model.safetensors"], "a temporary file was left behind");
    fs::remove_dir_all(folder).unwrap();
}

/// What a child process of the next test does: writes checkpoints until it is killed.
#[test]
#[ignore = "the next test runs it, in a process that it kills: cargo test --features safetensors --test checkpoints killed"]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var("ELBOW_TEST_CHECKPOINT") else { return };
    let gpu = Gpu::new().unwrap();
    let adamw = Optimiser::new(Rule::AdamW, Rates::adamw(0.01));
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[64, 256, 64], Activation::SILU, 4).optimiser(adamw), 7).unwrap();
    for epoch in 0.. {
        let epoch = format!("{epoch}");
        mlp.save(&gpu, &path, &Contents::checkpoint().notes(&[("epoch", &epoch)])).unwrap();
    }
}

/// At any moment there is a whole file, and it is a newer one than the last time.
#[test]
fn a_writer_that_is_killed_leaves_a_whole_file() {
    let gpu = Gpu::new().unwrap();
    let folder = folder("killed");
    let path = folder.join("checkpoint.safetensors");
    let mut epochs = Vec::new();
    for kill in 0..6 {
        let _ = fs::remove_file(&path);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--ignored"])
            .env("ELBOW_TEST_CHECKPOINT", &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !path.exists() {
            assert!(
                child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(120),
                "nothing written"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        // Somewhere in the middle of writing: every time somewhere else.
        std::thread::sleep(Duration::from_micros(3100 * kill * kill + 137));
        child.kill().unwrap();
        child.wait().unwrap();
        let file = fs::read(&path).unwrap();
        epochs.push(Description::read(&file).unwrap().notes["epoch"].parse::<usize>().unwrap());
        Mlp::from_safetensors(&gpu, &file, 4).unwrap();
    }
    assert!(epochs.iter().any(|&epoch| epoch > 0), "killed before anything was written twice: {epochs:?}");
    fs::remove_dir_all(folder).unwrap();
}
