/* SPDX-License-Identifier: Apache-2.0 */
#include "io/location.h"

#include <errno.h>
#include <string.h>

/* As many links in a row as Linux itself follows. */
#define LINKS_MAX 40
/* So often the place of a file that others keep replacing is looked at. */
#define LOOKS_MAX 100

static int location_enter(int from, const char *path, st__location *out)
{
    char parent[ST__OS_PATH];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t parent_len = (size_t)(name - path), name_len = strlen(name);
    if (path[0] == '\0')
        return ENOENT;
    if (name_len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return EISDIR;
    if (parent_len >= sizeof parent || name_len >= sizeof out->name)
        return ENAMETOOLONG;
    memcpy(parent, path, parent_len);
    memcpy(parent + parent_len, parent_len ? "" : ".", parent_len ? 1 : 2);
    memcpy(out->name, name, name_len + 1);
    return st__os_open_directory(from, parent, &out->directory);
}

bool st__location_is_hub_store(int directory)
{
    st__os_info here, blobs, snapshots;
    return st__os_info_at(directory, "../snapshots", true, &snapshots) == 0 &&
           snapshots.kind == ST__OS_DIRECTORY &&
           st__os_info_at(directory, "../blobs", true, &blobs) == 0 &&
           st__os_info_fd(directory, &here) == 0 && here.device == blobs.device &&
           here.inode == blobs.inode;
}

/* Finds where the file goes: at the end of a chain of links, or at a link into a hub cache's store, as
 * what lies there is shared and named by its digest. */
static int location_follow(int from, const char *path, st__location *out)
{
    char target[ST__OS_PATH];
    st__location next;
    int failed = location_enter(from, path, out);
    for (int links = 0; !failed; links++) {
        failed = st__os_link_target(out->directory, out->name, target);
        if (failed == EINVAL || failed == ENOENT) /* no link, or nothing at all */
            return 0;
        if (!failed && links == LINKS_MAX)
            failed = ELOOP;
        if (!failed)
            failed = location_enter(out->directory, target, &next);
        if (!failed && st__location_is_hub_store(next.directory)) {
            st__os_close(next.directory);
            return 0;
        }
        st__os_close(out->directory);
        if (!failed)
            *out = next;
    }
    return failed;
}

/* Whether what the path leads to by hand is what the kernel finds there: 0; ESTALE: not now. */
static int location_compare(int from, const char *path, const st__location *at, bool *there)
{
    st__os_info kernel, hand;
    int no_kernel = st__os_info_at(from, path, true, &kernel);
    int no_hand = st__os_info_at(at->directory, at->name, true, &hand);
    *there = no_kernel == 0;
    if (no_kernel && no_kernel != ENOENT)
        return no_kernel;
    if (no_hand && no_hand != ENOENT)
        return no_hand;
    if (no_kernel != no_hand)
        return ESTALE;
    if (*there && (kernel.device != hand.device || kernel.inode != hand.inode))
        return ESTALE;
    return 0;
}

/* Following the links by hand must end at the same file as the kernel's doing so: /proc has links that only the
 * kernel can follow. Others may replace the file between the two looks; then it is looked at again. */
int st__location_find_at(int directory, const char *path, st__location *out, bool *there)
{
    int failed = ESTALE;
    for (int looks = 0; failed == ESTALE && looks < LOOKS_MAX; looks++) {
        failed = location_follow(directory, path, out);
        if (failed)
            return failed;
        failed = location_compare(directory, path, out, there);
        if (failed)
            st__os_close(out->directory);
    }
    return failed;
}

int st__location_find(const char *path, st__location *out, bool *there)
{
    return st__location_find_at(ST__OS_HERE, path, out, there);
}

void st__location_leave(st__location *at)
{
    st__os_close(at->directory);
    at->directory = -1;
}

bool st__location_journal(const st__location *at, char out[ST__OS_NAME])
{
    size_t len = strlen(at->name), more = sizeof ST__JOURNAL_ENDING;
    if (len + more > ST__OS_NAME)
        return false;
    memcpy(out, at->name, len);
    memcpy(out + len, ST__JOURNAL_ENDING, more);
    return true;
}
