/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a checkpoint: what stands in its index against what is in its files. */
#include "base/alloc.h"
#include "base/context.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/path.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct checkpoint_checking {
    st_checkpoint *checkpoint;
    const st_open_options *options; /* of the files */
    const st_checkpoint_observer *observer;
    st_checkpoint_summary summary; /* of what the judge is named after */
    st_checkpoint_summary all;
    bool known; /* the bytes of all tensors that the index names */
    st__index_sink sink;
    st__index_judge judge;
    st_error *error;
} checkpoint_checking;

/* The entries of an index, file by file. */
typedef struct index_groups {
    uint32_t *entries; /* their indices, `count` */
    uint32_t *ends;    /* where those of each file end in `entries` */
    size_t count;
    size_t files;
} index_groups;

/* ---------------------------------------------------------------------------------- telling */

static bool finding_pass(void *ctx, const st_finding *finding)
{
    checkpoint_checking *check = ctx;
    const st_checkpoint_observer *observer = check->observer;
    if (finding->severity == ST_SEVERITY_ERROR)
        check->summary.errors++;
    else if (finding->severity == ST_SEVERITY_WARNING)
        check->summary.warnings++;
    else
        check->summary.notes++;
    return !observer->finding || observer->finding(observer->ctx, check->judge.name, finding);
}

static st_status check_stopped(const checkpoint_checking *check)
{
    return st__fail(check->error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the check was stopped",
                    check->judge.name);
}

/* What is found from now on is said of this path. */
static void subject_begin(checkpoint_checking *check, const char *path)
{
    check->summary = (st_checkpoint_summary){0};
    check->checkpoint->data_size = 0;
    check->known = true;
    check->judge.name = path;
}

static st_status subject_end(checkpoint_checking *check)
{
    const st_checkpoint_summary *part = &check->summary;
    const st_checkpoint_observer *observer = check->observer;
    check->all.errors += part->errors;
    check->all.warnings += part->warnings;
    check->all.notes += part->notes;
    check->all.indices += part->indices;
    check->all.index_size += part->index_size;
    check->all.files += part->files;
    check->all.files_refused += part->files_refused;
    check->all.tensors += part->tensors;
    if (observer->end && !observer->end(observer->ctx, check->judge.name, part))
        return check_stopped(check);
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ files */

/* What opening says of a name that no file has. */
static bool is_absent(const st_error *why)
{
    return why->status == ST_ERR_IO && (why->sys_errno == ENOENT || why->sys_errno == ENOTDIR ||
                                        why->sys_errno == ENAMETOOLONG);
}

/* A malformed file's, by the numbers of the statuses. */
static bool is_refusal(st_status status)
{
    return status >= ST_ERR_HEADER_TOO_SMALL && status < ST_ERR_NOT_FOUND;
}

/* Tells of a file that is there. */
static st_status shard_tell(checkpoint_checking *check, const st_checkpoint_shard *shard)
{
    const st_checkpoint_observer *observer = check->observer;
    bool goes_on = observer->shard && observer->shard(observer->ctx, shard);
    if (shard->why && !shard->source && !goes_on) {
        if (check->error)
            *check->error = *shard->why;
        return shard->why->status;
    }
    return goes_on || !observer->shard ? ST_OK : check_stopped(check);
}

/* What was found under a name. */
typedef struct shard_found {
    st_file *file; /* to be closed whatever comes of it; NULL: there is no valid one */
    bool absent;
} shard_found;

/* Opens a path, and tells of the file, unless there is none and an index names it: that is the index's fault. */
static st_status shard_open_at(checkpoint_checking *check, st_checkpoint_shard *shard, bool named,
                               shard_found *out)
{
    st_error why;
    st_source *source = NULL;
    st_status status = st_source_open(shard->path, check->options, &source, &why);
    if (status == ST_OK)
        status = st_file_open_source(source, check->options, &out->file, &why);
    check->summary.files_refused += is_refusal(status);
    out->absent = named && status != ST_OK && is_absent(&why);
    if (status == ST_OK || is_refusal(status))
        shard->source = source;
    if (status != ST_OK)
        shard->why = &why;
    if (status == ST_ERR_NOMEM && check->error)
        *check->error = why;
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(check->error, status, shard->path, NULL);
    else
        status = out->absent ? ST_OK : shard_tell(check, shard);
    st_source_release(source);
    return status;
}

static st_status shard_look(checkpoint_checking *check, size_t file, bool named, shard_found *out)
{
    st_checkpoint_shard shard = {.name = check->checkpoint->files[file].name.text};
    const st_checkpoint *checkpoint = check->checkpoint;
    char *path;
    ST_TRY(st__path_join(checkpoint->context, checkpoint->folder, shard.name, &path, check->error));
    shard.path = path;
    check->summary.files++;
    st_status status = shard_open_at(check, &shard, named, out);
    st__path_free(checkpoint->context, path);
    return status;
}

/* ------------------------------------------------------------------------- index and files */

static st_status groups_make(checkpoint_checking *check, const st__index *index, index_groups *out)
{
    size_t files = check->checkpoint->file_count;
    *out = (index_groups){.count = index->count, .files = files};
    out->ends =
        st__alloc_zeroed(check->checkpoint->context, files + index->count, sizeof *out->ends);
    if (!out->ends)
        return st__checkpoint_nomem(
            check->checkpoint, (uint64_t)(files + index->count) * sizeof *out->ends, check->error);
    out->entries = out->ends + files;
    for (size_t i = 0; i < index->count; i++)
        out->ends[index->entries[i].file]++;
    uint32_t begin = 0;
    for (size_t i = 0; i < files; i++) {
        uint32_t count = out->ends[i];
        out->ends[i] = begin;
        begin += count;
    }
    for (size_t i = 0; i < index->count; i++)
        out->entries[out->ends[index->entries[i].file]++] = (uint32_t)i;
    return ST_OK;
}

static void groups_release(const checkpoint_checking *check, index_groups *groups)
{
    st__free(check->checkpoint->context, groups->ends,
             (groups->files + groups->count) * sizeof *groups->ends);
}

/* Tells of a file that is not there, at the first tensor that should be in it. */
static st_status shard_miss(const checkpoint_checking *check, const st__index_entry *first,
                            size_t count)
{
    const st__key *name = &check->checkpoint->files[first->file].name;
    return st__index_deviate(&check->judge, ST__INDEX_RULE_SHARD_MISSING,
                             &(st__index_place){.offset = first->offset},
                             "%s is not there, which should hold %zu tensor%s",
                             st__quote(name->text, name->len).text, count, count == 1 ? "" : "s");
}

static st_status unlisted_tell(const checkpoint_checking *check, const st_tensor *tensor,
                               const st__key *file)
{
    return st__index_deviate(
        &check->judge, ST__INDEX_RULE_TENSOR_UNLISTED,
        &(st__index_place){
            .offset = ST_NO_OFFSET, .name = tensor->name, .name_len = tensor->name_len},
        "is in %s, and the index does not say so", st__quote(file->text, file->len).text);
}

/* Compares the entries of a file with what is in it. */
static st_status shard_compare(checkpoint_checking *check, const st__index *index,
                               const index_groups *groups, size_t at, const st_file *file)
{
    size_t listed = 0, count = st_file_count(file);
    for (size_t i = 0; i < count; i++) {
        const st_tensor *tensor = st_file_at(file, i);
        st__index_entry *entry = st__index_find(index, tensor, at);
        if (!entry)
            continue;
        entry->found = true;
        listed++;
        ST_TRY(st__checkpoint_size_add(check->checkpoint, st_tensor_size(tensor), &check->judge));
    }
    for (uint32_t i = at ? groups->ends[at - 1] : 0; i < groups->ends[at]; i++) {
        const st__index_entry *entry = &index->entries[groups->entries[i]];
        if (entry->found || entry->passed)
            continue;
        check->known = false;
        ST_TRY(st__index_tensor_miss(check->checkpoint, entry, &check->judge));
    }
    for (size_t i = 0; i < count && listed < count; i++)
        if (!st__index_find(index, st_file_at(file, i), at))
            ST_TRY(unlisted_tell(check, st_file_at(file, i), &check->checkpoint->files[at].name));
    return ST_OK;
}

static st_status index_shard_check(checkpoint_checking *check, const st__index *index,
                                   const index_groups *groups, size_t at)
{
    shard_found found = {0};
    uint32_t begin = at ? groups->ends[at - 1] : 0;
    st_status status = shard_look(check, at, true, &found);
    if (status == ST_OK && found.file)
        status = shard_compare(check, index, groups, at, found.file);
    else if (status == ST_OK)
        check->known = false;
    if (status == ST_OK && found.absent)
        status =
            shard_miss(check, &index->entries[groups->entries[begin]], groups->ends[at] - begin);
    st_file_close(found.file);
    return status;
}

static st_status total_compare(const checkpoint_checking *check, const st__index *index)
{
    uint64_t bytes = check->checkpoint->data_size;
    if (!check->known || index->partial || !index->has_total || index->total == bytes)
        return ST_OK;
    return st__index_deviate(&check->judge, ST__INDEX_RULE_TOTAL_SIZE,
                             &(st__index_place){.offset = index->total_offset},
                             "total_size is %" PRIu64 ", and the tensors come to %" PRIu64 " bytes",
                             index->total, bytes);
}

/* Goes through the files in the order of their names. */
static st_status index_compare(checkpoint_checking *check, st__index *index)
{
    index_groups groups;
    check->checkpoint->file_count = 0;
    ST_TRY(st__index_files_take(check->checkpoint, index, check->error));
    ST_TRY(groups_make(check, index, &groups));
    st_status status = ST_OK;
    for (size_t i = 0; i < groups.files && status == ST_OK; i++)
        status = index_shard_check(check, index, &groups, i);
    groups_release(check, &groups);
    check->summary.tensors = index->count;
    return status == ST_OK ? total_compare(check, index) : status;
}

static st_status index_text_check(checkpoint_checking *check, const st_memory *text)
{
    /* What it keeps of the metadata is not looked at. */
    st__arena kept = {.context = check->checkpoint->context};
    st__index index = {.context = check->checkpoint->context, .kept = &kept};
    check->summary.indices = 1;
    check->summary.index_size = text->size;
    st_status status = st__index_parse(&index, text->data, text->size, &check->judge);
    if (status == ST_OK && !index.broken)
        status = index_compare(check, &index);
    st__index_release(&index);
    st__arena_release(&kept);
    return status == ST_OK ? subject_end(check) : status;
}

static st_status index_check(checkpoint_checking *check, const char *path)
{
    st_memory text = {0};
    st_error why;
    subject_begin(check, path);
    st_status status = st__index_text_read(check->checkpoint, path, check->options, &text, &why);
    if (status == ST_ERR_JSON) { /* it is too long */
        check->summary.indices = 1;
        ST_TRY(st__index_deviate_by(&check->judge, ST__INDEX_RULE_JSON, &why));
        return subject_end(check);
    }
    if (status != ST_OK && check->error)
        *check->error = why;
    ST_TRY(status);
    status = index_text_check(check, &text);
    st__free(check->checkpoint->context, text.data, text.size);
    return status;
}

/* --------------------------------------------------------------------------------- folders */

/* What a name like "model-00001-of-00003.safetensors" says. */
typedef struct shard_number {
    const char *name;
    size_t prefix;      /* bytes before the number */
    uint64_t count;     /* how many there are to be */
    const char *ending; /* behind that */
} shard_number;

static bool is_numeral(char c)
{
    return c >= '0' && c <= '9';
}

static bool shard_number_read(const char *name, shard_number *out)
{
    const char *of = NULL;
    for (const char *at = strstr(name, "-of-"); at; at = strstr(at + 1, "-of-"))
        of = at;
    if (!of)
        return false;
    const char *number = of, *count = of + strlen("-of-"), *end = count;
    *out = (shard_number){.name = name};
    for (; is_numeral(*end) && end - count < 9; end++)
        out->count = out->count * 10 + (uint64_t)(*end - '0');
    while (number > name && is_numeral(number[-1]))
        number--;
    out->prefix = (size_t)(number - name);
    out->ending = end;
    return number < of && number > name && number[-1] == '-' && end > count;
}

static bool is_numbered_alike(const shard_number *a, const shard_number *b)
{
    return a->prefix == b->prefix && memcmp(a->name, b->name, a->prefix) == 0 &&
           strcmp(a->ending, b->ending) == 0;
}

/* A download that broke off leaves some, each of them whole. Of several counts under one name nothing is said: the
 * tensors of both stand twice. */
static st_status numbers_check(const checkpoint_checking *check)
{
    const st_checkpoint *checkpoint = check->checkpoint;
    for (size_t i = 0, next; i < checkpoint->file_count; i = next) {
        shard_number first, other;
        bool one_count = true;
        next = i + 1;
        if (!shard_number_read(checkpoint->files[i].name.text, &first))
            continue;
        for (; next < checkpoint->file_count; next++) {
            if (!shard_number_read(checkpoint->files[next].name.text, &other) ||
                !is_numbered_alike(&first, &other))
                break;
            one_count = one_count && other.count == first.count;
        }
        if (!one_count || next - i >= first.count)
            continue;
        ST_TRY(st__index_deviate(
            &check->judge, ST__INDEX_RULE_NUMBER_MISSING,
            &(st__index_place){.offset = ST_NO_OFFSET},
            "of %" PRIu64
            " files numbered as %s only %zu %s there, and no index tells of the others",
            first.count, st__quote(first.name, strlen(first.name)).text, next - i,
            next - i == 1 ? "is" : "are"));
    }
    return ST_OK;
}

/* Looks at files of which no index tells. */
static st_status every_check(checkpoint_checking *check, bool of_folder)
{
    st_checkpoint *checkpoint = check->checkpoint;
    subject_begin(check, checkpoint->name);
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        shard_found found = {0};
        st_status status = shard_look(check, i, false, &found);
        checkpoint->files[i].file = found.file;
        ST_TRY(status);
    }
    ST_TRY(st__checkpoint_take_all(checkpoint, &check->judge));
    check->summary.tensors = checkpoint->count;
    if (of_folder)
        ST_TRY(numbers_check(check));
    return subject_end(check);
}

static st_status indices_check(checkpoint_checking *check, const st__folder *folder)
{
    const st_checkpoint *checkpoint = check->checkpoint;
    st_status status = ST_OK;
    for (size_t i = 0; i < folder->count && status == ST_OK; i++) {
        char *path;
        ST_TRY(st__path_join(checkpoint->context, checkpoint->folder, folder->indices[i].text,
                             &path, check->error));
        status = index_check(check, path);
        st__path_free(checkpoint->context, path);
    }
    return status;
}

static st_status folder_check(checkpoint_checking *check)
{
    st__folder folder = {0};
    st_status status = st__folder_look(check->checkpoint, &folder, check->error);
    if (status == ST_OK && folder.count > 1) {
        subject_begin(check, check->checkpoint->name);
        status = st__folder_judge(&folder, &check->judge);
        if (status == ST_OK)
            status = subject_end(check);
    }
    if (status == ST_OK)
        status = folder.count ? indices_check(check, &folder) : every_check(check, true);
    st__folder_release(check->checkpoint, &folder);
    return status;
}

/* -------------------------------------------------------------------------------- checking */

static st_status checking_run(checkpoint_checking *check)
{
    st__checkpoint_kind kind;
    ST_TRY(st__checkpoint_look(check->checkpoint, check->options, &kind, check->error));
    switch (kind) {
    case ST__OF_FOLDER: return folder_check(check);
    case ST__OF_INDEX: return index_check(check, check->checkpoint->name);
    default: return every_check(check, false);
    }
}

st_status st_checkpoint_check(const char *path, const st_open_options *options,
                              const st_checkpoint_observer *observer, st_checkpoint_summary *out,
                              st_error *error)
{
    static const st_checkpoint_observer nobody;
    st_open_options of_files = options ? *options : (st_open_options){.flags = 0};
    checkpoint_checking check = {
        .options = &of_files, .observer = observer ? observer : &nobody, .error = error};
    check.sink = (st__index_sink){.report = finding_pass, .ctx = &check};
    check.judge = (st__index_judge){.name = path, .sink = &check.sink, .error = error};
    ST_TRY(st__options_check(options, error));
    st_context *context = st_context_retain(of_files.context);
    if (!context)
        ST_TRY(st_context_new(NULL, &context, error));
    of_files.context = context;
    of_files.name = NULL;
    st_status status = st__checkpoint_new(context, path, &check.checkpoint, error);
    if (status != ST_OK) {
        st_context_release(context);
        return status;
    }
    status = checking_run(&check);
    if (status == ST_OK && out)
        *out = check.all;
    st_checkpoint_close(check.checkpoint);
    return status;
}
