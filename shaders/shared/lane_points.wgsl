#if JET
// What a lane finishes of a layer of a network whose rows are points of four or eight: all rows of a point in OWN columns. A column is HALVES vectors of
// four rows; the second ones of all columns lie behind the first. It replaces lane_rows.wgsl.
#use form
#use passed
const OWN = 4u / HALVES;
alias Member = f32;
alias Point = array<Member, MEMBERS_OF_JET>;

fn point_of(v: mat4x4<f32>, c: u32) -> Point {
    return Point(
#for r in MEMBERS_OF_JET
        v[c + {r:vec}u * OWN].{r:lane},
#end
    );
}

fn put_point(point: Point, c: u32, v: ptr<function, mat4x4<f32>>) {
#for h in HALVES
    (*v)[c + {h}u * OWN] = vec4<f32>(point[4u * {h}u], point[4u * {h}u + 1u], point[4u * {h}u + 2u], point[4u * {h}u + 3u]);
#end
}

// b moves the values alone, the first rows of points.
fn with_own_bias(sums: mat4x4<f32>, b: vec4<f32>, y: u32) -> mat4x4<f32> {
    return mat4x4<f32>(sums[0] + select(vec4<f32>(), b, y % HALVES == 0u), sums[1], sums[2], sums[3]);
}

// Of four columns those that this lane finishes, and from them back, 0 in the others.
fn own_columns(v: vec4<f32>, y: u32) -> vec4<f32> {
    return select(v, v.zwxy, y % HALVES == 1u);
}

fn all_columns(v: vec4<f32>, y: u32) -> vec4<f32> {
    return own_columns(v, y);
}

#for s in 2
fn times_{s}(v: f32, derivative: f32) -> f32 {
#if PASSES_{s}
    return passed(v, derivative);
#else
    return v * derivative;
#end
}

// dz of a point:
//     dz_L = act' dy_L    dzᵢ = act' dyᵢ + 2 act'' Σⱼ cᵢⱼ zⱼ dy_L
//     dz₀ = act' dy₀ + act'' (Σᵢ zᵢ dyᵢ + z_L dy_L) + act''' Σᵢⱼ cᵢⱼ zᵢ zⱼ dy_L
// with the derivatives at z₀.
fn point_gradient_{s}(dy: Point, z: Point, p: vec2<f32>) -> Point {
    let slope = act{s}_dz(z[0], p);
    let curvature = act{s}_dzz(z[0], p);
    var dz = dy;
#for r in MEMBERS_OF_JET
    dz[{r}] = times_{s}(dy[{r}], slope);
#end
    dz[0] += times_{s}(along(z, dy), curvature);
#if BENDS
    let of_operator = dy[MEMBERS_OF_JET - 1u];
    let bent = times_{s}(of_operator, curvature);
    // A pair moves with both of its tangents: twice with one, where they are the same.
#for i in TANGENTS
#for j in TANGENTS
#if C{i}{j}
    dz[{i}u + 1u] += (bitcast<f32>(C{i}{j}) * z[{j}u + 1u]) * bent;
    dz[{j}u + 1u] += (bitcast<f32>(C{i}{j}) * z[{i}u + 1u]) * bent;
#end
#end
#end
    dz[0] += times_{s}(form(z) * of_operator, act{s}_dzzz(z[0], p));
#end
    return dz;
}
#end

// Σᵢ zᵢ dyᵢ + z_L dy_L
fn along(z: Point, dy: Point) -> f32 {
    var sum = z[MEMBERS_OF_JET - 1u] * dy[MEMBERS_OF_JET - 1u];
#for i in TANGENTS
    sum += z[{i}u + 1u] * dy[{i}u + 1u];
#end
    return sum;
}

fn hidden_point(z: Point, alpha: f32) -> Point {
    let p = vec2<f32>(alpha, P.p.y);
    let slope = act0_dz(z[0], p);
    var y = z;
#for r in MEMBERS_OF_JET
    y[{r}] = times_0(z[{r}], slope);
#end
    y[0] = act0(z[0], p);
#if BENDS
    y[MEMBERS_OF_JET - 1u] += times_0(form(z), act0_dzz(z[0], p));
#end
    return y;
}

fn hidden_own(z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    var y = z;
    for (var c = 0u; c < OWN; c += 1u) {
        put_point(hidden_point(point_of(z, c), alpha[c]), c, &y);
    }
    return y;
}

fn last_gradient(dy: mat4x4<f32>, z: mat4x4<f32>) -> mat4x4<f32> {
    var dz = dy;
    for (var c = 0u; c < OWN; c += 1u) {
        put_point(point_gradient_1(point_of(dy, c), point_of(z, c), P.p.zw), c, &dz);
    }
    return dz;
}

fn hidden_gradient(dy: mat4x4<f32>, z: mat4x4<f32>, alpha: vec4<f32>) -> mat4x4<f32> {
    var dz = dy;
    for (var c = 0u; c < OWN; c += 1u) {
        put_point(point_gradient_0(point_of(dy, c), point_of(z, c), vec2<f32>(alpha[c], P.p.y)), c, &dz);
    }
    return dz;
}

// What these points add to db of the columns: as b moves them.
fn bias_gradient(dz: mat4x4<f32>, row: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var c = 0u; c < OWN; c += 1u) {
        sum[c] = select(0.0, dz[c].x, row < P.rows);
    }
    return sum;
}

#if LEARNS
// And to dα: dz₀ with the derivative by α of the function one order below.
fn alpha_gradient(dy: mat4x4<f32>, z: mat4x4<f32>, alpha: vec4<f32>, row: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var c = 0u; c < OWN; c += 1u) {
        let upstream = point_of(dy, c);
        let point = point_of(z, c);
        let p = vec2<f32>(alpha[c], P.p.y);
        var v = times_0(upstream[0], act0_da(point[0], p)) + times_0(along(point, upstream), act0_dzda(point[0], p));
#if BENDS
        v += times_0(form(point) * upstream[MEMBERS_OF_JET - 1u], act0_dzzda(point[0], p));
#end
        sum[c] = select(0.0, v, row < P.rows);
    }
    return sum;
}
#end
#end
