struct Params { rows: u32, cols: u32, red: u32, tiles_rows: u32, tiles_cols: u32, chunk: u32, p0: u32, p1: u32 }
@group(0) @binding(0) var<uniform> P: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
fn act4(v: vec4<f32>) -> vec4<f32> { return v; }
var<workgroup> tile: array<vec4<f32>, 2048>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
let row0 = wid.x / P.tiles_cols * 128u; let col0 = wid.x % P.tiles_cols * 128u;
let first = wid.y * P.chunk; let end = min(first + P.chunk, P.red); let lead = (end - first - 1u) % 16u + 1u; let last = max(end, 16u) - 16u;
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
var i_0_1: u32; var f_0_1: vec4<f32>;
var i_0_2: u32; var f_0_2: vec4<f32>;
var i_0_3: u32; var f_0_3: vec4<f32>;
var t_0: u32; var g_0: u32; 
if (lane < 128u) { let v = (lane + 0u); let mg = v % 32u; let kg = v / 32u; i_0_0 = (min(kg * 4u + 0u, P.red - 1u)) * (P.rows / 4u) + min(row0 / 4u + mg, P.rows / 4u - 1u); i_0_1 = (min(kg * 4u + 1u, P.red - 1u)) * (P.rows / 4u) + min(row0 / 4u + mg, P.rows / 4u - 1u); i_0_2 = (min(kg * 4u + 2u, P.red - 1u)) * (P.rows / 4u) + min(row0 / 4u + mg, P.rows / 4u - 1u); i_0_3 = (min(kg * 4u + 3u, P.red - 1u)) * (P.rows / 4u) + min(row0 / 4u + mg, P.rows / 4u - 1u); t_0 = 0u + kg * 128u + mg; g_0 = kg * 4u; } else { let v = (lane - 128u); let mg = v % 32u; let kg = v / 32u; i_0_0 = (min(kg * 4u + 0u, P.red - 1u)) * (P.cols / 4u) + min(col0 / 4u + mg, P.cols / 4u - 1u); i_0_1 = (min(kg * 4u + 1u, P.red - 1u)) * (P.cols / 4u) + min(col0 / 4u + mg, P.cols / 4u - 1u); i_0_2 = (min(kg * 4u + 2u, P.red - 1u)) * (P.cols / 4u) + min(col0 / 4u + mg, P.cols / 4u - 1u); i_0_3 = (min(kg * 4u + 3u, P.red - 1u)) * (P.cols / 4u) + min(col0 / 4u + mg, P.cols / 4u - 1u); t_0 = 512u + kg * 128u + mg; g_0 = kg * 4u; }

if (lane < 128u) { let u = first * (P.rows / 4u); f_0_0 = vec4<f32>(); if (g_0 + 0u < lead) { f_0_0 = a[i_0_0 + u]; } f_0_1 = vec4<f32>(); if (g_0 + 1u < lead) { f_0_1 = a[i_0_1 + u]; } f_0_2 = vec4<f32>(); if (g_0 + 2u < lead) { f_0_2 = a[i_0_2 + u]; } f_0_3 = vec4<f32>(); if (g_0 + 3u < lead) { f_0_3 = a[i_0_3 + u]; }  } else { let u = first * (P.cols / 4u); f_0_0 = vec4<f32>(); if (g_0 + 0u < lead) { f_0_0 = b[i_0_0 + u]; } f_0_1 = vec4<f32>(); if (g_0 + 1u < lead) { f_0_1 = b[i_0_1 + u]; } f_0_2 = vec4<f32>(); if (g_0 + 2u < lead) { f_0_2 = b[i_0_2 + u]; } f_0_3 = vec4<f32>(); if (g_0 + 3u < lead) { f_0_3 = b[i_0_3 + u]; }  }
if (lane < 128u) { tile[t_0 + 0u] = f_0_0;
tile[t_0 + 32u] = f_0_1;
tile[t_0 + 64u] = f_0_2;
tile[t_0 + 96u] = f_0_3;
 } else { tile[t_0 + 0u] = f_0_0;
tile[t_0 + 32u] = f_0_1;
tile[t_0 + 64u] = f_0_2;
tile[t_0 + 96u] = f_0_3;
 }
workgroupBarrier(); var cur = 0u;
for (var r = first + lead; r <= end; r += 16u) {
let nx = min(r, last);
if (lane < 128u) { let u = nx * (P.rows / 4u); f_0_0 = a[i_0_0 + u]; f_0_1 = a[i_0_1 + u]; f_0_2 = a[i_0_2 + u]; f_0_3 = a[i_0_3 + u];  } else { let u = nx * (P.cols / 4u); f_0_0 = b[i_0_0 + u]; f_0_1 = b[i_0_1 + u]; f_0_2 = b[i_0_2 + u]; f_0_3 = b[i_0_3 + u];  }
let ba0_0 = ((ry + 0u) ^ 0u) + cur;
let bb0_0 = ((cx + 0u) ^ 0u) + cur;
let a_0_0 = tile[0u + ba0_0];
let a_0_1 = tile[4u + ba0_0];
let b_0_0 = tile[512u + bb0_0];
let b_0_1 = tile[520u + bb0_0];
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
let a_1_0 = tile[32u + ba0_0];
let a_1_1 = tile[36u + ba0_0];
let b_1_0 = tile[544u + bb0_0];
let b_1_1 = tile[552u + bb0_0];
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
let a_2_0 = tile[64u + ba0_0];
let a_2_1 = tile[68u + ba0_0];
let b_2_0 = tile[576u + bb0_0];
let b_2_1 = tile[584u + bb0_0];
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
let a_3_0 = tile[96u + ba0_0];
let a_3_1 = tile[100u + ba0_0];
let b_3_0 = tile[608u + bb0_0];
let b_3_1 = tile[616u + bb0_0];
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
let a_4_0 = tile[128u + ba0_0];
let a_4_1 = tile[132u + ba0_0];
let b_4_0 = tile[640u + bb0_0];
let b_4_1 = tile[648u + bb0_0];
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
let a_5_0 = tile[160u + ba0_0];
let a_5_1 = tile[164u + ba0_0];
let b_5_0 = tile[672u + bb0_0];
let b_5_1 = tile[680u + bb0_0];
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
let a_6_0 = tile[192u + ba0_0];
let a_6_1 = tile[196u + ba0_0];
let b_6_0 = tile[704u + bb0_0];
let b_6_1 = tile[712u + bb0_0];
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
let a_7_0 = tile[224u + ba0_0];
let a_7_1 = tile[228u + ba0_0];
let b_7_0 = tile[736u + bb0_0];
let b_7_1 = tile[744u + bb0_0];
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
let a_8_0 = tile[256u + ba0_0];
let a_8_1 = tile[260u + ba0_0];
let b_8_0 = tile[768u + bb0_0];
let b_8_1 = tile[776u + bb0_0];
acc_0_0 += a_8_0.x * b_8_0;
acc_0_1 += a_8_0.x * b_8_1;
acc_1_0 += a_8_0.y * b_8_0;
acc_1_1 += a_8_0.y * b_8_1;
acc_2_0 += a_8_0.z * b_8_0;
acc_2_1 += a_8_0.z * b_8_1;
acc_3_0 += a_8_0.w * b_8_0;
acc_3_1 += a_8_0.w * b_8_1;
acc_4_0 += a_8_1.x * b_8_0;
acc_4_1 += a_8_1.x * b_8_1;
acc_5_0 += a_8_1.y * b_8_0;
acc_5_1 += a_8_1.y * b_8_1;
acc_6_0 += a_8_1.z * b_8_0;
acc_6_1 += a_8_1.z * b_8_1;
acc_7_0 += a_8_1.w * b_8_0;
acc_7_1 += a_8_1.w * b_8_1;
let a_9_0 = tile[288u + ba0_0];
let a_9_1 = tile[292u + ba0_0];
let b_9_0 = tile[800u + bb0_0];
let b_9_1 = tile[808u + bb0_0];
acc_0_0 += a_9_0.x * b_9_0;
acc_0_1 += a_9_0.x * b_9_1;
acc_1_0 += a_9_0.y * b_9_0;
acc_1_1 += a_9_0.y * b_9_1;
acc_2_0 += a_9_0.z * b_9_0;
acc_2_1 += a_9_0.z * b_9_1;
acc_3_0 += a_9_0.w * b_9_0;
acc_3_1 += a_9_0.w * b_9_1;
acc_4_0 += a_9_1.x * b_9_0;
acc_4_1 += a_9_1.x * b_9_1;
acc_5_0 += a_9_1.y * b_9_0;
acc_5_1 += a_9_1.y * b_9_1;
acc_6_0 += a_9_1.z * b_9_0;
acc_6_1 += a_9_1.z * b_9_1;
acc_7_0 += a_9_1.w * b_9_0;
acc_7_1 += a_9_1.w * b_9_1;
let a_10_0 = tile[320u + ba0_0];
let a_10_1 = tile[324u + ba0_0];
let b_10_0 = tile[832u + bb0_0];
let b_10_1 = tile[840u + bb0_0];
acc_0_0 += a_10_0.x * b_10_0;
acc_0_1 += a_10_0.x * b_10_1;
acc_1_0 += a_10_0.y * b_10_0;
acc_1_1 += a_10_0.y * b_10_1;
acc_2_0 += a_10_0.z * b_10_0;
acc_2_1 += a_10_0.z * b_10_1;
acc_3_0 += a_10_0.w * b_10_0;
acc_3_1 += a_10_0.w * b_10_1;
acc_4_0 += a_10_1.x * b_10_0;
acc_4_1 += a_10_1.x * b_10_1;
acc_5_0 += a_10_1.y * b_10_0;
acc_5_1 += a_10_1.y * b_10_1;
acc_6_0 += a_10_1.z * b_10_0;
acc_6_1 += a_10_1.z * b_10_1;
acc_7_0 += a_10_1.w * b_10_0;
acc_7_1 += a_10_1.w * b_10_1;
let a_11_0 = tile[352u + ba0_0];
let a_11_1 = tile[356u + ba0_0];
let b_11_0 = tile[864u + bb0_0];
let b_11_1 = tile[872u + bb0_0];
acc_0_0 += a_11_0.x * b_11_0;
acc_0_1 += a_11_0.x * b_11_1;
acc_1_0 += a_11_0.y * b_11_0;
acc_1_1 += a_11_0.y * b_11_1;
acc_2_0 += a_11_0.z * b_11_0;
acc_2_1 += a_11_0.z * b_11_1;
acc_3_0 += a_11_0.w * b_11_0;
acc_3_1 += a_11_0.w * b_11_1;
acc_4_0 += a_11_1.x * b_11_0;
acc_4_1 += a_11_1.x * b_11_1;
acc_5_0 += a_11_1.y * b_11_0;
acc_5_1 += a_11_1.y * b_11_1;
acc_6_0 += a_11_1.z * b_11_0;
acc_6_1 += a_11_1.z * b_11_1;
acc_7_0 += a_11_1.w * b_11_0;
acc_7_1 += a_11_1.w * b_11_1;
let a_12_0 = tile[384u + ba0_0];
let a_12_1 = tile[388u + ba0_0];
let b_12_0 = tile[896u + bb0_0];
let b_12_1 = tile[904u + bb0_0];
acc_0_0 += a_12_0.x * b_12_0;
acc_0_1 += a_12_0.x * b_12_1;
acc_1_0 += a_12_0.y * b_12_0;
acc_1_1 += a_12_0.y * b_12_1;
acc_2_0 += a_12_0.z * b_12_0;
acc_2_1 += a_12_0.z * b_12_1;
acc_3_0 += a_12_0.w * b_12_0;
acc_3_1 += a_12_0.w * b_12_1;
acc_4_0 += a_12_1.x * b_12_0;
acc_4_1 += a_12_1.x * b_12_1;
acc_5_0 += a_12_1.y * b_12_0;
acc_5_1 += a_12_1.y * b_12_1;
acc_6_0 += a_12_1.z * b_12_0;
acc_6_1 += a_12_1.z * b_12_1;
acc_7_0 += a_12_1.w * b_12_0;
acc_7_1 += a_12_1.w * b_12_1;
let a_13_0 = tile[416u + ba0_0];
let a_13_1 = tile[420u + ba0_0];
let b_13_0 = tile[928u + bb0_0];
let b_13_1 = tile[936u + bb0_0];
acc_0_0 += a_13_0.x * b_13_0;
acc_0_1 += a_13_0.x * b_13_1;
acc_1_0 += a_13_0.y * b_13_0;
acc_1_1 += a_13_0.y * b_13_1;
acc_2_0 += a_13_0.z * b_13_0;
acc_2_1 += a_13_0.z * b_13_1;
acc_3_0 += a_13_0.w * b_13_0;
acc_3_1 += a_13_0.w * b_13_1;
acc_4_0 += a_13_1.x * b_13_0;
acc_4_1 += a_13_1.x * b_13_1;
acc_5_0 += a_13_1.y * b_13_0;
acc_5_1 += a_13_1.y * b_13_1;
acc_6_0 += a_13_1.z * b_13_0;
acc_6_1 += a_13_1.z * b_13_1;
acc_7_0 += a_13_1.w * b_13_0;
acc_7_1 += a_13_1.w * b_13_1;
let a_14_0 = tile[448u + ba0_0];
let a_14_1 = tile[452u + ba0_0];
let b_14_0 = tile[960u + bb0_0];
let b_14_1 = tile[968u + bb0_0];
acc_0_0 += a_14_0.x * b_14_0;
acc_0_1 += a_14_0.x * b_14_1;
acc_1_0 += a_14_0.y * b_14_0;
acc_1_1 += a_14_0.y * b_14_1;
acc_2_0 += a_14_0.z * b_14_0;
acc_2_1 += a_14_0.z * b_14_1;
acc_3_0 += a_14_0.w * b_14_0;
acc_3_1 += a_14_0.w * b_14_1;
acc_4_0 += a_14_1.x * b_14_0;
acc_4_1 += a_14_1.x * b_14_1;
acc_5_0 += a_14_1.y * b_14_0;
acc_5_1 += a_14_1.y * b_14_1;
acc_6_0 += a_14_1.z * b_14_0;
acc_6_1 += a_14_1.z * b_14_1;
acc_7_0 += a_14_1.w * b_14_0;
acc_7_1 += a_14_1.w * b_14_1;
let a_15_0 = tile[480u + ba0_0];
let a_15_1 = tile[484u + ba0_0];
let b_15_0 = tile[992u + bb0_0];
let b_15_1 = tile[1000u + bb0_0];
acc_0_0 += a_15_0.x * b_15_0;
acc_0_1 += a_15_0.x * b_15_1;
acc_1_0 += a_15_0.y * b_15_0;
acc_1_1 += a_15_0.y * b_15_1;
acc_2_0 += a_15_0.z * b_15_0;
acc_2_1 += a_15_0.z * b_15_1;
acc_3_0 += a_15_0.w * b_15_0;
acc_3_1 += a_15_0.w * b_15_1;
acc_4_0 += a_15_1.x * b_15_0;
acc_4_1 += a_15_1.x * b_15_1;
acc_5_0 += a_15_1.y * b_15_0;
acc_5_1 += a_15_1.y * b_15_1;
acc_6_0 += a_15_1.z * b_15_0;
acc_6_1 += a_15_1.z * b_15_1;
acc_7_0 += a_15_1.w * b_15_0;
acc_7_1 += a_15_1.w * b_15_1;
let other = 1024u - cur;
if (lane < 128u) { tile[t_0 + 0u + other] = f_0_0;
tile[t_0 + 32u + other] = f_0_1;
tile[t_0 + 64u + other] = f_0_2;
tile[t_0 + 96u + other] = f_0_3;
 } else { tile[t_0 + 0u + other] = f_0_0;
tile[t_0 + 32u + other] = f_0_1;
tile[t_0 + 64u + other] = f_0_2;
tile[t_0 + 96u + other] = f_0_3;
 }
workgroupBarrier();
cur = other;
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
