/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"
#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int file_open(const char *path, int how)
{
    int fd = open(path, how | O_CLOEXEC);
    if (fd < 0)
        bench_fail("cannot open %s: %s", path, strerror(errno));
    return fd;
}

int bench_file_open(const char *path)
{
    return file_open(path, O_RDONLY);
}

int bench_file_open_to_write(const char *path)
{
    return file_open(path, O_RDWR);
}

int bench_file_new(const char *path, uint64_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        bench_fail("cannot make %s: %s", path, strerror(errno));
    int failed = size ? posix_fallocate(fd, 0, (off_t)size) : 0;
    if (failed)
        bench_fail("no space set aside: %s", strerror(failed));
    return fd;
}

void bench_file_write(int fd, const void *data, uint64_t size)
{
    const unsigned char *from = data;
    for (uint64_t done = 0; done < size;) {
        ssize_t put = write(fd, from + done, (size_t)(size - done));
        if (put <= 0)
            bench_fail("cannot write: %s", strerror(errno));
        done += (uint64_t)put;
    }
}

void bench_file_copy(int from, uint64_t offset, int to, uint64_t size)
{
    off_t at = (off_t)offset;
    for (uint64_t left = size; left;) {
        ssize_t got = copy_file_range(from, &at, to, NULL, (size_t)left, 0);
        if (got <= 0)
            bench_fail("copy_file_range: %s", strerror(errno));
        left -= (uint64_t)got;
    }
}

void bench_file_sync(int fd)
{
    if (fsync(fd))
        bench_fail("cannot sync: %s", strerror(errno));
}

void bench_folder_sync(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        bench_fail("cannot open %s", folder);
    bench_file_sync(fd);
    close(fd);
}

void bench_folder_clear(const char *folder)
{
    if (mkdir(folder, 0777) && errno != EEXIST)
        bench_fail("cannot make %s: %s", folder, strerror(errno));
    DIR *open = opendir(folder);
    if (!open)
        bench_fail("cannot list %s: %s", folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(open));) {
        if (entry->d_name[0] != '.' && unlinkat(dirfd(open), entry->d_name, 0))
            bench_fail("cannot remove %s/%s: %s", folder, entry->d_name, strerror(errno));
    }
    closedir(open);
}

int bench_program_run(const char *const *argv)
{
    pid_t pid;
    int status;
    /* posix_spawnp takes non-const strings and does not change them. */
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) ||
        waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        bench_fail("%s failed", argv[0]);
    return WEXITSTATUS(status);
}

uint64_t bench_mib(void)
{
    const char *text = getenv("BENCH_MIB");
    char *end = NULL;
    if (!text || !*text)
        return 1024;
    unsigned long mib = strtoul(text, &end, 10);
    if (*end || mib < 32 || mib > 1u << 20 || mib % 32)
        bench_fail("BENCH_MIB is \"%s\", not a multiple of 32", text);
    return mib;
}
