/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as the list of an edit over several files. The first byte of the input says whether the sums are put
 * right before, so that not every input fails at its first one. What is accepted names places in the folder and new files
 * of edits, each place once, and is the same to the byte after it was emitted again. */
#include "target.h"

#include "base/checksum.h"
#include "base/endian.h"
#include "checkpoint/exchange.h"

#include <string.h>

#define INDEX "m.safetensors.index.json"

/* Of the first byte. */
enum { SEALED = 1, MARKED = 2, WITHOUT_INDEX = 4 };
enum { LIST_MAX = 8192 };

static uint8_t list[LIST_MAX + ST__EXCHANGE_MARK];
static size_t list_size;

/* Puts the sums of all that can be told to be records right, and a mark behind the last. */
static void list_seal(bool marked)
{
    size_t at = ST__EXCHANGE_HEAD;
    uint64_t count = 0;
    if (list_size < ST__EXCHANGE_HEAD)
        return;
    st__exchange_head_emit(list);
    while (list_size - at >= ST__EXCHANGE_FIXED) {
        uint8_t *record = list + at;
        uint32_t name = st__load_le32(record + 4) % 64, aside = st__load_le32(record + 8) % 64;
        size_t size = ST__EXCHANGE_FIXED + name + aside;
        size += (0 - size) % ST__EXCHANGE_UNIT;
        if (size > list_size - at)
            break;
        st__store_le32(record + 4, name);
        st__store_le32(record + 8, aside);
        uint64_t sum = st__checksum(ST__CHECKSUM_NONE, record, 72);
        st__store_le64(record + 72,
                       st__checksum(sum, record + ST__EXCHANGE_FIXED, size - ST__EXCHANGE_FIXED));
        at += size;
        count++;
    }
    list_size = at;
    if (!marked)
        return;
    st__exchange_mark_emit(count, st__checksum(ST__CHECKSUM_NONE, list, at), list + at);
    list_size += ST__EXCHANGE_MARK;
}

/* What leads out of the folder on some system, found in another way than the reader's. */
static void place_check(const st__exchange *exchange, const st__exchange_record *record)
{
    char text[LIST_MAX + 4];
    const char *name = record->name.text;
    require(strlen(name) == record->name.len && strlen(record->aside.text) == record->aside.len);
    if (exchange->index && strcmp(name, exchange->index) == 0)
        return;
    text[0] = '/';
    memcpy(text + 1, name, record->name.len);
    memcpy(text + 1 + record->name.len, "/", 2);
    require(!strstr(text, "/../") && !strchr(text, '\\') && name[0] != '/');
    require(record->name.len >= 12 && strcmp(name + record->name.len - 12, ".safetensors") == 0);
}

static void aside_check(const st__exchange_record *record)
{
    const char *aside = record->aside.text;
    if (record->kind == ST__EXCHANGE_GOES) {
        require(record->aside.len == 0 && record->old.there);
        return;
    }
    require(aside[0] == '.' && !strchr(aside, '/') && strstr(aside, "-part."));
    require(strcmp(aside + record->aside.len - 4, ".tmp") == 0);
}

static void records_check(const st__exchange *exchange)
{
    size_t at = ST__EXCHANGE_HEAD;
    uint8_t bytes[LIST_MAX + ST__EXCHANGE_MARK];
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        place_check(exchange, record);
        aside_check(record);
        for (size_t k = 0; k < i; k++)
            require(strcmp(exchange->records[k].name.text, record->name.text) != 0);
        size_t size = st__exchange_record_size(record);
        require(size <= list_size - at);
        st__exchange_record_emit(record, bytes);
        require(memcmp(bytes, list + at, size) == 0);
        at += size;
    }
    if (!exchange->finished)
        return;
    require(list_size - at == ST__EXCHANGE_MARK);
    st__exchange_mark_emit(exchange->count, st__checksum(ST__CHECKSUM_NONE, list, at), bytes);
    require(memcmp(bytes, list + at, ST__EXCHANGE_MARK) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned flags = size > 0 ? data[0] : 0;
    st_error error = {.status = ST_OK};
    st__exchange exchange = {.folder = "", .name = "list"};
    exchange.index = flags & WITHOUT_INDEX ? NULL : INDEX;
    list_size = size > LIST_MAX ? LIST_MAX : size - (size > 0);
    memcpy(list, data + (size > 0), list_size);
    if (flags & SEALED)
        list_seal((flags & MARKED) != 0);
    st_status status = st__exchange_parse(&exchange, list, list_size, &error);
    require(status == ST_OK || (status == ST_ERR_JOURNAL && error.status == status));
    require(status == ST_OK || error.offset <= list_size);
    if (status == ST_OK)
        records_check(&exchange);
    st__exchange_release(&exchange);
    return 0;
}
