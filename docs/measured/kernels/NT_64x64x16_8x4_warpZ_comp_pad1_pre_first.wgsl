struct Params { rows: u32, cols: u32, red: u32, tiles_rows: u32, tiles_cols: u32, chunk: u32, p0: u32, p1: u32 }
@group(0) @binding(0) var<uniform> P: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
fn act4(v: vec4<f32>) -> vec4<f32> { return v; }
var<workgroup> tile: array<vec4<f32>, 544>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
let row0 = wid.x / P.tiles_cols * 64u; let col0 = wid.x % P.tiles_cols * 64u;
let first = wid.y * P.chunk; let end = min(first + P.chunk, P.red); let lead = (end - first - 1u) % 16u + 1u; let last = max(end, 16u) - 16u;
let ry = lane / 32u / 2u * 8u + (lane / 2u % 2u + lane / 16u % 2u * 2u); let cx = lane / 32u % 2u * 8u + (lane % 2u + lane / 4u % 4u * 2u);
var acc_0_0 = vec4<f32>();
var acc_1_0 = vec4<f32>();
var acc_2_0 = vec4<f32>();
var acc_3_0 = vec4<f32>();
var acc_4_0 = vec4<f32>();
var acc_5_0 = vec4<f32>();
var acc_6_0 = vec4<f32>();
var acc_7_0 = vec4<f32>();
var i_0_0: u32; var f_0_0: vec4<f32>;
var t_0: u32; var g_0: u32; var q_0: u32;
var i_1_0: u32; var f_1_0: vec4<f32>;
var t_1: u32; var g_1: u32; var q_1: u32;
var i_2_0: u32; var f_2_0: vec4<f32>;
var t_2: u32; var g_2: u32; var q_2: u32;
var i_3_0: u32; var f_3_0: vec4<f32>;
var t_3: u32; var g_3: u32; var q_3: u32;
{ let v = (lane + 0u); let kg = v % 4u; let m = v / 4u; i_0_0 = min(row0 + m, P.rows - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_0 = 0u + kg * 68u + m / 4u; q_0 = m % 4u; g_0 = kg * 4u; }

{ let v = (lane + 128u); let kg = v % 4u; let m = v / 4u; i_1_0 = min(row0 + m, P.rows - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_1 = 0u + kg * 68u + m / 4u; q_1 = m % 4u; g_1 = kg * 4u; }

{ let v = (lane + 0u); let kg = v % 4u; let m = v / 4u; i_2_0 = min(col0 + m, P.cols - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_2 = 272u + kg * 68u + m / 4u; q_2 = m % 4u; g_2 = kg * 4u; }

{ let v = (lane + 128u); let kg = v % 4u; let m = v / 4u; i_3_0 = min(col0 + m, P.cols - 1u) * (P.red / 4u) + min(kg, P.red / 4u - 1u); t_3 = 272u + kg * 68u + m / 4u; q_3 = m % 4u; g_3 = kg * 4u; }

{ let u = first / 4u; f_0_0 = vec4<f32>(); if (g_0 + 0u < lead) { f_0_0 = a[i_0_0 + u]; }  }
{ let u = first / 4u; f_1_0 = vec4<f32>(); if (g_1 + 0u < lead) { f_1_0 = a[i_1_0 + u]; }  }
{ let u = first / 4u; f_2_0 = vec4<f32>(); if (g_2 + 0u < lead) { f_2_0 = b[i_2_0 + u]; }  }
{ let u = first / 4u; f_3_0 = vec4<f32>(); if (g_3 + 0u < lead) { f_3_0 = b[i_3_0 + u]; }  }
for (var r = first + lead; r <= end; r += 16u) {
{ tile[t_0 + 0u][q_0] = f_0_0.x; tile[t_0 + 17u][q_0] = f_0_0.y; tile[t_0 + 34u][q_0] = f_0_0.z; tile[t_0 + 51u][q_0] = f_0_0.w;  }
{ tile[t_1 + 0u][q_1] = f_1_0.x; tile[t_1 + 17u][q_1] = f_1_0.y; tile[t_1 + 34u][q_1] = f_1_0.z; tile[t_1 + 51u][q_1] = f_1_0.w;  }
{ tile[t_2 + 0u][q_2] = f_2_0.x; tile[t_2 + 17u][q_2] = f_2_0.y; tile[t_2 + 34u][q_2] = f_2_0.z; tile[t_2 + 51u][q_2] = f_2_0.w;  }
{ tile[t_3 + 0u][q_3] = f_3_0.x; tile[t_3 + 17u][q_3] = f_3_0.y; tile[t_3 + 34u][q_3] = f_3_0.z; tile[t_3 + 51u][q_3] = f_3_0.w;  }
workgroupBarrier();
let nx = min(r, last);
{ let u = nx / 4u; f_0_0 = a[i_0_0 + u];  }
{ let u = nx / 4u; f_1_0 = a[i_1_0 + u];  }
{ let u = nx / 4u; f_2_0 = b[i_2_0 + u];  }
{ let u = nx / 4u; f_3_0 = b[i_3_0 + u];  }
let ba0_0 = ((ry + 0u) ^ 0u);
let bb0_0 = ((cx + 0u) ^ 0u);
let a_0_0 = tile[0u + ba0_0];
let a_0_1 = tile[4u + ba0_0];
let b_0_0 = tile[272u + bb0_0];
acc_0_0 += a_0_0.x * b_0_0;
acc_1_0 += a_0_0.y * b_0_0;
acc_2_0 += a_0_0.z * b_0_0;
acc_3_0 += a_0_0.w * b_0_0;
acc_4_0 += a_0_1.x * b_0_0;
acc_5_0 += a_0_1.y * b_0_0;
acc_6_0 += a_0_1.z * b_0_0;
acc_7_0 += a_0_1.w * b_0_0;
let a_1_0 = tile[17u + ba0_0];
let a_1_1 = tile[21u + ba0_0];
let b_1_0 = tile[289u + bb0_0];
acc_0_0 += a_1_0.x * b_1_0;
acc_1_0 += a_1_0.y * b_1_0;
acc_2_0 += a_1_0.z * b_1_0;
acc_3_0 += a_1_0.w * b_1_0;
acc_4_0 += a_1_1.x * b_1_0;
acc_5_0 += a_1_1.y * b_1_0;
acc_6_0 += a_1_1.z * b_1_0;
acc_7_0 += a_1_1.w * b_1_0;
let a_2_0 = tile[34u + ba0_0];
let a_2_1 = tile[38u + ba0_0];
let b_2_0 = tile[306u + bb0_0];
acc_0_0 += a_2_0.x * b_2_0;
acc_1_0 += a_2_0.y * b_2_0;
acc_2_0 += a_2_0.z * b_2_0;
acc_3_0 += a_2_0.w * b_2_0;
acc_4_0 += a_2_1.x * b_2_0;
acc_5_0 += a_2_1.y * b_2_0;
acc_6_0 += a_2_1.z * b_2_0;
acc_7_0 += a_2_1.w * b_2_0;
let a_3_0 = tile[51u + ba0_0];
let a_3_1 = tile[55u + ba0_0];
let b_3_0 = tile[323u + bb0_0];
acc_0_0 += a_3_0.x * b_3_0;
acc_1_0 += a_3_0.y * b_3_0;
acc_2_0 += a_3_0.z * b_3_0;
acc_3_0 += a_3_0.w * b_3_0;
acc_4_0 += a_3_1.x * b_3_0;
acc_5_0 += a_3_1.y * b_3_0;
acc_6_0 += a_3_1.z * b_3_0;
acc_7_0 += a_3_1.w * b_3_0;
let a_4_0 = tile[68u + ba0_0];
let a_4_1 = tile[72u + ba0_0];
let b_4_0 = tile[340u + bb0_0];
acc_0_0 += a_4_0.x * b_4_0;
acc_1_0 += a_4_0.y * b_4_0;
acc_2_0 += a_4_0.z * b_4_0;
acc_3_0 += a_4_0.w * b_4_0;
acc_4_0 += a_4_1.x * b_4_0;
acc_5_0 += a_4_1.y * b_4_0;
acc_6_0 += a_4_1.z * b_4_0;
acc_7_0 += a_4_1.w * b_4_0;
let a_5_0 = tile[85u + ba0_0];
let a_5_1 = tile[89u + ba0_0];
let b_5_0 = tile[357u + bb0_0];
acc_0_0 += a_5_0.x * b_5_0;
acc_1_0 += a_5_0.y * b_5_0;
acc_2_0 += a_5_0.z * b_5_0;
acc_3_0 += a_5_0.w * b_5_0;
acc_4_0 += a_5_1.x * b_5_0;
acc_5_0 += a_5_1.y * b_5_0;
acc_6_0 += a_5_1.z * b_5_0;
acc_7_0 += a_5_1.w * b_5_0;
let a_6_0 = tile[102u + ba0_0];
let a_6_1 = tile[106u + ba0_0];
let b_6_0 = tile[374u + bb0_0];
acc_0_0 += a_6_0.x * b_6_0;
acc_1_0 += a_6_0.y * b_6_0;
acc_2_0 += a_6_0.z * b_6_0;
acc_3_0 += a_6_0.w * b_6_0;
acc_4_0 += a_6_1.x * b_6_0;
acc_5_0 += a_6_1.y * b_6_0;
acc_6_0 += a_6_1.z * b_6_0;
acc_7_0 += a_6_1.w * b_6_0;
let a_7_0 = tile[119u + ba0_0];
let a_7_1 = tile[123u + ba0_0];
let b_7_0 = tile[391u + bb0_0];
acc_0_0 += a_7_0.x * b_7_0;
acc_1_0 += a_7_0.y * b_7_0;
acc_2_0 += a_7_0.z * b_7_0;
acc_3_0 += a_7_0.w * b_7_0;
acc_4_0 += a_7_1.x * b_7_0;
acc_5_0 += a_7_1.y * b_7_0;
acc_6_0 += a_7_1.z * b_7_0;
acc_7_0 += a_7_1.w * b_7_0;
let a_8_0 = tile[136u + ba0_0];
let a_8_1 = tile[140u + ba0_0];
let b_8_0 = tile[408u + bb0_0];
acc_0_0 += a_8_0.x * b_8_0;
acc_1_0 += a_8_0.y * b_8_0;
acc_2_0 += a_8_0.z * b_8_0;
acc_3_0 += a_8_0.w * b_8_0;
acc_4_0 += a_8_1.x * b_8_0;
acc_5_0 += a_8_1.y * b_8_0;
acc_6_0 += a_8_1.z * b_8_0;
acc_7_0 += a_8_1.w * b_8_0;
let a_9_0 = tile[153u + ba0_0];
let a_9_1 = tile[157u + ba0_0];
let b_9_0 = tile[425u + bb0_0];
acc_0_0 += a_9_0.x * b_9_0;
acc_1_0 += a_9_0.y * b_9_0;
acc_2_0 += a_9_0.z * b_9_0;
acc_3_0 += a_9_0.w * b_9_0;
acc_4_0 += a_9_1.x * b_9_0;
acc_5_0 += a_9_1.y * b_9_0;
acc_6_0 += a_9_1.z * b_9_0;
acc_7_0 += a_9_1.w * b_9_0;
let a_10_0 = tile[170u + ba0_0];
let a_10_1 = tile[174u + ba0_0];
let b_10_0 = tile[442u + bb0_0];
acc_0_0 += a_10_0.x * b_10_0;
acc_1_0 += a_10_0.y * b_10_0;
acc_2_0 += a_10_0.z * b_10_0;
acc_3_0 += a_10_0.w * b_10_0;
acc_4_0 += a_10_1.x * b_10_0;
acc_5_0 += a_10_1.y * b_10_0;
acc_6_0 += a_10_1.z * b_10_0;
acc_7_0 += a_10_1.w * b_10_0;
let a_11_0 = tile[187u + ba0_0];
let a_11_1 = tile[191u + ba0_0];
let b_11_0 = tile[459u + bb0_0];
acc_0_0 += a_11_0.x * b_11_0;
acc_1_0 += a_11_0.y * b_11_0;
acc_2_0 += a_11_0.z * b_11_0;
acc_3_0 += a_11_0.w * b_11_0;
acc_4_0 += a_11_1.x * b_11_0;
acc_5_0 += a_11_1.y * b_11_0;
acc_6_0 += a_11_1.z * b_11_0;
acc_7_0 += a_11_1.w * b_11_0;
let a_12_0 = tile[204u + ba0_0];
let a_12_1 = tile[208u + ba0_0];
let b_12_0 = tile[476u + bb0_0];
acc_0_0 += a_12_0.x * b_12_0;
acc_1_0 += a_12_0.y * b_12_0;
acc_2_0 += a_12_0.z * b_12_0;
acc_3_0 += a_12_0.w * b_12_0;
acc_4_0 += a_12_1.x * b_12_0;
acc_5_0 += a_12_1.y * b_12_0;
acc_6_0 += a_12_1.z * b_12_0;
acc_7_0 += a_12_1.w * b_12_0;
let a_13_0 = tile[221u + ba0_0];
let a_13_1 = tile[225u + ba0_0];
let b_13_0 = tile[493u + bb0_0];
acc_0_0 += a_13_0.x * b_13_0;
acc_1_0 += a_13_0.y * b_13_0;
acc_2_0 += a_13_0.z * b_13_0;
acc_3_0 += a_13_0.w * b_13_0;
acc_4_0 += a_13_1.x * b_13_0;
acc_5_0 += a_13_1.y * b_13_0;
acc_6_0 += a_13_1.z * b_13_0;
acc_7_0 += a_13_1.w * b_13_0;
let a_14_0 = tile[238u + ba0_0];
let a_14_1 = tile[242u + ba0_0];
let b_14_0 = tile[510u + bb0_0];
acc_0_0 += a_14_0.x * b_14_0;
acc_1_0 += a_14_0.y * b_14_0;
acc_2_0 += a_14_0.z * b_14_0;
acc_3_0 += a_14_0.w * b_14_0;
acc_4_0 += a_14_1.x * b_14_0;
acc_5_0 += a_14_1.y * b_14_0;
acc_6_0 += a_14_1.z * b_14_0;
acc_7_0 += a_14_1.w * b_14_0;
let a_15_0 = tile[255u + ba0_0];
let a_15_1 = tile[259u + ba0_0];
let b_15_0 = tile[527u + bb0_0];
acc_0_0 += a_15_0.x * b_15_0;
acc_1_0 += a_15_0.y * b_15_0;
acc_2_0 += a_15_0.z * b_15_0;
acc_3_0 += a_15_0.w * b_15_0;
acc_4_0 += a_15_1.x * b_15_0;
acc_5_0 += a_15_1.y * b_15_0;
acc_6_0 += a_15_1.z * b_15_0;
acc_7_0 += a_15_1.w * b_15_0;
workgroupBarrier();
}
let cols4 = P.cols / 4u; let col4 = col0 / 4u + cx; let top = row0 + ry * 4u; let plane = 0u;
let yi = plane + top * cols4 + col4;
let bias_0 = bias[min(col4 + 0u, cols4 - 1u)];
if (top + 0u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 0u * cols4 + 0u] = act4(acc_0_0 + bias_0); }
}
if (top + 1u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 1u * cols4 + 0u] = act4(acc_1_0 + bias_0); }
}
if (top + 2u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 2u * cols4 + 0u] = act4(acc_2_0 + bias_0); }
}
if (top + 3u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 3u * cols4 + 0u] = act4(acc_3_0 + bias_0); }
}
if (top + 16u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 16u * cols4 + 0u] = act4(acc_4_0 + bias_0); }
}
if (top + 17u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 17u * cols4 + 0u] = act4(acc_5_0 + bias_0); }
}
if (top + 18u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 18u * cols4 + 0u] = act4(acc_6_0 + bias_0); }
}
if (top + 19u < P.rows) {
if (col4 + 0u < cols4) { y[yi + 19u * cols4 + 0u] = act4(acc_7_0 + bias_0); }
}
}
