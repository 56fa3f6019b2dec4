/* SPDX-License-Identifier: Apache-2.0 */
/* What can be read of the header of a damaged file. */
#ifndef ST_FORMAT_HEADER_SALVAGE_H
#define ST_FORMAT_HEADER_SALVAGE_H

#include "format/header.h"

typedef struct st__remains {
    st_header *
        header; /* tensors in data order, any of them damaged; no indices. NULL: nothing could be read */
    struct st__entry_place *places; /* of each */
    size_t places_size;
    bool incomplete; /* there are, or were, entries that could not be read */
} st__remains;

/* Reads what can be read, reporting each deviation of the text and of its entries to `sink`, which salvages. Where the
 * header's length cannot be right and the text and the sizes it tells leave no doubt where the data begin, they count.
 * Where a stretch of the text cannot be read, reading goes on at the next entry. @return ST_OK whatever was found, and
 * `out` is to be released; ST_ERR_STOPPED; ST_ERR_NOMEM; a failure to read. */
st_status st__header_salvage(const st__header_input *input, const st_open_options *options,
                             const st__sink *sink, st__remains *out, st_error *error);
void st__remains_release(st__remains *remains);

/* Tells whether all bytes of tensor `index` are there and are what its entry says. If not, `out` receives why.
 * `flags`: ST_OPEN_UNKNOWN_DTYPES accepts dtypes that are not known. */
bool st__remains_judge(const st__remains *remains, size_t index, uint32_t flags,
                       st__deviation *out);
/* The offset in the file of the name in a tensor's entry: the order of the text. */
uint64_t st__remains_place(const st__remains *remains, size_t index);

#endif
