/* SPDX-License-Identifier: Apache-2.0 */
/* Edits of checkpoints: what becomes of the files. */
#include "checkpoint/changes.h"
#include "support/oom.h"

#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>

/* ------------------------------------------------------------------------------ every change */

static void test_changes(void **state)
{
    (void)state;
    changes_model();
    changes_way way = {.in_place = false};
    CHECK_OK(changes_apply("", "r:a=x r:c=a d:b n:new p:d", &way, &error));
    check_list("", "0/x 0/new 1/a 2/d");
    check_bytes("", "x", 'a', 3);
    check_bytes("", "a", 'c', 4);
    check_bytes("", "new", '!', 4);
    check_bytes("", "d", '!', 2);
    assert_string_equal(model_names(""), CHANGES_NAMES);
    assert_int_equal(way.done.count, 4);
    assert_int_equal(way.done.renamed, 2);
    assert_int_equal(way.done.dropped, 1);
    assert_int_equal(way.done.added, 1);
    assert_int_equal(way.done.replaced, 1);
    assert_int_equal(way.done.moved, 7);
    assert_int_equal(way.done.written, 6);
    assert_false(way.done.in_place);
    uint64_t size = 0;
    for (int i = 1; i <= 3; i++) {
        struct stat info;
        char name[32];
        snprintf(name, sizeof name, "m-%d.safetensors", i);
        assert_int_equal(stat(model_path(name), &info), 0);
        size += (uint64_t)info.st_size;
    }
    assert_int_equal(way.done.size, size);
}

static void test_look(void **state)
{
    (void)state;
    st_edit_summary look;
    st_checkpoint_edit *edit;
    changes_model();
    st_checkpoint *checkpoint = model_open("");
    CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
    CHECK_OK(st_checkpoint_edit_look(edit, &look, &error));
    assert_true(look.in_place);
    assert_int_equal(look.count, 4);
    assert_int_equal(look.moved, 14);
    CHECK_OK(changes_list(edit, checkpoint, "p:c", &error));
    CHECK_OK(st_checkpoint_edit_look(edit, &look, &error));
    assert_true(look.in_place);
    assert_int_equal(look.written, 4);
    /* A name as long as the old one fits, but the index cannot follow. */
    CHECK_OK(changes_list(edit, checkpoint, "r:c=q", &error));
    CHECK_OK(st_checkpoint_edit_look(edit, &look, &error));
    assert_false(look.in_place);
    CHECK_OK(changes_list(edit, checkpoint, "d:c", &error));
    uint64_t with = look.size;
    CHECK_OK(st_checkpoint_edit_look(edit, &look, &error));
    struct stat info;
    assert_int_equal(stat(model_path("m-2.safetensors"), &info), 0);
    assert_true(look.size < with);
    assert_int_equal(look.count, 3);
    st_checkpoint_edit_free(edit);
    st_checkpoint_close(checkpoint);
    st_checkpoint_edit_free(NULL);
}

/* Names have to be different over all files, as far as the index names them. */
static void test_duplicates(void **state)
{
    (void)state;
    changes_way way = {.in_place = false};
    changes_model();
    CHECK_ERR_TEXT(changes_apply("", "r:a=c", &way, &error), ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
                   "\"c\": would stand in m-1.safetensors and in m-2.safetensors");
    CHECK_ERR(changes_apply("", "n:d", &way, &error), ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET);
    CHECK_ERR(changes_apply("", "r:a=b", &way, &error), ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET);
    check_text(CHANGES_INDEX, CHANGES_TEXT);
    changes_do("", "r:a=c r:c=a");
    check_list("", "0/c 0/b 1/a 2/d");
    /* What the index does not name may be called as anything. */
    model_empty(model_folder);
    model_tensors("m-1.safetensors", "a:3 z:1", NULL);
    model_tensors("m-2.safetensors", "c:4", NULL);
    model_text(CHANGES_INDEX,
               "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}");
    changes_do("", "r:c=z");
    check_text(CHANGES_INDEX,
               "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"z\":\"m-2.safetensors\"}}");
    check_list("", "0/a 1/z");
}

/* ------------------------------------------------------------------------- files that stay, go */

static void test_only_what_changes(void **state)
{
    (void)state;
    changes_model();
    /* Held by other names, so that no number is used again. */
    static const char *const names[] = {"m-1.safetensors", "m-2.safetensors", "m-3.safetensors",
                                        CHANGES_INDEX};
    ino_t before[4];
    assert_int_equal(mkdir(model_path("held"), 0777), 0);
    for (size_t i = 0; i < 4; i++) {
        char held[64];
        snprintf(held, sizeof held, "held/%zu", i);
        before[i] = inode_of(names[i]);
        assert_int_equal(link(model_path(names[i]), model_path(held)), 0);
    }
    changes_do("", "");
    changes_do("", "r:a=x r:a=a");
    for (size_t i = 0; i < 4; i++)
        assert_true(inode_of(names[i]) == before[i]);
    changes_do("", "r:c=x");
    assert_true(inode_of(names[0]) == before[0] && inode_of(names[2]) == before[2]);
    assert_true(inode_of(names[1]) != before[1] && inode_of(names[3]) != before[3]);
    check_list("", "0/a 0/b 1/x 2/d");
    /* Metadata of a file are none of the index. */
    before[3] = inode_of(CHANGES_INDEX);
    changes_do("", "m:v");
    assert_true(inode_of(names[0]) != before[0] && inode_of(names[2]) == before[2]);
    assert_true(inode_of(CHANGES_INDEX) == before[3]);
}

/* What the options ask of a file is a change where it is not so already. */
static void test_options_change(void **state)
{
    (void)state;
    changes_model();
    changes_way way = {.edit = {.alignment = 64}};
    ino_t before = inode_of("m-2.safetensors");
    assert_int_equal(link(model_path("m-2.safetensors"), model_path("held")), 0);
    CHECK_OK(changes_apply(CHANGES_INDEX, "", &way, &error));
    assert_true(inode_of("m-2.safetensors") != before);
    before = inode_of("m-2.safetensors");
    CHECK_OK(changes_apply(CHANGES_INDEX, "", &way, &error));
    assert_true(inode_of("m-2.safetensors") == before);
    way.edit.reserve = 1000;
    CHECK_OK(changes_apply(CHANGES_INDEX, "", &way, &error));
    assert_true(inode_of("m-2.safetensors") != before);
    check_list(CHANGES_INDEX, "0/a 0/b 1/c 2/d");
}

static void test_file_goes(void **state)
{
    (void)state;
    changes_model();
    changes_do("", "d:c");
    assert_string_equal(model_names(""), "m-1.safetensors m-3.safetensors " CHANGES_INDEX);
    check_list("", "0/a 0/b 1/d");
    changes_do("", "v:d");
    assert_string_equal(model_names(""), "m-1.safetensors " CHANGES_INDEX);
    check_list("", "0/a 0/b 0/d");
    check_bytes("", "d", 'd', 2);
    changes_do("", "d:a d:b d:d");
    assert_string_equal(model_names(""), CHANGES_INDEX);
    check_list("", "");
    changes_do("", "");
    check_list("", "");
}

static void test_without_index(void **state)
{
    (void)state;
    changes_shards();
    changes_do("", "r:a=x d:c");
    assert_string_equal(model_names(""), "m-1.safetensors m-3.safetensors");
    check_list("", "0/x 0/b 1/d");
    /* One file stays, and what it says of itself. */
    changes_do("", "d:x d:b d:d");
    assert_string_equal(model_names(""), "m-1.safetensors");
    check_list("", "");
    st_checkpoint *checkpoint = model_open("");
    assert_int_equal(st_checkpoint_metadata_count(checkpoint), 1);
    st_checkpoint_close(checkpoint);
    changes_do("", "n:new");
    check_list("", "0/new");
}

static void test_single_file(void **state)
{
    (void)state;
    changes_shards();
    model_text("checkpoint.st-journal", "of the folder, and none of this file's");
    changes_do("m-1.safetensors", "r:a=x");
    check_list("m-1.safetensors", "0/x 0/b");
    changes_do("m-1.safetensors", "d:x d:b");
    check_list("m-1.safetensors", "");
    assert_string_equal(model_names(""), "checkpoint.st-journal m-1.safetensors m-2.safetensors "
                                         "m-3.safetensors");
}

/* A link stays one, and what it leads to is replaced; one of a file that goes goes alone. */
static void test_links(void **state)
{
    (void)state;
    struct stat info;
    assert_int_equal(mkdir(model_path("far"), 0777), 0);
    model_tensors("far/one", "a:3 b:5", NULL);
    model_tensors("far/two", "c:4", NULL);
    assert_int_equal(chmod(model_path("far/one"), 0640), 0);
    assert_int_equal(symlink("far/one", model_path("m-1.safetensors")), 0);
    assert_int_equal(symlink("far/two", model_path("m-2.safetensors")), 0);
    changes_do("", "r:a=x d:c");
    assert_int_equal(lstat(model_path("m-1.safetensors"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(model_path("far/one"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_string_equal(model_names(""), "far m-1.safetensors");
    assert_string_equal(model_names("far"), "one two");
    check_list("", "0/x 0/b");
}

/* One file under two names. */
static void test_same_file_twice(void **state)
{
    (void)state;
    model_tensors("m-1.safetensors", "a:3 b:5", NULL);
    assert_int_equal(symlink("m-1.safetensors", model_path("m-2.safetensors")), 0);
    model_text(CHANGES_INDEX,
               "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}");
    changes_way way = {.in_place = false};
    CHECK_ERR_TEXT(changes_apply("", "r:a=x", &way, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "under another name");
    check_list("", "0/a 1/b");
    way.folder = model_path("out");
    CHECK_OK(changes_apply("", "r:a=x", &way, &error));
    check_list("out", "0/x 1/b");
}

/* In another folder, two names lead to one file, be it there yet or not. */
static void test_one_place(void **state)
{
    (void)state;
    changes_shards();
    assert_int_equal(mkdir(model_path("out"), 0777), 0);
    assert_int_equal(symlink("m-2.safetensors", model_path("out/m-1.safetensors")), 0);
    for (int i = 0; i < 2; i++) {
        changes_way way = {.folder = model_path("out")};
        CHECK_ERR_TEXT(changes_apply("", "r:a=x", &way, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                       "under another name");
        assert_string_equal(model_names("out"),
                            i ? "m-1.safetensors m-2.safetensors" : "m-1.safetensors");
        model_text("out/m-2.safetensors", "somebody's");
    }
    check_text("out/m-2.safetensors", "somebody's");
}

/* What has no tensor left is not removed where only a link leads to. */
static void test_goes_behind_link(void **state)
{
    (void)state;
    assert_int_equal(mkdir(model_path("far"), 0777), 0);
    assert_int_equal(mkdir(model_path("sub"), 0777), 0);
    assert_int_equal(symlink("far", model_path("link")), 0);
    model_tensors("far/m-1.safetensors", "a:3", NULL);
    model_tensors("sub/m-2.safetensors", "c:4", NULL);
    model_text(CHANGES_INDEX, "{\"weight_map\":{\"a\":\"link/m-1.safetensors\",\"c\":\"./sub//m-2."
                              "safetensors\"}}");
    changes_way way = {.in_place = false};
    CHECK_ERR_TEXT(changes_apply("", "d:a r:c=x", &way, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "cannot be removed");
    check_list("", "0/c 1/a");
    changes_do("", "d:c r:a=x");
    check_list("", "0/x");
    assert_string_equal(model_names("sub"), "");
    assert_string_equal(model_names("far"), "m-1.safetensors");
}

static bool chdir_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    assert_int_equal(chdir(ctx), 0);
    return true;
}

/* The working directory changes while the first file is written. */
static void test_chdir(void **state)
{
    (void)state;
    char before[1024];
    assert_non_null(getcwd(before, sizeof before));
    for (int i = 0; i < 2; i++) {
        st_checkpoint *checkpoint;
        st_checkpoint_edit *edit;
        st_edit_options options = {.progress = {chdir_once, before}};
        changes_model();
        assert_int_equal(chdir(model_folder), 0);
        CHECK_OK(st_checkpoint_open(i ? CHANGES_INDEX : ".", NULL, &checkpoint, &error));
        CHECK_OK(st_checkpoint_edit_new(checkpoint, &options, &edit, &error));
        CHECK_OK(changes_list(edit, checkpoint, "r:a=x r:c=y d:d", &error));
        CHECK_OK(st_checkpoint_edit_write(edit, NULL, NULL, NULL, &error));
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
        assert_string_equal(model_names(""), "m-1.safetensors m-2.safetensors " CHANGES_INDEX);
        check_list("", "0/x 0/b 1/y");
    }
}

/* What lies in the store of a hub cache is others' too: the links into it are replaced. */
static void test_hub_cache(void **state)
{
    (void)state;
    static const char *const folders[] = {"blobs", "snapshots", "snapshots/r"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mkdir(model_path(folders[i]), 0777), 0);
    model_tensors("blobs/1", "a:3 b:5", NULL);
    model_tensors("blobs/2", "c:4", NULL);
    model_tensors("blobs/3", "d:2", NULL);
    model_text("blobs/4", CHANGES_TEXT);
    for (int i = 1; i <= 4; i++) {
        char blob[32], name[64];
        snprintf(blob, sizeof blob, "../../blobs/%d", i);
        snprintf(name, sizeof name,
                 i < 4 ? "snapshots/r/m-%d.safetensors" : "snapshots/r/" CHANGES_INDEX, i);
        assert_int_equal(symlink(blob, model_path(name)), 0);
    }
    changes_do("snapshots/r", "r:a=x d:c");
    assert_string_equal(model_names("snapshots/r"),
                        "m-1.safetensors m-3.safetensors " CHANGES_INDEX);
    assert_string_equal(model_names("blobs"), "1 2 3 4");
    check_list("snapshots/r", "0/x 0/b 1/d");
    check_text("blobs/4", CHANGES_TEXT);
    check_list("blobs/1", "0/a 0/b");
    struct stat info;
    assert_int_equal(lstat(model_path("snapshots/r/m-3.safetensors"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

/* ---------------------------------------------------------------------------- another folder */

static void test_elsewhere(void **state)
{
    (void)state;
    changes_model();
    changes_way way = {.folder = model_path("out")};
    CHECK_OK(changes_apply("", "r:a=x d:d", &way, &error));
    check_text(CHANGES_INDEX, CHANGES_TEXT);
    assert_string_equal(model_names("out"), "m-1.safetensors m-2.safetensors " CHANGES_INDEX);
    check_list("out", "0/x 0/b 1/c");
    assert_string_equal(model_names(""), CHANGES_NAMES " out");
    /* Over what is there, and then over nothing that is. */
    CHECK_OK(changes_apply("", "r:c=y", &way, &error));
    check_list("out", "0/a 0/b 1/y 2/d");
    way.sink.flags = ST_SINK_NEW;
    way.folder = model_path("out");
    CHECK_ERR_TEXT(changes_apply("", "", &way, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "/out/m-1.safetensors: cannot be written");
    assert_int_equal(unlink(model_path("out/m-1.safetensors")), 0);
    way.folder = model_path("out/");
    CHECK_ERR_TEXT(changes_apply("", "", &way, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "/out/m-2.safetensors: cannot be written");
    assert_false(model_has("out/m-1.safetensors"));
    way.folder = model_path("new");
    CHECK_OK(changes_apply("", "", &way, &error));
    check_list("new", "0/a 0/b 1/c 2/d");
    check_text("new/" CHANGES_INDEX, CHANGES_TEXT);
    way.folder = model_path("m-1.safetensors");
    CHECK_ERR(changes_apply("", "", &way, &error), ST_ERR_IO, ST_NO_OFFSET);
}

/* The checkpoint's own folder is that however it is called, and a file by itself goes into a folder too. */
static void test_own_folder(void **state)
{
    (void)state;
    changes_model();
    ino_t before = inode_of("m-2.safetensors");
    assert_int_equal(symlink(".", model_path("same")), 0);
    changes_way way = {.folder = model_path("same")};
    CHECK_OK(changes_apply("", "r:a=x", &way, &error));
    assert_true(inode_of("m-2.safetensors") == before);
    check_list("", "0/x 0/b 1/c 2/d");
    way.folder = model_path("out");
    CHECK_OK(changes_apply("m-2.safetensors", "r:c=y", &way, &error));
    assert_string_equal(model_names("out"), "m-2.safetensors");
    check_list("out", "0/y");
}

static void test_subfolders(void **state)
{
    (void)state;
    assert_int_equal(mkdir(model_path("s"), 0777), 0);
    assert_int_equal(mkdir(model_path("s/t"), 0777), 0);
    model_tensors("s/t/m.safetensors", "a:3 b:5", NULL);
    model_tensors("s/n.safetensors", "c:1", NULL);
    model_text("i.json", "{\"a\":\"s/t/m.safetensors\",\"c\":\"s/n.safetensors\"}");
    changes_way way = {.folder = model_path("out")};
    CHECK_OK(changes_apply("i.json", "r:a=x", &way, &error));
    check_text("out/i.json", "{\"x\":\"s/t/m.safetensors\",\"c\":\"s/n.safetensors\"}");
    check_list("out/i.json", "0/c 1/x");
    changes_do("i.json", "r:a=y d:c");
    check_list("i.json", "0/y");
    assert_false(model_has("s/n.safetensors"));
}

/* ------------------------------------------------------------------------------- what stops it */

static void test_progress(void **state)
{
    (void)state;
    changes_model();
    told all = {.calls = 0};
    changes_way way = {.edit.progress = {tell, &all}};
    CHECK_OK(changes_apply("", "r:a=x r:d=y", &way, &error));
    assert_int_equal(all.done, 10);
    assert_int_equal(all.total, 10);
    assert_true(all.calls >= 2);
    for (unsigned at = 1; at <= all.calls; at++) {
        told some = {.stop_at = at};
        way.edit.progress.ctx = &some;
        CHECK_ERR(changes_apply("", "r:x=a r:y=d", &way, &error), ST_ERR_STOPPED, ST_NO_OFFSET);
        assert_string_equal(model_names(""), CHANGES_NAMES);
        check_list("", "0/x 0/b 1/c 2/y");
    }
    told elsewhere = {.calls = 0};
    way.edit.progress.ctx = &elsewhere;
    way.folder = model_path("out");
    CHECK_OK(changes_apply("", "", &way, &error));
    assert_int_equal(elsewhere.done, 14);
}

static void floats_store(const char *name, const char *tensor)
{
    /* 1, 70000, 3 */
    static const unsigned char values[] = {0, 0, 0x80, 0x3f, 0, 0xb8, 0x88, 0x47, 0, 0, 0x40, 0x40};
    uint64_t count = 3;
    st_array array = {
        .data = (void *)(uintptr_t)values, .shape = &count, .ndim = 1, .dtype = ST_F32};
    st_edit *edit;
    st_sink *sink;
    CHECK_OK(st_edit_new(NULL, NULL, &edit, &error));
    CHECK_OK(st_edit_add(edit, tensor, strlen(tensor), &array, &error));
    CHECK_OK(st_sink_open(model_path(name), NULL, &sink, &error));
    CHECK_OK(st_edit_write(edit, sink, NULL, &error));
    st_sink_release(sink);
    st_edit_free(edit);
}

static bool cast_seen(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    (void)tensor;
    (void)underflowed;
    assert_int_equal(overflowed, 1);
    return *(const bool *)ctx;
}

/* A cast that is refused leaves all files as they were, those before it too. */
static void test_cast(void **state)
{
    (void)state;
    bool goes_on = false;
    st_edit_summary done;
    st_checkpoint_edit *edit;
    floats_store("m-1.safetensors", "f");
    floats_store("m-2.safetensors", "g");
    ino_t before = inode_of("m-1.safetensors");
    st_checkpoint *checkpoint = model_open("");
    CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(st_edit_cast(st_checkpoint_edit_at(edit, i),
                              st_checkpoint_at(checkpoint, i).tensor, ST_F16, &error));
    st_edit_on_cast(st_checkpoint_edit_at(edit, 1), cast_seen, &goes_on);
    CHECK_ERR(st_checkpoint_edit_write(edit, NULL, NULL, &done, &error), ST_ERR_STOPPED,
              ST_NO_OFFSET);
    assert_string_equal(model_names(""), "m-1.safetensors m-2.safetensors");
    assert_true(inode_of("m-1.safetensors") == before);
    goes_on = true;
    CHECK_OK(st_checkpoint_edit_write(edit, NULL, NULL, &done, &error));
    assert_int_equal(done.overflowed, 2);
    assert_int_equal(done.cast, 2);
    st_checkpoint_edit_free(edit);
    st_checkpoint_close(checkpoint);
    checkpoint = model_open("");
    assert_int_equal(st_checkpoint_at(checkpoint, 1).tensor->dtype, ST_F16);
    st_checkpoint_close(checkpoint);
}

/* An edit of what is no longer there changes nothing. */
static void test_changed(void **state)
{
    (void)state;
    static const char *const touched[] = {"m-1.safetensors", "m-3.safetensors", CHANGES_INDEX};
    for (size_t i = 0; i < 6; i++) {
        changes_model();
        st_checkpoint_edit *edit;
        st_checkpoint *checkpoint = model_open("");
        CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
        CHECK_OK(changes_list(edit, checkpoint, "r:a=x", &error));
        const char *path = model_path(touched[i % 3]);
        if (i < 3) {
            const struct timespec times[2] = {{1000, 0}, {1000, 0}};
            assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        CHECK_ERR_TEXT(st_checkpoint_edit_write(edit, NULL, NULL, NULL, &error), ST_ERR_CHANGED,
                       ST_NO_OFFSET, touched[i % 3]);
        CHECK_ERR(st_checkpoint_edit_write_in_place(edit, NULL, &error), ST_ERR_UNSUPPORTED,
                  ST_NO_OFFSET);
        CHECK_OK(changes_list(edit, checkpoint, "r:a=a p:a", &error));
        CHECK_ERR(st_checkpoint_edit_write_in_place(edit, NULL, &error), ST_ERR_CHANGED,
                  ST_NO_OFFSET);
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
        assert_int_equal(model_has("m-2.safetensors.st-journal"), 0);
    }
}

/* Changes a file while the last ones are written. */
static bool meddle(void *ctx, uint64_t done, uint64_t total)
{
    const struct timespec times[2] = {{1000, 0}, {1000, 0}};
    (void)total;
    if (done > 8)
        assert_int_equal(utimensat(AT_FDCWD, model_path(ctx), times, 0), 0);
    return true;
}

/* What changes while it is written, here or there, is not replaced. */
static void test_changed_meanwhile(void **state)
{
    (void)state;
    static char names[][32] = {"m-1.safetensors", "m-2.safetensors", CHANGES_INDEX,
                               "out/m-1.safetensors", "out/m.safetensors.index.json"};
    for (size_t i = 0; i < 5; i++) {
        bool there = strncmp(names[i], "out", 3) == 0;
        model_empty(model_folder);
        changes_model();
        changes_way way = {.folder = there ? model_path("out") : NULL};
        if (there)
            CHECK_OK(changes_apply("", "", &way, &error));
        way.edit.progress = (st_progress){meddle, names[i]};
        way.folder = there ? model_path("out") : NULL;
        /* The record of the index there is made after the meddling. */
        CHECK_ERR(changes_apply("", "r:a=x r:d=y", &way, &error), i < 4 ? ST_ERR_CHANGED : ST_OK,
                  i < 4 ? ST_NO_OFFSET : 0);
        check_list("", "0/a 0/b 1/c 2/d");
        check_text(CHANGES_INDEX, CHANGES_TEXT);
        if (there)
            check_list("out", i < 4 ? "0/a 0/b 1/c 2/d" : "0/x 0/b 1/c 2/y");
        assert_string_equal(model_names(there ? "out" : ""), CHANGES_NAMES);
    }
}

static void test_options(void **state)
{
    (void)state;
    changes_model();
    st_checkpoint_edit *edit;
    st_checkpoint *checkpoint = model_open("");
    st_edit_options bad = {.order = 9};
    CHECK_ERR(st_checkpoint_edit_new(checkpoint, &bad, &edit, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
    st_sink_options sink = {.durability = 9};
    CHECK_ERR(st_checkpoint_edit_write(edit, NULL, &sink, NULL, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_OK(changes_list(edit, checkpoint, "r:a=x", &error));
    for (sink.durability = ST_DURABLE_FILE; sink.durability <= ST_DURABLE_NONE; sink.durability++) {
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
        checkpoint = model_open("");
        CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
        CHECK_OK(changes_list(edit, checkpoint,
                              sink.durability == ST_DURABLE_FILE ? "r:a=x" : "r:x=a", &error));
        CHECK_OK(st_checkpoint_edit_write(edit, NULL, &sink, NULL, &error));
        assert_string_equal(model_names(""), CHANGES_NAMES);
    }
    sink = (st_sink_options){.flags = ST_SINK_NEW};
    st_checkpoint_edit_free(edit);
    st_checkpoint_close(checkpoint);
    changes_way way = {.sink = sink};
    CHECK_ERR(changes_apply("", "r:a=y", &way, &error), ST_ERR_IO, ST_NO_OFFSET);
    check_list("", "0/a 0/b 1/c 2/d");
}

/* ------------------------------------------------------------------------------- no memory */

static void test_oom(void **state)
{
    (void)state;
    changes_model();
    ST_OOM_LOOP(context, status)
    {
        changes_way way = {.folder = model_path("out"),
                           .edit.context = context,
                           .sink = {.durability = ST_DURABLE_NONE}};
        status = changes_apply("", "r:a=x d:c n:new v:d", &way, NULL);
        /* Once the list holds there is no need of memory. */
        if (status != ST_OK && model_has("out"))
            assert_string_equal(model_names("out"), "");
    }
    check_list("out", "0/x 0/b 0/new 0/d");
    ST_OOM_LOOP(context, status)
    {
        changes_way way = {.in_place = true, .edit.context = context};
        status = changes_apply("", "p:a p:c", &way, NULL);
    }
    ST_OOM_LOOP(context, status)
    {
        bool changed;
        model_text("m-1.safetensors.st-journal", "");
        model_text(CHANGES_INDEX ".st-journal", "");
        status = st_checkpoint_recover(model_path(""), context, &changed, NULL);
        if (status == ST_OK)
            status = st_checkpoint_recover(model_path(CHANGES_INDEX), context, &changed, NULL);
    }
    assert_string_equal(model_names(""), CHANGES_NAMES " out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_look, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_only_what_changes, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_options_change, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_file_goes, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_without_index, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_single_file, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_links, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_same_file_twice, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_one_place, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_goes_behind_link, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_chdir, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_hub_cache, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_elsewhere, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_own_folder, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_subfolders, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_progress, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_cast, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_changed, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_changed_meanwhile, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_options, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_oom, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_edit", tests, NULL, NULL);
}
