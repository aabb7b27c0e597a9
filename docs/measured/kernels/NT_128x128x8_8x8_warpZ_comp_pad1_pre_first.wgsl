struct Params { rows: u32, cols: u32, red: u32, tiles_rows: u32, tiles_cols: u32, chunk: u32, p0: u32, p1: u32 }
@group(0) @binding(0) var<uniform> P: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
fn act4(v: vec4<f32>) -> vec4<f32> { return v; }
var<workgroup> tile: array<vec4<f32>, 528>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
let row0 = wid.x / P.tiles_cols * 128u; let col0 = wid.x % P.tiles_cols * 128u;
let first = wid.y * P.chunk; let end = min(first + P.chunk, P.red); let lead = (end - first - 1u) % 8u + 1u; let last = max(end, 8u) - 8u;
let ry = lane / 32u / 2u * 8u + (lane / 2u % 2u + lane / 16u % 2u * 2u); let cx = lane / 32u % 2u * 16u + (lane % 2u + lane / 4u % 4u * 2u);
var acc_0_0 = vec4<f32>();
var acc_0_1 = vec4<f32>();
var acc_1_0 = vec4<f32>();
var acc_1_1 = vec4<f32>();
var acc_2_0 = vec4<f32>();
var acc_2_1 = vec4<f32>();
var acc_3_0 = vec4<f32>();
var acc_3_1 = vec4<f32>();
var acc_4_0 = vec4<f32>();
var acc_4_1 = vec4<f32>();
var acc_5_0 = vec4<f32>();
var acc_5_1 = vec4<f32>();
var acc_6_0 = vec4<f32>();
var acc_6_1 = vec4<f32>();
var acc_7_0 = vec4<f32>();
var acc_7_1 = vec4<f32>();
var i_0_0: u32; var f_0_0: vec4<f32>;
var t_0: u32; var g_0: u32; var q_0: u32;
var i_1_0: u32; var f_1_0: vec4<f32>;
var t_1: u32; var g_1: u32; var q_1: u32;
{ let v = (lane + 0u); let kg = v % 2u; let m = v / 2u; i_0_0 = min(row0 + m, P.rows - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_0 = 0u + kg * 132u + m / 4u; q_0 = m % 4u; g_0 = kg * 4u; }

{ let v = (lane + 0u); let kg = v % 2u; let m = v / 2u; i_1_0 = min(col0 + m, P.cols - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_1 = 264u + kg * 132u + m / 4u; q_1 = m % 4u; g_1 = kg * 4u; }

{ let u = first / 4u; f_0_0 = vec4<f32>(); if (g_0 + 0u < lead) { f_0_0 = a[i_0_0 + u]; }  }
{ let u = first / 4u; f_1_0 = vec4<f32>(); if (g_1 + 0u < lead) { f_1_0 = b[i_1_0 + u]; }  }
for (var r = first + lead; r <= end; r += 8u) {
{ tile[t_0 + 0u][q_0] = f_0_0.x; tile[t_0 + 33u][q_0] = f_0_0.y; tile[t_0 + 66u][q_0] = f_0_0.z; tile[t_0 + 99u][q_0] = f_0_0.w;  }
{ tile[t_1 + 0u][q_1] = f_1_0.x; tile[t_1 + 33u][q_1] = f_1_0.y; tile[t_1 + 66u][q_1] = f_1_0.z; tile[t_1 + 99u][q_1] = f_1_0.w;  }
workgroupBarrier();
let nx = min(r, last);
{ let u = nx / 4u; f_0_0 = a[i_0_0 + u];  }
{ let u = nx / 4u; f_1_0 = b[i_1_0 + u];  }
let ba0_0 = ((ry + 0u) ^ 0u);
let bb0_0 = ((cx + 0u) ^ 0u);
let a_0_0 = tile[0u + ba0_0];
let a_0_1 = tile[4u + ba0_0];
let b_0_0 = tile[264u + bb0_0];
let b_0_1 = tile[272u + bb0_0];
acc_0_0 += a_0_0.x * b_0_0;
acc_0_1 += a_0_0.x * b_0_1;
acc_1_0 += a_0_0.y * b_0_0;
acc_1_1 += a_0_0.y * b_0_1;
acc_2_0 += a_0_0.z * b_0_0;
acc_2_1 += a_0_0.z * b_0_1;
acc_3_0 += a_0_0.w * b_0_0;
acc_3_1 += a_0_0.w * b_0_1;
acc_4_0 += a_0_1.x * b_0_0;
acc_4_1 += a_0_1.x * b_0_1;
acc_5_0 += a_0_1.y * b_0_0;
acc_5_1 += a_0_1.y * b_0_1;
acc_6_0 += a_0_1.z * b_0_0;
acc_6_1 += a_0_1.z * b_0_1;
acc_7_0 += a_0_1.w * b_0_0;
acc_7_1 += a_0_1.w * b_0_1;
let a_1_0 = tile[33u + ba0_0];
let a_1_1 = tile[37u + ba0_0];
let b_1_0 = tile[297u + bb0_0];
let b_1_1 = tile[305u + bb0_0];
acc_0_0 += a_1_0.x * b_1_0;
acc_0_1 += a_1_0.x * b_1_1;
acc_1_0 += a_1_0.y * b_1_0;
acc_1_1 += a_1_0.y * b_1_1;
acc_2_0 += a_1_0.z * b_1_0;
acc_2_1 += a_1_0.z * b_1_1;
acc_3_0 += a_1_0.w * b_1_0;
acc_3_1 += a_1_0.w * b_1_1;
acc_4_0 += a_1_1.x * b_1_0;
acc_4_1 += a_1_1.x * b_1_1;
acc_5_0 += a_1_1.y * b_1_0;
acc_5_1 += a_1_1.y * b_1_1;
acc_6_0 += a_1_1.z * b_1_0;
acc_6_1 += a_1_1.z * b_1_1;
acc_7_0 += a_1_1.w * b_1_0;
acc_7_1 += a_1_1.w * b_1_1;
let a_2_0 = tile[66u + ba0_0];
let a_2_1 = tile[70u + ba0_0];
let b_2_0 = tile[330u + bb0_0];
let b_2_1 = tile[338u + bb0_0];
acc_0_0 += a_2_0.x * b_2_0;
acc_0_1 += a_2_0.x * b_2_1;
acc_1_0 += a_2_0.y * b_2_0;
acc_1_1 += a_2_0.y * b_2_1;
acc_2_0 += a_2_0.z * b_2_0;
acc_2_1 += a_2_0.z * b_2_1;
acc_3_0 += a_2_0.w * b_2_0;
acc_3_1 += a_2_0.w * b_2_1;
acc_4_0 += a_2_1.x * b_2_0;
acc_4_1 += a_2_1.x * b_2_1;
acc_5_0 += a_2_1.y * b_2_0;
acc_5_1 += a_2_1.y * b_2_1;
acc_6_0 += a_2_1.z * b_2_0;
acc_6_1 += a_2_1.z * b_2_1;
acc_7_0 += a_2_1.w * b_2_0;
acc_7_1 += a_2_1.w * b_2_1;
let a_3_0 = tile[99u + ba0_0];
let a_3_1 = tile[103u + ba0_0];
let b_3_0 = tile[363u + bb0_0];
let b_3_1 = tile[371u + bb0_0];
acc_0_0 += a_3_0.x * b_3_0;
acc_0_1 += a_3_0.x * b_3_1;
acc_1_0 += a_3_0.y * b_3_0;
acc_1_1 += a_3_0.y * b_3_1;
acc_2_0 += a_3_0.z * b_3_0;
acc_2_1 += a_3_0.z * b_3_1;
acc_3_0 += a_3_0.w * b_3_0;
acc_3_1 += a_3_0.w * b_3_1;
acc_4_0 += a_3_1.x * b_3_0;
acc_4_1 += a_3_1.x * b_3_1;
acc_5_0 += a_3_1.y * b_3_0;
acc_5_1 += a_3_1.y * b_3_1;
acc_6_0 += a_3_1.z * b_3_0;
acc_6_1 += a_3_1.z * b_3_1;
acc_7_0 += a_3_1.w * b_3_0;
acc_7_1 += a_3_1.w * b_3_1;
let a_4_0 = tile[132u + ba0_0];
let a_4_1 = tile[136u + ba0_0];
let b_4_0 = tile[396u + bb0_0];
let b_4_1 = tile[404u + bb0_0];
acc_0_0 += a_4_0.x * b_4_0;
acc_0_1 += a_4_0.x * b_4_1;
acc_1_0 += a_4_0.y * b_4_0;
acc_1_1 += a_4_0.y * b_4_1;
acc_2_0 += a_4_0.z * b_4_0;
acc_2_1 += a_4_0.z * b_4_1;
acc_3_0 += a_4_0.w * b_4_0;
acc_3_1 += a_4_0.w * b_4_1;
acc_4_0 += a_4_1.x * b_4_0;
acc_4_1 += a_4_1.x * b_4_1;
acc_5_0 += a_4_1.y * b_4_0;
acc_5_1 += a_4_1.y * b_4_1;
acc_6_0 += a_4_1.z * b_4_0;
acc_6_1 += a_4_1.z * b_4_1;
acc_7_0 += a_4_1.w * b_4_0;
acc_7_1 += a_4_1.w * b_4_1;
let a_5_0 = tile[165u + ba0_0];
let a_5_1 = tile[169u + ba0_0];
let b_5_0 = tile[429u + bb0_0];
let b_5_1 = tile[437u + bb0_0];
acc_0_0 += a_5_0.x * b_5_0;
acc_0_1 += a_5_0.x * b_5_1;
acc_1_0 += a_5_0.y * b_5_0;
acc_1_1 += a_5_0.y * b_5_1;
acc_2_0 += a_5_0.z * b_5_0;
acc_2_1 += a_5_0.z * b_5_1;
acc_3_0 += a_5_0.w * b_5_0;
acc_3_1 += a_5_0.w * b_5_1;
acc_4_0 += a_5_1.x * b_5_0;
acc_4_1 += a_5_1.x * b_5_1;
acc_5_0 += a_5_1.y * b_5_0;
acc_5_1 += a_5_1.y * b_5_1;
acc_6_0 += a_5_1.z * b_5_0;
acc_6_1 += a_5_1.z * b_5_1;
acc_7_0 += a_5_1.w * b_5_0;
acc_7_1 += a_5_1.w * b_5_1;
let a_6_0 = tile[198u + ba0_0];
let a_6_1 = tile[202u + ba0_0];
let b_6_0 = tile[462u + bb0_0];
let b_6_1 = tile[470u + bb0_0];
acc_0_0 += a_6_0.x * b_6_0;
acc_0_1 += a_6_0.x * b_6_1;
acc_1_0 += a_6_0.y * b_6_0;
acc_1_1 += a_6_0.y * b_6_1;
acc_2_0 += a_6_0.z * b_6_0;
acc_2_1 += a_6_0.z * b_6_1;
acc_3_0 += a_6_0.w * b_6_0;
acc_3_1 += a_6_0.w * b_6_1;
acc_4_0 += a_6_1.x * b_6_0;
acc_4_1 += a_6_1.x * b_6_1;
acc_5_0 += a_6_1.y * b_6_0;
acc_5_1 += a_6_1.y * b_6_1;
acc_6_0 += a_6_1.z * b_6_0;
acc_6_1 += a_6_1.z * b_6_1;
acc_7_0 += a_6_1.w * b_6_0;
acc_7_1 += a_6_1.w * b_6_1;
let a_7_0 = tile[231u + ba0_0];
let a_7_1 = tile[235u + ba0_0];
let b_7_0 = tile[495u + bb0_0];
let b_7_1 = tile[503u + bb0_0];
acc_0_0 += a_7_0.x * b_7_0;
acc_0_1 += a_7_0.x * b_7_1;
acc_1_0 += a_7_0.y * b_7_0;
acc_1_1 += a_7_0.y * b_7_1;
acc_2_0 += a_7_0.z * b_7_0;
acc_2_1 += a_7_0.z * b_7_1;
acc_3_0 += a_7_0.w * b_7_0;
acc_3_1 += a_7_0.w * b_7_1;
acc_4_0 += a_7_1.x * b_7_0;
acc_4_1 += a_7_1.x * b_7_1;
acc_5_0 += a_7_1.y * b_7_0;
acc_5_1 += a_7_1.y * b_7_1;
acc_6_0 += a_7_1.z * b_7_0;
acc_6_1 += a_7_1.z * b_7_1;
acc_7_0 += a_7_1.w * b_7_0;
acc_7_1 += a_7_1.w * b_7_1;
workgroupBarrier();
}
let cols4 = P.cols / 4u; let col4 = col0 / 4u + cx; let top = row0 + ry * 4u; let plane = 0u;
let yi = plane + top * cols4 + col4;
let bias_0 = bias[min(col4 + 0u, cols4 - 1u)];
let bias_1 = bias[min(col4 + 8u, cols4 - 1u)];
if (top + 0u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 0u * cols4 + 0u] = act4(acc_0_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 0u * cols4 + 8u] = act4(acc_0_1 + bias_1); }
}
if (top + 1u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 1u * cols4 + 0u] = act4(acc_1_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 1u * cols4 + 8u] = act4(acc_1_1 + bias_1); }
}
if (top + 2u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 2u * cols4 + 0u] = act4(acc_2_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 2u * cols4 + 8u] = act4(acc_2_1 + bias_1); }
}
if (top + 3u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 3u * cols4 + 0u] = act4(acc_3_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 3u * cols4 + 8u] = act4(acc_3_1 + bias_1); }
}
if (top + 16u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 16u * cols4 + 0u] = act4(acc_4_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 16u * cols4 + 8u] = act4(acc_4_1 + bias_1); }
}
if (top + 17u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 17u * cols4 + 0u] = act4(acc_5_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 17u * cols4 + 8u] = act4(acc_5_1 + bias_1); }
}
if (top + 18u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 18u * cols4 + 0u] = act4(acc_6_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 18u * cols4 + 8u] = act4(acc_6_1 + bias_1); }
}
if (top + 19u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 19u * cols4 + 0u] = act4(acc_7_0 + bias_0); }
if (col4 + 8u < cols4) { y[yi + 19u * cols4 + 8u] = act4(acc_7_1 + bias_1); }
}
}
