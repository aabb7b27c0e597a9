#if BENDS
// The operator's quadratic form of a point's tangents (src/jet.rs), each pair once. A coefficient of 0 is not there: beside an infinity it would be NaN.
// The kernel has said what a `Point` is, and what of it a `Member`.
fn form(z: Point) -> Member {
    var sum = Member();
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
