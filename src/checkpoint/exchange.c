/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a list, which may come from anybody. */
#include "checkpoint/exchange.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/endian.h"
#include "base/error.h"
#include "base/room.h"
#include "checkpoint/index.h"
#include "io/sink.h"

#include <inttypes.h>

/* The first byte is no text, and the line ends tell a transfer as text. */
static const unsigned char exchange_magic[8] = {0x89, 'S', 'T', 'X', '\r', '\n', 0x1a, '\n'};
static const unsigned char exchange_done[8] = {'S', 'T', 'X', '-', 'D', 'O', 'N', 'E'};

enum { NAME_MAX_BYTES = 4095 };
/* Of a record's flags. */
enum { SOMETHING_WAS_THERE = 1 };

st_status st__exchange_damaged(const st__exchange *exchange, uint64_t at, const char *what,
                               st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, at,
                    "%s%s: %s, at byte %" PRIu64
                    "; it is left as it is, and so are the files: remove it if they are as they "
                    "should be",
                    exchange->folder, exchange->name, what, at);
}

st_status st__exchange_refuse(const st__exchange *exchange, const char *what, st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, ST_NO_OFFSET,
                    "%s%s: %s; it is left as it is, and so are the files: remove it if they are "
                    "as they should be",
                    exchange->folder, exchange->name, what);
}

st_status st__exchange_fail(const st__exchange *exchange, int failed, const char *what,
                            st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: %s", exchange->folder,
                          exchange->name, what);
}

/* --------------------------------------------------------------------------------- emitting */

static size_t unit_ceil(size_t size)
{
    return size + (0 - size) % ST__EXCHANGE_UNIT;
}

void st__exchange_head_emit(unsigned char out[ST__EXCHANGE_HEAD])
{
    memset(out, 0, ST__EXCHANGE_HEAD);
    memcpy(out, exchange_magic, 8);
    st__store_le32(out + 8, 1);
    st__store_le64(out + 24, st__checksum(ST__CHECKSUM_NONE, out, 24));
}

size_t st__exchange_record_size(const st__exchange_record *record)
{
    return unit_ceil(ST__EXCHANGE_FIXED + (size_t)record->name.len + record->aside.len);
}

/* The sum of all of a record but where it stands. */
static uint64_t record_sum(const unsigned char *bytes, size_t size)
{
    uint64_t sum = st__checksum(ST__CHECKSUM_NONE, bytes, 72);
    return st__checksum(sum, bytes + ST__EXCHANGE_FIXED, size - ST__EXCHANGE_FIXED);
}

void st__exchange_record_emit(const st__exchange_record *record, unsigned char *out)
{
    size_t size = st__exchange_record_size(record);
    unsigned char *names = out + ST__EXCHANGE_FIXED;
    memset(out, 0, size);
    st__store_le32(out, record->kind);
    st__store_le32(out + 4, record->name.len);
    st__store_le32(out + 8, record->aside.len);
    st__store_le32(out + 12, record->old.there ? SOMETHING_WAS_THERE : 0);
    st__store_le64(out + 16, record->fresh.size);
    st__store_le64(out + 24, record->fresh.sum);
    st__store_le64(out + 32, (uint64_t)record->fresh.mtime_ns);
    st__store_le64(out + 40, record->old.size);
    st__store_le64(out + 48, record->old.sum);
    st__store_le64(out + 56, (uint64_t)record->old.mtime_ns);
    memcpy(names, record->name.text, record->name.len);
    if (record->aside.len)
        memcpy(names + record->name.len, record->aside.text, record->aside.len);
    st__store_le64(out + 72, record_sum(out, size));
}

void st__exchange_mark_emit(uint64_t count, uint64_t chain, unsigned char out[ST__EXCHANGE_MARK])
{
    memcpy(out, exchange_done, 8);
    st__store_le64(out + 8, count);
    st__store_le64(out + 16, chain);
    st__store_le64(out + 24, st__checksum(ST__CHECKSUM_NONE, out, 24));
}

/* ---------------------------------------------------------------------------------- records */

static st_status exchange_nomem(const st__exchange *exchange, uint64_t size, st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), exchange->folder, NULL);
}

st_status st__exchange_add(st__exchange *exchange, const st__exchange_record *record,
                           st_error *error)
{
    void *records = exchange->records;
    size_t wanted = 0;
    bool fits = st__room_make(exchange->context, &records, sizeof *record, exchange->count,
                              &exchange->room, &wanted);
    exchange->records = records;
    exchange->texts.context = exchange->context;
    const char *name =
        fits ? st__arena_text(&exchange->texts, record->name.text, record->name.len) : NULL;
    const char *aside = NULL;
    if (name)
        aside = st__arena_text(&exchange->texts, record->aside.len ? record->aside.text : "",
                               record->aside.len);
    if (!aside)
        return exchange_nomem(exchange, wanted ? wanted : record->name.len, error);
    st__exchange_record *added = &exchange->records[exchange->count++];
    *added = *record;
    added->name.text = name;
    added->aside.text = aside;
    return ST_OK;
}

void st__exchange_release(st__exchange *exchange)
{
    st__free(exchange->context, exchange->records, exchange->room * sizeof *exchange->records);
    st__free(exchange->context, exchange->places, exchange->place_room * sizeof *exchange->places);
    st__arena_release(&exchange->texts);
    exchange->records = NULL;
    exchange->places = NULL;
    exchange->count = exchange->room = exchange->place_count = exchange->place_room = 0;
}

/* ---------------------------------------------------------------------------------- reading */

typedef struct exchange_reading {
    st__exchange *exchange;
    const unsigned char *bytes;
    size_t size;
    size_t at;
    bool index_seen;
    bool goes_seen;
    st_error *error;
} exchange_reading;

static bool all_zero(const unsigned char *at, size_t size)
{
    size_t i = 0;
    while (i < size && at[i] == 0)
        i++;
    return i == size;
}

static ST__COLD st_status reading_refuse(const exchange_reading *r, const char *what)
{
    return st__exchange_damaged(r->exchange, r->at, what, r->error);
}

/* Nothing of it, or only its beginning, came to be written. */
static bool head_is_begun(const exchange_reading *r)
{
    unsigned char head[ST__EXCHANGE_HEAD];
    size_t size = r->size < sizeof head ? r->size : sizeof head;
    st__exchange_head_emit(head);
    return all_zero(r->bytes, r->size) ||
           (r->size < sizeof head && memcmp(r->bytes, head, size) == 0);
}

static st_status head_read(exchange_reading *r, bool *begun)
{
    unsigned char head[ST__EXCHANGE_HEAD];
    *begun = head_is_begun(r);
    if (*begun)
        return ST_OK;
    if (r->size < sizeof head || memcmp(r->bytes, exchange_magic, 8) != 0)
        return reading_refuse(r, "it is no list of an edit");
    if (st__load_le64(r->bytes + 24) != st__checksum(ST__CHECKSUM_NONE, r->bytes, 24))
        return reading_refuse(r, "its head is damaged");
    st__exchange_head_emit(head);
    r->at = 8;
    if (memcmp(r->bytes, head, sizeof head) != 0)
        return reading_refuse(r, "it is of a version that this library does not know");
    r->at = sizeof head;
    return ST_OK;
}

static st_status mark_read(exchange_reading *r)
{
    const unsigned char *mark = r->bytes + r->at;
    uint64_t chain = st__checksum(ST__CHECKSUM_NONE, r->bytes, r->at);
    if (st__load_le64(mark + 24) != st__checksum(ST__CHECKSUM_NONE, mark, 24))
        return reading_refuse(r, "its mark is damaged");
    if (st__load_le64(mark + 8) != r->exchange->count || st__load_le64(mark + 16) != chain)
        return reading_refuse(r, "its mark is not of its records");
    r->at += ST__EXCHANGE_MARK;
    if (r->at != r->size)
        return reading_refuse(r, "there are bytes behind its end");
    r->exchange->finished = true;
    return ST_OK;
}

/* The names of a record are such as an edit gives, and lead nowhere else. */
static st_status record_names_check(exchange_reading *r, const st__exchange_record *record)
{
    const char *index = r->exchange->index;
    const st__key *name = &record->name;
    bool is_index =
        index && name->len == strlen(index) && memcmp(name->text, index, name->len) == 0;
    if (r->goes_seen && record->kind == ST__EXCHANGE_TAKES)
        return reading_refuse(r, "a file takes a place after others went");
    if (!is_index && st__shard_name_fault(name->text, name->len) != NULL)
        return reading_refuse(r, "a name in it is none of a shard in its folder");
    if (r->index_seen && record->kind == ST__EXCHANGE_TAKES)
        return reading_refuse(r, "a file takes a place after the index");
    r->index_seen |= is_index;
    r->goes_seen |= record->kind == ST__EXCHANGE_GOES;
    if (record->kind == ST__EXCHANGE_GOES
            ? record->aside.len > 0 || !record->old.there
            : !st__sink_is_aside_name(record->aside.text, record->aside.len))
        return reading_refuse(r, "a name in it is none of a file that is to take a place");
    return ST_OK;
}

static void record_load(const unsigned char *bytes, st__exchange_record *out)
{
    bool takes = st__load_le32(bytes) == ST__EXCHANGE_TAKES;
    const char *names = (const char *)bytes + ST__EXCHANGE_FIXED;
    *out = (st__exchange_record){
        .name = {names, st__load_le32(bytes + 4), 0},
        .kind = st__load_le32(bytes),
        .old = {st__load_le64(bytes + 40), st__load_le64(bytes + 48),
                (int64_t)st__load_le64(bytes + 56), st__load_le32(bytes + 12) != 0},
        .fresh = {st__load_le64(bytes + 16), st__load_le64(bytes + 24),
                  (int64_t)st__load_le64(bytes + 32), takes},
    };
    out->aside = (st__key){names + out->name.len, st__load_le32(bytes + 8), 0};
}

/* What stands last may be the beginning of a record, or of the mark. */
static bool tail_is_begun(const unsigned char *bytes, size_t left)
{
    size_t known = left < 8 ? left : 8;
    unsigned char takes[4] = {ST__EXCHANGE_TAKES}, goes[4] = {ST__EXCHANGE_GOES};
    if (left < ST__EXCHANGE_MARK && memcmp(bytes, exchange_done, known) == 0)
        return true;
    known = left < 4 ? left : 4;
    return memcmp(bytes, takes, known) == 0 || memcmp(bytes, goes, known) == 0;
}

/* It came to be whole, whatever became of it. */
static bool ends_with_mark(const exchange_reading *r)
{
    return memcmp(r->bytes + r->size - ST__EXCHANGE_MARK, exchange_done, 8) == 0;
}

/* Reads a record, unless it is not all there: then nothing follows. */
static st_status record_read(exchange_reading *r, bool *ends)
{
    const unsigned char *bytes = r->bytes + r->at;
    size_t left = r->size - r->at;
    st__exchange_record record;
    *ends = left < ST__EXCHANGE_FIXED || all_zero(bytes, left);
    if (*ends)
        return all_zero(bytes, left) || tail_is_begun(bytes, left)
                   ? ST_OK
                   : reading_refuse(r, "a record is damaged");
    record_load(bytes, &record);
    if (record.name.len == 0 || record.name.len > NAME_MAX_BYTES ||
        record.aside.len >= ST__OS_NAME || st__load_le32(bytes + 12) > SOMETHING_WAS_THERE ||
        !all_zero(bytes + 64, 8) ||
        (record.kind != ST__EXCHANGE_TAKES && record.kind != ST__EXCHANGE_GOES))
        return reading_refuse(r, "a record is damaged");
    size_t size = st__exchange_record_size(&record);
    *ends = size > left;
    if (*ends)
        return ends_with_mark(r) ? reading_refuse(r, "a record is damaged") : ST_OK;
    size_t named = ST__EXCHANGE_FIXED + (size_t)record.name.len + record.aside.len;
    if (st__load_le64(bytes + 72) != record_sum(bytes, size) ||
        !all_zero(bytes + named, size - named))
        return reading_refuse(r, "a record is damaged");
    ST_TRY(record_names_check(r, &record));
    ST_TRY(st__exchange_add(r->exchange, &record, r->error));
    r->at += size;
    return ST_OK;
}

/* A place that two files take would make the outcome depend on where a crash was. */
static st_status records_map(exchange_reading *r)
{
    st__exchange *exchange = r->exchange;
    st__map names = {0};
    st__hash_key key;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&names, exchange->context, exchange->records, sizeof *exchange->records,
                      exchange->count, &key))
        return exchange_nomem(exchange, (uint64_t)exchange->count * sizeof *names.slots, r->error);
    size_t twice = st__map_insert_all(&names, exchange->count, false);
    st__map_release(&names, exchange->context);
    return twice == ST__MAP_NONE ? ST_OK : reading_refuse(r, "a place is in it twice");
}

st_status st__exchange_parse(st__exchange *exchange, const unsigned char *bytes, size_t size,
                             st_error *error)
{
    exchange_reading r = {.exchange = exchange, .bytes = bytes, .size = size, .error = error};
    bool ends = false;
    exchange->finished = false;
    ST_TRY(head_read(&r, &ends));
    while (!ends && !exchange->finished) {
        if (size - r.at >= ST__EXCHANGE_MARK && memcmp(bytes + r.at, exchange_done, 8) == 0)
            ST_TRY(mark_read(&r));
        else
            ST_TRY(record_read(&r, &ends));
    }
    exchange->size = size;
    return records_map(&r);
}
