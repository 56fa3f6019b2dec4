/* SPDX-License-Identifier: Apache-2.0 */
#include "layout.h"

#include <inttypes.h>
#include <safetensors/edit.h>

#include "opt.h"

#define ALIGNMENT_MIN 8
#define ALIGNMENT_MAX 4096

const char *const layout_canonical_choices[] = {"canonical", "file", "name", NULL};
const char *const layout_file_choices[] = {"file", "canonical", "name", NULL};

uint32_t layout_canonical_order(const struct layout *layout)
{
    static const uint32_t orders[] = {ST_EDIT_ORDER_CANONICAL, ST_EDIT_ORDER_FILE,
                                      ST_EDIT_ORDER_NAME};
    return orders[layout->order];
}

uint32_t layout_file_order(const struct layout *layout)
{
    static const uint32_t orders[] = {ST_EDIT_ORDER_FILE, ST_EDIT_ORDER_CANONICAL,
                                      ST_EDIT_ORDER_NAME};
    return orders[layout->order];
}

int layout_check(const struct verb *verb, const struct layout *layout)
{
    uint64_t alignment = layout->alignment;
    if (alignment && (alignment < ALIGNMENT_MIN || alignment > ALIGNMENT_MAX ||
                      (alignment & (alignment - 1)) != 0))
        return usage_error(verb, "--align takes a power of 2 from 8 to 4096, not %" PRIu64,
                           alignment);
    return OPT_GO;
}
