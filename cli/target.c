/* SPDX-License-Identifier: Apache-2.0 */
#include "target.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "place.h"
#include "term.h"
#include "text.h"

const char *const target_durabilities[] = {"none", "file", "name", NULL};

static bool is_stdout(const struct target *target)
{
    return target->path && strcmp(target->path, "-") == 0;
}

uint32_t target_durable(int durability)
{
    static const uint32_t meanings[] = {ST_DURABLE_NONE, ST_DURABLE_FILE, ST_DURABLE_NAME};
    return meanings[durability];
}

int target_check(const struct verb *verb, const struct target *target, const struct common *common)
{
    if (!is_stdout(target) || target->dry_run || common->explain)
        return OPT_GO;
    if (common->json)
        return usage_error(verb, "--json would stand in the middle of the file: name an OUT");
    if (term_is(stdout))
        return usage_error(verb, "a terminal does not take a file's bytes; send them through a "
                                 "pipe or into a file");
    return OPT_GO;
}

st_sink_options target_options(const struct target *target)
{
    return (st_sink_options){.durability = target_durable(target->durability),
                             .cache = (uint32_t)target->cache,
                             .flags = target->no_clobber ? ST_SINK_NEW : 0};
}

st_status target_open(const struct target *target, st_sink **out, st_error *error)
{
    st_sink_options options = target_options(target);
    if (!is_stdout(target))
        return st_sink_open(target->path, &options, out, error);
    options.name = "standard output";
    options.flags = 0;
    return st_sink_open_fd(STDOUT_FILENO, &options, out, error);
}

st_status target_look(const struct target *target, st_error *error)
{
    st_status status = ST_OK;
    if (is_stdout(target))
        return ST_OK;
    if (target->no_clobber)
        status = place_check_name(target->path, error);
    return status == ST_OK ? place_check(target->path, error) : status;
}

st_status target_look_folder(const struct target *target, st_error *error)
{
    return place_check_folder(target->path, error);
}

st_status target_look_in(const struct target *target, const char *name, st_error *error)
{
    if (!target->no_clobber)
        return ST_OK;
    char *path = place_join(target->path, name);
    st_status status = place_check_name(path, error);
    free(path);
    return status;
}

void target_print(const struct target *target, const struct made *made, struct out *out)
{
    uint64_t tensors = made->tensors;
    double seconds = made->seconds > 1e-6 ? made->seconds : 1e-6;
    if (!target->dry_run && (!out->tty || is_stdout(target)))
        return;
    out_escaped(out, target->path, strlen(target->path));
    if (!out->tty) {
        out_print(out, "\t%" PRIu64 "\t%" PRIu64 "\n", made->size, tensors);
        return;
    }
    out_print(out, ": %s%" PRIu64 " tensor%s, %s", target->dry_run ? "would be " : "", tensors,
              tensors == 1 ? "" : "s", text_bytes(made->size).text);
    if (!target->dry_run)
        out_print(out, " in %.2f s, %s/s", made->seconds,
                  text_bytes((uint64_t)((double)made->size / seconds)).text);
    out_text(out, "\n");
}

void target_json(const struct target *target, const struct made *made, struct json *json)
{
    json_u64(json, "tensors", made->tensors);
    json_u64(json, "size", made->size);
    if (target->dry_run)
        return;
    json_key(json, "seconds");
    json_double(json, made->seconds);
}
