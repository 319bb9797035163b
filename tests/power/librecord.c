// LD_PRELOAD shim: writes down every change of files below one directory, with contents and in order, to a trace.
//
// A file is its inode, so that what a later rename or unlink does to names does not matter. One record is a letter, the
// length of the path (2 bytes), a number (8), an offset or length (8), the length of the data (4), path, data.
// Letters: c name created (number: inode, which may have names already), m directory made, w written (inode, offset, data), t cut or made longer
// (inode, length), s synced (inode), d directory synced, u unlinked, r renamed (data: the new name).
// One lock is held around each call and its record, so the trace's order is the one in which things happened.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int trace = -1;
static char prefix[4096];
static size_t prefix_length = 0;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name)                            \
  static __typeof__(&name) real = 0;          \
  if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

void record_begin(const char *below, const char *file) {
  REAL(open);
  snprintf(prefix, sizeof prefix, "%s/", below);
  prefix_length = strlen(prefix);
  trace = real(file, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
}

// In one call, which appends it whole: a process that was forked off writes to the same trace and has a lock of its own.
static void put(const struct iovec *parts, int count, size_t size) {
  REAL(writev);
  ssize_t written;
  do written = real(trace, parts, count);
  while (written < 0 && errno == EINTR);
  if (written != (ssize_t)size) abort();  // a trace with a hole would prove nothing
}

static void emit(char letter, const char *path, uint64_t number, int64_t at, const void *data, size_t size) {
  unsigned char head[23];
  uint16_t length = path ? (uint16_t)strlen(path) : 0;
  uint32_t bytes = (uint32_t)size;
  head[0] = (unsigned char)letter;
  memcpy(head + 1, &length, 2), memcpy(head + 3, &number, 8), memcpy(head + 11, &at, 8), memcpy(head + 19, &bytes, 4);
  struct iovec parts[3] = {{head, sizeof head}, {(void *)path, length}, {(void *)data, size}};
  put(parts, 3, sizeof head + length + size);
}

// A relative path is one below the working directory.
static const char *whole(const char *path, char *buffer) {
  size_t length;
  if (path[0] == '/' || !getcwd(buffer, 4096)) return path;
  length = strlen(buffer);
  snprintf(buffer + length, 4096 - length, "/%s", path);
  return buffer;
}

static int below(const char *path) { return trace >= 0 && strncmp(path, prefix, prefix_length) == 0; }

// Whether the descriptor is of a file or directory that is recorded; its inode and kind.
static int known(int fd, struct stat *found) {
  char link[64], path[4096];
  int before = errno;
  if (trace < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length <= 0) return 0;
  path[length] = 0;
  if (!below(path) && (strncmp(path, prefix, prefix_length - 1) != 0 || (size_t)length != prefix_length - 1)) return 0;
  return fstat(fd, found) == 0 && (S_ISREG(found->st_mode) || S_ISDIR(found->st_mode));
}

// Calls on a descriptor: do it under the lock, and note what `noted` says if it went well.
#define ON_FILE(type, call, noted)            \
  struct stat file;                           \
  if (!known(fd, &file)) return call;         \
  pthread_mutex_lock(&lock);                  \
  type result = call;                         \
  int problem = errno;                        \
  if (result >= 0) { noted; }                 \
  errno = problem;                            \
  pthread_mutex_unlock(&lock);                \
  return result

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  REAL(pwrite);
  ON_FILE(ssize_t, real(fd, data, size, offset), emit('w', 0, file.st_ino, offset, data, (size_t)result));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(pwrite64);
  ON_FILE(ssize_t, real(fd, data, size, offset), emit('w', 0, file.st_ino, offset, data, (size_t)result));
}
// Where the write has ended is known afterwards, with O_APPEND too.
ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  ON_FILE(ssize_t, real(fd, data, size),
          emit('w', 0, file.st_ino, lseek(fd, 0, SEEK_CUR) - result, data, (size_t)result));
}
// What was sent is read once more from where it came: the file that it went to may be open for writing only.
static ssize_t sent(ssize_t (*real)(int, int, off_t *, size_t), int fd, int from, off_t *offset, size_t size) {
  struct stat file;
  if (!known(fd, &file)) return real(fd, from, offset, size);
  pthread_mutex_lock(&lock);
  ssize_t result = real(fd, from, offset, size);
  int problem = errno;
  if (result > 0) {
    char *data = malloc((size_t)result);
    off_t begun = (offset ? *offset : lseek(from, 0, SEEK_CUR)) - result;
    if (!data || pread(from, data, (size_t)result, begun) != result) abort();
    emit('w', 0, file.st_ino, lseek(fd, 0, SEEK_CUR) - result, data, (size_t)result);
    free(data);
  }
  errno = problem;
  pthread_mutex_unlock(&lock);
  return result;
}
ssize_t sendfile(int fd, int from, off_t *offset, size_t size) {
  REAL(sendfile);
  return sent(real, fd, from, offset, size);
}
ssize_t sendfile64(int fd, int from, off64_t *offset, size_t size) {
  REAL(sendfile64);
  return sent((ssize_t (*)(int, int, off_t *, size_t))real, fd, from, (off_t *)offset, size);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
  REAL(writev);
  struct stat file;
  if (!known(fd, &file)) return real(fd, parts, n);
  abort();  // nobody here writes so; a trace must not be silent about it
}
int fsync(int fd) {
  REAL(fsync);
  ON_FILE(int, real(fd), emit(S_ISDIR(file.st_mode) ? 'd' : 's', 0, file.st_ino, 0, 0, 0));
}
int fdatasync(int fd) {
  REAL(fdatasync);
  ON_FILE(int, real(fd), emit(S_ISDIR(file.st_mode) ? 'd' : 's', 0, file.st_ino, 0, 0, 0));
}
int ftruncate(int fd, off_t length) { REAL(ftruncate); ON_FILE(int, real(fd, length), emit('t', 0, file.st_ino, length, 0, 0)); }
int ftruncate64(int fd, off64_t length) {
  REAL(ftruncate64);
  ON_FILE(int, real(fd, length), emit('t', 0, file.st_ino, length, 0, 0));
}
int posix_fallocate(int fd, off_t from, off_t length) {
  REAL(posix_fallocate);
  ON_FILE(int, real(fd, from, length), if (from + length > file.st_size) emit('t', 0, file.st_ino, from + length, 0, 0));
}
int posix_fallocate64(int fd, off64_t from, off64_t length) {
  REAL(posix_fallocate64);
  ON_FILE(int, real(fd, from, length), if (from + length > file.st_size) emit('t', 0, file.st_ino, from + length, 0, 0));
}
int fallocate(int fd, int mode, off_t from, off_t length) {
  REAL(fallocate);
  ON_FILE(int, real(fd, mode, from, length),
          if (!mode && from + length > file.st_size) emit('t', 0, file.st_ino, from + length, 0, 0));
}

#define ON_NAMES(watched, call, noted)        \
  if (!(watched)) return call;                \
  pthread_mutex_lock(&lock);                  \
  int result = call, problem = errno;         \
  if (result == 0) { noted; }                 \
  errno = problem;                            \
  pthread_mutex_unlock(&lock);                \
  return result

static uint64_t inode(const char *path) {
  struct stat found;
  return stat(path, &found) == 0 ? found.st_ino : 0;
}
int unlink(const char *given) {
  REAL(unlink);
  char buffer[4096];
  const char *path = whole(given, buffer);
  ON_NAMES(below(path), real(path), emit('u', path, 0, 0, 0, 0));
}
int rename(const char *given, const char *target) {
  REAL(rename);
  char buffer[4096], other[4096];
  const char *from = whole(given, buffer), *to = whole(target, other);
  ON_NAMES(below(from) || below(to), real(from, to), emit('r', from, 0, 0, to, strlen(to)));
}
// A second name of a file; one that is not recorded has no content in the trace.
int link(const char *given, const char *target) {
  REAL(link);
  char buffer[4096], other[4096];
  const char *from = whole(given, buffer), *to = whole(target, other);
  if (below(to) && !below(from)) abort();
  ON_NAMES(below(to), real(from, to), emit('c', to, inode(to), 0, 0, 0));
}
int mkdir(const char *given, mode_t mode) {
  REAL(mkdir);
  char buffer[4096];
  const char *path = whole(given, buffer);
  ON_NAMES(below(path), real(path, mode), emit('m', path, inode(path), 0, 0, 0));
}
// Not used by what is recorded here; a trace must not be silent about them.
static void refuse(const char *given) {
  char buffer[4096];
  if (below(whole(given, buffer))) abort();
}
int symlink(const char *what, const char *at) { REAL(symlink); refuse(at); return real(what, at); }
int truncate(const char *path, off_t length) { REAL(truncate); refuse(path); return real(path, length); }

typedef int (*opener)(const char *, int, ...);
static int opened(opener real, const char *given, int flags, mode_t mode) {
  char buffer[4096];
  const char *path = whole(given, buffer);
  if (!below(path) || !(flags & (O_CREAT | O_TRUNC))) return real(path, flags, mode);
  pthread_mutex_lock(&lock);
  uint64_t before = inode(path);
  int fd = real(path, flags, mode), problem = errno;
  if (fd >= 0) {
    uint64_t now = inode(path);
    if (!before) emit('c', path, now, 0, 0, 0);
    else if (flags & O_TRUNC) emit('t', 0, now, 0, 0, 0);
  }
  errno = problem;
  pthread_mutex_unlock(&lock);
  return fd;
}
#define MODE(flags)                           \
  mode_t mode = 0;                            \
  if ((flags) & O_CREAT) {                    \
    va_list rest;                             \
    va_start(rest, flags);                    \
    mode = va_arg(rest, mode_t);              \
    va_end(rest);                             \
  }
int open(const char *path, int flags, ...) { REAL(open); MODE(flags); return opened(real, path, flags, mode); }
int open64(const char *path, int flags, ...) { REAL(open64); MODE(flags); return opened(real, path, flags, mode); }
int openat(int base, const char *path, int flags, ...) {
  REAL(openat);
  MODE(flags);
  if (base != AT_FDCWD && path[0] != '/') return real(base, path, flags, mode);
  return opened((opener)dlsym(RTLD_NEXT, "open"), path, flags, mode);
}
int openat64(int base, const char *path, int flags, ...) {
  REAL(openat64);
  MODE(flags);
  if (base != AT_FDCWD && path[0] != '/') return real(base, path, flags, mode);
  return opened((opener)dlsym(RTLD_NEXT, "open64"), path, flags, mode);
}
