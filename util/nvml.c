/* SPDX-License-Identifier: Apache-2.0 */
/* The few functions and the one struct that we use, as NVML's API reference
 * gives them; they have not changed since its first versions. */
#include "util/nvml.h"

#include <dlfcn.h>
#include <math.h>

#define LIBRARY "libnvidia-ml.so.1"
#define NVML_SUCCESS 0

typedef struct device *device_handle;

struct memory_info {
    unsigned long long total, free, used; /* bytes; version 1 of the struct */
};

struct utilization_info {
    unsigned gpu, memory; /* percent */
};

struct nvml {
    void *library; /* owned */
    device_handle device;
    int (*shutdown)(void);
    int (*get_memory)(device_handle, struct memory_info *);
    int (*get_utilization)(device_handle, struct utilization_info *);
    int (*get_power)(device_handle, unsigned *);              /* mW */
    int (*get_energy)(device_handle, unsigned long long *);   /* mJ */
};

/* A function pointer out of dlsym, as POSIX has it. */
static void
load(void *library, const char *name, void *ret)
{
    *(void **)ret = dlsym(library, name);
}

struct nvml *
nvml_open(const char *library, unsigned gpu_index)
{
    int (*init)(void) = NULL;
    int (*get_handle)(unsigned, device_handle *) = NULL;
    struct nvml *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->library = dlopen(library != NULL ? library : LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (n->library != NULL) {
        load(n->library, "nvmlInit_v2", &init);
        load(n->library, "nvmlDeviceGetHandleByIndex_v2", &get_handle);
        load(n->library, "nvmlShutdown", &n->shutdown);
        load(n->library, "nvmlDeviceGetMemoryInfo", &n->get_memory);
        load(n->library, "nvmlDeviceGetUtilizationRates", &n->get_utilization);
        load(n->library, "nvmlDeviceGetPowerUsage", &n->get_power);
        load(n->library, "nvmlDeviceGetTotalEnergyConsumption", &n->get_energy);
    }
    bool is_up = init != NULL && get_handle != NULL && init() == NVML_SUCCESS;
    if (is_up && get_handle(gpu_index, &n->device) == NVML_SUCCESS)
        return n;
    if (!is_up)
        n->shutdown = NULL;
    nvml_close(n);
    return NULL;
}

void
nvml_close(struct nvml *n)
{
    if (n == NULL)
        return;
    if (n->shutdown != NULL)
        n->shutdown();
    if (n->library != NULL)
        dlclose(n->library);
    free(n);
}

void
nvml_read(struct nvml *n, struct nvml_reading *ret)
{
    struct memory_info memory;
    struct utilization_info utilization;
    unsigned power_mw;
    unsigned long long energy_mj;
    *ret = (struct nvml_reading){NAN, NAN, NAN, NAN, NAN};
    if (n == NULL)
        return;
    if (n->get_memory != NULL && n->get_memory(n->device, &memory) == NVML_SUCCESS) {
        ret->memory_used_bytes = (double)memory.used;
        ret->memory_total_bytes = (double)memory.total;
    }
    if (n->get_utilization != NULL &&
        n->get_utilization(n->device, &utilization) == NVML_SUCCESS)
        ret->utilization = utilization.gpu / 100.0;
    if (n->get_power != NULL && n->get_power(n->device, &power_mw) == NVML_SUCCESS)
        ret->power_w = power_mw / 1000.0;
    if (n->get_energy != NULL && n->get_energy(n->device, &energy_mj) == NVML_SUCCESS)
        ret->energy_j = (double)energy_mj / 1000.0;
}
