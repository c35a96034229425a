/* What a libc would ask of WASI, and a filter does not have: files, environment, an exit. With these here, nothing of
 * WASI is imported. They come into a component only where something calls them: printf() brings most of them, and what
 * it prints goes to the gateway's log. */

/* Called by the generated bindings, or by the libc. */
#pragma clang diagnostic ignored "-Wmissing-prototypes"

#include "wasmilter.h"

#include <string.h>

#define WASI(name) __imported_wasi_snapshot_preview1_##name
#define EBADF 8
#define ENOSYS 52

typedef struct {
  const uint8_t *at;
  size_t len;
} slice_t;

int32_t WASI(fd_write)(int32_t file, int32_t slices, int32_t count, int32_t written) {
  uint32_t sum = 0;
  for (int32_t i = 0; i < count; i++) {
    slice_t slice = ((const slice_t *)slices)[i];
    sum += slice.len;
    wm_str line = wm_trim((wm_str){(uint8_t *)slice.at, slice.len});
    if (line.len) wm_log("%.*s", WM(line));
  }
  *(uint32_t *)written = sum;
  return file == 1 || file == 2 ? 0 : EBADF;
}

int32_t WASI(fd_close)(int32_t file) { return (void)file, EBADF; }
int32_t WASI(fd_seek)(int32_t file, int64_t offset, int32_t whence, int32_t at) {
  return (void)file, (void)offset, (void)whence, (void)at, ENOSYS;
}
int32_t WASI(fd_read)(int32_t file, int32_t slices, int32_t count, int32_t read) {
  return (void)file, (void)slices, (void)count, (void)read, EBADF;
}
int32_t WASI(fd_fdstat_get)(int32_t file, int32_t stat) {
  memset((void *)stat, 0, 24);
  return file == 1 || file == 2 ? 0 : EBADF;
}
int32_t WASI(environ_sizes_get)(int32_t count, int32_t size) { return *(uint32_t *)count = *(uint32_t *)size = 0, 0; }
int32_t WASI(environ_get)(int32_t names, int32_t values) { return (void)names, (void)values, 0; }
_Noreturn void WASI(proc_exit)(int32_t status) {
  (void)status;
  __builtin_trap();
}
