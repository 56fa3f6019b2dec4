/* SPDX-License-Identifier: Apache-2.0 */
#include "target.h"

#include <string.h>
#include <unistd.h>

const char *const target_durabilities[] = {"none", "file", "name", NULL};

uint32_t target_durable(int durability)
{
    static const uint32_t meanings[] = {ST_DURABLE_NONE, ST_DURABLE_FILE, ST_DURABLE_NAME};
    return meanings[durability];
}

st_status target_open(const struct target *target, st_sink **out, st_error *error)
{
    st_sink_options options = {.durability = target_durable(target->durability),
                               .cache = (uint32_t)target->cache};
    if (strcmp(target->path, "-") == 0) {
        options.name = "standard output";
        return st_sink_open_fd(STDOUT_FILENO, &options, out, error);
    }
    options.flags = target->no_clobber ? ST_SINK_NEW : 0;
    return st_sink_open(target->path, &options, out, error);
}
