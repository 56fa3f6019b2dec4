/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what with a file, handed on to the one that will replace it. */
#include "io/os_system.h"
#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
# include <sys/xattr.h>
#endif

#if defined(__linux__)

# define ACL_ATTRIBUTE "system.posix_acl_access"

/* The kernel's limit for the list of names and for each value. */
# define ATTRIBUTE_ROOM ((size_t)65536)

/* Whether an attribute is about the file and not about its bytes: digests and capabilities, which the
 * kernel itself keeps or drops when bytes change, are not. */
static bool attribute_stays(const char *name)
{
    static const char *const left[] = {"security.ima", "security.evm", "security.capability",
                                       "system."};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (strncmp(name, left[i], strlen(left[i])) == 0)
            return false;
    return true;
}

static void attributes_set(int from_fd, int to_fd, char *names, char *value)
{
    ssize_t size = flistxattr(from_fd, names, ATTRIBUTE_ROOM);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
        if (!attribute_stays(names + at))
            continue;
        ssize_t got = fgetxattr(from_fd, names + at, value, ATTRIBUTE_ROOM);
        if (got >= 0)
            (void)fsetxattr(to_fd, names + at, value, (size_t)got, 0);
    }
}

/* Hands the access control list on; true if there was one. `*failed` where one is on the new file (the
 * directory's default gave it) that the old one did not have. */
static bool acl_set(int from_fd, int to_fd, char *value, int *failed)
{
    ssize_t size = from_fd < 0 ? -1 : fgetxattr(from_fd, ACL_ATTRIBUTE, value, ATTRIBUTE_ROOM);
    if (size > 0 && fsetxattr(to_fd, ACL_ATTRIBUTE, value, (size_t)size, 0) == 0)
        return true;
    if (fremovexattr(to_fd, ACL_ATTRIBUTE) != 0 && errno != ENODATA && errno != ENOTSUP)
        *failed = errno;
    return false;
}

/* Whether the old file's list, if any, is known to be unneeded. */
static bool acl_absent(int from_fd)
{
    return from_fd >= 0 && fgetxattr(from_fd, ACL_ATTRIBUTE, NULL, 0) < 0 &&
           (errno == ENODATA || errno == ENOTSUP);
}

static int extended_copy(int from_fd, int to_fd, st_context *context)
{
    if (from_fd < 0 || flistxattr(from_fd, NULL, 0) <= 0)
        return 0;
    char *room = st__alloc(context, 2 * ATTRIBUTE_ROOM);
    if (!room)
        return ENOMEM;
    attributes_set(from_fd, to_fd, room, room + ATTRIBUTE_ROOM);
    st__free(context, room, 2 * ATTRIBUTE_ROOM);
    return 0;
}

/* Whether the list of the old file, with the mode's group bits as its mask, is now the new one's. */
static int acl_copy(int from_fd, int to_fd, bool group_kept, st_context *context, bool *same)
{
    int failed = 0;
    char *room = NULL;
    bool absent = acl_absent(from_fd);
    if (!absent && group_kept) {
        room = st__alloc(context, ATTRIBUTE_ROOM);
        if (!room)
            return ENOMEM;
    }
    *same = acl_set(room ? from_fd : -1, to_fd, room, &failed) || absent;
    st__free(context, room, ATTRIBUTE_ROOM);
    return failed;
}

#else

static int extended_copy(int from_fd, int to_fd, st_context *context)
{
    (void)from_fd;
    (void)to_fd;
    (void)context;
    return 0;
}

static int acl_copy(int from_fd, int to_fd, bool group_kept, st_context *context, bool *same)
{
    (void)from_fd;
    (void)to_fd;
    (void)group_kept;
    (void)context;
    *same = true;
    return 0;
}

#endif

/* What owner, group and others may do, once the group is another one or its list is lost: those who were
 * in the old group are others now, and others may be in the new group, so both get what both had. */
static mode_t mode_narrowed(mode_t mode)
{
    mode_t both = (mode >> 3) & mode & 7;
    return (mode & 0700) | (both << 3) | both;
}

/* Tells whether the group is the old one's, too. */
static bool owner_set(const struct stat *old, int to_fd, bool *owner_kept)
{
    struct stat own;
    if (OS_CALL(fstat)(to_fd, &own) != 0)
        return *owner_kept = false;
    if (own.st_uid != old->st_uid && OS_CALL(fchown)(to_fd, old->st_uid, (gid_t)-1) == 0)
        own.st_uid = old->st_uid;
    if (own.st_gid != old->st_gid && OS_CALL(fchown)(to_fd, (uid_t)-1, old->st_gid) == 0)
        own.st_gid = old->st_gid;
    *owner_kept = own.st_uid == old->st_uid;
    return own.st_gid == old->st_gid;
}

static int attributes_copy(int from_fd, const struct stat *old, int to_fd, st_context *context)
{
    bool owner_kept, acl_same;
    /* First what only the owner may set, while that is still us. */
    int failed = extended_copy(from_fd, to_fd, context);
    if (failed)
        return failed;
    bool group_kept = owner_set(old, to_fd, &owner_kept);
    failed = acl_copy(from_fd, to_fd, group_kept, context, &acl_same);
    if (failed)
        return failed;
    mode_t mode = old->st_mode & 07777;
    if (!owner_kept || !group_kept)
        mode &= 0777;
    if (!group_kept || !acl_same)
        mode = mode_narrowed(mode);
    (void)OS_CALL(fchmod)(to_fd, mode);
    return 0;
}

/* Not everyone who may replace a file may read it; its list and attributes are lost then. So are those of one
 * that has gone, or become a socket, since it was looked at. What else fails, such as too many open files,
 * says nothing about the file. */
static bool is_unreadable(int failed)
{
    return failed == EACCES || failed == EPERM || failed == ENOENT || failed == ENXIO;
}

int st__os_copy_attributes(int directory, const char *name, int to_fd, st_context *context)
{
    struct stat old;
    int from_fd = -1;
    if (OS_CALL(fstatat)(directory, name, &old, 0) != 0)
        return errno == ENOENT ? 0 : errno; /* gone: the new file stays the owner's alone */
    int failed = st__os_open_at(directory, name, O_RDONLY | O_NONBLOCK, 0, &from_fd);
    if (failed && !is_unreadable(failed))
        return failed;
    failed = attributes_copy(from_fd, &old, to_fd, context);
    if (from_fd >= 0)
        st__os_close(from_fd);
    return failed;
}
