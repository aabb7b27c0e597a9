/* What elbow answers to mistakes: a status and one line, and nothing is written. */
#include <elbow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;
static void is(elbow_status status, elbow_status expected, const char *begin) {
    const char *text = elbow_last_error();
    if (status != expected || strncmp(text, begin, strlen(begin)) != 0 || strchr(text, '\n')) {
        printf("expected %d %s, got %d %s\n", expected, begin, status, text);
        failures++;
    }
}
#define BAD(call, begin) is(call, ELBOW_STATUS_BAD_INPUT, begin)

static elbow_tensor *tensor(const elbow_gpu *gpu, uint32_t kind, size_t rows, size_t columns) {
    elbow_tensor *made = NULL;
    size_t shape[] = {rows, columns};
    if (elbow_tensor_zeros(gpu, kind, shape, 2, &made) != ELBOW_STATUS_OK) {
        printf("%s\n", elbow_last_error());
        exit(1);
    }
    return made;
}

int main(void) {
    if (*elbow_last_error() != 0) return 1;
    elbow_gpu *gpu = (elbow_gpu *)&failures, *other = NULL;
    is(elbow_gpu_open("no such adapter", &gpu), ELBOW_STATUS_NO_GPU, "no GPU adapter: wanted WGPU_ADAPTER_NAME=no such adapter; found ");
    if (gpu) return 1; /* after an error there is no handle */
    BAD(elbow_gpu_open(NULL, NULL), "gpu: expected a pointer, got NULL");
    BAD(elbow_gpu_open("\xff", &gpu), "name: expected UTF-8");
    if (elbow_gpu_open(NULL, &gpu) || elbow_gpu_open(NULL, &other)) return printf("%s\n", elbow_last_error()), 1;
    if (elbow_gpu_describe(NULL, NULL, 0) != 0 || elbow_gpu_is_software(NULL)) failures++;
    char small[4] = "abc";
    if (elbow_gpu_describe(gpu, small, 4) < 20 || strlen(small) != 3) failures++;
    if (elbow_gpu_describe(gpu, NULL, 0) < 20) failures++;

    elbow_tensor *none = NULL, *x = tensor(gpu, ELBOW_DATA_TYPE_F32, 5, 4), *w = tensor(gpu, ELBOW_DATA_TYPE_F32, 3, 4);
    elbow_tensor *y = tensor(gpu, ELBOW_DATA_TYPE_F32, 5, 3), *mask = tensor(gpu, ELBOW_DATA_TYPE_U32, 5, 1);
    elbow_tensor *foreign = tensor(other, ELBOW_DATA_TYPE_F32, 3, 4);
    float numbers[20] = {0};
    BAD(elbow_tensor_zeros(gpu, 4, (size_t[]){1}, 1, &none), "kind: expected one of elbow_data_type");
    BAD(elbow_tensor_zeros(NULL, 0, (size_t[]){1}, 1, &none), "gpu: expected a pointer, got NULL");
    BAD(elbow_tensor_zeros(gpu, 0, NULL, 1, &none), "shape: expected a pointer, got NULL");
    BAD(elbow_tensor_upload(gpu, 0, (size_t[]){5}, 1, (const uint8_t *)numbers, 16, &none), "tensor: expected 20 values of u8");
    BAD(elbow_tensor_write(x, (const uint8_t *)numbers, 12), "tensor: expected 80 values of u8");
    BAD(elbow_tensor_read(x, NULL, 80), "data: expected a pointer, got NULL");
    BAD(elbow_tensor_read(NULL, (uint8_t *)numbers, 80), "tensor: expected a pointer, got NULL");
    is(elbow_tensor_zeros(gpu, 0, (size_t[]){(size_t)1 << 40, 1 << 10}, 2, &none), ELBOW_STATUS_OUT_OF_MEMORY, "");
    if (none || elbow_tensor_bytes(NULL) != 0 || elbow_tensor_bytes(y) != 60) failures++;

    elbow_layer good = {.activation = "relu", .x = x, .w = w, .y = y}, layer = {0};
    BAD(elbow_forward(gpu, &layer), "activation: expected a pointer, got NULL");
    BAD(elbow_forward(gpu, NULL), "layer: expected a pointer, got NULL");
    layer = good, layer.activation = "rellu";
    BAD(elbow_forward(gpu, &layer), "activation \"rellu\": expected relu");
    layer = good, layer.w = NULL;
    BAD(elbow_forward(gpu, &layer), "w: expected a tensor, got NULL");
    layer = good, layer.w = foreign;
    BAD(elbow_forward(gpu, &layer), "w: expected a tensor of this GPU, got one of another");
    layer = good, layer.w = y;
    BAD(elbow_forward(gpu, &layer), "w: expected [N, 4]");
    layer = good, layer.y = x;
    BAD(elbow_forward(gpu, &layer), "y: expected [.., 3] with 5 rows");
    layer = good, layer.keep = 9;
    BAD(elbow_forward(gpu, &layer), "keep: expected one of elbow_kept");
    layer = good, layer.keep = ELBOW_KEPT_Z;
    BAD(elbow_forward(gpu, &layer), "saved: expected");
    layer = good, layer.keep = ELBOW_KEPT_MASK, layer.kept = mask, layer.activation = "silu";
    BAD(elbow_forward(gpu, &layer), "");
    layer = good, layer.gating = 7;
    BAD(elbow_forward(gpu, &layer), "gating: expected one of elbow_gating");
    layer = good, layer.gating = ELBOW_GATING_STACKED;
    BAD(elbow_forward(gpu, &layer), "w: expected an even number of outputs");
    layer = good, layer.gate_limit = 7.0f;
    BAD(elbow_forward(gpu, &layer), "gate_limit: expected 0");
    layer = good, layer.gating = ELBOW_GATING_APART;
    BAD(elbow_forward(gpu, &layer), "w_up: expected");
    elbow_gradients gradients = {.dx = x};
    BAD(elbow_backward(gpu, &good, NULL, &gradients), "dy: expected a tensor, got NULL");
    BAD(elbow_backward(gpu, &good, y, NULL), "gradients: expected a pointer, got NULL");
    BAD(elbow_backward(gpu, &good, x, &gradients), "dy: expected [.., 3] with 5 rows");
    elbow_call *call = (elbow_call *)&failures;
    layer = good, layer.w = y;
    BAD(elbow_prepare_forward(gpu, &layer, &call), "w: expected [N, 4]");
    if (call) failures++;
    if (elbow_prepare_forward(gpu, &good, &call)) failures++;
    const elbow_call *calls[] = {call, NULL};
    BAD(elbow_run(gpu, calls, 2), "calls: expected a pointer, got NULL");
    BAD(elbow_run(other, calls, 1), "calls: expected calls of this GPU");
    if (elbow_run(gpu, calls, 1) || elbow_run(gpu, NULL, 0)) failures++;
    BAD(elbow_activation("prelu(", 1.0, NULL, NULL), "activation \"prelu(\"");
    BAD(elbow_activation_forward(gpu, "relu", x, y), "y: expected [5, 4]");
    elbow_cpu_layer cpu = {.activation = "relu", .m = 5, .n = 3, .k = 4, .x = numbers, .w = numbers};
    BAD(elbow_cpu_forward(&cpu), "y: expected a pointer, got NULL");
    cpu.m = (size_t)-1;
    BAD(elbow_cpu_forward(&cpu), "m, n, k: expected arrays that fit in memory");
    elbow_vulkan vulkan = {0};
    elbow_gpu *unmade = gpu;
    BAD(elbow_gpu_from_vulkan(&vulkan, &unmade), "device: expected a Vulkan handle, got NULL");
    vulkan.device = numbers;
    BAD(elbow_gpu_from_vulkan(&vulkan, &unmade), "get_instance_proc_addr: expected a Vulkan handle, got NULL");
    if (unmade) failures++;

    elbow_call_free(call);
    elbow_call_free(NULL);
    elbow_tensor *all[] = {x, w, y, mask, foreign, NULL};
    for (int i = 0; i < 6; i++) elbow_tensor_free(all[i]);
    elbow_gpu_close(gpu);
    elbow_gpu_close(other);
    elbow_gpu_close(NULL);
    printf(failures ? "%d answers are wrong\n" : "every mistake is answered\n", failures);
    return failures != 0;
}
