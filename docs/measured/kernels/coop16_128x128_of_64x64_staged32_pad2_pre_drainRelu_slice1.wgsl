enable f16; enable wgpu_cooperative_matrix;
struct Params { rows: u32, cols: u32, red: u32, tiles_rows: u32, tiles_cols: u32, chunk: u32, p0: u32, p1: u32 }
@group(0) @binding(0) var<uniform> P: Params;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
fn act(z: f32) -> f32 { return select(z, 0.0, bitcast<i32>(z) <= -8388608); }
fn act4(v: vec4<f32>) -> vec4<f32> { return vec4<f32>(act(v.x), act(v.y), act(v.z), act(v.w)); }

var<workgroup> out: array<f32, 1024>;
var<workgroup> tile: array<vec4<f16>, 2560>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
let row0 = wid.x / P.tiles_cols * 128u; let col0 = wid.x % P.tiles_cols * 128u;
let sg = lane / 32u; let srow = sg / 2u * 64u; let scol = sg % 2u * 64u;
var acc_0_0 = coop_mat16x16<f32,C>();
var acc_0_1 = coop_mat16x16<f32,C>();
var acc_0_2 = coop_mat16x16<f32,C>();
var acc_0_3 = coop_mat16x16<f32,C>();
var acc_1_0 = coop_mat16x16<f32,C>();
var acc_1_1 = coop_mat16x16<f32,C>();
var acc_1_2 = coop_mat16x16<f32,C>();
var acc_1_3 = coop_mat16x16<f32,C>();
var acc_2_0 = coop_mat16x16<f32,C>();
var acc_2_1 = coop_mat16x16<f32,C>();
var acc_2_2 = coop_mat16x16<f32,C>();
var acc_2_3 = coop_mat16x16<f32,C>();
var acc_3_0 = coop_mat16x16<f32,C>();
var acc_3_1 = coop_mat16x16<f32,C>();
var acc_3_2 = coop_mat16x16<f32,C>();
var acc_3_3 = coop_mat16x16<f32,C>();
let m_0 = (lane + 0u) / 8u; let g_0 = (lane + 0u) % 8u; let i_0 = (row0 + m_0) * (P.red / 4u) + g_0; var f_0: vec4<f16>;
let s_0 = 0u + m_0 * 10u + g_0;
let m_1 = (lane + 128u) / 8u; let g_1 = (lane + 128u) % 8u; let i_1 = (row0 + m_1) * (P.red / 4u) + g_1; var f_1: vec4<f16>;
let s_1 = 0u + m_1 * 10u + g_1;
let m_2 = (lane + 256u) / 8u; let g_2 = (lane + 256u) % 8u; let i_2 = (row0 + m_2) * (P.red / 4u) + g_2; var f_2: vec4<f16>;
let s_2 = 0u + m_2 * 10u + g_2;
let m_3 = (lane + 384u) / 8u; let g_3 = (lane + 384u) % 8u; let i_3 = (row0 + m_3) * (P.red / 4u) + g_3; var f_3: vec4<f16>;
let s_3 = 0u + m_3 * 10u + g_3;
let m_4 = (lane + 512u) / 8u; let g_4 = (lane + 512u) % 8u; let i_4 = (row0 + m_4) * (P.red / 4u) + g_4; var f_4: vec4<f16>;
let s_4 = 0u + m_4 * 10u + g_4;
let m_5 = (lane + 640u) / 8u; let g_5 = (lane + 640u) % 8u; let i_5 = (row0 + m_5) * (P.red / 4u) + g_5; var f_5: vec4<f16>;
let s_5 = 0u + m_5 * 10u + g_5;
let m_6 = (lane + 768u) / 8u; let g_6 = (lane + 768u) % 8u; let i_6 = (row0 + m_6) * (P.red / 4u) + g_6; var f_6: vec4<f16>;
let s_6 = 0u + m_6 * 10u + g_6;
let m_7 = (lane + 896u) / 8u; let g_7 = (lane + 896u) % 8u; let i_7 = (row0 + m_7) * (P.red / 4u) + g_7; var f_7: vec4<f16>;
let s_7 = 0u + m_7 * 10u + g_7;
let m_8 = (lane + 0u) / 8u; let g_8 = (lane + 0u) % 8u; let i_8 = (col0 + m_8) * (P.red / 4u) + g_8; var f_8: vec4<f16>;
let s_8 = 1280u + m_8 * 10u + g_8;
let m_9 = (lane + 128u) / 8u; let g_9 = (lane + 128u) % 8u; let i_9 = (col0 + m_9) * (P.red / 4u) + g_9; var f_9: vec4<f16>;
let s_9 = 1280u + m_9 * 10u + g_9;
let m_10 = (lane + 256u) / 8u; let g_10 = (lane + 256u) % 8u; let i_10 = (col0 + m_10) * (P.red / 4u) + g_10; var f_10: vec4<f16>;
let s_10 = 1280u + m_10 * 10u + g_10;
let m_11 = (lane + 384u) / 8u; let g_11 = (lane + 384u) % 8u; let i_11 = (col0 + m_11) * (P.red / 4u) + g_11; var f_11: vec4<f16>;
let s_11 = 1280u + m_11 * 10u + g_11;
let m_12 = (lane + 512u) / 8u; let g_12 = (lane + 512u) % 8u; let i_12 = (col0 + m_12) * (P.red / 4u) + g_12; var f_12: vec4<f16>;
let s_12 = 1280u + m_12 * 10u + g_12;
let m_13 = (lane + 640u) / 8u; let g_13 = (lane + 640u) % 8u; let i_13 = (col0 + m_13) * (P.red / 4u) + g_13; var f_13: vec4<f16>;
let s_13 = 1280u + m_13 * 10u + g_13;
let m_14 = (lane + 768u) / 8u; let g_14 = (lane + 768u) % 8u; let i_14 = (col0 + m_14) * (P.red / 4u) + g_14; var f_14: vec4<f16>;
let s_14 = 1280u + m_14 * 10u + g_14;
let m_15 = (lane + 896u) / 8u; let g_15 = (lane + 896u) % 8u; let i_15 = (col0 + m_15) * (P.red / 4u) + g_15; var f_15: vec4<f16>;
let s_15 = 1280u + m_15 * 10u + g_15;
f_0 = a[i_0 + 0u / 4u];
f_1 = a[i_1 + 0u / 4u];
f_2 = a[i_2 + 0u / 4u];
f_3 = a[i_3 + 0u / 4u];
f_4 = a[i_4 + 0u / 4u];
f_5 = a[i_5 + 0u / 4u];
f_6 = a[i_6 + 0u / 4u];
f_7 = a[i_7 + 0u / 4u];
f_8 = b[i_8 + 0u / 4u];
f_9 = b[i_9 + 0u / 4u];
f_10 = b[i_10 + 0u / 4u];
f_11 = b[i_11 + 0u / 4u];
f_12 = b[i_12 + 0u / 4u];
f_13 = b[i_13 + 0u / 4u];
f_14 = b[i_14 + 0u / 4u];
f_15 = b[i_15 + 0u / 4u];
for (var r = 0u; r < P.red; r += 32u) {
tile[s_0] = f_0; 
tile[s_1] = f_1; 
tile[s_2] = f_2; 
tile[s_3] = f_3; 
tile[s_4] = f_4; 
tile[s_5] = f_5; 
tile[s_6] = f_6; 
tile[s_7] = f_7; 
tile[s_8] = f_8; 
tile[s_9] = f_9; 
tile[s_10] = f_10; 
tile[s_11] = f_11; 
tile[s_12] = f_12; 
tile[s_13] = f_13; 
tile[s_14] = f_14; 
tile[s_15] = f_15; 
workgroupBarrier();
let nx = min(r + 32u, P.red - 32u);
f_0 = a[i_0 + nx / 4u];
f_1 = a[i_1 + nx / 4u];
f_2 = a[i_2 + nx / 4u];
f_3 = a[i_3 + nx / 4u];
f_4 = a[i_4 + nx / 4u];
f_5 = a[i_5 + nx / 4u];
f_6 = a[i_6 + nx / 4u];
f_7 = a[i_7 + nx / 4u];
f_8 = b[i_8 + nx / 4u];
f_9 = b[i_9 + nx / 4u];
f_10 = b[i_10 + nx / 4u];
f_11 = b[i_11 + nx / 4u];
f_12 = b[i_12 + nx / 4u];
f_13 = b[i_13 + nx / 4u];
f_14 = b[i_14 + nx / 4u];
f_15 = b[i_15 + nx / 4u];
let pb0_00_0 = (1280u + scol * 10u) * 1u; let b0_00_0 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb0_00_0], 10u);
let pb0_00_1 = (1440u + scol * 10u) * 1u; let b0_00_1 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb0_00_1], 10u);
let pb0_00_2 = (1600u + scol * 10u) * 1u; let b0_00_2 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb0_00_2], 10u);
let pb0_00_3 = (1760u + scol * 10u) * 1u; let b0_00_3 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb0_00_3], 10u);
let pa0_00_0 = (0u + srow * 10u) * 1u; let a0_00_0 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa0_00_0], 10u);
acc_0_0 = coopMultiplyAdd(a0_00_0, b0_00_0, acc_0_0);
acc_0_1 = coopMultiplyAdd(a0_00_0, b0_00_1, acc_0_1);
acc_0_2 = coopMultiplyAdd(a0_00_0, b0_00_2, acc_0_2);
acc_0_3 = coopMultiplyAdd(a0_00_0, b0_00_3, acc_0_3);
let pa0_00_1 = (160u + srow * 10u) * 1u; let a0_00_1 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa0_00_1], 10u);
acc_1_0 = coopMultiplyAdd(a0_00_1, b0_00_0, acc_1_0);
acc_1_1 = coopMultiplyAdd(a0_00_1, b0_00_1, acc_1_1);
acc_1_2 = coopMultiplyAdd(a0_00_1, b0_00_2, acc_1_2);
acc_1_3 = coopMultiplyAdd(a0_00_1, b0_00_3, acc_1_3);
let pa0_00_2 = (320u + srow * 10u) * 1u; let a0_00_2 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa0_00_2], 10u);
acc_2_0 = coopMultiplyAdd(a0_00_2, b0_00_0, acc_2_0);
acc_2_1 = coopMultiplyAdd(a0_00_2, b0_00_1, acc_2_1);
acc_2_2 = coopMultiplyAdd(a0_00_2, b0_00_2, acc_2_2);
acc_2_3 = coopMultiplyAdd(a0_00_2, b0_00_3, acc_2_3);
let pa0_00_3 = (480u + srow * 10u) * 1u; let a0_00_3 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa0_00_3], 10u);
acc_3_0 = coopMultiplyAdd(a0_00_3, b0_00_0, acc_3_0);
acc_3_1 = coopMultiplyAdd(a0_00_3, b0_00_1, acc_3_1);
acc_3_2 = coopMultiplyAdd(a0_00_3, b0_00_2, acc_3_2);
acc_3_3 = coopMultiplyAdd(a0_00_3, b0_00_3, acc_3_3);
let pb1_00_0 = (1284u + scol * 10u) * 1u; let b1_00_0 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb1_00_0], 10u);
let pb1_00_1 = (1444u + scol * 10u) * 1u; let b1_00_1 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb1_00_1], 10u);
let pb1_00_2 = (1604u + scol * 10u) * 1u; let b1_00_2 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb1_00_2], 10u);
let pb1_00_3 = (1764u + scol * 10u) * 1u; let b1_00_3 = coopLoad<coop_mat16x16<f16,B>>(&tile[pb1_00_3], 10u);
let pa1_00_0 = (4u + srow * 10u) * 1u; let a1_00_0 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa1_00_0], 10u);
acc_0_0 = coopMultiplyAdd(a1_00_0, b1_00_0, acc_0_0);
acc_0_1 = coopMultiplyAdd(a1_00_0, b1_00_1, acc_0_1);
acc_0_2 = coopMultiplyAdd(a1_00_0, b1_00_2, acc_0_2);
acc_0_3 = coopMultiplyAdd(a1_00_0, b1_00_3, acc_0_3);
let pa1_00_1 = (164u + srow * 10u) * 1u; let a1_00_1 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa1_00_1], 10u);
acc_1_0 = coopMultiplyAdd(a1_00_1, b1_00_0, acc_1_0);
acc_1_1 = coopMultiplyAdd(a1_00_1, b1_00_1, acc_1_1);
acc_1_2 = coopMultiplyAdd(a1_00_1, b1_00_2, acc_1_2);
acc_1_3 = coopMultiplyAdd(a1_00_1, b1_00_3, acc_1_3);
let pa1_00_2 = (324u + srow * 10u) * 1u; let a1_00_2 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa1_00_2], 10u);
acc_2_0 = coopMultiplyAdd(a1_00_2, b1_00_0, acc_2_0);
acc_2_1 = coopMultiplyAdd(a1_00_2, b1_00_1, acc_2_1);
acc_2_2 = coopMultiplyAdd(a1_00_2, b1_00_2, acc_2_2);
acc_2_3 = coopMultiplyAdd(a1_00_2, b1_00_3, acc_2_3);
let pa1_00_3 = (484u + srow * 10u) * 1u; let a1_00_3 = coopLoadT<coop_mat16x16<f16,A>>(&tile[pa1_00_3], 10u);
acc_3_0 = coopMultiplyAdd(a1_00_3, b1_00_0, acc_3_0);
acc_3_1 = coopMultiplyAdd(a1_00_3, b1_00_1, acc_3_1);
acc_3_2 = coopMultiplyAdd(a1_00_3, b1_00_2, acc_3_2);
acc_3_3 = coopMultiplyAdd(a1_00_3, b1_00_3, acc_3_3);
workgroupBarrier();
}
let own = lane % 32u;
let po_0_0 = sg * 256u + 0u; coopStoreT(acc_0_0, &out[po_0_0], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 0u + t / 4u; let cc = (col0 + scol) / 4u + 0u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_0_1 = sg * 256u + 0u; coopStoreT(acc_0_1, &out[po_0_1], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 0u + t / 4u; let cc = (col0 + scol) / 4u + 4u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_0_2 = sg * 256u + 0u; coopStoreT(acc_0_2, &out[po_0_2], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 0u + t / 4u; let cc = (col0 + scol) / 4u + 8u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_0_3 = sg * 256u + 0u; coopStoreT(acc_0_3, &out[po_0_3], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 0u + t / 4u; let cc = (col0 + scol) / 4u + 12u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_1_0 = sg * 256u + 0u; coopStoreT(acc_1_0, &out[po_1_0], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 16u + t / 4u; let cc = (col0 + scol) / 4u + 0u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_1_1 = sg * 256u + 0u; coopStoreT(acc_1_1, &out[po_1_1], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 16u + t / 4u; let cc = (col0 + scol) / 4u + 4u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_1_2 = sg * 256u + 0u; coopStoreT(acc_1_2, &out[po_1_2], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 16u + t / 4u; let cc = (col0 + scol) / 4u + 8u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_1_3 = sg * 256u + 0u; coopStoreT(acc_1_3, &out[po_1_3], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 16u + t / 4u; let cc = (col0 + scol) / 4u + 12u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_2_0 = sg * 256u + 0u; coopStoreT(acc_2_0, &out[po_2_0], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 32u + t / 4u; let cc = (col0 + scol) / 4u + 0u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_2_1 = sg * 256u + 0u; coopStoreT(acc_2_1, &out[po_2_1], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 32u + t / 4u; let cc = (col0 + scol) / 4u + 4u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_2_2 = sg * 256u + 0u; coopStoreT(acc_2_2, &out[po_2_2], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 32u + t / 4u; let cc = (col0 + scol) / 4u + 8u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_2_3 = sg * 256u + 0u; coopStoreT(acc_2_3, &out[po_2_3], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 32u + t / 4u; let cc = (col0 + scol) / 4u + 12u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_3_0 = sg * 256u + 0u; coopStoreT(acc_3_0, &out[po_3_0], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 48u + t / 4u; let cc = (col0 + scol) / 4u + 0u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_3_1 = sg * 256u + 0u; coopStoreT(acc_3_1, &out[po_3_1], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 48u + t / 4u; let cc = (col0 + scol) / 4u + 4u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_3_2 = sg * 256u + 0u; coopStoreT(acc_3_2, &out[po_3_2], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 48u + t / 4u; let cc = (col0 + scol) / 4u + 8u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
let po_3_3 = sg * 256u + 0u; coopStoreT(acc_3_3, &out[po_3_3], 16u);
workgroupBarrier();
for (var t = own; t < 64u; t += 32u) { let e = sg * 256u + t * 4u; let rr = row0 + srow + 48u + t / 4u; let cc = (col0 + scol) / 4u + 12u + t % 4u;
y[rr * (P.cols / 4u) + cc] = act4(vec4<f32>(out[e], out[e + 1u], out[e + 2u], out[e + 3u]) + bias[cc]); }
workgroupBarrier();
}
