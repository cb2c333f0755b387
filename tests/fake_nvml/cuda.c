/* A stand-in for libcuda.so.1: what the driver door asks, and an MPS client's side of cuInit.
 *
 * cuInit connects to the control socket of tests/fake_mps, if there is one, and stays connected: a
 * client lives as long as its process. Without a daemon it goes on without MPS, silently, and with one
 * whose server does not start every call gives 805, as the real one's do. FAKE_CUDA_SMS is the device's number of SMs (132).
 *
 * Its one kernel spins: a launch of so many blocks, two to an SM, takes its cycles at 2 GHz, and
 * longer where the process was given fewer SMs than that. Other processes do not disturb it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int initialised, broken, link_fd = -1, percent = 100; /* fixed when CUDA starts */
static char first[64];

static void attach(void) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY"), *device = getenv("CUDA_VISIBLE_DEVICES");
  char line[256];
  snprintf(to.sun_path, sizeof to.sun_path, "%s/control", folder ? folder : "/tmp/nvidia-mps");
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) {
    if (fd >= 0) close(fd);
    return;
  }
  int n = snprintf(line, sizeof line, "attach %d %d %s\n", (int)getpid(), (int)getuid(), device ? device : "GPU-?");
  if (write(fd, line, (size_t)n) == n && read(fd, line, sizeof line) > 0 && line[0] == 'o') link_fd = fd;
  else {
    broken = 805; /* for as long as the process lives, whatever its environment is set to */
    close(fd);
  }
}

int cuInit(unsigned flags) {
  if (flags) return 1;
  const char *limit = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
  if (!initialised && !broken) attach();
  if (broken) return broken;
  if (!initialised) {
    if (link_fd >= 0 && limit) percent = atoi(limit);
    const char *shown = getenv("CUDA_VISIBLE_DEVICES"), *named = getenv("FAKE_CUDA_UUID");
    if (!named) named = shown && !strncmp(shown, "GPU-", 4) ? shown : "GPU-11111111-2222-3333-4444-555555555555";
    snprintf(first, sizeof first, "%.40s", named);
  }
  initialised = 1;
  return 0;
}
int cuCtxGetCurrent(void **context) {
  if (!initialised) return 3;
  *context = NULL;
  return 0;
}
int cuDeviceGet(int *device, int ordinal) {
  if (!initialised) return 3;
  *device = ordinal;
  return ordinal ? 101 : 0;
}
/* FAKE_CUDA_UUID is the first device's; else what CUDA_VISIBLE_DEVICES named, or the scenario's own. */
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
  if (!initialised) return 3;
  for (const char *at = first + 4; device == 0 && *at; at++)
    if (*at != '-' && sscanf(at++, "%2hhx", uuid++) != 1) return 1;
  return device ? 101 : 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  const char *sms = getenv("FAKE_CUDA_SMS");
  if (!initialised) return 3;
  if (attribute != 16 || device) return 1;
  *value = sms ? atoi(sms) : 132;
  if (percent < 100) *value = 2 * (percent * *value / 200); /* steps of two SMs */
  return 0;
}

static int sms(void) {
  int count = 0;
  cuDeviceGetAttribute(&count, 16, 0);
  return count ? count : 1;
}
int cuCtxCreate_v2(void **context, unsigned flags, int device) {
  if (!initialised) return 3;
  *context = &initialised;
  return flags || device ? 1 : 0;
}
static size_t held; /* by this process; nothing is ever given back */
int cuMemGetInfo_v2(size_t *left, size_t *total) {
  *total = (size_t)80 << 30;
  const char *limit = getenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
  *left = limit && !strncmp(limit, "0=", 2) ? (size_t)atol(limit + 2) << 20 : *total;
  *left -= held < *left ? held : *left;
  return initialised ? 0 : 3;
}
/* Device memory counts towards the limit, managed memory and the host's do not: no address is real. */
int cuMemAlloc_v2(void **pointer, size_t size) {
  size_t left, total;
  if (cuMemGetInfo_v2(&left, &total)) return 3;
  if (size > left) return 2;
  held += size;
  *pointer = &held;
  return 0;
}
int cuMemAllocAsync(void **pointer, size_t size, void *stream) { return stream ? 1 : cuMemAlloc_v2(pointer, size); }
int cuMemAllocManaged(void **pointer, size_t size, unsigned flags) {
  *pointer = &held;
  return flags == 1 && size ? 0 : 1;
}
int cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
  *pointer = &held;
  return flags == 0 && size ? 0 : 1;
}
int cuModuleLoadData(void **module, const void *image) { return (*module = (void *)image) ? 0 : 1; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = module;
  return strstr(module, name) ? 0 : 500;
}
int cuLaunchKernel(void *function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned ty,
                   unsigned tz, unsigned shared, void *stream, void **arguments, void **extra) {
  (void)function, (void)y, (void)z, (void)threads, (void)ty, (void)tz, (void)shared, (void)stream, (void)extra;
  double cycles = (double)*(uint64_t *)arguments[0], width = blocks / 2.0 / sms();
  usleep((useconds_t)(cycles / 2000.0 * (width > 1.0 ? width : 1.0)));
  return 0;
}
int cuCtxSynchronize(void) { return 0; }
