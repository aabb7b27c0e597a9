/* A host that owns a Vulkan device: elbow runs on its queue and in its buffer, without a copy.
 *
 *     cc vulkan_host.c $(pkg-config --cflags --libs elbow vulkan) -o vulkan_host && ./vulkan_host
 */
#include <elbow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

static void must(elbow_status status) {
    if (status != ELBOW_STATUS_OK) {
        fprintf(stderr, "%s\n", elbow_last_error());
        exit(1);
    }
}
static void vk(VkResult result, const char *what) {
    if (result != VK_SUCCESS) {
        fprintf(stderr, "%s: %d\n", what, result);
        exit(1);
    }
}

enum { M = 4, N = 3, K = 2, BYTES = 1 << 16 };

int main(void) {
    /* The host's side. */
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    /* With this extension elbow sees which driver it is on. */
    const char *instance_extensions[] = {"VK_KHR_get_physical_device_properties2"};
    VkInstanceCreateInfo of_instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application,
                                        .enabledExtensionCount = 1, .ppEnabledExtensionNames = instance_extensions};
    VkInstance instance;
    vk(vkCreateInstance(&of_instance, NULL, &instance), "vkCreateInstance");
    uint32_t count = 1;
    VkPhysicalDevice physical;
    VkResult found = vkEnumeratePhysicalDevices(instance, &count, &physical);
    if (found != VK_INCOMPLETE) vk(found, "vkEnumeratePhysicalDevices");
    if (count == 0) return fprintf(stderr, "no Vulkan device\n"), 1;
    VkQueueFamilyProperties families[16];
    uint32_t family_count = 16, family = 0;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &family_count, families);
    const VkQueueFlags both = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT;
    while (family < family_count && (families[family].queueFlags & both) != both) family++;

    elbow_vulkan host = {
        .get_instance_proc_addr = (void (*)(void))vkGetInstanceProcAddr,
        .instance = instance,
        .physical_device = physical,
        .api_version = application.apiVersion,
        .queue_family = family,
        .instance_extensions = instance_extensions,
        .instance_extension_count = 1,
    };
    const char *extensions[64];
    size_t extension_count = 64;
    must(elbow_vulkan_extensions(&host, extensions, &extension_count));

    VkPhysicalDeviceVulkan12Features can12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 can = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &can12};
    vkGetPhysicalDeviceFeatures2(physical, &can);
    VkPhysicalDeviceVulkan12Features want12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                               .timelineSemaphore = can12.timelineSemaphore};
    VkPhysicalDeviceFeatures2 want = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &want12,
                                      .features = {.robustBufferAccess = can.features.robustBufferAccess}};
    float priority = 1.0f;
    VkDeviceQueueCreateInfo of_queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = family,
                                        .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo of_device = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &want,
                                    .queueCreateInfoCount = 1, .pQueueCreateInfos = &of_queue,
                                    .enabledExtensionCount = (uint32_t)extension_count,
                                    .ppEnabledExtensionNames = extensions};
    VkDevice device;
    vk(vkCreateDevice(physical, &of_device, NULL, &device), "vkCreateDevice");

    /* One buffer of the host's for all operands, that the host sees too. */
    VkBufferCreateInfo of_buffer = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = BYTES,
                                    .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                             VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkBuffer buffer;
    vk(vkCreateBuffer(device, &of_buffer, NULL, &buffer), "vkCreateBuffer");
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device, buffer, &needs);
    VkPhysicalDeviceMemoryProperties memories;
    vkGetPhysicalDeviceMemoryProperties(physical, &memories);
    const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t kind = 0;
    while (!(needs.memoryTypeBits >> kind & 1) || (memories.memoryTypes[kind].propertyFlags & seen) != seen) kind++;
    VkMemoryAllocateInfo of_memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size,
                                      .memoryTypeIndex = kind};
    VkDeviceMemory memory;
    vk(vkAllocateMemory(device, &of_memory, NULL, &memory), "vkAllocateMemory");
    vk(vkBindBufferMemory(device, buffer, memory, 0), "vkBindBufferMemory");
    void *mapped;
    vk(vkMapMemory(device, memory, 0, VK_WHOLE_SIZE, 0, &mapped), "vkMapMemory");
    const float x[M][K] = {{1, 2}, {-3, 4}, {5, -6}, {0.5f, 0.25f}}, w[N][K] = {{1, 1}, {-2, 0.5f}, {0.25f, -1}};
    memcpy(mapped, x, sizeof x);
    memcpy((char *)mapped + 256, w, sizeof w);

    /* elbow's side. */
    host.device = device;
    elbow_gpu *gpu;
    if (extension_count > 0) { /* A device without what elbow needs is refused by name. */
        if (elbow_gpu_from_vulkan(&host, &gpu) != ELBOW_STATUS_BAD_INPUT) return 1;
        printf("a mistake: %s\n", elbow_last_error());
    }
    host.device_extensions = extensions;
    host.device_extension_count = extension_count;
    must(elbow_gpu_from_vulkan(&host, &gpu));
    char line[512];
    elbow_gpu_describe(gpu, line, sizeof line);
    printf("%s\n", line);
    elbow_tensor *X, *W, *Y;
    uint64_t handle = (uint64_t)(uintptr_t)buffer;
    must(elbow_tensor_from_vulkan(gpu, handle, BYTES, 0, ELBOW_DATA_TYPE_F32, (size_t[]){M, K}, 2, &X));
    must(elbow_tensor_from_vulkan(gpu, handle, BYTES, 256, ELBOW_DATA_TYPE_F32, (size_t[]){N, K}, 2, &W));
    must(elbow_tensor_from_vulkan(gpu, handle, BYTES, 512, ELBOW_DATA_TYPE_F32, (size_t[]){M, N}, 2, &Y));
    elbow_layer layer = {.activation = "relu", .x = X, .w = W, .y = Y};
    must(elbow_forward(gpu, &layer));
    must(elbow_gpu_wait(gpu));

    /* The host reads its own memory. */
    const float *y = (const float *)((char *)mapped + 512);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            float z = 0;
            for (int k = 0; k < K; k++) z += x[m][k] * w[n][k];
            float want_y = z > 0 ? z : 0;
            if (y[m * N + n] != want_y) return fprintf(stderr, "y[%d][%d] is %g, not %g\n", m, n, y[m * N + n], want_y), 1;
        }
    printf("elbow wrote to the host's VkBuffer\n");

    elbow_tensor_free(X);
    elbow_tensor_free(W);
    elbow_tensor_free(Y);
    elbow_gpu_close(gpu);
    /* All of it is still the host's. */
    vk(vkDeviceWaitIdle(device), "vkDeviceWaitIdle");
    vkUnmapMemory(device, memory);
    vkDestroyBuffer(device, buffer, NULL);
    vkFreeMemory(device, memory, NULL);
    vkDestroyDevice(device, NULL);
    vkDestroyInstance(instance, NULL);
    return 0;
}
