/* elbow: fused affine + activation layers, y = act(x W^T + b), forward and backward, on any GPU or on the CPU.
 *
 * Generated from the Rust source; the program examples/affine.c uses all of it. Every function that returns an elbow_status can fail, and
 * elbow_last_error() then says why. Handles are freed by their own function, in any order; NULL may always be freed. Functions may be
 * called from any thread. Structures begin as zeros: elbow_layer layer = { .activation = "gelu", .x = x, .w = w, .y = y }; */


#ifndef ELBOW_H
#define ELBOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What became of a call. The text of an error is in elbow_last_error(). After an error nothing was written, recorded or submitted.
typedef enum elbow_status {
  // It was done, or submitted.
  ELBOW_STATUS_OK = 0,
  // A pointer, a shape, a type, a text or a combination of operands is not one that the call takes: the text names it.
  ELBOW_STATUS_BAD_INPUT = 1,
  // There is no GPU as asked for, or its driver computes wrong numbers.
  ELBOW_STATUS_NO_GPU = 2,
  // The device is lost: close it, and open another.
  ELBOW_STATUS_DEVICE_LOST = 3,
  // Not enough memory, or more than this device can have.
  ELBOW_STATUS_OUT_OF_MEMORY = 4,
  // The driver refused something, or did not answer in time.
  ELBOW_STATUS_DRIVER = 5,
  // A mistake of elbow's: please report the text.
  ELBOW_STATUS_INTERNAL = 6,
} elbow_status;

// The type of a tensor's elements.
typedef enum elbow_data_type {
  // 32 bits: sums, and the gradients of parameters.
  ELBOW_DATA_TYPE_F32 = 0,
  // IEEE half precision.
  ELBOW_DATA_TYPE_F16 = 1,
  // The upper half of an f32.
  ELBOW_DATA_TYPE_BF16 = 2,
  // Words: masks.
  ELBOW_DATA_TYPE_U32 = 3,
} elbow_data_type;

// What forward keeps for backward.
typedef enum elbow_kept {
  // Nothing: backward computes z again from x, w and b.
  ELBOW_KEPT_NONE = 0,
  // z, in the tensor kept, [.., N]. Always enough.
  ELBOW_KEPT_Z = 1,
  // y itself: enough where y determines the slope, as in ReLU.
  ELBOW_KEPT_Y = 2,
  // One bit an element, in the tensor kept, U32 [.., (N + 31) / 32]: enough where the slope has two values.
  ELBOW_KEPT_MASK = 3,
} elbow_kept;

// How the weights of a gated layer, y = act(gate) * up, lie.
typedef enum elbow_gating {
  // The layer is not gated.
  ELBOW_GATING_NONE = 0,
  // w [2N, K], b [2N]: N rows of the gate, then N of up.
  ELBOW_GATING_STACKED = 1,
  // w [2N, K], b [2N]: rows of gate and up in turn.
  ELBOW_GATING_INTERLEAVED = 2,
  // w, b of the gate; w_up, b_up of up.
  ELBOW_GATING_APART = 3,
} elbow_gating;

// A call that is checked, planned and bound, for loops. It keeps the memory of its tensors, whose contents may change from run to run.
typedef struct elbow_call elbow_call;

// A GPU that is open. Any number of threads may use it at once.
typedef struct elbow_gpu elbow_gpu;

// A row-major tensor in a GPU's memory.
typedef struct elbow_tensor elbow_tensor;

// A layer, y = row_weight * act(x W^T + b; alpha) + residual. A field that is left out is 0 or NULL: none, or the default. Of what is NULL, x, w, y and
// activation are errors, the others are left out.
typedef struct elbow_layer {
  // As text: "relu", "gelu", "gelu_tanh", "leaky_relu(0.01)", "prelu", "silu", ... The README has the table.
  const char *activation;
  // Input [.., K]; leading dimensions flatten to rows.
  const struct elbow_tensor *x;
  // Weight [N, K], as PyTorch's; or [K, N] if in_out.
  const struct elbow_tensor *w;
  // Bias [N].
  const struct elbow_tensor *b;
  // Learnable parameter of the activation, [1] or [N]: the slope of a PReLU.
  const struct elbow_tensor *alpha;
  // Added after the activation, or before it if residual_before, [.., N].
  const struct elbow_tensor *residual;
  // A factor for each row, [..].
  const struct elbow_tensor *row_weight;
  // Weight of up, if gating is ELBOW_GATING_APART.
  const struct elbow_tensor *w_up;
  // Bias of up, if there is a b.
  const struct elbow_tensor *b_up;
  // Output [.., N].
  const struct elbow_tensor *y;
  // z or the mask, as keep says.
  const struct elbow_tensor *kept;
  // One of elbow_kept.
  uint32_t keep;
  // One of elbow_gating.
  uint32_t gating;
  // Limit of gate and up, if not 0: the gate is capped, up clamped to both sides and 1 added, as in gpt-oss.
  float gate_limit;
  // Whether w is [K, N].
  bool in_out;
  // Whether the residual is a part of z.
  bool residual_before;
} elbow_layer;

// The gradients that are wanted: each is written unless it is NULL.
typedef struct elbow_gradients {
  // Shaped as x.
  const struct elbow_tensor *dx;
  // Shaped as w.
  const struct elbow_tensor *dw;
  // [N]; [2N] of a gated layer with one weight.
  const struct elbow_tensor *db;
  // Shaped as alpha.
  const struct elbow_tensor *dalpha;
  // Shaped as the residual.
  const struct elbow_tensor *dresidual;
  // Shaped as row_weight.
  const struct elbow_tensor *drow_weight;
  // Shaped as w_up.
  const struct elbow_tensor *dw_up;
  // Shaped as b_up.
  const struct elbow_tensor *db_up;
  // Whether all of them are added to what the tensors hold.
  bool accumulate;
} elbow_gradients;

// A layer on the CPU, y = act(x W^T + b), m rows: arrays of f32, row-major.
typedef struct elbow_cpu_layer {
  // As in elbow_layer.
  const char *activation;
  // Rows of x and y.
  size_t m;
  // Columns of y.
  size_t n;
  // Columns of x.
  size_t k;
  // [m, k].
  const float *x;
  // [n, k], or [k, n] if in_out.
  const float *w;
  // [n], or NULL.
  const float *b;
  // [m, n]: written by forward, not used by backward.
  float *y;
  // [m, n], or NULL: z, written by forward and read by backward, which without it computes z again.
  float *z;
  // Whether w is [k, n].
  bool in_out;
} elbow_cpu_layer;

// The gradients of an elbow_cpu_layer that are wanted: each is written unless it is NULL.
typedef struct elbow_cpu_gradients {
  // [m, k].
  float *dx;
  // Shaped as w.
  float *dw;
  // [n].
  float *db;
  // Whether all of them are added to what the arrays hold.
  bool accumulate;
} elbow_cpu_gradients;

// The Vulkan objects of a host. The handles stay the host's and must outlive the elbow_gpu, its tensors and its calls.
//
// The device must have been made with the extensions that elbow_vulkan_extensions() lists, with robustBufferAccess, and with timelineSemaphore where the
// physical device has it (Vulkan 1.2).
typedef struct elbow_vulkan {
  // vkGetInstanceProcAddr.
  void (*get_instance_proc_addr)(void);
  // VkInstance.
  void *instance;
  // VkPhysicalDevice.
  void *physical_device;
  // VkDevice; not read by elbow_vulkan_extensions().
  void *device;
  // The version that the instance was made for: VkApplicationInfo::apiVersion.
  uint32_t api_version;
  // Family of the queue, with VK_QUEUE_COMPUTE_BIT and VK_QUEUE_GRAPHICS_BIT.
  uint32_t queue_family;
  // Its place among the device's queues of this family.
  uint32_t queue_index;
  // The instance's extensions that are enabled.
  const char *const *instance_extensions;
  // How many.
  size_t instance_extension_count;
  // The device's extensions that are enabled; not read by elbow_vulkan_extensions().
  const char *const *device_extensions;
  // How many.
  size_t device_extension_count;
} elbow_vulkan;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Computes a layer: submits the work and returns. elbow_tensor_read() and elbow_gpu_wait() wait for it.
//
// Every pointer, also in the structure, is NULL or valid.
enum elbow_status elbow_forward(const struct elbow_gpu *gpu, const struct elbow_layer *layer);

// Computes the gradients of a layer from dy, shaped as y: submits the work and returns. The layer is stated as it was in forward.
//
// Every pointer, also in the structures, is NULL or valid.
enum elbow_status elbow_backward(const struct elbow_gpu *gpu,
                                 const struct elbow_layer *layer,
                                 const struct elbow_tensor *dy,
                                 const struct elbow_gradients *gradients);

// Prepares elbow_forward() for elbow_run(). Free it with elbow_call_free().
//
// Every pointer, also in the structure, is NULL or valid; call can be written.
enum elbow_status elbow_prepare_forward(const struct elbow_gpu *gpu,
                                        const struct elbow_layer *layer,
                                        struct elbow_call **call);

// Prepares elbow_backward() for elbow_run(). Free it with elbow_call_free().
//
// Every pointer, also in the structures, is NULL or valid; call can be written.
enum elbow_status elbow_prepare_backward(const struct elbow_gpu *gpu,
                                         const struct elbow_layer *layer,
                                         const struct elbow_tensor *dy,
                                         const struct elbow_gradients *gradients,
                                         struct elbow_call **call);

// Runs calls in their order, in one submission, and returns before they are done. Calls of another GPU are an error.
//
// gpu is NULL or open; calls has count pointers, each NULL or valid.
enum elbow_status elbow_run(const struct elbow_gpu *gpu, const struct elbow_call *const *calls, size_t count);

// Frees a call, and NULL.
//
// call is NULL or valid.
void elbow_call_free(struct elbow_call *call);

// Computes a layer on the CPU, on all threads, and returns when it is done.
//
// Every pointer is NULL or valid, every array as long as its shape says, and nobody else uses those that are written meanwhile.
enum elbow_status elbow_cpu_forward(const struct elbow_cpu_layer *layer);

// Computes the gradients of a layer on the CPU from dy [m, n], and returns when it is done.
//
// As elbow_cpu_forward().
enum elbow_status elbow_cpu_backward(const struct elbow_cpu_layer *layer,
                                     const float *dy,
                                     const struct elbow_cpu_gradients *gradients);

// Writes act(z) and act'(z), in f64; either may be NULL.
//
// name is NULL or a text; value and slope are NULL or can be written.
enum elbow_status elbow_activation(const char *name, double z, double *value, double *slope);

// Computes y = act(x) on tensors of one shape: submits the work and returns.
//
// Every pointer is NULL or valid.
enum elbow_status elbow_activation_forward(const struct elbow_gpu *gpu,
                                           const char *name,
                                           const struct elbow_tensor *x,
                                           const struct elbow_tensor *y);

// Computes dx = dy * act'(x) on tensors of one shape: submits the work and returns.
//
// Every pointer is NULL or valid.
enum elbow_status elbow_activation_backward(const struct elbow_gpu *gpu,
                                            const char *name,
                                            const struct elbow_tensor *x,
                                            const struct elbow_tensor *dy,
                                            const struct elbow_tensor *dx);

// Opens a GPU: the best one there is, or with a name (NULL for none) the best whose name contains it, in any case. The environment variables WGPU_BACKEND,
// WGPU_ADAPTER_NAME and WGPU_POWER_PREF narrow the choice where name is NULL. A small layer is computed first, and a driver that gets it wrong is
// refused. Close it with elbow_gpu_close().
//
// name is NULL or a text; gpu can be written.
enum elbow_status elbow_gpu_open(const char *name,
                                 struct elbow_gpu **gpu);

// Frees what elbow_gpu_open() or elbow_gpu_from_vulkan() made, and NULL. Tensors and calls of it may be freed before or after.
//
// gpu is NULL or open.
void elbow_gpu_close(struct elbow_gpu *gpu);

// Writes at most size bytes of a line that says which GPU it is, a zero at the end. Returns the bytes that the whole line takes, or 0 if gpu is
// NULL: with size 0 text may be NULL.
//
// gpu is NULL or open; text has size bytes.
size_t elbow_gpu_describe(const struct elbow_gpu *gpu,
                          char *text,
                          size_t size);

// Whether it is a CPU in the place of a GPU: right, but not fast. False if gpu is NULL.
//
// gpu is NULL or open.
bool elbow_gpu_is_software(const struct elbow_gpu *gpu);

// Waits until all work that was submitted is done. Five minutes at most.
//
// gpu is NULL or open.
enum elbow_status elbow_gpu_wait(const struct elbow_gpu *gpu);

// The error of the last call that failed on this thread, one line: operand, what was expected, what was given. Valid until the next call that fails on
// this thread; never NULL, empty before the first.
const char *elbow_last_error(void);

// The version of the library, as "0.1.0".
const char *elbow_version(void);

// Makes a tensor of zeros: kind is one of elbow_data_type, shape has rank dimensions, the slowest first. Free it with elbow_tensor_free().
//
// gpu is NULL or open; shape has rank elements; tensor can be written.
enum elbow_status elbow_tensor_zeros(const struct elbow_gpu *gpu,
                                     uint32_t kind,
                                     const size_t *shape,
                                     size_t rank,
                                     struct elbow_tensor **tensor);

// elbow_tensor_zeros() with elements of the tensor's type in the place of the zeros, exactly as many bytes as they take.
//
// gpu is NULL or open; shape has rank elements, data has bytes bytes; tensor can be written.
enum elbow_status elbow_tensor_upload(const struct elbow_gpu *gpu,
                                      uint32_t kind,
                                      const size_t *shape,
                                      size_t rank,
                                      const uint8_t *data,
                                      size_t bytes,
                                      struct elbow_tensor **tensor);

// Copies all elements of a tensor from data, exactly as many bytes as they take. Work that was submitted before still reads the old ones.
//
// tensor is NULL or valid; data has bytes bytes.
enum elbow_status elbow_tensor_write(const struct elbow_tensor *tensor,
                                     const uint8_t *data,
                                     size_t bytes);

// Waits for the work that was submitted, and copies all elements of a tensor to data, exactly as many bytes as they take.
//
// tensor is NULL or valid; data has bytes bytes that nobody else uses meanwhile.
enum elbow_status elbow_tensor_read(const struct elbow_tensor *tensor,
                                    uint8_t *data,
                                    size_t bytes);

// The bytes of all elements; 0 if tensor is NULL.
//
// tensor is NULL or valid.
size_t elbow_tensor_bytes(const struct elbow_tensor *tensor);

// Frees a tensor, and NULL. Work and prepared calls that use its memory keep that for themselves.
//
// tensor is NULL or valid.
void elbow_tensor_free(struct elbow_tensor *tensor);

// Lists the device extensions that a host's VkDevice must have: writes at most *count names, which live for ever, and to *count how many there are. names may
// be NULL to ask for that alone. Call it between choosing the physical device and making the device.
//
// host is NULL or valid, and so are its instance and physical device; count can be read and written; names is NULL or has *count places.
enum elbow_status elbow_vulkan_extensions(const struct elbow_vulkan *host,
                                          const char **names,
                                          size_t *count);

// Opens elbow on a host's VkDevice. elbow submits to the host's queue: nobody else may at that moment, as Vulkan asks. What elbow wrote is there once
// elbow_gpu_wait() has returned; between the host's work and elbow's the host puts a barrier and waits, or has submitted its own before.
//
// Nothing of the host's is destroyed by elbow_gpu_close().
//
// host is NULL or valid with all that it points to; the handles outlive what is made of them; gpu can be written.
enum elbow_status elbow_gpu_from_vulkan(const struct elbow_vulkan *host,
                                        struct elbow_gpu **gpu);

// Makes a tensor of a part of a host's VkBuffer, without a copy: from offset bytes on, of a buffer of size bytes, with
// VK_BUFFER_USAGE_STORAGE_BUFFER_BIT and both TRANSFER bits. The buffer stays the host's, and must outlive the tensor and the calls with it.
//
// gpu is NULL or from elbow_gpu_from_vulkan(), and buffer of that device; shape has rank elements; tensor can be written.
enum elbow_status elbow_tensor_from_vulkan(const struct elbow_gpu *gpu,
                                           uint64_t buffer,
                                           uint64_t size,
                                           uint64_t offset,
                                           uint32_t kind,
                                           const size_t *shape,
                                           size_t rank,
                                           struct elbow_tensor **tensor);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ELBOW_H */
