#if !JET
// What a lane finishes of a layer of a network: four rows of its four columns (OWN), row by row. lane_points.wgsl has the same for rows that are points.
const OWN = 4u;

fn with_own_bias(sums: mat4x4<f32>, b: vec4<f32>, y: u32) -> mat4x4<f32> {
    return with_bias(sums, b);
}

fn own_columns(v: vec4<f32>, y: u32) -> vec4<f32> {
    return v;
}

fn all_columns(v: vec4<f32>, y: u32) -> vec4<f32> {
    return v;
}

fn hidden_own(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    return hidden_rows(z, alpha);
}

fn last_gradient(dy: mat4x4<f32>, z: mat4x4<f32>) -> mat4x4<f32> {
    var dz = dy;
    for (var r = 0u; r < 4u; r += 1u) {
        dz[r] = output_times(dy[r], output_slope(z[r]));
    }
    return dz;
}

fn hidden_gradient(dy: mat4x4<f32>, z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    var dz = dy;
    for (var r = 0u; r < 4u; r += 1u) {
        dz[r] = hidden_times(dy[r], hidden_slope(z[r], alpha));
    }
    return dz;
}

// What these rows add to db of the columns.
fn bias_gradient(dz: mat4x4<f32>, row: u32) -> vec4<f32> {
    let inside = rows_inside(row);
    var sum = vec4<f32>();
#for r in 4
    sum += select(vec4<f32>(), dz[{r}], vec4<bool>(inside[{r}]));
#end
    return sum;
}

#if LEARNS
fn hidden_alpha_slope(z: vec4<f32>, alpha: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(act0_da(z.x, vec2<f32>(alpha.x, P.p.y)), act0_da(z.y, vec2<f32>(alpha.y, P.p.y)),
                     act0_da(z.z, vec2<f32>(alpha.z, P.p.y)), act0_da(z.w, vec2<f32>(alpha.w, P.p.y)));
}

// And to dα.
fn alpha_gradient(dy: mat4x4<f32>, z: mat4x4<f32>, alpha: vec4<f32>, row: u32) -> vec4<f32> {
    let inside = rows_inside(row);
    var sum = vec4<f32>();
    for (var r = 0u; r < 4u; r += 1u) {
        let v = hidden_times(dy[r], hidden_alpha_slope(z[r], alpha));
        sum += select(vec4<f32>(), v, vec4<bool>(inside[r]));
    }
    return sum;
}
#end
#end
