/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors hash: digests of files and tensors, and manifests of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "explain.h"
#include "leftover.h"
#include "place.h"
#include "record.h"
#include "verify.h"

#define ALGORITHM_NOT_SAID (-1)

struct hash_options {
    struct common common;
    int algorithm;
    bool data;
    bool tensors;
    bool record;
    struct rewrite_options rewrite; /* of --record */
    bool verify_metadata;
    const char *manifest;
    const char *verify;
};

static const char *const algorithm_choices[] = {"sha256", "xxh3", "xxh128", NULL};

static const struct opt hash_options[] = {
    {OPT_CHOICE, 'a', "algorithm", offsetof(struct hash_options, algorithm), .arg = "NAME",
     .choices = algorithm_choices,
     .help = "Compute sha256 (the default), or the faster xxh3 (64 bits) or xxh128, which "
             "tell accidents but no forgery."},
    {OPT_FLAG, 'd', "data", offsetof(struct hash_options, data),
     .help = "Hash what follows the header: the same for files that differ in metadata only."},
    {OPT_FLAG, 't', "tensors", offsetof(struct hash_options, tensors),
     .help = "Print one line per tensor: the digest of its bytes, and its name."},
    {OPT_FILE, 'm', "manifest", offsetof(struct hash_options, manifest), .arg = "OUT",
     .help = "Write a manifest of the files instead: sizes, dtypes, shapes, and the digests of the "
             "files and of each tensor, with --data of the data too. The files' names in it are "
             "relative to where it lies."},
    {OPT_FILE, 'c', "verify", offsetof(struct hash_options, verify), .arg = "MANIFEST",
     .help = "Compare the files named in a manifest, or each FILE with what is there of its name, "
             "and print what differs. Without FILE, names that lead out of the manifest's "
             "folder are refused."},
    {OPT_FLAG, 0, "record", offsetof(struct hash_options, record),
     .help =
         "Put the digests of the tensors into the metadata of each FILE, which is written anew, "
         "in place of those recorded there before; of a folder or an index into those of every "
         "shard, or of none."},
    {OPT_FLAG, 'i', "in-place", offsetof(struct hash_options, rewrite.in_place),
     .help = "With --record: write into the room that the header has, for files too big to be "
             "copied; not atomic for those who read the file meanwhile."},
    TARGET_ROW_DRY_RUN(hash_options, rewrite.target,
                       "With --record and --manifest: compute, say what would be written, and "
                       "write nothing."),
    {OPT_FLAG, 'M', "verify-metadata", offsetof(struct hash_options, verify_metadata),
     .help =
         "Compare each FILE with the digests recorded in its metadata, and print what differs."},
    {0},
};

/* What hash does with each file. */
struct hash {
    const struct hash_options *options;
    const char *path;
    struct out *out;
    struct json *json;     /* NULL: text */
    st_manifest *manifest; /* NULL: none is made */
    char *folder;          /* where it will lie */
    st_hash algorithm;
    uint32_t parts;
    size_t hashed; /* files so far */
    bool several;
    struct progress progress; /* of all files */
};

/* ------------------------------------------------------------------------------ printing */

static void digest_print(struct out *out, const st_digest *digest, const char *name, size_t len)
{
    char text[80];
    st_digest_format(digest, text, sizeof text);
    out_print(out, "%s  ", text);
    out_escaped(out, name, len);
    out_text(out, "\n");
}

/* Prints a line that sha256sum -c takes, unless it is for people: a backslash before it says that
 * backslashes and the ends of lines in the name are escaped, and other bytes stand as they are. */
static void file_digest_print(struct out *out, const st_digest *digest, const char *path)
{
    char text[80];
    size_t plain = strcspn(path, "\\\n\r");
    if (out->tty) {
        digest_print(out, digest, path, strlen(path));
        return;
    }
    st_digest_format(digest, text, sizeof text);
    out_print(out, "%s%s  ", path[plain] ? "\\" : "", text);
    while (path[plain]) {
        out_write(out, path, plain);
        out_text(out, path[plain] == '\\' ? "\\\\" : path[plain] == '\n' ? "\\n" : "\\r");
        path += plain + 1;
        plain = strcspn(path, "\\\n\r");
    }
    out_text(out, path);
    out_text(out, "\n");
}

static void hashes_print(const struct hash *hash, const st_header *header, const st_hashes *hashes)
{
    struct out *out = hash->out;
    if (hashes->parts & ST_HASH_FILE)
        file_digest_print(out, &hashes->file, hash->path);
    if (hashes->parts & ST_HASH_DATA)
        file_digest_print(out, &hashes->data, hash->path);
    if (!(hashes->parts & ST_HASH_TENSORS))
        return;
    if (hash->several) {
        out_style(out, STYLE_HEAD);
        out_escaped(out, hash->path, strlen(hash->path));
        out_style(out, STYLE_PLAIN);
        out_text(out, ":\n");
    }
    for (size_t i = 0; i < hashes->count; i++) {
        const st_tensor *tensor = st_header_at(header, i);
        digest_print(out, &hashes->tensors[i], tensor->name, tensor->name_len);
    }
}

static void hashes_json(struct json *json, const st_header *header, const st_hashes *hashes)
{
    json_text(json, "algorithm", st_hash_name(hashes->hash));
    if (hashes->parts & ST_HASH_FILE)
        json_digest(json, "digest", &hashes->file);
    if (hashes->parts & ST_HASH_DATA)
        json_digest(json, "data_digest", &hashes->data);
    if (!(hashes->parts & ST_HASH_TENSORS))
        return;
    json_key(json, "tensors");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < hashes->count; i++) {
        const st_tensor *tensor = st_header_at(header, i);
        st_json_emit_object_begin(json->emitter);
        json_string(json, "name", tensor->name, tensor->name_len);
        json_digest(json, "digest", &hashes->tensors[i]);
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
}

/* -------------------------------------------------------------------------- the manifest */

/* Starts the manifest, having seen that there is a place for it: this is not to turn out after hours of
 * hashing. */
static st_status manifest_start(struct hash *hash, st_error *error)
{
    const char *path = hash->options->manifest;
    hash->folder = place_folder(path);
    if (strcmp(path, "-") != 0 && out_replace_look(path, error) != ST_OK)
        return error->status;
    return st_manifest_new(NULL, hash->algorithm, &hash->manifest, error);
}

static st_status manifest_add(const struct hash *hash, const st_file *file, const st_hashes *hashes,
                              st_error *error)
{
    char *name = place_relative(hash->folder, hash->path);
    if (!name)
        return io_error(hash->path, error);
    st_status status = st_manifest_add(hash->manifest, name, file, hashes, error);
    free(name);
    return status;
}

static st_status manifest_text(void *ctx, const char *text, size_t len, st_error *error)
{
    (void)error;
    out_write(ctx, text, len);
    return ST_OK;
}

static st_status manifest_write(struct hash *hash, st_error *error)
{
    struct out file;
    st_error why;
    const char *path = hash->options->manifest;
    bool piped = strcmp(path, "-") == 0;
    struct out *out = piped ? hash->out : &file;
    st_status status = piped ? ST_OK : out_replace(out, path, error);
    if (status != ST_OK)
        return status;
    status = st_manifest_emit(hash->manifest, manifest_text, out, &why);
    if (status != ST_OK) {
        if (!piped)
            out_discard(out);
        return error_fill(error, status, "%.200s: %.250s", path, why.message);
    }
    out_text(out, "\n");
    if (!piped)
        out_close(out);
    return ST_OK;
}

static st_status manifest_measure(void *ctx, const char *text, size_t len, st_error *error)
{
    (void)text;
    (void)error;
    *(uint64_t *)ctx += len;
    return ST_OK;
}

/* Says what would be written. */
static st_status manifest_look(struct hash *hash, st_error *error)
{
    uint64_t size = 1; /* the newline */
    const char *path = hash->options->manifest;
    st_status status = st_manifest_emit(hash->manifest, manifest_measure, &size, error);
    if (status != ST_OK || hash->json)
        return status;
    out_escaped(hash->out, path, strlen(path));
    out_print(hash->out, ": would be a manifest of %zu file%s, %" PRIu64 " bytes\n", hash->hashed,
              hash->hashed == 1 ? "" : "s", size);
    return ST_OK;
}

/* Writes the manifest, if everything is in it that was asked for. */
static void manifest_end(struct hash *hash)
{
    st_error error;
    const char *path = hash->options->manifest;
    bool dry = hash->options->rewrite.target.dry_run;
    if (hash->out->exit_code != EXIT_GOOD)
        complain("%s: not written, for not all files could be hashed", path);
    else if ((dry ? manifest_look(hash, &error) : manifest_write(hash, &error)) != ST_OK)
        only_fail(hash->out, hash->json, path, &error);
}

/* -------------------------------------------------------------------------------- the verb */

/* Makes room on the terminal for what is printed. Elsewhere the bar is not in its way. */
static void bar_hide(struct hash *hash)
{
    if (hash->out->tty)
        progress_hide(&hash->progress);
}

static st_status file_read(struct hash *hash, const st_file *file, st_hashes *hashes,
                           st_error *error)
{
    uint64_t size = st_file_size(file);
    hash->progress.total += strcmp(hash->path, "-") == 0 ? size : 0;
    progress_part(&hash->progress, size);
    st_hash_options options = {.hash = hash->algorithm,
                               .parts = hash->parts,
                               .progress = progress_callback(&hash->progress)};
    st_status status = st_hashes_read(file, &options, hashes, error);
    bar_hide(hash);
    return status;
}

static st_status file_hash(struct hash *hash, const st_file *file, st_error *error)
{
    st_hashes hashes = {0};
    st_status status = file_read(hash, file, &hashes, error);
    if (status == ST_OK && hash->manifest)
        status = manifest_add(hash, file, &hashes, error);
    if (status == ST_OK && hash->json)
        hashes_json(hash->json, st_file_header(file), &hashes);
    else if (status == ST_OK && !hash->manifest)
        hashes_print(hash, st_file_header(file), &hashes);
    st_hashes_release(&hashes);
    return status;
}

static st_status path_hash(struct hash *hash, st_error *error)
{
    st_file *file;
    leftover_mention(hash->path, &hash->progress);
    st_status status = input_open_file(hash->path, &hash->options->common, &file, error);
    if (status != ST_OK)
        return status;
    struct explain explain = {
        .path = hash->path, .file = file, .out = hash->out, .json = hash->json};
    if (hash->options->common.explain)
        status = explain_file(&explain, error);
    else
        status = file_hash(hash, file, error);
    hash->hashed += status == ST_OK;
    st_file_close(file);
    return status;
}

static void one_hash(struct hash *hash, const char *path)
{
    st_error error;
    hash->path = path;
    if (hash->json) {
        bar_hide(hash);
        json_open_file(hash->json, path);
    }
    if (path_hash(hash, &error) != ST_OK) {
        progress_hide(&hash->progress);
        file_fail(hash->out, hash->json, &error);
    }
    if (hash->json)
        st_json_emit_object_end(hash->json->emitter);
}

/* A checkpoint is hashed file by file. */
static void checkpoint_hash(struct hash *hash, const char *path)
{
    st_error error;
    struct input_paths files = {0};
    if (input_list(path, &hash->options->common, &files, &error) != ST_OK) {
        progress_hide(&hash->progress);
        only_fail(hash->out, hash->json, path, &error);
    }
    hash->several = hash->several || files.count > 1;
    for (size_t i = 0; i < files.count; i++)
        hash->progress.total += input_path_size(files.at[i]);
    for (size_t i = 0; i < files.count && !progress_signal(); i++)
        one_hash(hash, files.at[i]);
    input_paths_release(&files);
}

static void files_hash(struct hash *hash, const struct args *args)
{
    uint64_t total = 0;
    hash->several = args->count > 1;
    for (size_t i = 0; i < args->count; i++)
        total += input_is_checkpoint(args->at[i]) ? 0 : input_path_size(args->at[i]);
    progress_start(&hash->progress, total);
    for (size_t i = 0; i < args->count && !progress_signal(); i++)
        if (input_is_checkpoint(args->at[i]))
            checkpoint_hash(hash, args->at[i]);
        else
            one_hash(hash, args->at[i]);
    progress_end(&hash->progress);
    out_signal(hash->out);
}

static uint32_t parts_choose(const struct hash_options *options)
{
    uint32_t parts = 0;
    if (options->manifest)
        parts = ST_HASH_FILE | ST_HASH_TENSORS;
    if (options->data)
        parts |= ST_HASH_DATA;
    if (options->tensors)
        parts |= ST_HASH_TENSORS;
    return parts ? parts : ST_HASH_FILE;
}

static st_hash algorithm_choose(const struct hash_options *options)
{
    int index = options->algorithm == ALGORITHM_NOT_SAID ? 0 : options->algorithm;
    return st_hash_find(algorithm_choices[index], strlen(algorithm_choices[index]));
}

static int hash_main(const struct hash_options *options, const struct args *args)
{
    st_error error;
    struct out out;
    struct json json;
    struct hash hash = {.options = options, .out = &out};
    hash.algorithm = algorithm_choose(options);
    hash.parts = parts_choose(options);
    out_open(&out, options->common.color);
    if (options->manifest)
        out_go_on(&out);
    if (options->common.json) {
        hash.json = &json;
        json_open_files(&json, &out);
    }
    bool manifest = options->manifest && !options->common.explain;
    if (manifest && manifest_start(&hash, &error) != ST_OK)
        only_fail(&out, hash.json, options->manifest, &error);
    else
        files_hash(&hash, args);
    if (hash.manifest)
        manifest_end(&hash);
    if (hash.json)
        json_close_files(&json);
    st_manifest_free(hash.manifest);
    free(hash.folder);
    return out_close(&out);
}

/* What goes with --record and --verify-metadata. Gives OPT_GO, or the exit code. */
static int record_check(const struct verb *verb, const struct hash_options *options,
                        const struct args *args)
{
    bool records = options->record || options->verify_metadata;
    if (options->rewrite.in_place && !options->record)
        return usage_error(verb, "--in-place goes with --record: nothing else writes to a FILE");
    if (options->rewrite.target.dry_run && !options->record && !options->manifest)
        return usage_error(verb, "--dry-run goes with --record and --manifest: nothing else "
                                 "writes");
    if (records && (options->manifest || options->verify || options->data || options->tensors ||
                    options->record == options->verify_metadata))
        return usage_error(verb, "--record and --verify-metadata go with no other job: leave "
                                 "--data, --tensors, --manifest and --verify out");
    if (options->verify_metadata && options->algorithm != ALGORITHM_NOT_SAID)
        return usage_error(verb, "--verify-metadata computes what is recorded: leave --algorithm "
                                 "out");
    for (size_t i = 0; i < args->count && options->record; i++)
        if (strcmp(args->at[i], "-") == 0)
            return usage_error(verb, "standard input has no metadata to record in");
    return OPT_GO;
}

/* Gives OPT_GO, or the exit code. */
static int usage_check(const struct verb *verb, const struct hash_options *options,
                       const struct args *args)
{
    bool piped = options->manifest && strcmp(options->manifest, "-") == 0;
    if (options->verify && (options->manifest || options->data || options->tensors ||
                            options->algorithm != ALGORITHM_NOT_SAID))
        return usage_error(verb, "--verify computes what is in the manifest: leave --algorithm, "
                                 "--data, --tensors and --manifest out");
    int code = record_check(verb, options, args);
    if (code != OPT_GO)
        return code;
    if (piped && options->common.json)
        return usage_error(verb, "--manifest - and --json would both write to standard output");
    if (!options->verify && args->count == 0)
        return usage_error(verb, "FILE is missing");
    for (size_t i = 0; i < args->count && options->manifest; i++)
        if (strcmp(args->at[i], "-") == 0)
            return usage_error(verb, "standard input has no name to stand in a manifest");
    return OPT_GO;
}

static int hash_run(const struct verb *verb, int argc, char **argv)
{
    struct hash_options options = {.algorithm = ALGORITHM_NOT_SAID,
                                   .rewrite.target.durability = TARGET_DURABILITY_DEFAULT};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = usage_check(verb, &options, &args);
    if (code == OPT_GO && options.verify)
        code = verify_files(&options.common, options.verify, &args);
    else if (code == OPT_GO && options.verify_metadata)
        code = record_verify(&options.common, &args);
    else if (code == OPT_GO && options.record)
        code = record_files(&(struct record_options){.common = &options.common,
                                                     .algorithm = algorithm_choose(&options),
                                                     .rewrite = options.rewrite},
                            &args);
    else if (code == OPT_GO)
        code = hash_main(&options, &args);
    free(args.at);
    return code;
}

const struct verb verb_hash = {
    .name = "hash",
    .brief = "Compute digests of files and tensors, and verify by them",
    .about =
        "Prints the SHA-256 of each file, as sha256sum does: it is what model hubs show. The "
        "digest of a tensor is that of its bytes as they lie in the file, and stays the same when "
        "a file is written anew with another layout or other metadata. Into a pipe or a file the "
        "names of files stand as sha256sum writes and reads them: as they are, but for backslashes "
        "and the ends of lines.\n\n"
        "A manifest keeps the digests of files and of their tensors, so that --verify can tell "
        "later which tensors of which files have changed: FILE: OK, or a line per difference. "
        "--record keeps the digests of the tensors in the file itself, in its metadata under "
        "st.hash.ALGORITHM, and --verify-metadata compares by them: they stay true when other "
        "metadata are edited or the file is laid out anew. Who can change the tensors can change "
        "them as well.\n\n"
        "The exit code is 1 if anything differs, 2 if nothing is recorded to compare with.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_OPTIONAL | ARG_MANY, NULL}, {0}},
    .options = hash_options,
    .examples =
        (const struct example[]){
            {"safetensors hash *.safetensors > SHA256SUMS", "What sha256sum -c takes."},
            {"safetensors hash --manifest manifest.json *.safetensors",
             "Keep what these files are."},
            {"safetensors hash --verify manifest.json", "Are they still the same?"},
            {"safetensors hash --record model.safetensors", "Let the file carry its digests."},
            {"safetensors hash --verify-metadata *.safetensors", "Are the tensors still the same?"},
            {"safetensors hash -t -a xxh3 model.safetensors | sort | uniq -w 16 -D",
             "Tensors that hold the same bytes."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .run = hash_run,
};
