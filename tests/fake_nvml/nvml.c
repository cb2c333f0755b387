/* A stand-in for libnvidia-ml.so.1 that plays a script; see scenario.py for the script's form.
 *
 * It exports what jupyter_gpupredict's driver door calls through nvidia-ml-py, and nothing that could
 * change a device, so that a call of a setter cannot pass unnoticed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int nvmlReturn_t;
typedef unsigned long long u64;

enum { MAX_GPUS = 16, MAX_POINTS = 20000, MAX_PROCS = 64, MAX_FAILS = 64, MAX_LINE = 512 };

typedef struct {
  char uuid[96], name[96];
  u64 total_mib;
  double refresh_s, offset_s;
  int depth, dry, loop, points, procs, gpm, cores, major, minor, compute_mode;
  double t[MAX_POINTS], util[MAX_POINTS], mem_mib[MAX_POINTS], breadth[MAX_POINTS];
  unsigned pid[MAX_PROCS];
  int mps[MAX_PROCS], busy[MAX_PROCS];
  u64 proc_mib[MAX_PROCS];
  int parent, slot, sms; /* an instance: its GPU, its slot; else -1 */
  u64 throttle;
} Gpu;

typedef struct {
  char function[64];
  int code, after, times, seen;
} Failure;

static Gpu *gpus;
static int gpu_count, fail_count, initialised;
static Failure fails[MAX_FAILS];
static char driver[64];
static double start_s, fixed_now_s = -1.0;

/* Tests own the clock by calling this through ctypes; negative gives it back. */
void fake_nvml_set_time(double now_s) { fixed_now_s = now_s; }

/* A test begins with a library that nobody has opened, whatever ran before it in this process. */
void fake_nvml_forget(void) { initialised = 0; }

static double now_s(void) {
  struct timespec now;
  if (fixed_now_s >= 0) return fixed_now_s;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

static void directive(char *line) {
  char word[64], rest[MAX_LINE];
  Gpu *gpu = gpu_count ? &gpus[gpu_count - 1] : NULL;
  rest[0] = 0;
  if (sscanf(line, "%63s %511[^\n]", word, rest) < 1 || word[0] == '#') return;
  if (!strcmp(word, "driver")) {
    snprintf(driver, sizeof driver, "%.63s", rest);
  } else if (!strcmp(word, "start")) {
    start_s = atof(rest);
  } else if (!strcmp(word, "gpu") && gpu_count < MAX_GPUS) {
    gpu = &gpus[gpu_count++];
    memset(gpu, 0, sizeof *gpu);
    gpu->refresh_s = 0.2;
    gpu->depth = 100;
    gpu->parent = -1;
    sscanf(rest, "%95s %llu %95[^\n]", gpu->uuid, &gpu->total_mib, gpu->name);
  } else if (!strcmp(word, "fail") && fail_count < MAX_FAILS) {
    Failure *f = &fails[fail_count];
    f->after = 0, f->times = -1, f->seen = 0;
    if (sscanf(rest, "%63s %d %d %d", f->function, &f->code, &f->after, &f->times) >= 2) fail_count++;
  } else if (gpu && !strcmp(word, "refresh_s")) {
    gpu->refresh_s = atof(rest);
  } else if (gpu && !strcmp(word, "offset_s")) {
    gpu->offset_s = atof(rest);
  } else if (gpu && !strcmp(word, "depth")) {
    gpu->depth = atoi(rest);
  } else if (gpu && !strcmp(word, "dry")) {
    gpu->dry = 1;
  } else if (gpu && !strcmp(word, "loop")) {
    gpu->loop = 1;
  } else if (gpu && !strcmp(word, "gpm")) {
    gpu->gpm = 1;
  } else if (gpu && !strcmp(word, "throttle")) {
    gpu->throttle = strtoull(rest, NULL, 0);
  } else if (gpu && !strcmp(word, "instance")) {
    sscanf(rest, "%d %d %d", &gpu->parent, &gpu->slot, &gpu->sms);
  } else if (gpu && !strcmp(word, "compute_mode")) {
    gpu->compute_mode = atoi(rest);
  } else if (gpu && !strcmp(word, "cores")) {
    sscanf(rest, "%d %d.%d", &gpu->cores, &gpu->major, &gpu->minor);
  } else if (gpu && !strcmp(word, "proc") && gpu->procs < MAX_PROCS) {
    char who[32], how[8] = "";
    gpu->busy[gpu->procs] = -1;
    if (sscanf(rest, "%31s %llu %7s", who, &gpu->proc_mib[gpu->procs], how) >= 2) {
      gpu->mps[gpu->procs] = !strcmp(how, "mps");
      if (isdigit((unsigned char)how[0])) gpu->busy[gpu->procs] = atoi(how);
      gpu->pid[gpu->procs++] = !strcmp(who, "self") ? (unsigned)getpid() : (unsigned)atoi(who);
    }
  } else if (gpu && !strcmp(word, "at") && gpu->points < MAX_POINTS) {
    int i = gpu->points;
    gpu->breadth[i] = 100;
    if (sscanf(rest, "%lf %lf %lf %lf", &gpu->t[i], &gpu->util[i], &gpu->mem_mib[i], &gpu->breadth[i]) >= 3) gpu->points++;
  }
}

static void read_script(const char *path) {
  char line[MAX_LINE];
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return;
  while (fgets(line, sizeof line, file)) directive(line);
  fclose(file);
}

/* Failures of the control file come and go while a process runs. */
static int controlled(const char *function) {
  char line[MAX_LINE], name[64];
  int code, found = 0;
  const char *path = getenv("FAKE_NVML_CONTROL");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return 0;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "fail %63s %d", name, &code) == 2 && (!strcmp(name, "*") || !strcmp(name, function)))
      found = code;
  fclose(file);
  return found;
}

/* How long the control file has a call take: `slow FUNCTION SECONDS`; negative for `hang FUNCTION`. */
static double delay_s(const char *function) {
  char line[MAX_LINE], name[64];
  double seconds, found = 0;
  const char *path = getenv("FAKE_NVML_CONTROL");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "hang %63s", name) == 1) seconds = -1;
    else if (sscanf(line, "slow %63s %lf", name, &seconds) != 2) continue;
    if (!strcmp(name, "*") || !strcmp(name, function)) found = seconds;
  }
  fclose(file);
  return found;
}

/* A driver that does not answer, or not before the control file lets it. */
static void dawdle(const char *function) {
  double seconds = delay_s(function);
  if (seconds > 0) usleep((useconds_t)(seconds * 1e6));
  while (seconds < 0) {
    usleep(5000);
    seconds = delay_s(function);
  }
}

static nvmlReturn_t gate(const char *function, int needs_init) {
  dawdle(function);
  int code = controlled(function);
  if (code) return code;
  for (int i = 0; i < fail_count; i++) {
    Failure *f = &fails[i];
    if (strcmp(f->function, "*") && strcmp(f->function, function)) continue;
    int n = f->seen++;
    if (n >= f->after && (f->times < 0 || n < f->after + f->times)) return f->code;
  }
  return needs_init && !initialised ? 1 : 0;
}

#define GATE(name)                     \
  do {                                 \
    nvmlReturn_t failed = gate(name, 1); \
    if (failed) return failed;         \
  } while (0)

/* The reading that holds at a moment: the last point at or before it. */
static int point_at(const Gpu *gpu, double moment_s) {
  double t = moment_s - start_s, end;
  int i = 0;
  if (!gpu->points) return -1;
  end = gpu->t[gpu->points - 1];
  if (gpu->loop && end > 0 && t > end) t -= end * (long)(t / end);
  while (i + 1 < gpu->points && gpu->t[i + 1] <= t) i++;
  return i;
}

static unsigned util_at(const Gpu *gpu, double moment_s) {
  int i = point_at(gpu, moment_s);
  return i < 0 ? 0 : (unsigned)(gpu->util[i] + 0.5);
}

static u64 memory_at(const Gpu *gpu) {
  int i = point_at(gpu, now_s());
  return (u64)((i < 0 ? 0 : gpu->mem_mib[i]) * 1048576.0);
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  if (!gpus) gpus = calloc(MAX_GPUS, sizeof *gpus);
  if (!initialised) {
    gpu_count = fail_count = 0;
    start_s = 0;
    snprintf(driver, sizeof driver, "580.00");
    read_script(getenv("FAKE_NVML_SCRIPT"));
    if (start_s == 0) start_s = now_s();
  }
  nvmlReturn_t failed = gate("nvmlInitWithFlags", 0);
  if (failed) return failed;
  initialised++;
  return 0;
}
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) {
  GATE("nvmlShutdown");
  initialised--;
  return 0;
}
const char *nvmlErrorString(nvmlReturn_t code) {
  static char text[48];
  snprintf(text, sizeof text, "scripted error %d", code);
  return text;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
  GATE("nvmlSystemGetDriverVersion");
  snprintf(version, length, "%s", driver);
  return 0;
}
static Gpu *whole(int index) {
  for (int i = 0; i < gpu_count; i++)
    if (gpus[i].parent < 0 && index-- == 0) return &gpus[i];
  return NULL;
}
static Gpu *instance(const Gpu *gpu, int slot) {
  for (int i = 0; i < gpu_count; i++)
    if (gpus[i].parent >= 0 && whole(gpus[i].parent) == gpu && (slot < 0 || gpus[i].slot == slot)) return &gpus[i];
  return NULL;
}
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
  GATE("nvmlDeviceGetCount_v2");
  for (*count = 0; whole((int)*count);) ++*count;
  return 0;
}
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu) {
  GATE("nvmlDeviceGetHandleByIndex_v2");
  *gpu = whole((int)index);
  return *gpu ? 0 : 2;
}

/* MIG: instances stand in the script as GPUs of their own that name their parent. */
enum { MIG_SLOTS = 7 };
nvmlReturn_t nvmlDeviceGetMigMode(Gpu *gpu, unsigned *current, unsigned *pending) {
  GATE("nvmlDeviceGetMigMode");
  *current = *pending = instance(gpu, -1) != NULL;
  return 0;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(Gpu *gpu, unsigned *count) {
  (void)gpu;
  GATE("nvmlDeviceGetMaxMigDeviceCount");
  *count = MIG_SLOTS;
  return 0;
}
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(Gpu *gpu, unsigned slot, Gpu **found) {
  GATE("nvmlDeviceGetMigDeviceHandleByIndex");
  *found = instance(gpu, (int)slot);
  return *found ? 0 : 6;
}
nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Gpu *gpu, Gpu **parent) {
  GATE("nvmlDeviceGetDeviceHandleFromMigDeviceHandle");
  if (gpu->parent < 0) return 2;
  *parent = whole(gpu->parent);
  return 0;
}
nvmlReturn_t nvmlDeviceGetGpuInstanceId(Gpu *gpu, unsigned *id) {
  GATE("nvmlDeviceGetGpuInstanceId");
  if (gpu->parent < 0) return 3;
  *id = (unsigned)gpu->slot + 1;
  return 0;
}
typedef struct { unsigned sms, others[7]; u64 memory_mb; } Attributes;
nvmlReturn_t nvmlDeviceGetAttributes_v2(Gpu *gpu, Attributes *found) {
  GATE("nvmlDeviceGetAttributes_v2");
  if (gpu->parent < 0) return 3;
  found->sms = (unsigned)gpu->sms;
  return 0;
}
/* What an instance does not have. */
#define WHOLE(gpu) \
  if ((gpu)->parent >= 0) return 3
nvmlReturn_t nvmlDeviceGetUUID(Gpu *gpu, char *uuid, unsigned length) {
  GATE("nvmlDeviceGetUUID");
  snprintf(uuid, length, "%s", gpu->uuid);
  return 0;
}
nvmlReturn_t nvmlDeviceGetName(Gpu *gpu, char *name, unsigned length) {
  GATE("nvmlDeviceGetName");
  snprintf(name, length, "%s", gpu->name);
  return 0;
}
typedef struct { u64 total, free, used; } Memory;
nvmlReturn_t nvmlDeviceGetMemoryInfo(Gpu *gpu, Memory *memory) {
  GATE("nvmlDeviceGetMemoryInfo");
  memory->total = gpu->total_mib << 20;
  memory->used = memory_at(gpu);
  memory->free = memory->total - memory->used;
  return 0;
}
typedef struct { unsigned version; u64 total, reserved, free, used; } MemoryV2;
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(Gpu *gpu, MemoryV2 *memory) {
  GATE("nvmlDeviceGetMemoryInfo_v2");
  memory->total = gpu->total_mib << 20;
  memory->reserved = 0;
  memory->used = memory_at(gpu);
  memory->free = memory->total - memory->used;
  return 0;
}
typedef struct { unsigned gpu, memory; } Utilization;
nvmlReturn_t nvmlDeviceGetUtilizationRates(Gpu *gpu, Utilization *use) {
  GATE("nvmlDeviceGetUtilizationRates");
  WHOLE(gpu);
  use->gpu = util_at(gpu, now_s());
  use->memory = use->gpu / 2;
  return 0;
}
typedef struct { u64 stamp_us; union { double d; unsigned u; u64 ull; } value; } Sample;
nvmlReturn_t nvmlDeviceGetSamples(Gpu *gpu, int type, u64 since_us, int *kind, unsigned *count, Sample *out) {
  GATE("nvmlDeviceGetSamples");
  WHOLE(gpu);
  if (type != 1) return 3;
  long newest = (long)((now_s() - start_s) / gpu->refresh_s + 1e-9);
  unsigned room = *count, found = 0;
  for (long k = newest - gpu->depth + 1; k <= newest; k++) {
    double moment_s = start_s + k * gpu->refresh_s;
    u64 stamp_us = (u64)((moment_s + gpu->offset_s) * 1e6);
    if (k < 0 || stamp_us <= since_us) continue;
    if (gpu->dry && util_at(gpu, moment_s) == 0) continue;
    if (out) {
      if (found >= room) break;
      out[found].stamp_us = stamp_us;
      out[found].value.ull = 0;
      out[found].value.u = util_at(gpu, moment_s);
    }
    found++;
  }
  *kind = 1;
  if (!found) return 6;
  *count = found;
  return 0;
}
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
static nvmlReturn_t processes(Gpu *gpu, int mps_only, unsigned *count, Process *out) {
  unsigned wanted = 0, room = *count;
  for (int i = 0; i < gpu->procs; i++) wanted += !mps_only || gpu->mps[i];
  *count = wanted;
  if (!wanted) return 0;
  if (!out || room < wanted) return 7;
  for (int i = 0; i < gpu->procs; i++) {
    if (mps_only && !gpu->mps[i]) continue;
    out->pid = gpu->pid[i];
    out->used = gpu->proc_mib[i] << 20;
    out->gpu_instance = out->compute_instance = 0xFFFFFFFFu;
    out++;
  }
  return 0;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *out) {
  GATE("nvmlDeviceGetComputeRunningProcesses_v3");
  return processes(gpu, 0, count, out);
}
nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *out) {
  GATE("nvmlDeviceGetMPSComputeRunningProcesses_v3");
  return processes(gpu, 1, count, out);
}
nvmlReturn_t nvmlDeviceGetComputeMode(Gpu *gpu, int *mode) {
  GATE("nvmlDeviceGetComputeMode");
  *mode = gpu->compute_mode;
  return 0;
}
nvmlReturn_t nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *milliwatts) {
  GATE("nvmlDeviceGetPowerUsage");
  WHOLE(gpu);
  *milliwatts = 100000 + 5000 * util_at(gpu, now_s());
  return 0;
}
typedef struct { unsigned pid; u64 stamp_us; unsigned sm, mem, enc, dec; } ProcessUse;
nvmlReturn_t nvmlDeviceGetProcessUtilization(Gpu *gpu, ProcessUse *out, unsigned *count, u64 since_us) {
  GATE("nvmlDeviceGetProcessUtilization");
  WHOLE(gpu);
  u64 newest_us = (u64)((start_s + gpu->refresh_s * (long)((now_s() - start_s) / gpu->refresh_s + 1e-9)) * 1e6);
  unsigned wanted = 0, room = *count;
  for (int i = 0; i < gpu->procs; i++) wanted += gpu->busy[i] >= 0 && newest_us > since_us;
  *count = wanted;
  if (!wanted) return 6;
  if (!out || room < wanted) return 7;
  for (int i = 0; i < gpu->procs; i++)
    if (gpu->busy[i] >= 0) *out++ = (ProcessUse){gpu->pid[i], newest_us, (unsigned)gpu->busy[i], 0, 0, 0};
  return 0;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(Gpu *gpu, u64 *bits) {
  GATE("nvmlDeviceGetCurrentClocksEventReasons");
  WHOLE(gpu);
  *bits = gpu->throttle;
  return 0;
}
nvmlReturn_t nvmlDeviceGetNumGpuCores(Gpu *gpu, unsigned *cores) {
  GATE("nvmlDeviceGetNumGpuCores");
  if (!gpu->cores) return 3;
  *cores = (unsigned)gpu->cores;
  return 0;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(Gpu *gpu, int *major, int *minor) {
  GATE("nvmlDeviceGetCudaComputeCapability");
  if (!gpu->cores) return 3;
  *major = gpu->major, *minor = gpu->minor;
  return 0;
}

/* GPM: a snapshot is a moment; a pair of them gives means over the time between. */
typedef struct { unsigned version, supported; } GpmSupport;
nvmlReturn_t nvmlGpmQueryDeviceSupport(Gpu *gpu, GpmSupport *support) {
  GATE("nvmlGpmQueryDeviceSupport");
  support->supported = (unsigned)gpu->gpm;
  return 0;
}
typedef struct { Gpu *gpu; double moment_s; } Snapshot;
static int snapshots;
/* How many snapshots are not freed, for tests. */
int fake_nvml_snapshots(void) { return snapshots; }
nvmlReturn_t nvmlGpmSampleAlloc(Snapshot **snapshot) {
  GATE("nvmlGpmSampleAlloc");
  *snapshot = calloc(1, sizeof **snapshot);
  snapshots++;
  return 0;
}
nvmlReturn_t nvmlGpmSampleFree(Snapshot *snapshot) {
  free(snapshot);
  snapshots--;
  GATE("nvmlGpmSampleFree");
  return 0;
}
nvmlReturn_t nvmlGpmSampleGet(Gpu *gpu, Snapshot *snapshot) {
  GATE("nvmlGpmSampleGet");
  if (!gpu->gpm) return 3;
  snapshot->gpu = gpu;
  snapshot->moment_s = now_s();
  return 0;
}
nvmlReturn_t nvmlGpmMigSampleGet(Gpu *gpu, unsigned id, Snapshot *snapshot) {
  GATE("nvmlGpmMigSampleGet");
  Gpu *found = instance(gpu, (int)id - 1);
  if (!gpu->gpm || !found) return 3;
  snapshot->gpu = found;
  snapshot->moment_s = now_s();
  return 0;
}
typedef struct { unsigned id; int code; double value; const char *names[3]; } GpmMetric;
typedef struct { unsigned version, count; Snapshot *first, *second; GpmMetric metrics[477]; } GpmRequest;
nvmlReturn_t nvmlGpmMetricsGet(GpmRequest *request) {
  GATE("nvmlGpmMetricsGet");
  double from = request->first->moment_s, to = request->second->moment_s, engine = 0, sm = 0;
  Gpu *gpu = request->second->gpu;
  enum { STEPS = 200 };
  if (request->version != 1 || request->first->gpu != gpu) return 2;
  for (int k = 0; k < STEPS; k++) {
    int i = point_at(gpu, from + (k + 0.5) * (to - from) / STEPS);
    if (i < 0) continue;
    engine += gpu->util[i] / STEPS;
    sm += gpu->util[i] * gpu->breadth[i] / 100 / STEPS;
  }
  for (unsigned k = 0; k < request->count; k++) {
    GpmMetric *metric = &request->metrics[k];
    metric->code = to - from > 0.1 ? 0 : 27;
    metric->value = metric->id == 1 ? engine : metric->id == 2 ? sm : metric->id == 10 ? 0.0 / 0.0 : sm / 2;
  }
  return 0;
}
