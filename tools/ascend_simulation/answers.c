/* The functions of CANN's runtime whose answers MindSpore reads. All others return 0, see build.py. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value && *value ? value : otherwise;
}

const char *aclrtGetSocName() { return setting("SIMULATED_SOC", "Ascend910B2"); }
const char *aclGetRecentErrMsg() { return ""; }
const char *HcclGetErrorString(int code) { return ""; }

int aclrtGetDeviceCount(uint32_t *count) {
  *count = 8;
  return 0;
}

int aclrtGetDevice(int32_t *device) {
  *device = atoi(setting("DEVICE_ID", "0"));
  return 0;
}

int aclrtGetMemInfo(int kind, size_t *unused, size_t *total) {
  *unused = *total = (size_t)64 << 30;
  return 0;
}

int aclrtMalloc(void **place, size_t size, int policy) {
  *place = calloc(1, size);
  return *place == NULL;
}

int aclrtMallocHost(void **place, size_t size) {
  *place = calloc(1, size);
  return *place == NULL;
}

int aclrtFree(void *place) {
  free(place);
  return 0;
}

int aclrtFreeHost(void *place) {
  free(place);
  return 0;
}

int aclrtMemcpy(void *to, size_t room, const void *from, size_t size, int direction) {
  memcpy(to, from, size);
  return 0;
}

int aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t size, int direction, void *stream) {
  memcpy(to, from, size);
  return 0;
}

int aclrtMemset(void *to, size_t room, int value, size_t size) {
  memset(to, value, size);
  return 0;
}
