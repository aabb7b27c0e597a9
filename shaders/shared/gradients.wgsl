// What both kernels of a network's gradients do with memory: x, dy and dx by four rows of four columns, what a lane keeps of z in the scratch buffer, and a
// workgroup's row of `partials`.
#use layers
// Which of four rows there are.
fn rows_inside(row: u32) -> vec4<bool> {
    return vec4<u32>(row, row + 1u, row + 2u, row + 3u) < vec4<u32>(P.rows);
}

fn columns_inside(n: u32, columns: u32) -> vec4<bool> {
    return vec4<u32>(n, n + 1u, n + 2u, n + 3u) < vec4<u32>(columns);
}

fn input_rows(row: u32, k: u32) -> mat4x4<f32> {
    return mat4x4<f32>(inputs_of(row, k), inputs_of(row + 1u, k), inputs_of(row + 2u, k), inputs_of(row + 3u, k));
}

// Columns that the layer does not have are not there either.
fn scratch_rows(place: u32, there: bool) -> mat4x4<f32> {
    if (!there) {
        return mat4x4<f32>();
    }
    return mat4x4<f32>(z_at4(place), z_at4(place + 4u * LANES), z_at4(place + 8u * LANES), z_at4(place + 12u * LANES));
}

fn put_scratch_rows(place: u32, there: bool, v: mat4x4<f32>) {
    if (there) {
#for r in 4
        z_put4(place + {r}u * 4u * LANES, v[{r}]);
#end
    }
}

fn dy_place(row: u32, col: u32) -> u32 {
#if GAPS_DY
    return dy_of(row, col);
#else
    return row * P.cols + col;
#end
}

// Four columns of dy from n on.
fn upstream(row: u32, n: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if (row >= P.rows || n >= P.cols) {
        return v;
    }
    let at = dy_place(row, n);
#if VEC_DY
    v = dy_at4(at);
#else
    v.x = dy_at(at);
#for i in 3
    if (n + {i}u + 1u < P.cols) {
        v[{i}u + 1u] = dy_at(at + {i}u + 1u);
    }
#end
#end
    return v;
}

fn upstream_rows(row: u32, n: u32) -> mat4x4<f32> {
    return mat4x4<f32>(upstream(row, n), upstream(row + 1u, n), upstream(row + 2u, n), upstream(row + 3u, n));
}

// Four columns of dx of a row from k on.
fn store(row: u32, k: u32, v: vec4<f32>) {
#if DX
    if (row >= P.rows || k >= P.k) {
        return;
    }
#if GAPS_DX
    let at = dx_of(row, k);
#else
    let at = row * P.k + k;
#end
#if VEC_DX
#if ADDS_DX
    dx_put4(at, dx_at4(at) + v);
#else
    dx_put4(at, v);
#end
#else
#for i in 4
    if (k + {i}u < P.k) {
#if ADDS_DX
        dx_put(at + {i}u, dx_at(at + {i}u) + v[{i}]);
#else
        dx_put(at + {i}u, v[{i}]);
#end
    }
#end
#end
#end
}

#if DW
// The gradient of a parameter by this workgroup's rows; `sums` is the place of its row of partials.
fn put_sum(sums: u32, parameter: u32, v: f32) {
#if ADDS
    partials_put(sums + parameter, partials_at(sums + parameter) + v);
#else
    partials_put(sums + parameter, v);
#end
}

// Four neighbouring columns.
fn put_sums(sums: u32, first: u32, n: u32, columns: u32, v: vec4<f32>) {
#for i in 4
    if (n + {i}u < columns) {
        put_sum(sums, first + n + {i}u, v[{i}]);
    }
#end
}

// No parameter is between two parts, and no gradient.
fn put_zeros(sums: u32, first: u32, end: u32, lane: u32) {
    for (var i = first + lane; i < end; i += LANES) {
        put_sum(sums, i, 0.0);
    }
}
#end
