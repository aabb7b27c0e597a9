//! The numbers of a model in an ONNX file: of its messages, those that lead to them (onnx.proto3).

use std::collections::HashMap;

use prost::Message;

use super::Result;

#[derive(Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Initialiser>,
}

#[derive(Message)]
struct Initialiser {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// `TensorProto.FLOAT`.
const FLOAT: i32 = 1;

/// Shape and numbers.
type Tensor = (Vec<i64>, Vec<f32>);

/// The tensors of f32 that the file has, by name.
pub(crate) struct Weights(HashMap<String, Tensor>);

impl Weights {
    pub(crate) fn read(file: &[u8]) -> Result<Self> {
        let graph = Model::decode(file)?.graph.ok_or("an ONNX file without a graph")?;
        let floats = graph.initializer.into_iter().filter(|tensor| tensor.data_type == FLOAT);
        let numbers = |tensor: Initialiser| {
            let values = tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (tensor.name, (tensor.dims, values))
        };
        Ok(Weights(floats.map(numbers).collect()))
    }

    /// The tensor of this name, which must have this shape.
    pub(crate) fn take(&mut self, name: &str, shape: &[i64]) -> Result<Vec<f32>> {
        let (dims, values) = self.0.remove(name).ok_or_else(|| format!("the model has no tensor {name:?} of f32"))?;
        let complete = values.len() as i64 == dims.iter().product::<i64>();
        let got = format!("{name}: expected {shape:?}, got {dims:?} with {} numbers", values.len());
        if dims == shape && complete { Ok(values) } else { Err(got.into()) }
    }
}
