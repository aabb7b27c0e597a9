//! Runs the binary in a folder of the test's own.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use elbow::Float;
use safetensors::{SafeTensors, tensor::TensorView};

/// A tensor by name.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A tensor by name, and its type in the file.
pub(crate) type Stored = BTreeMap<String, ((Vec<usize>, Vec<f32>), Float)>;

/// A fresh folder, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("elbow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// What is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// `elbow ARGS` in this folder, with a cache folder of its own: what somebody has tuned on this machine is not what is tested.
    pub(crate) fn elbow(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_elbow"))
            .args(args)
            .current_dir(&self.0)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .output()
            .expect("elbow starts")
    }

    /// `elbow eval` of in.safetensors, which must succeed.
    pub(crate) fn eval(&self, tensors: &Tensors, args: &[&str]) -> Tensors {
        self.eval_file(&file(tensors), args).into_iter().map(|(name, (tensor, _))| (name, tensor)).collect()
    }

    /// The same with a file's bytes; the results with the types in which they were written.
    pub(crate) fn eval_file(&self, input: &[u8], args: &[&str]) -> Stored {
        fs::write(self.path("in.safetensors"), input).expect("the input file");
        let mut all = vec!["eval"];
        all.extend(args);
        all.extend(["in.safetensors", "out.safetensors"]);
        let output = self.elbow(&all);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "elbow {all:?} failed: {stderr}");
        let bytes = fs::read(self.path("out.safetensors")).expect("an output file");
        read(&bytes)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `elbow eval` and checks how it fails: one line, exit code 2, no output; `parts` are in the message.
pub(crate) fn fails(folder: &Folder, input: &[u8], args: &[&str], parts: &[&str]) {
    fs::write(folder.path("in.safetensors"), input).expect("the input file");
    let all = [&["eval"], args, &["in.safetensors", "out.safetensors"]].concat();
    let output = folder.elbow(&all);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: exit code; stderr: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: one line, got: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {part:?} is missing in: {stderr}");
    }
    assert!(output.stdout.is_empty(), "{args:?}: nothing belongs on stdout");
    assert_eq!(folder.names(), ["in.safetensors"], "{args:?}: no output, no temporary file");
}

/// A layer of three channels, forward and backward.
pub(crate) fn layer() -> Tensors {
    Numbers(1).tensors(&[("x", &[4, 6]), ("w", &[3, 6]), ("b", &[3]), ("dy", &[4, 3])])
}

/// `tensors`, with one more or in place of another.
pub(crate) fn with(mut tensors: Tensors, name: &str, shape: &[usize]) -> Vec<u8> {
    tensors.insert(name.to_owned(), (shape.to_vec(), vec![0.5; shape.iter().product()]));
    file(&tensors)
}

/// The bytes of a safetensors file, all in F32.
pub(crate) fn file(tensors: &Tensors) -> Vec<u8> {
    file_as(tensors, |_| Float::F32)
}

/// The bytes of a safetensors file, each tensor rounded to the type that its name is given.
pub(crate) fn file_as(tensors: &Tensors, dtype: impl Fn(&str) -> Float) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            let bytes = |v: &f32| dtype(name).encode(&[*v])[..dtype(name).bytes() as usize].to_vec();
            values.iter().flat_map(bytes).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        let dtype = match dtype(name) {
            Float::F16 => safetensors::Dtype::F16,
            Float::Bf16 => safetensors::Dtype::BF16,
            _ => safetensors::Dtype::F32,
        };
        (name, TensorView::new(dtype, shape.clone(), bytes).expect("a tensor"))
    });
    safetensors::serialize(views, None).expect("a file")
}

fn read(bytes: &[u8]) -> Stored {
    let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let tensor = |view: TensorView<'_>| {
        let name = format!("{:?}", view.dtype()).to_lowercase();
        let dtype: Float = name.parse().expect("a type of ours");
        let count = view.shape().iter().product();
        assert_eq!(view.data().len() as u64, dtype.bytes() * count as u64, "as many bytes as the shape says");
        ((view.shape().to_vec(), dtype.decode(view.data(), count)), dtype)
    };
    file.iter().map(|(name, view)| (name.to_owned(), tensor(view))).collect()
}

/// Numbers in [-2, 2), the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        // Knuth's MMIX constants; the high bits are good enough here.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    }

    pub(crate) fn tensors(&mut self, shapes: &[(&str, &[usize])]) -> Tensors {
        let mut tensors = Tensors::new();
        for (name, shape) in shapes {
            let values = (0..shape.iter().product::<usize>()).map(|_| self.next()).collect();
            tensors.insert((*name).to_owned(), (shape.to_vec(), values));
        }
        tensors
    }
}

/// Same names and shapes, numbers that agree within `tolerance` (relative above 1).
pub(crate) fn assert_close(got: &Tensors, expected: &Tensors, tolerance: f32, what: &str) {
    let names = |t: &Tensors| t.iter().map(|(n, (s, _))| format!("{n}{s:?}")).collect::<Vec<_>>();
    assert_eq!(names(got), names(expected), "{what}: other names or shapes");
    for (name, (_, expected)) in expected {
        for (i, (&g, &e)) in got[name].1.iter().zip(expected).enumerate() {
            let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= tolerance * e.abs().max(1.0);
            assert!(same, "{what}: {name}[{i}]: expected {e}, got {g}");
        }
    }
}
