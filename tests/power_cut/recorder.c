// Records what a process writes below one directory, what it syncs, and what it answers. Loaded by LD_PRELOAD.
//
// - One lock is held over a call and its record: the order in the trace is the order on the disk.
// - A sync is two records, and no lock is held between them: what was there at its begin is on the disk at its end, and
//   others write meanwhile.
// - An answer is recorded before it is sent: nobody has heard of it earlier.
// - GAITWAY_RECORD_KILL=n kills the process with its n-th record, no other being half made.
//
// A record: kind (1 byte), fd (4), number (8), length (4), then so many bytes; all little-endian.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static int trace = -1;
static long kill_in;
static uint64_t syncs;
static unsigned char tracked[FDS];

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);
static int (*real_mkdir)(const char *, mode_t);
static ssize_t (*real_send)(int, const void *, size_t, int);

static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_send = dlsym(RTLD_NEXT, "send");
    root = getenv("GAITWAY_RECORD_ROOT");
    const char *to = getenv("GAITWAY_RECORD_TRACE"), *kill_at = getenv("GAITWAY_RECORD_KILL");
    if (root && to) trace = real_open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (kill_at) kill_in = atol(kill_at);
}

static void enter(void) {
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
}

static void leave(void) {
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void record(char kind, int fd, uint64_t number, const void *bytes, size_t length) {
    int error = errno;
    char head[17] = {kind};
    uint32_t size = (uint32_t)length;
    memcpy(head + 1, &fd, 4);
    memcpy(head + 5, &number, 8);
    memcpy(head + 13, &size, 4);
    struct iovec both[2] = {{head, sizeof head}, {(void *)bytes, length}};
    if (real_writev(trace, both, 2) != (ssize_t)(sizeof head + length)) {
        fputs("recorder: the trace cannot be written\n", stderr);
        die();
    }
    if (kill_in > 0 && --kill_in == 0) die();
    errno = error;
}

static int is_below_root(const char *path) {
    size_t length = root && trace >= 0 ? strlen(root) : 0;
    return length && !strncmp(path, root, length) && (path[length] == '/' || path[length] == 0);
}

static int is_tracked(int fd) {
    return fd >= 0 && fd < FDS && tracked[fd];
}

static int record_open(const char *path, int flags, mode_t mode) {
    enter();
    int fd = real_open(path, flags, mode);
    if (fd >= FDS) die();
    if (fd >= 0 && (tracked[fd] = is_below_root(path))) record('O', fd, (uint64_t)flags, path, strlen(path));
    leave();
    return fd;
}

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                     \
        return record_open(path, flags, mode);            \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    enter();
    if (is_tracked(fd)) {
        record('C', fd, 0, NULL, 0);
        tracked[fd] = 0;
    }
    int result = real_close(fd);
    leave();
    return result;
}

static ssize_t record_pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    enter();
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    if (written > 0 && is_tracked(fd)) record('W', fd, (uint64_t)offset, bytes, (size_t)written);
    leave();
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return record_pwrite(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return record_pwrite(fd, bytes, length, offset);
}

// The number is the port of whoever is answered, the fd the status.
static void record_answer(int fd, const char *bytes, size_t length) {
    pthread_once(&once, begin);
    if (trace < 0 || length < 12 || strncmp(bytes, "HTTP/1.1 ", 9)) return;
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    int error = errno;
    if (!getpeername(fd, (struct sockaddr *)&peer, &size) && peer.sin_family == AF_INET) {
        enter();
        record('A', atoi(bytes + 9), ntohs(peer.sin_port), NULL, 0);
        leave();
    }
    errno = error;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    pthread_once(&once, begin);
    if (!is_tracked(fd)) {
        record_answer(fd, bytes, length);
        return real_write(fd, bytes, length);
    }
    enter();
    struct stat file;
    off_t offset = lseek(fd, 0, SEEK_CUR);
    if (fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &file)) offset = file.st_size;
    ssize_t written = real_write(fd, bytes, length);
    if (written > 0) record('W', fd, (uint64_t)offset, bytes, (size_t)written);
    leave();
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    pthread_once(&once, begin);
    if (is_tracked(fd)) return count > 0 ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0;
    if (count > 0) record_answer(fd, parts[0].iov_base, parts[0].iov_len);
    return real_writev(fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    record_answer(fd, bytes, length);
    return real_send(fd, bytes, length, flags);
}

static int record_ftruncate(int fd, off_t length) {
    enter();
    int result = real_ftruncate(fd, length);
    if (!result && is_tracked(fd)) record('T', fd, (uint64_t)length, NULL, 0);
    leave();
    return result;
}

int ftruncate(int fd, off_t length) { return record_ftruncate(fd, length); }
int ftruncate64(int fd, off64_t length) { return record_ftruncate(fd, length); }

static int record_sync(int fd, int (**sync)(int)) {
    enter();
    uint64_t number = ++syncs;
    int recorded = is_tracked(fd);
    if (recorded) record('B', fd, number, NULL, 0);
    leave();
    int result = (*sync)(fd);
    enter();
    if (!result && recorded) record('E', fd, number, NULL, 0);
    leave();
    return result;
}

int fsync(int fd) { return record_sync(fd, &real_fsync); }
int fdatasync(int fd) { return record_sync(fd, &real_fdatasync); }

int unlink(const char *path) {
    enter();
    int result = real_unlink(path);
    if (!result && is_below_root(path)) record('U', -1, 0, path, strlen(path));
    leave();
    return result;
}

int mkdir(const char *path, mode_t mode) {
    enter();
    int result = real_mkdir(path, mode);
    if (!result && is_below_root(path)) record('M', -1, 0, path, strlen(path));
    leave();
    return result;
}

// The number is the length of the first path.
int rename(const char *from, const char *to) {
    char both[8192];
    enter();
    int result = real_rename(from, to);
    int length = snprintf(both, sizeof both, "%s%s", from, to);
    if (!result && is_below_root(from) && length < (int)sizeof both) record('R', -1, strlen(from), both, (size_t)length);
    leave();
    return result;
}
