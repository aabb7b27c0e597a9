//! The table: one row for each activation, with its WGSL text.

use super::{Domain, Kind, Parameter, Row};

/// The table of all activations, in the order of [`Kind`].
///
/// ```
/// use elbow::activation::rows;
/// assert!(rows().iter().any(|row| row.name == "gelu_erf"));
/// ```
pub const fn rows() -> &'static [Row] {
    ROWS
}

/// The text of `shaders/shared/NAME.wgsl`.
pub(crate) fn shared_wgsl(name: &str) -> Option<&'static str> {
    Some(match name {
        "bits" => include_str!("../../shaders/shared/bits.wgsl"),
        "exp" => include_str!("../../shaders/shared/exp.wgsl"),
        "expm1" => include_str!("../../shaders/shared/expm1.wgsl"),
        "log1p" => include_str!("../../shaders/shared/log1p.wgsl"),
        "logistic" => include_str!("../../shaders/shared/logistic.wgsl"),
        "normal" => include_str!("../../shaders/shared/normal.wgsl"),
        "product" => include_str!("../../shaders/shared/product.wgsl"),
        "tanh" => include_str!("../../shaders/shared/tanh.wgsl"),
        _ => return None,
    })
}

const fn parameter(name: &'static str, default: Option<f32>, domain: Domain) -> Parameter {
    Parameter { name, default, domain }
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../shaders/activation/", $name, ".wgsl"))
    };
}

/// The fields that most rows share.
const PLAIN: Row = Row {
    kind: Kind::Identity,
    name: "identity",
    formula: "z",
    parameters: &[],
    fixed: [0.0, 0.0],
    learnable: false,
    aliases: &[],
    file: "identity",
    wgsl: file!("identity"),
    ulp: [0.0; 8],
    from_y: false,
    from_bit: false,
    source: "",
};

const ROWS: &[Row] = &[
    Row {
        kind: Kind::Identity,
        name: "identity",
        formula: "z",
        aliases: &["linear", "none", "id"],
        file: "identity",
        wgsl: file!("identity"),
        from_y: true,
        from_bit: true,
        source: "PyTorch Identity",
        ..PLAIN
    },
    Row {
        kind: Kind::Relu,
        name: "relu",
        formula: "max(z, 0)",
        aliases: &["rectifier"],
        file: "relu",
        wgsl: file!("relu"),
        from_y: true,
        from_bit: true,
        source: "Nair and Hinton 2010",
        ..PLAIN
    },
    Row {
        kind: Kind::LeakyRelu,
        name: "leaky_relu",
        formula: "z > 0 ? z : slope z",
        parameters: &[parameter("slope", Some(0.01), Domain::Finite)],
        learnable: true,
        aliases: &["lrelu"],
        file: "leaky_relu",
        wgsl: file!("leaky_relu"),
        ulp: [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        from_bit: true,
        source: "Maas, Hannun, Ng 2013",
        ..PLAIN
    },
    Row {
        kind: Kind::Prelu,
        name: "prelu",
        formula: "z > 0 ? z : alpha z",
        parameters: &[parameter("alpha", Some(0.25), Domain::Finite)],
        learnable: true,
        aliases: &["parametric_relu"],
        file: "leaky_relu",
        wgsl: file!("leaky_relu"),
        ulp: [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        from_bit: true,
        source: "He, Zhang, Ren, Sun 2015",
        ..PLAIN
    },
    Row {
        kind: Kind::ClippedRelu,
        name: "clipped_relu",
        formula: "min(max(z, 0), cap)",
        parameters: &[parameter("cap", Some(6.0), Domain::NonNegative)],
        learnable: true,
        aliases: &["capped_relu", "bounded_relu", "relu_n"],
        file: "clipped_relu",
        wgsl: file!("clipped_relu"),
        from_y: true,
        from_bit: true,
        source: "Hannun et al. 2014 (DeepSpeech, cap 20)",
        ..PLAIN
    },
    Row {
        kind: Kind::Relu6,
        name: "relu6",
        formula: "min(max(z, 0), 6)",
        fixed: [6.0, 0.0],
        file: "clipped_relu",
        wgsl: file!("clipped_relu"),
        from_y: true,
        from_bit: true,
        source: "Krizhevsky 2010",
        ..PLAIN
    },
    Row {
        kind: Kind::Hardtanh,
        name: "hardtanh",
        formula: "min(max(z, min), max)",
        parameters: &[parameter("min", Some(-1.0), Domain::Finite), parameter("max", Some(1.0), Domain::Finite)],
        aliases: &["htanh"],
        file: "hardtanh",
        wgsl: file!("hardtanh"),
        from_y: true,
        from_bit: true,
        source: "Collobert 2004",
        ..PLAIN
    },
    Row {
        kind: Kind::ReluSquared,
        name: "relu_squared",
        formula: "max(z, 0)^2",
        aliases: &["relu2", "squared_relu", "relu_square", "sqr_relu"],
        file: "relu_squared",
        wgsl: file!("relu_squared"),
        ulp: [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        source: "So et al. 2021 (Primer)",
        ..PLAIN
    },
    Row {
        kind: Kind::ThresholdedRelu,
        name: "thresholded_relu",
        formula: "z > theta ? z : 0",
        parameters: &[parameter("theta", Some(1.0), Domain::Finite)],
        file: "threshold",
        wgsl: file!("threshold"),
        from_bit: true,
        source: "Konda, Memisevic, Krueger 2014; ONNX ThresholdedRelu",
        ..PLAIN
    },
    Row {
        kind: Kind::Threshold,
        name: "threshold",
        formula: "z > threshold ? z : value",
        parameters: &[parameter("threshold", None, Domain::Finite), parameter("value", None, Domain::Finite)],
        file: "threshold",
        wgsl: file!("threshold"),
        from_bit: true,
        source: "PyTorch Threshold",
        ..PLAIN
    },
    Row {
        kind: Kind::Elu,
        name: "elu",
        formula: "z > 0 ? z : alpha (exp(z) - 1)",
        parameters: &[parameter("alpha", Some(1.0), Domain::Moderate)],
        learnable: true,
        file: "elu",
        wgsl: file!("elu"),
        ulp: [2.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 0.0],
        from_y: true,
        source: "Clevert, Unterthiner, Hochreiter 2015",
        ..PLAIN
    },
    Row {
        kind: Kind::Celu,
        name: "celu",
        formula: "z > 0 ? z : alpha (exp(z / alpha) - 1)",
        parameters: &[parameter("alpha", Some(1.0), Domain::ModerateNonZero)],
        learnable: true,
        file: "celu",
        wgsl: file!("celu"),
        ulp: [4.0, 4.0, 6.0, 6.0, 6.0, 8.0, 8.0, 8.0],
        from_y: true,
        source: "Barron 2017",
        ..PLAIN
    },
    Row {
        kind: Kind::Selu,
        name: "selu",
        formula: "1.0507009873554805 (z > 0 ? z : 1.6732632423543772 (exp(z) - 1))",
        file: "selu",
        wgsl: file!("selu"),
        ulp: [2.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        source: "Klambauer et al. 2017",
        ..PLAIN
    },
    Row {
        kind: Kind::Softplus,
        name: "softplus",
        formula: "beta z > threshold ? z : log(1 + exp(beta z)) / beta",
        parameters: &[
            parameter("beta", Some(1.0), Domain::ModeratePositive),
            parameter("threshold", Some(f32::INFINITY), Domain::NonNegativeOrNever),
        ],
        learnable: true,
        aliases: &["soft_relu"],
        file: "softplus",
        wgsl: file!("softplus"),
        ulp: [6.0, 5.0, 8.0, 10.0, 10.0, 8.0, 10.0, 14.0],
        from_y: true,
        source: "Dugas et al. 2001; the threshold is PyTorch's (20 there)",
        ..PLAIN
    },
    Row {
        kind: Kind::Squareplus,
        name: "squareplus",
        formula: "(z + sqrt(z^2 + b)) / 2",
        parameters: &[parameter("b", Some(4.0), Domain::ModeratePositive)],
        learnable: true,
        file: "squareplus",
        wgsl: file!("squareplus"),
        ulp: [6.0, 10.0, 14.0, 22.0, 6.0, 14.0, 22.0, 14.0],
        from_y: true,
        source: "Barron 2021",
        ..PLAIN
    },
    Row {
        kind: Kind::GeluErf,
        name: "gelu_erf",
        formula: "z Phi(z)",
        aliases: &["gelu", "gelu_python", "gelu_none", "gelu_exact"],
        file: "gelu_erf",
        wgsl: file!("gelu_erf"),
        ulp: [8.0, 8.0, 6.0, 6.0, 0.0, 0.0, 0.0, 0.0],
        source: "Hendrycks and Gimpel 2016",
        ..PLAIN
    },
    Row {
        kind: Kind::GeluTanh,
        name: "gelu_tanh",
        formula: "z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))",
        aliases: &[
            "gelu_new",
            "gelu_pytorch_tanh",
            "gelu_python_tanh",
            "gelu_fast",
            "gelu_accurate",
            "gelu_approximate",
        ],
        file: "gelu_tanh",
        wgsl: file!("gelu_tanh"),
        ulp: [8.0, 10.0, 8.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        source: "Hendrycks and Gimpel 2016; GPT-2",
        ..PLAIN
    },
    Row {
        kind: Kind::QuickGelu,
        name: "quick_gelu",
        formula: "z sigmoid(1.702 z)",
        fixed: [1.702, 0.0],
        aliases: &["gelu_quick", "gelu_sigmoid"],
        file: "swish",
        wgsl: file!("swish"),
        ulp: [6.0, 8.0, 8.0, 10.0, 0.0, 0.0, 0.0, 0.0],
        source: "Hendrycks and Gimpel 2016; CLIP",
        ..PLAIN
    },
    Row {
        kind: Kind::Silu,
        name: "silu",
        formula: "z sigmoid(z)",
        fixed: [1.0, 0.0],
        aliases: &["sigmoid_linear_unit"],
        file: "silu",
        wgsl: file!("silu"),
        ulp: [6.0, 8.0, 8.0, 10.0, 0.0, 0.0, 0.0, 0.0],
        source: "Elfwing, Uchibe, Doya 2017",
        ..PLAIN
    },
    Row {
        kind: Kind::Swish,
        name: "swish",
        formula: "z sigmoid(beta z)",
        parameters: &[parameter("beta", Some(1.0), Domain::Moderate)],
        learnable: true,
        file: "swish",
        wgsl: file!("swish"),
        ulp: [6.0, 8.0, 8.0, 10.0, 8.0, 8.0, 8.0, 12.0],
        source: "Ramachandran, Zoph, Le 2017",
        ..PLAIN
    },
    Row {
        kind: Kind::Mish,
        name: "mish",
        formula: "z tanh(log(1 + exp(z)))",
        file: "mish",
        wgsl: file!("mish"),
        ulp: [8.0, 8.0, 16.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        source: "Misra 2019",
        ..PLAIN
    },
    Row {
        kind: Kind::Hardswish,
        name: "hardswish",
        formula: "z min(max(z + 3, 0), 6) / 6",
        aliases: &["hswish", "hard_silu"],
        file: "hardswish",
        wgsl: file!("hardswish"),
        ulp: [4.0, 3.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0],
        source: "Howard et al. 2019 (MobileNetV3)",
        ..PLAIN
    },
    Row {
        kind: Kind::Hardsigmoid,
        name: "hardsigmoid",
        formula: "min(max(z + 3, 0), 6) / 6",
        aliases: &["hsigmoid"],
        file: "hardsigmoid",
        wgsl: file!("hardsigmoid"),
        ulp: [4.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        from_bit: true,
        source: "PyTorch Hardsigmoid; with arguments the next row",
        ..PLAIN
    },
    Row {
        kind: Kind::HardsigmoidAffine,
        name: "hardsigmoid",
        formula: "min(max(slope z + offset, 0), 1)",
        parameters: &[
            parameter("slope", Some(0.2), Domain::Moderate),
            parameter("offset", Some(0.5), Domain::Moderate),
        ],
        aliases: &["hardsigmoid_onnx"],
        file: "hardsigmoid_affine",
        wgsl: file!("hardsigmoid_affine"),
        ulp: [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        from_bit: true,
        source: "Courbariaux, Bengio, David 2015; ONNX HardSigmoid",
        ..PLAIN
    },
    Row {
        kind: Kind::Sigmoid,
        name: "sigmoid",
        formula: "1 / (1 + exp(-z))",
        aliases: &["logistic", "sigm", "expit"],
        file: "sigmoid",
        wgsl: file!("sigmoid"),
        ulp: [5.0, 8.0, 10.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        source: "the logistic function",
        ..PLAIN
    },
    Row {
        kind: Kind::Logsigmoid,
        name: "logsigmoid",
        formula: "log(1 / (1 + exp(-z)))",
        file: "logsigmoid",
        wgsl: file!("logsigmoid"),
        ulp: [6.0, 5.0, 8.0, 10.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        source: "PyTorch LogSigmoid",
        ..PLAIN
    },
    Row {
        kind: Kind::Tanh,
        name: "tanh",
        formula: "tanh(z)",
        aliases: &["hyperbolic_tangent"],
        file: "tanh",
        wgsl: file!("tanh"),
        ulp: [3.0, 8.0, 10.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        source: "LeCun et al. 1998",
        ..PLAIN
    },
    Row {
        kind: Kind::Softsign,
        name: "softsign",
        formula: "z / (1 + |z|)",
        file: "softsign",
        wgsl: file!("softsign"),
        ulp: [4.0, 8.0, 10.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        from_y: true,
        source: "Bergstra et al. 2009",
        ..PLAIN
    },
    Row {
        kind: Kind::Tanhshrink,
        name: "tanhshrink",
        formula: "z - tanh(z)",
        file: "tanhshrink",
        wgsl: file!("tanhshrink"),
        ulp: [5.0, 8.0, 10.0, 12.0, 0.0, 0.0, 0.0, 0.0],
        source: "PyTorch Tanhshrink",
        ..PLAIN
    },
    Row {
        kind: Kind::Softshrink,
        name: "softshrink",
        formula: "z > lambda ? z - lambda : z < -lambda ? z + lambda : 0",
        parameters: &[parameter("lambda", Some(0.5), Domain::NonNegative)],
        learnable: true,
        aliases: &["soft_threshold"],
        file: "softshrink",
        wgsl: file!("softshrink"),
        ulp: [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        from_bit: true,
        source: "Donoho 1995 (soft thresholding)",
        ..PLAIN
    },
    Row {
        kind: Kind::Hardshrink,
        name: "hardshrink",
        formula: "|z| > lambda ? z : 0",
        parameters: &[parameter("lambda", Some(0.5), Domain::NonNegative)],
        aliases: &["hard_threshold"],
        file: "hardshrink",
        wgsl: file!("hardshrink"),
        from_bit: true,
        source: "Donoho and Johnstone 1994 (hard thresholding)",
        ..PLAIN
    },
];
