/* SPDX-License-Identifier: Apache-2.0 */
/* What lies below a file: the kind of file system, and how much of the file is in the page cache. */
#include "io/os_system.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
# include <sys/syscall.h>
# include <sys/vfs.h>
#endif

#if defined(__linux__)

typedef struct file_system {
    uint32_t magic;
    uint32_t latency;
} file_system;

/* The numbers of linux/magic.h, and of file systems that live outside the kernel's tree (ZFS, bcachefs until
 * 6.7, Lustre, GPFS, BeeGFS). A stack such as overlayfs is taken for what it usually stands on. */
static const file_system file_systems[] = {
    {0x01021994u, ST_LATENCY_MEMORY},  /* tmpfs */
    {0x858458f6u, ST_LATENCY_MEMORY},  /* ramfs */
    {0x958458f6u, ST_LATENCY_MEMORY},  /* hugetlbfs */
    {0x0000ef53u, ST_LATENCY_LOCAL},   /* ext2 to ext4 */
    {0x58465342u, ST_LATENCY_LOCAL},   /* XFS */
    {0x9123683eu, ST_LATENCY_LOCAL},   /* Btrfs */
    {0xf2f52010u, ST_LATENCY_LOCAL},   /* F2FS */
    {0x2fc12fc1u, ST_LATENCY_LOCAL},   /* ZFS */
    {0xca451a4eu, ST_LATENCY_LOCAL},   /* bcachefs */
    {0x794c7630u, ST_LATENCY_LOCAL},   /* overlayfs */
    {0x3153464au, ST_LATENCY_LOCAL},   /* JFS */
    {0x52654973u, ST_LATENCY_LOCAL},   /* ReiserFS */
    {0x00003434u, ST_LATENCY_LOCAL},   /* NILFS */
    {0x2011bab0u, ST_LATENCY_LOCAL},   /* exFAT */
    {0x00004d44u, ST_LATENCY_LOCAL},   /* FAT */
    {0x7366746eu, ST_LATENCY_LOCAL},   /* NTFS */
    {0x73717368u, ST_LATENCY_LOCAL},   /* squashfs */
    {0xe0f5e1e2u, ST_LATENCY_LOCAL},   /* EROFS */
    {0x00009660u, ST_LATENCY_LOCAL},   /* ISO 9660 */
    {0x15013346u, ST_LATENCY_LOCAL},   /* UDF */
    {0x00006969u, ST_LATENCY_NETWORK}, /* NFS */
    {0x0000517bu, ST_LATENCY_NETWORK}, /* SMB */
    {0xfe534d42u, ST_LATENCY_NETWORK}, /* SMB 2 */
    {0xff534d42u, ST_LATENCY_NETWORK}, /* CIFS */
    {0x65735546u, ST_LATENCY_NETWORK}, /* FUSE, virtiofs */
    {0x0bd00bd0u, ST_LATENCY_NETWORK}, /* Lustre */
    {0x00c36400u, ST_LATENCY_NETWORK}, /* Ceph */
    {0x01021997u, ST_LATENCY_NETWORK}, /* 9P; what gVisor says of all files */
    {0x5346414fu, ST_LATENCY_NETWORK}, /* AFS */
    {0x6b414653u, ST_LATENCY_NETWORK}, /* AFS of the kernel */
    {0x47504653u, ST_LATENCY_NETWORK}, /* GPFS */
    {0x73757245u, ST_LATENCY_NETWORK}, /* Coda */
    {0x19830326u, ST_LATENCY_NETWORK}, /* BeeGFS */
    {0x20030528u, ST_LATENCY_NETWORK}, /* OrangeFS */
    {0x786f4256u, ST_LATENCY_NETWORK}, /* folders of a VirtualBox host */
};

uint32_t st__os_storage(int fd)
{
    struct statfs s;
    if (OS_CALL(fstatfs)(fd, &s) != 0)
        return ST_LATENCY_UNKNOWN;
    for (size_t i = 0; i < sizeof file_systems / sizeof *file_systems; i++)
        if (file_systems[i].magic == (uint32_t)s.f_type)
            return file_systems[i].latency;
    return ST_LATENCY_UNKNOWN;
}

int st__os_inode_lasts(int fd, bool *out)
{
    /* FAT, exFAT, SMB (three numbers), FUSE, 9P: they number files as they meet them, or may. */
    static const uint32_t numbering[] = {0x00004d44u, 0x2011bab0u, 0x0000517bu, 0xfe534d42u,
                                         0xff534d42u, 0x65735546u, 0x01021997u};
    struct statfs s;
    if (OS_CALL(fstatfs)(fd, &s) != 0)
        return errno;
    *out = true;
    for (size_t i = 0; i < sizeof numbering / sizeof *numbering; i++)
        *out = *out && numbering[i] != (uint32_t)s.f_type;
    return 0;
}

#else

uint32_t st__os_storage(int fd)
{
    (void)fd;
    return ST_LATENCY_UNKNOWN;
}

int st__os_inode_lasts(int fd, bool *out)
{
    (void)fd;
    *out = true;
    return 0;
}

#endif

/* ----------------------------------------------------------------------------- residency */

#if defined(__linux__)

/* The same on all architectures, and younger (6.5) than many a header. */
# define CACHESTAT_CALL 451

typedef struct cachestat_asked {
    uint64_t offset;
    uint64_t size;
} cachestat_asked;

typedef struct cachestat_answer {
    uint64_t cached; /* pages */
    uint64_t dirty, writeback, evicted, recently_evicted;
} cachestat_answer;

/* The pages of one window that are resident. It begins with a page. */
typedef int (*window_pages)(int fd, uint64_t offset, size_t size, uint64_t *pages);

static int pages_by_cachestat(int fd, uint64_t offset, size_t size, uint64_t *pages)
{
    cachestat_asked asked = {offset, size};
    cachestat_answer answer = {0, 0, 0, 0, 0};
    if (OS_CALL(syscall)(CACHESTAT_CALL, (long)fd, &asked, &answer, 0L) != 0)
        return errno;
    *pages = answer.cached;
    return 0;
}

/* Where all of a range would take too long (11 ms for 1 GiB of single pages), so many windows of it stand for the
 * whole. */
# define SAMPLE_WINDOWS 64
# define SAMPLE_BYTES   ((uint64_t)1 << 20)
# define SAMPLE_PAGES   (SAMPLE_BYTES / 4096)

/* Pages are 4 KiB or more. */
static int pages_by_mincore(int fd, uint64_t offset, size_t size, uint64_t *pages)
{
    unsigned char present[SAMPLE_PAGES];
    void *at = OS_CALL(mmap)(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    if (at == MAP_FAILED)
        return errno;
    size_t page = st__os_page_size(), count = (size + page - 1) / page;
    int failed = OS_CALL(mincore)(at, size, present) == 0 ? 0 : errno;
    st__os_unmap(at, size);
    *pages = 0;
    for (size_t i = 0; !failed && i < count; i++)
        *pages += present[i] & 1u;
    return failed;
}

/* Since Linux 5.2 mincore tells only those who own the file or may write it, and everyone else that all of it is
 * resident. */
static bool mincore_tells(int fd)
{
    struct stat s;
    return OS_CALL(fstat)(fd, &s) == 0 && s.st_uid == geteuid();
}

static int resident_by_windows(window_pages ask, int fd, uint64_t offset, uint64_t size,
                               uint64_t *out)
{
    uint64_t page = st__os_page_size(), end = offset + size;
    uint64_t begin = offset - offset % page, span = end - begin;
    uint64_t windows = (span + SAMPLE_BYTES - 1) / SAMPLE_BYTES, seen = 0, found = 0;
    uint64_t asked = windows < SAMPLE_WINDOWS ? windows : SAMPLE_WINDOWS;
    for (uint64_t i = 0; i < asked; i++) {
        /* Evenly spread, the first and the last included. */
        uint64_t window = asked < 2 ? 0 : i * (windows - 1) / (asked - 1);
        uint64_t at = begin + window * SAMPLE_BYTES, pages = 0;
        size_t length = (size_t)(end - at < SAMPLE_BYTES ? end - at : SAMPLE_BYTES);
        int failed = ask(fd, at, length, &pages);
        if (failed)
            return failed;
        seen += length;
        found += pages * page < length ? pages * page : length;
    }
    *out = asked == windows && found >= seen
               ? size
               : (uint64_t)((double)size * (double)found / (double)seen);
    return 0;
}

# if defined(RWF_NOWAIT)
/* By a few single bytes, read only where that needs no waiting. The kernel begins to read a page that is missing,
 * and a fast device may be done before it is looked at: too much may be told, never too little. */
#  define PROBES 16
static int resident_by_probes(int fd, uint64_t offset, uint64_t size, uint64_t *out)
{
    uint64_t page = st__os_page_size(), pages = (size + page - 1) / page, found = 0;
    uint64_t asked = pages < PROBES ? pages : PROBES;
    for (uint64_t i = 0; i < asked; i++) {
        unsigned char byte;
        struct iovec one = {&byte, 1};
        uint64_t at = asked < 2 ? 0 : i * (pages - 1) / (asked - 1) * page;
        ssize_t got = OS_CALL(preadv2)(fd, &one, 1, (off_t)(offset + at), RWF_NOWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return errno;
        found += got > 0;
    }
    *out = found == asked ? size : size / asked * found;
    return 0;
}
# else
static int resident_by_probes(int fd, uint64_t offset, uint64_t size, uint64_t *out)
{
    (void)fd;
    (void)offset;
    (void)size;
    (void)out;
    return ENOSYS;
}
# endif

int st__os_resident(int fd, uint64_t offset, uint64_t size, uint64_t *out)
{
    uint64_t found = 0;
    if (size > (uint64_t)INT64_MAX || offset > (uint64_t)INT64_MAX - size)
        return EOVERFLOW;
    int failed = size == 0 ? 0 : resident_by_windows(pages_by_cachestat, fd, offset, size, &found);
    if (failed && mincore_tells(fd))
        failed = resident_by_windows(pages_by_mincore, fd, offset, size, &found);
    if (failed)
        failed = resident_by_probes(fd, offset, size, &found);
    if (!failed)
        *out = found < size ? found : size;
    return failed;
}

#else

int st__os_resident(int fd, uint64_t offset, uint64_t size, uint64_t *out)
{
    (void)fd;
    (void)offset;
    (void)size;
    (void)out;
    return ENOSYS;
}

#endif

void st__os_drop(int fd, uint64_t offset, uint64_t size)
{
#if defined(POSIX_FADV_DONTNEED)
    if (offset <= (uint64_t)INT64_MAX && size <= (uint64_t)INT64_MAX - offset)
        (void)posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
#else
    (void)fd;
    (void)offset;
    (void)size;
#endif
}
