/* Stands between a process and its files: counts the calls that change files below one folder, breaks the
 * n-th, and writes down what each of them did.
 *
 * Preload it, then call attack_arm. A call is counted before it is made. Broken calls: killed before, killed
 * in the middle (half of a write is done), refused with EIO or ENOSPC, or cut short. From then on calls pass,
 * but for LASTING_ENOSPC, after which every call that takes space is refused until attack_arm is called again.
 * Records go to a descriptor outside the folder, in the order in which the calls ended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { WRITE = 1, SYNC, RENAME, TRUNCATE, UNLINK, MKDIR, RMDIR, CREATE };
enum fault { NONE, KILL, TEAR, REFUSE_EIO, REFUSE_ENOSPC, SHORT, LASTING_ENOSPC, SYNC_ONLY_EIO };

struct record {
    uint32_t magic, call;
    int64_t offset, length;
    int32_t error;
    uint32_t path_length, other_length, data_length;
};

static char root[PATH_MAX];
static size_t root_length;
static int record_fd = -1;
static long fault_at, counted;
static int fault_kind, fired_call, lasting;
static char fired_path[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void attack_arm(const char *folder, int descriptor, long at, int kind) {
    pthread_mutex_lock(&lock);
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    record_fd = descriptor;
    fault_at = at;
    fault_kind = kind;
    counted = 0;
    fired_call = 0;
    lasting = 0;
    fired_path[0] = 0;
    pthread_mutex_unlock(&lock);
}

long attack_counted(void) { return counted; }
int attack_fired(char *path, size_t size) {
    snprintf(path, size, "%s", fired_path);
    return fired_call;
}

static int below_root(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int absolute(int at, const char *path, char *out) {
    char base[PATH_MAX], link[64];
    if (!root_length)
        return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0)
            return 0;
        base[n] = 0;
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
            return 0;
    }
    return below_root(out);
}

static int path_of(int fd, char *out) {
    char link[64];
    if (!root_length)
        return 0;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    errno = saved;
    if (n < 0)
        return 0;
    out[n] = 0;
    return below_root(out);
}

static void note(enum call call, const char *path, const char *other, int64_t offset, int64_t length, int error,
                 const struct iovec *data, int parts) {
    if (record_fd < 0)
        return;
    int saved = errno;
    struct record head = {0x54574b41, call, offset, length, error, strlen(path), other ? strlen(other) : 0, 0};
    struct iovec all[1100] = {{&head, sizeof head}, {(void *)path, head.path_length}, {(void *)other, head.other_length}};
    int n = 3;
    if (call == WRITE && !error) {
        int64_t left = length;
        for (int i = 0; i < parts && left > 0; i++) {
            size_t take = data[i].iov_len < (size_t)left ? data[i].iov_len : (size_t)left;
            all[n++] = (struct iovec){data[i].iov_base, take};
            left -= take;
        }
        head.data_length = length;
    }
    if (syscall(SYS_writev, record_fd, all, n) < 0)
        abort();
    errno = saved;
}

/* Returns 0 to let the call pass, 1 to cut a write in half, or -1 with errno set to refuse it. */
static int decide(enum call call, const char *path, int grows) {
    counted++;
    if (counted == fault_at && fault_kind == LASTING_ENOSPC)
        lasting = 1;
    if (lasting) {
        /* Bytes over bytes that are there need no space. */
        if (!grows)
            return 0;
        if (!fired_call) {
            fired_call = call;
            snprintf(fired_path, sizeof fired_path, "%s", path);
        }
        errno = ENOSPC;
        return -1;
    }
    if (counted != fault_at || fault_kind == NONE || fired_call)
        return 0;
    if (fault_kind == SYNC_ONLY_EIO && call != SYNC)
        return 0;
    fired_call = call;
    snprintf(fired_path, sizeof fired_path, "%s", path);
    switch (fault_kind) {
    case KILL:
        syscall(SYS_kill, getpid(), SIGKILL);
        return 0;
    case TEAR:
        if (call != WRITE)
            syscall(SYS_kill, getpid(), SIGKILL);
        return 1;
    case SHORT:
        return call == WRITE ? 1 : 0;
    case REFUSE_ENOSPC:
        errno = ENOSPC;
        return -1;
    default:
        errno = EIO;
        return -1;
    }
}

static size_t length_of(const struct iovec *parts, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    return total;
}

static size_t halve(const struct iovec *in, int parts, struct iovec *out, int *kept) {
    size_t total = length_of(in, parts), left;
    left = total = total > 1 ? total / 2 : total;
    for (*kept = 0; *kept < parts && left > 0; (*kept)++) {
        out[*kept] = in[*kept];
        if (out[*kept].iov_len > left)
            out[*kept].iov_len = left;
        left -= out[*kept].iov_len;
    }
    return total;
}

/* Every write comes down to this: offset -1 is the descriptor's own position. */
static ssize_t written(int fd, const struct iovec *data, int parts, off_t offset, int flags) {
    char path[PATH_MAX];
    struct iovec half[1024];
    const struct iovec *use = data;
    int kept = parts, how = 0;
    int ours = path_of(fd, path);
    if (ours) {
        pthread_mutex_lock(&lock);
        struct stat found;
        off_t start = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
        int grows = syscall(SYS_fstat, fd, &found) < 0 || start + (off_t)length_of(data, parts) > found.st_size;
        how = decide(WRITE, path, grows);
        if (how == 1 && parts <= 1024) {
            halve(data, parts, half, &kept);
            use = half;
        }
    }
    ssize_t done = how < 0 ? -1
                   : offset < 0
                       ? syscall(SYS_writev, fd, use, kept)
                       : syscall(SYS_pwritev2, fd, use, kept, (unsigned long)offset, (unsigned long)0, flags);
    if (ours) {
        int saved = errno;
        int64_t place = offset;
        if (offset < 0)
            place = lseek(fd, 0, SEEK_CUR) - (done > 0 ? done : 0);
        note(WRITE, path, NULL, place, done > 0 ? done : 0, done < 0 ? saved : 0, use, kept);
        if (how == 1 && fault_kind == TEAR)
            syscall(SYS_kill, getpid(), SIGKILL);
        pthread_mutex_unlock(&lock);
        errno = saved;
    }
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec one = {(void *)data, size};
    return written(fd, &one, 1, -1, 0);
}
ssize_t writev(int fd, const struct iovec *data, int parts) { return written(fd, data, parts, -1, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    struct iovec one = {(void *)data, size};
    return written(fd, &one, 1, offset, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }
ssize_t pwritev(int fd, const struct iovec *data, int parts, off_t offset) { return written(fd, data, parts, offset, 0); }
ssize_t pwritev64(int fd, const struct iovec *data, int parts, off64_t offset) {
    return written(fd, data, parts, offset, 0);
}
ssize_t pwritev2(int fd, const struct iovec *data, int parts, off_t offset, int flags) {
    return written(fd, data, parts, offset, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *data, int parts, off64_t offset, int flags) {
    return written(fd, data, parts, offset, flags);
}

#define AROUND(CALL, OURS, PATH, OTHER, OFFSET, DO)                                                                    \
    int ours = OURS;                                                                                                   \
    if (!ours)                                                                                                         \
        return DO;                                                                                                     \
    pthread_mutex_lock(&lock);                                                                                         \
    int result = decide(CALL, PATH, CALL == MKDIR) < 0 ? -1 : DO;                                                                     \
    int saved = errno;                                                                                                 \
    note(CALL, PATH, OTHER, OFFSET, 0, result < 0 ? saved : 0, NULL, 0);                                               \
    pthread_mutex_unlock(&lock);                                                                                       \
    errno = saved;                                                                                                     \
    return result

int fsync(int fd) {
    char path[PATH_MAX];
    AROUND(SYNC, path_of(fd, path), path, NULL, 0, syscall(SYS_fsync, fd));
}
int fdatasync(int fd) {
    char path[PATH_MAX];
    AROUND(SYNC, path_of(fd, path), path, NULL, 0, syscall(SYS_fdatasync, fd));
}
int ftruncate(int fd, off_t size) {
    char path[PATH_MAX];
    AROUND(TRUNCATE, path_of(fd, path), path, NULL, size, syscall(SYS_ftruncate, fd, size));
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }
int truncate(const char *name, off_t size) {
    char path[PATH_MAX];
    AROUND(TRUNCATE, absolute(AT_FDCWD, name, path), path, NULL, size, syscall(SYS_truncate, name, size));
}
int truncate64(const char *name, off64_t size) { return truncate(name, size); }
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned int flags) {
    char path[PATH_MAX], other[PATH_MAX];
    AROUND(RENAME, absolute(from_at, from, path) & absolute(to_at, to, other), path, other, 0,
           syscall(SYS_renameat2, from_at, from, to_at, to, flags));
}
int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    AROUND((flags & AT_REMOVEDIR ? RMDIR : UNLINK), absolute(at, name, path), path, NULL, 0,
           syscall(SYS_unlinkat, at, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    AROUND(MKDIR, absolute(at, name, path), path, NULL, 0, syscall(SYS_mkdirat, at, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int opened(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat found;
    int makes = (flags & O_CREAT) != 0, cuts = (flags & O_TRUNC) != 0;
    if ((!makes && !cuts) || !absolute(at, name, path))
        return syscall(SYS_openat, at, name, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = syscall(SYS_newfstatat, at, name, &found, 0) < 0;
    int result = -1;
    if (!is_new && !cuts)
        result = syscall(SYS_openat, at, name, flags, mode);
    else {
        if (decide(is_new ? CREATE : TRUNCATE, path, is_new) >= 0)
            result = syscall(SYS_openat, at, name, flags, mode);
        int saved = errno;
        note(is_new ? CREATE : TRUNCATE, path, NULL, 0, 0, result < 0 ? saved : 0, NULL, 0);
        errno = saved;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
#define OPEN_MODE                                                                                                      \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }
int open(const char *name, int flags, ...) {
    OPEN_MODE
    return opened(AT_FDCWD, name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    OPEN_MODE
    return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}
int openat(int at, const char *name, int flags, ...) {
    OPEN_MODE
    return opened(at, name, flags, mode);
}
int openat64(int at, const char *name, int flags, ...) {
    OPEN_MODE
    return opened(at, name, flags | O_LARGEFILE, mode);
}
