/* SPDX-License-Identifier: Apache-2.0 */
/* Saving to a path: who may do what with the file, and what the process may not do. */
#include "support/oom.h"

#include "io/replacing.h"

#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static void test_new_mode(void **state)
{
    (void)state;
    static const mode_t masks[] = {022, 077, 002, 0};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        for (int unnamed = 0; unnamed < 2; unnamed++) {
            unnamed_allow(unnamed);
            mode_t before = umask(masks[i]);
            CHECK_OK(save_new(in_scratch("file"), NULL, &error));
            umask(before);
            assert_int_equal(stat_of(in_scratch("file")).st_mode, S_IFREG | (0666 & ~masks[i]));
            unlink(in_scratch("file"));
        }
    }
}

static void test_old_mode(void **state)
{
    (void)state;
    /* The last one is taken away from whoever writes without being root, by the kernel. */
    static const mode_t modes[] = {0600, 0644, 0444, 0666, 0755, 0604, 04755};
    const char *path = in_scratch("file");
    for (size_t i = 0; i < sizeof modes / sizeof *modes - (geteuid() != 0); i++) {
        for (int unnamed = 0; unnamed < 2; unnamed++) {
            unnamed_allow(unnamed);
            unlink(path);
            put_old(path);
            assert_int_equal(chmod(path, modes[i]), 0);
            CHECK_OK(save_new(path, NULL, &error));
            assert_int_equal(stat_of(path).st_mode, S_IFREG | modes[i]);
        }
    }
}

/* What the new file may be while it is being written. */
static mode_t seen_mode;

static int sees_mode(int fd, mode_t mode)
{
    struct stat s;
    if (fstat(fd, &s) == 0)
        seen_mode = s.st_mode;
    return fault_fchmod(fd, mode);
}

static void test_private_meanwhile(void **state)
{
    (void)state;
    st_sink *sink;
    put_old(in_scratch("file"));
    assert_int_equal(chmod(in_scratch("file"), 0640), 0);
    st__os_calls.fchmod = sees_mode;
    CHECK_OK(st_sink_open(in_scratch("file"), NULL, &sink, &error));
    assert_int_equal(seen_mode, S_IFREG | 0600);
    st_sink_release(sink);
}

static int refuses_group(int fd, uid_t user, gid_t group)
{
    (void)fd;
    (void)user;
    (void)group;
    errno = EPERM;
    return -1;
}

static void test_owner(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    if (geteuid() != 0) {
        print_message("not root: no file can be given away\n");
        skip();
    }
    put_old(path);
    assert_int_equal(chown(path, 12345, 23456), 0);
    assert_int_equal(chmod(path, 02640), 0);
    CHECK_OK(save_new(path, NULL, &error));
    struct stat s = stat_of(path);
    assert_true(s.st_uid == 12345 && s.st_gid == 23456);
    assert_int_equal(s.st_mode, S_IFREG | 02640);
    /* Where that is not allowed, nobody gains by it. */
    static const mode_t modes[][2] = {{0640, 0600}, {0664, 0644}, {0604, 0600}, {06775, 0755}};
    st__os_calls.fchown = refuses_group;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        put_old(path);
        assert_int_equal(chown(path, 12345, 23456), 0);
        assert_int_equal(chmod(path, modes[i][0]), 0);
        CHECK_OK(save_new(path, NULL, &error));
        s = stat_of(path);
        assert_true(s.st_uid == geteuid() && s.st_gid == getegid());
        assert_int_equal(s.st_mode, S_IFREG | modes[i][1]);
    }
}

static void test_attributes(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    char got[16] = {0};
    put_old(path);
    if (setxattr(path, "user.comment", "kept", 4, 0) != 0) {
        print_message("no extended attributes here: %s\n", strerror(errno));
        skip();
    }
    CHECK_OK(save_new(path, NULL, &error));
    assert_int_equal(getxattr(path, "user.comment", got, sizeof got), 4);
    assert_string_equal(got, "kept");
    ST_OOM_LOOP(context, status)
    {
        status = save_new(path, &(st_sink_options){.context = context}, NULL);
        assert_int_equal(count_in_scratch(), 1);
    }
}

static mode_t mode_of(int fd)
{
    struct stat s;
    assert_int_equal(fstat(fd, &s), 0);
    return s.st_mode & 07777;
}

/* The first call looks at the old file, the second opens it. */
static void test_attributes_failing(void **state)
{
    (void)state;
    static const int refusals[] = {EACCES, EPERM, ENOENT, ENXIO};
    static const int failures[] = {EMFILE, ENFILE, ENOMEM, EIO};
    int directory = -1, fd = -1;
    put_old(in_scratch("file"));
    assert_int_equal(chmod(in_scratch("file"), 0664), 0);
    assert_int_equal(st__os_open_directory(ST__OS_HERE, scratch, &directory), 0);
    assert_int_equal(st__os_create(directory, "new", 0600, &fd), 0);
    for (size_t i = 0; i < 4; i++) {
        for (unsigned call = 1; call <= 2; call++) {
            os_plant_errno(failures[i], call);
            assert_int_equal(st__os_copy_attributes(directory, "file", fd, NULL), failures[i]);
            assert_int_equal(mode_of(fd), 0600);
        }
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_copy_attributes(directory, "file", fd, NULL),
                         refusals[i] == ENOENT ? 0 : refusals[i]);
        assert_int_equal(mode_of(fd), 0600);
        /* There may have been a list, and the group's bits were its mask. */
        os_plant_errno(refusals[i], 2);
        assert_int_equal(st__os_copy_attributes(directory, "file", fd, NULL), 0);
        assert_int_equal(mode_of(fd), 0644);
        assert_int_equal(fchmod(fd, 0600), 0);
    }
    os_plant(OS_EINTR, 2);
    assert_int_equal(st__os_copy_attributes(directory, "file", fd, NULL), 0);
    assert_true(os_state.hit);
    assert_int_equal(mode_of(fd), 0664);
    st__os_close(fd);
    st__os_close(directory);
}

static int opens_no_old(int directory, const char *path, int flags, mode_t mode)
{
    if (!(flags & O_NONBLOCK))
        return fault_openat(directory, path, flags, mode);
    errno = EMFILE;
    return -1;
}

static void test_no_descriptor(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    put_old(path);
    assert_int_equal(chmod(path, 0664), 0);
    st__os_calls.openat = opens_no_old;
    CHECK_REFUSED(path, NULL, EMFILE);
    assert_true(is_old(path));
    assert_int_equal(stat_of(path).st_mode, S_IFREG | 0664);
    assert_int_equal(count_in_scratch(), 1);
}

/* As the kernel keeps access control lists (linux/posix_acl_xattr.h): tag, permissions, id. */
typedef struct acl_entry {
    uint16_t tag, permissions;
    uint32_t id;
} acl_entry;

typedef struct acl {
    uint32_t version;
    acl_entry entries[5];
} acl;

/* Owner rw, one user `named`, owning group r, mask rw, others nothing. */
static acl acl_make(uint16_t named)
{
    const uint32_t none = UINT32_MAX;
    acl list = {2,
                {{1, 6, none}, {2, named, 12345}, {4, 4, none}, {0x10, 6, none}, {0x20, 0, none}}};
    uint16_t one = 1;
    if (*(unsigned char *)&one != 1)
        skip(); /* little-endian everywhere */
    return list;
}

static void test_access_lists(void **state)
{
    (void)state;
    const char *access_list = "system.posix_acl_access", *path = in_scratch("file");
    acl list = acl_make(6), got;
    put_old(path);
    if (setxattr(path, access_list, &list, sizeof list, 0) != 0) {
        print_message("no access control lists here: %s\n", strerror(errno));
        skip();
    }
    CHECK_OK(save_new(path, NULL, &error));
    assert_int_equal(getxattr(path, access_list, &got, sizeof got), sizeof got);
    assert_memory_equal(&got, &list, sizeof list);
    assert_int_equal(stat_of(path).st_mode, S_IFREG | 0660);
    ST_OOM_LOOP(context, status)
    {
        status = save_new(path, &(st_sink_options){.context = context}, NULL);
    }
    /* The list goes with the group, and its mask is not taken for the group's rights. */
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 0, 23456), 0);
        st__os_calls.fchown = refuses_group;
        CHECK_OK(save_new(path, NULL, &error));
        assert_int_equal(getxattr(path, access_list, &got, sizeof got), -1);
        assert_int_equal(stat_of(path).st_mode, S_IFREG | 0600);
        os_calls_restore();
    }
    /* A directory's default is for new files, not for those that replace one without a list. */
    unlink(path);
    put_old(path);
    assert_int_equal(chmod(path, 0660), 0);
    assert_int_equal(setxattr(scratch, "system.posix_acl_default", &list, sizeof list, 0), 0);
    CHECK_OK(save_new(path, NULL, &error));
    assert_int_equal(getxattr(path, access_list, &got, sizeof got), -1);
    assert_int_equal(stat_of(path).st_mode, S_IFREG | 0660);
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        unnamed_allow(unnamed);
        unlink(path);
        CHECK_OK(save_new(path, NULL, &error));
        assert_int_equal(getxattr(path, access_list, &got, sizeof got), sizeof got);
        assert_int_equal(got.entries[1].permissions, 6);
    }
}

/* -------------------------------------------------------------------------- as somebody */

/* Runs as a user without rights, in a process of its own. */
static void run_as_nobody(void (*run)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(3);
        run();
        _exit(0);
    }
    int result = -1;
    assert_int_equal(waitpid(pid, &result, 0), pid);
    assert_int_equal(result, 0);
}

#define EXPECT(condition) \
 do {                     \
  if (!(condition))       \
   _exit(__LINE__ % 256); \
 } while (0)

static void in_closed_folder(void)
{
    st_error error = {0};
    EXPECT(save_new(in_scratch("closed/file"), NULL, &error) == ST_ERR_IO);
    EXPECT(error.sys_errno == EACCES && strstr(error.message, "closed/file"));
    EXPECT(save_new(in_scratch("closed/new"), NULL, &error) == ST_ERR_IO);
    EXPECT(error.sys_errno == EACCES);
    /* Names there may be changed but not listed. */
    EXPECT(save_new(in_scratch("unlisted/new"), NULL, &error) == ST_OK);
    EXPECT(is_new(in_scratch("unlisted/new")));
    /* Another's file, which may not be read: it may be replaced, and loses what cannot be kept. */
    EXPECT(save_new(in_scratch("unlisted/file"), NULL, &error) == ST_OK);
    EXPECT(is_new(in_scratch("unlisted/file")));
    EXPECT((stat_of(in_scratch("unlisted/file")).st_mode & 07777) == 0600);
}

static void test_rights(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("not root: cannot become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(scratch, 0755), 0);
    assert_int_equal(mkdir(in_scratch("closed"), 0755), 0);
    put_old(in_scratch("closed/file"));
    assert_int_equal(mkdir(in_scratch("unlisted"), 0700), 0);
    assert_int_equal(chmod(in_scratch("unlisted"), 0333), 0);
    put_old(in_scratch("unlisted/file"));
    assert_int_equal(chmod(in_scratch("unlisted/file"), 0640), 0);
    run_as_nobody(in_closed_folder);
    assert_true(is_old(in_scratch("closed/file")));
}

static int sets_nothing_aside(int fd, int mode, off_t offset, off_t size)
{
    (void)fd;
    (void)mode;
    (void)offset;
    (void)size;
    errno = EOPNOTSUPP;
    return -1;
}

static void test_full_disk(void **state)
{
    (void)state;
    static unsigned char big[1 << 20];
    st_error error = {0};
    assert_int_equal(mkdir(in_scratch("disk"), 0755), 0);
    if (mount("none", in_scratch("disk"), "tmpfs", 0, "size=512k") != 0) {
        print_message("no file system can be mounted: %s\n", strerror(errno));
        skip();
    }
    put_old(in_scratch("disk/file"));
    unsigned temporary;
    bool told = save(in_scratch("disk/file"), NULL, big, sizeof big, &error) == ST_ERR_IO &&
                error.sys_errno == ENOSPC && strstr(error.message, "needs 1048576 bytes, ") &&
                strstr(error.message, " are free");
    bool kept = is_old(in_scratch("disk/file"));
    unsigned names = count_names(in_scratch("disk"), &temporary);
    /* Where nothing can be set aside it is found while writing. */
    st__os_calls.fallocate = sets_nothing_aside;
    error.status = ST_OK;
    bool found = save(in_scratch("disk/file"), NULL, big, sizeof big, &error) == ST_ERR_IO &&
                 error.sys_errno == ENOSPC && strstr(error.message, "cannot be written at byte ");
    os_calls_restore();
    kept &= is_old(in_scratch("disk/file"));
    names += count_names(in_scratch("disk"), &temporary);
    umount(in_scratch("disk"));
    assert_true(told);
    assert_true(found);
    assert_true(kept);
    assert_int_equal(names, 2); /* the old file, twice */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_new_mode),      CLEANED(test_old_mode),   CLEANED(test_private_meanwhile),
        CLEANED(test_owner),         CLEANED(test_attributes), CLEANED(test_access_lists),
        CLEANED(test_rights),        CLEANED(test_full_disk),  CLEANED(test_attributes_failing),
        CLEANED(test_no_descriptor),
    };
    return cmocka_run_group_tests_name("replace_rights", tests, group_make, scratch_folder_drop);
}
