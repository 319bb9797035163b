// LD_PRELOAD shim: sees every call that changes files below one directory, and takes a planned action at the Nth of them.
//
// Actions: kill before the call, tear (do half of a write, then kill), kill after the call, stop (SIGSTOP) before it.
// Every call is noted as "<letter> <file name>", so a test can also ask in which order things reached the disk. Letters:
// w write, p pwrite, v writev, s sync, t truncate, o open that may create, u unlink, r rename, m mkdir, f fallocate,
// g an exclusive flock. An evidence file of the test counts like any other: that is a kill in the middle of user code.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, TEAR = 2, KILL_AFTER = 3, STOP = 4 };

static int armed = 0, action = COUNT;
static long count = 0, at = -1;
static char prefix[4096], letters[32], only[256];
static size_t prefix_length = 0;
static char notes[1 << 21];
static size_t notes_length = 0;

// `wanted`: the letters that count, or "" for all but g; `name_end`: count only files whose name ends so, or "".
void crash_arm(long n, int what, const char *below, const char *wanted, const char *name_end) {
  count = 0, at = n, action = what, notes_length = 0;
  snprintf(prefix, sizeof prefix, "%s/", below);
  prefix_length = strlen(prefix);
  snprintf(letters, sizeof letters, "%s", wanted);
  snprintf(only, sizeof only, "%s", name_end);
  __atomic_store_n(&armed, 1, __ATOMIC_SEQ_CST);
}
void crash_disarm(void) { __atomic_store_n(&armed, 0, __ATOMIC_SEQ_CST); }
long crash_count(void) { return count; }
const char *crash_notes(void) { return notes; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static void note(char letter, const char *path) {
  char line[600];
  const char *name = strrchr(path, '/');
  int length = snprintf(line, sizeof line, "%c %s\n", letter, name ? name + 1 : path);
  size_t start = __atomic_fetch_add(&notes_length, (size_t)length, __ATOMIC_SEQ_CST);
  if (start + (size_t)length < sizeof notes) memcpy(notes + start, line, (size_t)length);
}

static int counts(char letter, const char *path) {
  size_t whole = strlen(path), end = strlen(only);
  if (letters[0] ? !strchr(letters, letter) : letter == 'g') return 0;
  return end <= whole && strcmp(path + whole - end, only) == 0;
}

// What is to be done with this call: TEAR or KILL_AFTER are left to the caller, who knows the call.
static int meet_path(char letter, const char *path) {
  char whole[4096];
  if (!__atomic_load_n(&armed, __ATOMIC_SEQ_CST)) return COUNT;
  if (path[0] != '/' && getcwd(whole, sizeof whole)) {  // below the working directory
    size_t length = strlen(whole);
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    path = whole;
  }
  if (strncmp(path, prefix, prefix_length) != 0) return COUNT;
  note(letter, path);
  if (!counts(letter, path)) return COUNT;
  if (__atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) != at) return COUNT;
  if (action == KILL) die();
  if (action == STOP) {
    // Sent to this very thread: a signal to the process may reach another one first, and this one would run on a while.
    syscall(SYS_tgkill, getpid(), gettid(), SIGSTOP);
    return COUNT;
  }
  return action;
}

static int meet(char letter, int fd) {
  if (!__atomic_load_n(&armed, __ATOMIC_SEQ_CST)) return COUNT;
  char link[64], path[4096];
  int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length <= 0) return COUNT;
  path[length] = 0;
  return meet_path(letter, path);
}

#define REAL(name)                            \
  static __typeof__(&name) real = 0;          \
  if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)
// Calls that cannot be half done: a torn one is one that has not happened.
#define WHOLE(met, call)                      \
  int todo = met;                             \
  if (todo == TEAR) die();                    \
  __typeof__(call) result = call;             \
  if (todo == KILL_AFTER) die();              \
  return result

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  int todo = meet('w', fd);
  ssize_t written = real(fd, data, todo == TEAR ? size / 2 : size);
  if (todo != COUNT) die();
  return written;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  REAL(pwrite);
  int todo = meet('p', fd);
  ssize_t written = real(fd, data, todo == TEAR ? size / 2 : size, offset);
  if (todo != COUNT) die();
  return written;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(pwrite64);
  int todo = meet('p', fd);
  ssize_t written = real(fd, data, todo == TEAR ? size / 2 : size, offset);
  if (todo != COUNT) die();
  return written;
}
ssize_t writev(int fd, const struct iovec *parts, int n) { REAL(writev); WHOLE(meet('v', fd), real(fd, parts, n)); }
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) {
  REAL(pwritev);
  WHOLE(meet('v', fd), real(fd, parts, n, offset));
}
int fsync(int fd) { REAL(fsync); WHOLE(meet('s', fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); WHOLE(meet('s', fd), real(fd)); }
int ftruncate(int fd, off_t length) { REAL(ftruncate); WHOLE(meet('t', fd), real(fd, length)); }
int ftruncate64(int fd, off64_t length) { REAL(ftruncate64); WHOLE(meet('t', fd), real(fd, length)); }
int fallocate(int fd, int mode, off_t from, off_t length) {
  REAL(fallocate);
  WHOLE(meet('f', fd), real(fd, mode, from, length));
}
int posix_fallocate(int fd, off_t from, off_t length) {
  REAL(posix_fallocate);
  WHOLE(meet('f', fd), real(fd, from, length));
}
int posix_fallocate64(int fd, off64_t from, off64_t length) {
  REAL(posix_fallocate64);
  WHOLE(meet('f', fd), real(fd, from, length));
}
int unlink(const char *path) { REAL(unlink); WHOLE(meet_path('u', path), real(path)); }
int rename(const char *from, const char *to) { REAL(rename); WHOLE(meet_path('r', to), real(from, to)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); WHOLE(meet_path('m', path), real(path, mode)); }
int flock(int fd, int what) {
  REAL(flock);
  WHOLE((what & LOCK_EX) ? meet('g', fd) : COUNT, real(fd, what));
}

#define MODE(flags)                           \
  mode_t mode = 0;                            \
  if ((flags) & (O_CREAT | O_TMPFILE)) {      \
    va_list rest;                             \
    va_start(rest, flags);                    \
    mode = va_arg(rest, mode_t);              \
    va_end(rest);                             \
  }
int open(const char *path, int flags, ...) {
  REAL(open);
  MODE(flags);
  WHOLE((flags & O_CREAT) ? meet_path('o', path) : COUNT, real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
  REAL(open64);
  MODE(flags);
  WHOLE((flags & O_CREAT) ? meet_path('o', path) : COUNT, real(path, flags, mode));
}
int openat(int base, const char *path, int flags, ...) {
  REAL(openat);
  MODE(flags);
  WHOLE((flags & O_CREAT) ? meet_path('o', path) : COUNT, real(base, path, flags, mode));
}
int openat64(int base, const char *path, int flags, ...) {
  REAL(openat64);
  MODE(flags);
  WHOLE((flags & O_CREAT) ? meet_path('o', path) : COUNT, real(base, path, flags, mode));
}
