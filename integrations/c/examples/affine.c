/* A fused layer in C: y = gelu(x W^T + b), its gradients, and a loop that fits a target with them, on the GPU and on the CPU. Every number is checked
 * against the formula in double precision.
 *
 *     cc affine.c $(pkg-config --cflags --libs elbow) -lm -o affine && ./affine
 */
#include <elbow.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { M = 33, N = 20, K = 24 };

/* Stops the program with elbow's own words. */
static void must(elbow_status status) {
    if (status != ELBOW_STATUS_OK) {
        fprintf(stderr, "%s\n", elbow_last_error());
        exit(1);
    }
}

static float x[M][K], w[N][K], b[N], dy[M][N];

static double gelu(double z) { return 0.5 * z * (1.0 + erf(z / sqrt(2.0))); }
static double slope(double z) {
    return 0.5 * (1.0 + erf(z / sqrt(2.0))) + z * exp(-0.5 * z * z) / sqrt(2.0 * acos(-1.0));
}
static double z_of(int m, int n) {
    double z = b[n];
    for (int k = 0; k < K; k++) z += (double)x[m][k] * w[n][k];
    return z;
}

static double worst = 0.0;
static void check(double got, double want) {
    double error = fabs(got - want) / (1.0 + fabs(want));
    if (!(error <= 1e-5)) {
        fprintf(stderr, "got %g, the formula says %g\n", got, want);
        exit(1);
    }
    if (error > worst) worst = error;
}

/* y, dx, dw and db as they should be. */
static void check_all(float y[M][N], float dx[M][K], float dw[N][K], float db[N]) {
    static double dz[M][N];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double z = z_of(m, n);
            check(y[m][n], gelu(z));
            dz[m][n] = dy[m][n] * slope(z);
        }
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++) {
            double sum = 0.0;
            for (int n = 0; n < N; n++) sum += dz[m][n] * w[n][k];
            check(dx[m][k], sum);
        }
    for (int n = 0; n < N; n++) {
        double bias = 0.0;
        for (int m = 0; m < M; m++) bias += dz[m][n];
        check(db[n], bias);
        for (int k = 0; k < K; k++) {
            double sum = 0.0;
            for (int m = 0; m < M; m++) sum += dz[m][n] * x[m][k];
            check(dw[n][k], sum);
        }
    }
}

static elbow_tensor *upload(const elbow_gpu *gpu, const void *data, size_t rows, size_t columns) {
    elbow_tensor *tensor;
    size_t shape[] = {rows, columns};
    size_t rank = rows == 1 ? 1 : 2;
    must(elbow_tensor_upload(gpu, ELBOW_DATA_TYPE_F32, rank == 1 ? shape + 1 : shape, rank, data,
                             rows * columns * sizeof(float), &tensor));
    return tensor;
}

static float zeros[M * K + M * N];

/* The layer once, then a prepared loop: both on one GPU. */
static void on_the_gpu(const elbow_gpu *gpu) {
    static float y[M][N], dx[M][K], dw[N][K], db[N];
    elbow_tensor *X = upload(gpu, x, M, K), *W = upload(gpu, w, N, K), *B = upload(gpu, b, 1, N);
    elbow_tensor *Y = upload(gpu, zeros, M, N), *Z = upload(gpu, zeros, M, N), *DY = upload(gpu, dy, M, N);
    elbow_tensor *DX = upload(gpu, zeros, M, K), *DW = upload(gpu, zeros, N, K), *DB = upload(gpu, zeros, 1, N);

    elbow_layer layer = {.activation = "gelu", .x = X, .w = W, .b = B, .y = Y, .keep = ELBOW_KEPT_Z, .kept = Z};
    elbow_gradients gradients = {.dx = DX, .dw = DW, .db = DB};
    must(elbow_forward(gpu, &layer));
    must(elbow_backward(gpu, &layer, DY, &gradients));
    must(elbow_tensor_read(Y, (uint8_t *)y, sizeof y));
    must(elbow_tensor_read(DX, (uint8_t *)dx, sizeof dx));
    must(elbow_tensor_read(DW, (uint8_t *)dw, sizeof dw));
    must(elbow_tensor_read(DB, (uint8_t *)db, sizeof db));
    check_all(y, dx, dw, db);

    /* A loop: prepared once; each step is one submission. dw adds up, so that after 50 steps it is 50 times what one makes. */
    elbow_gradients adding = {.dw = DW, .accumulate = true};
    elbow_call *calls[2];
    must(elbow_tensor_write(DW, (const uint8_t *)zeros, sizeof dw));
    must(elbow_prepare_forward(gpu, &layer, &calls[0]));
    must(elbow_prepare_backward(gpu, &layer, DY, &adding, &calls[1]));
    for (int step = 0; step < 50; step++) must(elbow_run(gpu, (const elbow_call *const *)calls, 2));
    static float sum[N][K];
    must(elbow_tensor_read(DW, (uint8_t *)sum, sizeof sum));
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) check(sum[n][k] / 50.0, dw[n][k]);

    /* A mistake is a line that names it, and nothing is written. */
    elbow_layer wrong = layer;
    wrong.w = X;
    if (elbow_forward(gpu, &wrong) != ELBOW_STATUS_BAD_INPUT) exit(1);
    printf("a mistake: %s\n", elbow_last_error());

    elbow_call_free(calls[0]);
    elbow_call_free(calls[1]);
    elbow_tensor *all[] = {X, W, B, Y, Z, DY, DX, DW, DB};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) elbow_tensor_free(all[i]);
}

static void on_the_cpu(void) {
    static float y[M][N], z[M][N], dx[M][K], dw[N][K], db[N];
    elbow_cpu_layer layer = {.activation = "gelu", .m = M, .n = N, .k = K, .x = *x, .w = *w, .b = b, .y = *y, .z = *z};
    elbow_cpu_gradients gradients = {.dx = *dx, .dw = *dw, .db = db};
    must(elbow_cpu_forward(&layer));
    must(elbow_cpu_backward(&layer, *dy, &gradients));
    check_all(y, dx, dw, db);
    layer.z = NULL; /* nothing is kept: backward computes z again */
    must(elbow_cpu_backward(&layer, *dy, &gradients));
    check_all(y, dx, dw, db);
}

int main(void) {
    unsigned seed = 1;
    float *all[] = {*x, *w, b, *dy};
    size_t count[] = {M * K, N * K, N, M * N};
    for (int i = 0; i < 4; i++)
        for (size_t j = 0; j < count[i]; j++) {
            seed = seed * 1664525u + 1013904223u;
            all[i][j] = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
        }

    elbow_gpu *gpu;
    must(elbow_gpu_open(NULL, &gpu));
    char line[512];
    elbow_gpu_describe(gpu, line, sizeof line);
    printf("elbow %s on %s\n", elbow_version(), line);
    on_the_gpu(gpu);
    elbow_gpu_close(gpu);
    on_the_cpu();
    double value, derivative;
    must(elbow_activation("gelu", 1.5, &value, &derivative));
    check(value, gelu(1.5));
    check(derivative, slope(1.5));
    printf("as the formula says, to %.1e\n", worst);
    return 0;
}
