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
