// The parameter block of every kernel: the twin of `kernel::Params`, compared with it by reflection in a test.
struct Params {
    rows: u32,
    cols: u32,
    k: u32,
    chunk: u32,
    tiles: u32,
    tiles_cols: u32,
    split_tiles: u32,
    grid_x: u32,
    channels: u32,
    first: u32,
    batch: u32,
    zero: u32,
    p: vec4<f32>,
    at: array<vec4<u32>, 3>,
    batch_stride: array<vec4<u32>, 3>,
    row_stride: array<vec4<u32>, 3>,
    ignored: u32,
    parts: u32,
    splits: u32,
    half: u32,
}
@group(0) @binding(0) var<uniform> P: Params;
