/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of its own for a test, and small files in it. */
#ifndef TESTS_CHECKPOINT_MODEL_H
#define TESTS_CHECKPOINT_MODEL_H

#include "support/check.h"

#include <safetensors/checkpoint.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char model_folder[64];

static inline void model_folder_make(void)
{
    strcpy(model_folder, "/tmp/st_test_model.XXXXXX");
    assert_non_null(mkdtemp(model_folder));
}

/* Empties a folder, and those in it. */
static inline void model_empty(const char *folder)
{
    DIR *list = opendir(folder);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list));) {
        char path[1024];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_in_range(snprintf(path, sizeof path, "%s/%s", folder, entry->d_name), 1, 1023);
        struct stat info;
        assert_int_equal(lstat(path, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            model_empty(path);
            assert_int_equal(rmdir(path), 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
    }
    closedir(list);
}

static inline int model_setup(void **state)
{
    (void)state;
    model_folder_make();
    return 0;
}

static inline int model_teardown(void **state)
{
    (void)state;
    model_empty(model_folder);
    return rmdir(model_folder);
}

/* Gives a path in the folder; of the last few calls. */
static inline const char *model_path(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, 512, "%s%s%s", model_folder, *name ? "/" : "", name);
    return path;
}

static inline void model_store(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(model_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void model_text(const char *name, const char *text)
{
    model_store(name, text, strlen(text));
}

/* Reads a whole file; freed with free(). */
static inline char *model_read(const char *name, size_t *size)
{
    FILE *file = fopen(model_path(name), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static inline bool model_has(const char *name)
{
    struct stat info;
    return lstat(model_path(name), &info) == 0;
}

/* Stores a file of U8 tensors: "a:6 b:2 e:0" are three of these names and sizes, all of whose bytes are the first of
 * the name. `metadata` is the text of an object, or NULL. */
static inline void model_tensors(const char *name, const char *tensors, const char *metadata)
{
    static unsigned char bytes[65536];
    char *header = (char *)bytes + 8, one[64];
    size_t at = 0, begin = 0, size;
    at += (size_t)sprintf(header, "{");
    if (metadata)
        at += (size_t)sprintf(header + at, "\"__metadata__\":%s", metadata);
    for (const char *p = tensors; sscanf(p, "%63[^:]:%zu", one, &size) == 2;) {
        at += (size_t)sprintf(
            header + at, "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
            at > 1 ? "," : "", one, size, begin, begin + size);
        begin += size;
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    at += (size_t)sprintf(header + at, "}");
    memset(bytes, 0, 8);
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(at >> (8 * i));
    at += 8;
    for (const char *p = tensors; sscanf(p, "%63[^:]:%zu", one, &size) == 2;) {
        memset(bytes + at, one[0], size);
        at += size;
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    assert_true(at <= sizeof bytes);
    model_store(name, bytes, at);
}

/* Opens what is called so in the folder; "": the folder itself. */
static inline st_checkpoint *model_open(const char *name)
{
    st_checkpoint *checkpoint = NULL;
    CHECK_OK(st_checkpoint_open(model_path(name), NULL, &checkpoint, &error));
    return checkpoint;
}

/* Tells the tensors of a checkpoint as "file/name file/name", files by their numbers. */
static inline const char *model_list(const st_checkpoint *checkpoint)
{
    static char text[4096];
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < st_checkpoint_count(checkpoint); i++) {
        st_checkpoint_tensor found = st_checkpoint_at(checkpoint, i);
        assert_ptr_equal(found.file, st_checkpoint_file(checkpoint, found.file_index));
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%zu/%s", i ? " " : "",
                               found.file_index, found.tensor->name);
    }
    return text;
}

#endif
