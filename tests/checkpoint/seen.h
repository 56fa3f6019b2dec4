/* SPDX-License-Identifier: Apache-2.0 */
/* What st_checkpoint_recovery_look tells, kept. */
#ifndef TESTS_CHECKPOINT_SEEN_H
#define TESTS_CHECKPOINT_SEEN_H

#include "checkpoint/model.h"

/* Behind the actions: it cannot be recovered. */
enum { SEEN_WHY = 100 };

typedef struct left_seen {
    unsigned count;
    unsigned stop_at; /* the number of the call that ends it; 0: none */
    st_checkpoint_recovery last;
    char path[512];
    st_error why;
    char all[1024]; /* "NAME:action NAME:action", lists with a star */
} left_seen;

static inline bool seen_take(void *ctx, const st_checkpoint_recovery *found)
{
    left_seen *seen = ctx;
    size_t len = strlen(seen->all);
    const char *name = strrchr(found->path, '/');
    assert_true(!found->why || found->found.action == ST_RECOVERY_NONE);
    seen->last = *found;
    snprintf(seen->path, sizeof seen->path, "%s", found->path);
    if (found->why)
        seen->why = *found->why;
    snprintf(seen->all + len, sizeof seen->all - len, "%s%s%s:%u", len ? " " : "",
             found->several ? "*" : "", name ? name + 1 : found->path,
             found->why ? SEEN_WHY : found->found.action);
    return ++seen->count != seen->stop_at;
}

static inline void seen_names(char *out, size_t size)
{
    struct dirent **entries;
    int count = scandir(model_folder, &entries, NULL, alphasort);
    size_t at = 0;
    assert_true(count >= 2);
    for (int i = 0; i < count; i++) {
        struct stat info;
        assert_int_equal(lstat(model_path(entries[i]->d_name), &info), 0);
        if (i >= 2 || entries[i]->d_name[0] != '.')
            at += (size_t)snprintf(out + at, size - at, "%s %llu %lld.%09ld\n", entries[i]->d_name,
                                   (unsigned long long)info.st_ino, (long long)info.st_mtim.tv_sec,
                                   info.st_mtim.tv_nsec);
        free(entries[i]);
    }
    free(entries);
    assert_true(at < size);
}

/* Looks at a path in the folder, and sees that nothing is another file, or changed. */
static inline left_seen seen_by(const char *name)
{
    char before[4096], after[4096];
    left_seen seen = {.count = 0};
    seen_names(before, sizeof before);
    CHECK_OK(st_checkpoint_recovery_look(model_path(name), NULL, seen_take, &seen, &error));
    seen_names(after, sizeof after);
    assert_string_equal(before, after);
    return seen;
}

/* One thing was told, of several files: an action, or SEEN_WHY; "": of the folder. */
static inline void seen_check(const left_seen *seen, unsigned action, const char *name)
{
    assert_int_equal(seen->count, 1);
    assert_true(seen->last.several);
    assert_string_equal(seen->path, model_path(name));
    assert_int_equal(seen->last.why ? SEEN_WHY : seen->last.found.action, action);
    assert_true(!seen->last.found.stretches && !seen->last.found.size);
}

#endif
