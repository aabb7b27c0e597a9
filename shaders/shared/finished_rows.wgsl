// What becomes of a network's rows behind a product: the activation of rows that belong together, and y.
#use layers
#if JET
// The rows of a point: its value, its tangents, and the operator's row (src/jet.rs). b moves the value alone.
alias Point = array<vec4<f32>, MEMBERS_OF_JET>;

#if BENDS
fn hidden_bend(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0_dzz(z.x, vec2<f32>(alpha.x, P.p.y)), act0_dzz(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0_dzz(z.z, vec2<f32>(alpha.z, P.p.y)), act0_dzz(z.w, vec2<f32>(alpha.w, P.p.y)));
}

fn output_bend(z: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act1_dzz(z.x, P.p.zw), act1_dzz(z.y, P.p.zw), act1_dzz(z.z, P.p.zw), act1_dzz(z.w, P.p.zw));
}

// The operator's quadratic form of the tangents.
fn form(z: Point) -> vec4<f32> {
    var sum = vec4<f32>();
#for i in TANGENTS
#for j in TANGENTS
#if C{i}{j}
    sum += bitcast<f32>(C{i}{j}) * (z[{i}u + 1u] * z[{j}u + 1u]);
#end
#end
#end
    return sum;
}
#end

fn hidden_point(z: Point, alpha: vec4<f32>) -> Point {
    let slope = hidden_slope(z[0], alpha);
    var y = z;
#for r in MEMBERS_OF_JET
    y[{r}] = hidden_times(z[{r}], slope);
#end
    y[0] = hidden(z[0], alpha);
#if BENDS
    y[MEMBERS_OF_JET - 1u] += hidden_times(form(z), hidden_bend(z[0], alpha));
#end
    return y;
}

fn output_point(z: Point) -> Point {
    let slope = output_slope(z[0]);
    var y = z;
#for r in MEMBERS_OF_JET
    y[{r}] = output_times(z[{r}], slope);
#end
    y[0] = output(z[0]);
#if BENDS
    y[MEMBERS_OF_JET - 1u] += output_times(form(z), output_bend(z[0]));
#end
    return y;
}
#end

// Four outputs of a row from n on.
fn store(row: u32, n: u32, v: vec4<f32>) {
    if (row >= P.rows || n >= P.cols) {
        return;
    }
#if GAPS_Y
    let at = y_of(row, n);
#else
    let at = row * P.cols + n;
#end
#if VEC_Y
    y_put4(at, v);
#else
    y_put(at, v.x);
#for i in 3
    if (n + {i}u + 1u < P.cols) {
        y_put(at + {i}u + 1u, v[{i}u + 1u]);
    }
#end
#end
}
