/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the driver's management library. GPU 0 answers, GPU 1 refuses
 * every question, there is no GPU 2. FAKE_NVML_OLD: as a library that lacks what
 * later versions have brought. Loaded with dlopen, never linked.
 */
#define NVML_SUCCESS 0
#define NVML_ERROR_UNINITIALIZED 1
#define NVML_ERROR_INVALID_ARGUMENT 2
#define NVML_ERROR_NOT_SUPPORTED 3

struct device {
    int is_working;
};

struct memory_info {
    unsigned long long total, free, used;
};

struct utilization_info {
    unsigned gpu, memory;
};

static struct device devices[2] = {{1}, {0}};
static int num_users;

int
nvmlInit_v2(void)
{
    num_users++;
    return NVML_SUCCESS;
}

int
nvmlShutdown(void)
{
    num_users--;
    return NVML_SUCCESS;
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **ret)
{
    if (num_users < 1)
        return NVML_ERROR_UNINITIALIZED;
    if (index >= 2)
        return NVML_ERROR_INVALID_ARGUMENT;
    *ret = &devices[index];
    return NVML_SUCCESS;
}

static int
check(const struct device *d)
{
    if (num_users < 1)
        return NVML_ERROR_UNINITIALIZED;
    return d->is_working ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

int
nvmlDeviceGetMemoryInfo(struct device *d, struct memory_info *ret)
{
    *ret = (struct memory_info){.total = 80ull << 30, .free = 60ull << 30, .used = 20ull << 30};
    return check(d);
}

int
nvmlDeviceGetUtilizationRates(struct device *d, struct utilization_info *ret)
{
    *ret = (struct utilization_info){.gpu = 75, .memory = 10};
    return check(d);
}

#ifndef FAKE_NVML_OLD
int
nvmlDeviceGetPowerUsage(struct device *d, unsigned *ret_mw)
{
    *ret_mw = 250500;
    return check(d);
}

int
nvmlDeviceGetTotalEnergyConsumption(struct device *d, unsigned long long *ret_mj)
{
    *ret_mj = 5000000001250ull;
    return check(d);
}
#endif
