// What every kernel over a whole network knows: where a layer's parameters are, blocks of weights and of inputs, bias and activation of four rows.
// P.parts layers have P.k inputs, P.channels columns between any two, P.cols outputs.
#use passed
const QUADS = BK / 4u;
const COLUMNS4 = COLUMNS / 4u;

// Its number, its size, and where its w, b and α are among all parameters.
struct Layer {
    number: u32,
    k: u32,
    n: u32,
    w: u32,
    b: u32,
    alpha: u32,
}

fn padded(count: u32) -> u32 {
    return (count + ALIGN - 1u) / ALIGN * ALIGN;
}

fn layer_from(number: u32, w: u32) -> Layer {
    let k = select(P.channels, P.k, number == 0u);
    let n = select(P.channels, P.cols, number + 1u == P.parts);
    let b = w + padded(n * k);
    return Layer(number, k, n, w, b, b + padded(n));
}

// One behind the last parameter of a hidden layer; the last layer has no α.
fn behind(layer: Layer) -> u32 {
#if PER_CHANNEL
    return layer.alpha + padded(layer.n);
#else
#if PER_LAYER
    return layer.alpha + ALIGN;
#else
    return layer.alpha;
#end
#end
}

// After the last layer the last one again: its weights are loaded once more, and not used.
fn layer_behind(layer: Layer) -> Layer {
    if (layer.number + 1u >= P.parts) {
        return layer;
    }
    return layer_from(layer.number + 1u, behind(layer));
}

// All layers between the first and the last take the same room.
fn layer_at(number: u32) -> Layer {
    if (number == 0u) {
        return layer_from(0u, 0u);
    }
    return layer_from(number, behind(layer_from(0u, 0u)) + (number - 1u) * behind(layer_from(1u, 0u)));
}

// The weights of output n for four inputs from k on.
fn weights_of(layer: Layer, n: u32, k: u32) -> vec4<f32> {
    let row = layer.w + min(n, layer.n - 1u) * layer.k;
#if VEC_W
    let v = w_at4(row + min(k, layer.k - 4u));
    return select(vec4<f32>(), v, n < layer.n && k < layer.k);
#else
    let last = layer.k - 1u;
    let v = vec4<f32>(w_at(row + min(k, last)), w_at(row + min(k + 1u, last)),
                      w_at(row + min(k + 2u, last)), w_at(row + min(k + 3u, last)));
    let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(layer.k);
    return select(vec4<f32>(), v, inside & vec4<bool>(n < layer.n));
#end
}

// A block of them, four outputs.
fn fetch(layer: Layer, n: u32, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(weights_of(layer, n, k), weights_of(layer, n + 1u, k),
                       weights_of(layer, n + 2u, k), weights_of(layer, n + 3u, k));
}

fn x_place(row: u32, col: u32) -> u32 {
#if GAPS_X
    return x_of(row, col);
#else
    return row * P.k + col;
#end
}

// Four inputs of a row from k on. A row past the edge is the last one again; it is never stored.
fn inputs_of(row: u32, k: u32) -> vec4<f32> {
    let m = min(row, P.rows - 1u);
#if VEC_X
    let v = x_at4(x_place(m, min(k, P.k - 4u)));
    return select(vec4<f32>(), v, k < P.k);
#else
    let last = P.k - 1u;
    let v = vec4<f32>(x_at(x_place(m, min(k, last))), x_at(x_place(m, min(k + 1u, last))),
                      x_at(x_place(m, min(k + 2u, last))), x_at(x_place(m, min(k + 3u, last))));
    return select(vec4<f32>(), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(P.k));
#end
}

// α of four columns of a hidden layer, which are padded to more than there are.
fn alpha_of(layer: Layer, n: u32) -> vec4<f32> {
#if PER_CHANNEL
    return parameters_at4(layer.alpha + n);
#else
#if PER_LAYER
    return vec4<f32>(parameters_at(layer.alpha));
#else
    return vec4<f32>(P.p.x);
#end
#end
}

fn hidden(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0(z.x, vec2<f32>(alpha.x, P.p.y)), act0(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0(z.z, vec2<f32>(alpha.z, P.p.y)), act0(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1(z.x, P.p.zw), act1(z.y, P.p.zw), act1(z.z, P.p.zw), act1(z.w, P.p.zw));
}

fn hidden_slope(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0_dz(z.x, vec2<f32>(alpha.x, P.p.y)), act0_dz(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0_dz(z.z, vec2<f32>(alpha.z, P.p.y)), act0_dz(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output_slope(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1_dz(z.x, P.p.zw), act1_dz(z.y, P.p.zw), act1_dz(z.z, P.p.zw), act1_dz(z.w, P.p.zw));
}

fn hidden_times(v: vec4<f32>, derivative: vec4<f32>) -> vec4<f32> {
#if PASSES_0
    return passed4(v, derivative);
#else
    return v * derivative;
#end
}

fn output_times(v: vec4<f32>, derivative: vec4<f32>) -> vec4<f32> {
#if PASSES_1
    return passed4(v, derivative);
#else
    return v * derivative;
#end
}

#if !JET
fn with_bias(sums: mat4x4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(sums[0] + b, sums[1] + b, sums[2] + b, sums[3] + b);
}

#if STATIC
fn hidden_rows(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(hidden(z[0], alpha), hidden(z[1], alpha), hidden(z[2], alpha), hidden(z[3], alpha));
}

fn output_rows(z: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(output(z[0]), output(z[1]), output(z[2]), output(z[3]));
}
#else
// A loop: a compiler for a CPU takes longer for every copy of an activation.
fn hidden_rows(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    var y = z;
    for (var r = 0u; r < 4u; r += 1u) {
        y[r] = hidden(y[r], alpha);
    }
    return y;
}

fn output_rows(z: mat4x4<f32>) -> mat4x4<f32> {
    var y = z;
    for (var r = 0u; r < 4u; r += 1u) {
        y[r] = output(y[r]);
    }
    return y;
}
#end
#end
