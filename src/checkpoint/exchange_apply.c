/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying a list out. All files are looked at before the first is changed, and none is that the list does not know. */
#include "checkpoint/exchange.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/room.h"
#include "checkpoint/path.h"
#include "io/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* So many bytes at the start of a file are summed up. */
enum { KNOWN_BYTES = 16384 };

/* ---------------------------------------------------------------------------------- opening */

st_status st__exchange_open(st__exchange *exchange, const char *folder, const char *index,
                            st_error *error)
{
    const char *of = index ? index : ST__EXCHANGE_NO_INDEX;
    exchange->folder = folder;
    exchange->index = index;
    exchange->directory = exchange->fd = -1;
    int written = snprintf(exchange->name, sizeof exchange->name, "%s" ST__JOURNAL_ENDING, of);
    int failed =
        written < 0 || (size_t)written >= sizeof exchange->name
            ? ENAMETOOLONG
            : st__os_open_directory(ST__OS_HERE, folder[0] ? folder : ".", &exchange->directory);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened",
                              folder[0] ? folder : ".");
    return ST_OK;
}

void st__exchange_close(st__exchange *exchange)
{
    if (exchange->fd >= 0) {
        /* A child of a fork may have the descriptor, too: closing it here would not unlock the list. */
        st__os_unlock(exchange->fd);
        st__os_close(exchange->fd);
    }
    if (exchange->directory >= 0)
        st__os_close(exchange->directory);
    exchange->fd = exchange->directory = -1;
    st__exchange_release(exchange);
}

/* ------------------------------------------------------------------------------ known files */

/* Of a link, which is known by where it leads. */
static int link_known(int directory, const char *name, st__known *out)
{
    char target[ST__OS_PATH];
    st__os_info info;
    int failed = st__os_info_at(directory, name, false, &info);
    if (!failed)
        failed = st__os_link_target(directory, name, target);
    if (failed)
        return failed;
    size_t len = strlen(target);
    *out = (st__known){len, st__checksum(ST__CHECKSUM_NONE, target, len), info.mtime_ns, true};
    return 0;
}

static int bytes_known(int fd, st__known *out)
{
    unsigned char bytes[KNOWN_BYTES];
    st__os_info info;
    st_segment segment = {bytes, sizeof bytes};
    size_t done = 0;
    int failed = st__os_info_fd(fd, &info);
    if (!failed && info.kind != ST__OS_REGULAR)
        return EINVAL;
    if (!failed)
        failed = st__os_read(fd, 0, &segment, 1, &done);
    if (failed)
        return failed;
    *out =
        (st__known){info.size, st__checksum(ST__CHECKSUM_NONE, bytes, done), info.mtime_ns, true};
    return 0;
}

int st__known_read(int directory, const char *name, st__known *out)
{
    int fd = -1;
    int failed = st__os_open_name(directory, name, false, &fd);
    *out = (st__known){.there = false};
    if (failed == ENOENT)
        return 0;
    if (failed == ELOOP)
        return link_known(directory, name, out);
    if (failed)
        return failed;
    failed = bytes_known(fd, out);
    st__os_close(fd);
    return failed;
}

/* ----------------------------------------------------------------------------------- places */

/* Finds what a name leads to without any link. */
static int folder_enter(const st__exchange *exchange, const char *name, st__location *out)
{
    int next = -1, failed = st__os_open_directory(exchange->directory, ".", &out->directory);
    if (failed)
        return failed;
    for (const char *slash; !failed && (slash = strchr(name, '/')); name = slash + 1) {
        size_t len = (size_t)(slash - name);
        if (len == 0)
            continue;
        if (len >= sizeof out->name) {
            failed = ENAMETOOLONG;
            break;
        }
        memcpy(out->name, name, len);
        out->name[len] = '\0';
        failed = st__os_open_name(out->directory, out->name, false, &next);
        if (failed)
            break;
        st__os_close(out->directory);
        out->directory = next;
    }
    if (!failed && strlen(name) >= sizeof out->name)
        failed = ENAMETOOLONG;
    if (failed)
        st__location_leave(out);
    else
        memcpy(out->name, name, strlen(name) + 1);
    return failed;
}

int st__exchange_locate(const st__exchange *exchange, const st__exchange_record *record,
                        st__location *out)
{
    bool there;
    return record->kind == ST__EXCHANGE_GOES
               ? folder_enter(exchange, record->name.text, out)
               : st__location_find_at(exchange->directory, record->name.text, out, &there);
}

st_status st__exchange_place_fail(const st__exchange *exchange, const st__exchange_record *record,
                                  int failed, const char *what, st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: %s", exchange->folder,
                          record->name.text, what);
}

st_status st__exchange_place_note(st__exchange *exchange, const st__exchange_record *record,
                                  const st__location *at, st_error *error)
{
    st__os_info info;
    void *places = exchange->places;
    size_t name_len = strlen(at->name), key_len = 2 * sizeof(uint64_t) + name_len, wanted = key_len;
    int failed = st__os_info_fd(at->directory, &info);
    if (failed)
        return st__exchange_place_fail(exchange, record, failed, "cannot be examined", error);
    bool fits = st__room_make(exchange->context, &places, sizeof *exchange->places,
                              exchange->place_count, &exchange->place_room, &wanted);
    exchange->places = places;
    exchange->texts.context = exchange->context;
    char *key = fits ? st__arena_take(&exchange->texts, key_len) : NULL;
    const char *name =
        key ? st__arena_text(&exchange->texts, record->name.text, record->name.len) : NULL;
    if (!name)
        return st__error_locate(error, st__fail_nomem(error, wanted), exchange->folder, NULL);
    memcpy(key, &info.device, sizeof info.device);
    memcpy(key + sizeof info.device, &info.inode, sizeof info.inode);
    memcpy(key + 2 * sizeof(uint64_t), at->name, name_len);
    exchange->places[exchange->place_count++] =
        (st__exchange_place){.key = {.text = key, .len = (uint32_t)key_len}, .name = name};
    return ST_OK;
}

/* Makes names that differ in case only the same. Of other letters than those of ASCII nothing is known here. */
static void places_fold(const st__exchange *exchange)
{
    for (size_t i = 0; i < exchange->place_count; i++) {
        const st__key *key = &exchange->places[i].key;
        char *text = (char *)(uintptr_t)key->text;
        for (size_t k = 2 * sizeof(uint64_t); k < key->len; k++)
            if (text[k] >= 'A' && text[k] <= 'Z')
                text[k] = (char)(text[k] - 'A' + 'a');
    }
}

st_status st__exchange_places_compare(const st__exchange *exchange, bool folds, const char **one,
                                      const char **two, st_error *error)
{
    const st__exchange_place *places = exchange->places;
    size_t count = exchange->place_count;
    st__map map = {0};
    st__hash_key key;
    *one = *two = NULL;
    if (folds)
        places_fold(exchange);
    st__os_random(&key, sizeof key);
    if (!st__map_init(&map, exchange->context, places, sizeof *places, count, &key))
        return st__error_locate(error, st__fail_nomem(error, (uint64_t)count * sizeof *map.slots),
                                exchange->folder, NULL);
    size_t twice = st__map_insert_all(&map, count, false);
    if (twice != ST__MAP_NONE) {
        *two = places[twice].name;
        *one = places[st__map_find(&map, places[twice].key.text, places[twice].key.len)].name;
    }
    st__map_release(&map, exchange->context);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- looking */

static ST__COLD st_status behind_link(const st__exchange *exchange,
                                      const st__exchange_record *record, st_error *error)
{
    char what[256];
    (void)snprintf(what, sizeof what, "%s is to go, and lies behind a link",
                   st__quote(record->name.text, record->name.len).text);
    return st__exchange_refuse(exchange, what, error);
}

static int place_look(const st__exchange_record *record, const st__location *at, st__known *here,
                      st__known *aside)
{
    int failed = st__known_read(at->directory, at->name, here);
    *aside = (st__known){.there = false};
    if (!failed && record->kind == ST__EXCHANGE_TAKES)
        failed = st__known_read(at->directory, record->aside.text, aside);
    return failed;
}

st_status st__exchange_record_look(st__exchange *exchange, const st__exchange_record *record,
                                   st__known *here, st__known *aside, st_error *error)
{
    st__location at;
    int failed = st__exchange_locate(exchange, record, &at);
    if (failed == ELOOP && record->kind == ST__EXCHANGE_GOES)
        return behind_link(exchange, record, error);
    if (failed)
        return st__exchange_place_fail(exchange, record, failed, "cannot be found", error);
    failed = place_look(record, &at, here, aside);
    st_status status =
        failed ? st__exchange_place_fail(exchange, record, failed, "cannot be examined", error)
               : st__exchange_place_note(exchange, record, &at, error);
    st__location_leave(&at);
    return status;
}

/* ---------------------------------------------------------------------------------- judging */

enum { RECORD_WAITS, RECORD_DONE, RECORD_LOST, RECORD_STRANGE };

static bool holds_old(const st__exchange_record *record, const st__known *here)
{
    return st__known_same(here, &record->old) &&
           (!here->there || here->mtime_ns == record->old.mtime_ns);
}

/* The bytes that are looked at may be those of the old file in the new one too: then its time tells. */
static bool holds_fresh(const st__exchange_record *record, const st__known *here)
{
    return st__known_same(here, &record->fresh) &&
           (!holds_old(record, here) || here->mtime_ns == record->fresh.mtime_ns);
}

static int record_judge(const st__exchange_record *record, const st__known *here,
                        const st__known *aside)
{
    if (record->kind == ST__EXCHANGE_GOES)
        return !here->there ? RECORD_DONE : holds_old(record, here) ? RECORD_WAITS : RECORD_STRANGE;
    if (aside->there)
        return st__known_same(aside, &record->fresh) && holds_old(record, here) ? RECORD_WAITS
                                                                                : RECORD_STRANGE;
    return holds_fresh(record, here) ? RECORD_DONE
           : holds_old(record, here) ? RECORD_LOST
                                     : RECORD_STRANGE;
}

static ST__COLD st_status record_strange(const st__exchange *exchange,
                                         const st__exchange_record *record, st_error *error)
{
    char what[256];
    (void)snprintf(what, sizeof what,
                   "%s, or what is to take its place, was changed by something else",
                   st__quote(record->name.text, record->name.len).text);
    return st__exchange_refuse(exchange, what, error);
}

/* A place that two files take would make the outcome depend on their order. */
static st_status places_differ(const st__exchange *exchange, st_error *error)
{
    const char *one, *two;
    char what[256];
    ST_TRY(st__exchange_places_compare(exchange, false, &one, &two, error));
    if (!two)
        return ST_OK;
    (void)snprintf(what, sizeof what, "%s and %s lead to one file",
                   st__quote(one, strlen(one)).text, st__quote(two, strlen(two)).text);
    return st__exchange_refuse(exchange, what, error);
}

bool st__exchange_record_is_done(const st__exchange_record *record, const st__known *here,
                                 const st__known *aside)
{
    return record_judge(record, here, aside) == RECORD_DONE;
}

st_status st__exchange_judge(st__exchange *exchange, int *out, st_error *error)
{
    size_t takes = 0, lost = 0, gone = 0;
    const st__exchange_record *first_lost = NULL;
    exchange->place_count = 0;
    for (size_t i = 0; i < exchange->count; i++) {
        st__exchange_record *record = &exchange->records[i];
        st__known here, aside;
        ST_TRY(st__exchange_record_look(exchange, record, &here, &aside, error));
        int judged = record_judge(record, &here, &aside);
        if (judged == RECORD_STRANGE)
            return record_strange(exchange, record, error);
        record->done = judged == RECORD_DONE;
        takes += record->kind == ST__EXCHANGE_TAKES;
        gone += record->kind == ST__EXCHANGE_GOES && record->done;
        lost += judged == RECORD_LOST;
        if (judged == RECORD_LOST && !first_lost)
            first_lost = record;
    }
    ST_TRY(places_differ(exchange, error));
    /* Who gave the edit up removed its new files, and a power cut brought the list back. */
    bool untouched = lost > 0 && lost == takes && gone == 0;
    if (lost && !untouched)
        return record_strange(exchange, first_lost, error);
    *out = untouched ? ST__EXCHANGE_UNTOUCHED : ST__EXCHANGE_READY;
    return ST_OK;
}

/* ----------------------------------------------------------------------------- carrying out */

/* The names of the folder itself are synced once, behind all. */
static int place_sync(const st__exchange *exchange, const st__location *at)
{
    st__os_info here, folder;
    int failed = st__os_info_fd(at->directory, &here);
    if (!failed)
        failed = st__os_info_fd(exchange->directory, &folder);
    if (failed || (here.device == folder.device && here.inode == folder.inode))
        return failed;
    return st__os_sync_directory(at->directory);
}

static st_status place_take(const st__exchange *exchange, const st__exchange_record *record,
                            const st__location *at, st_error *error)
{
    char path[ST__OS_PATH]; /* without memory, which may be missing now */
    const st__takeover place = {.at = at, .name = path, .context = exchange->context};
    (void)snprintf(path, sizeof path, "%s%s", exchange->folder, record->name.text);
    return st__takeover_make(&place, record->aside.text, error);
}

static st_status place_leave(const st__exchange *exchange, const st__exchange_record *record,
                             const st__location *at, st_error *error)
{
    int failed = st__os_remove(at->directory, at->name);
    return failed ? st__exchange_place_fail(exchange, record, failed,
                                            "is to go, and cannot be removed", error)
                  : ST_OK;
}

static st_status record_carry_out(const st__exchange *exchange, const st__exchange_record *record,
                                  st_error *error)
{
    st__location at;
    int failed = st__exchange_locate(exchange, record, &at);
    if (failed)
        return st__exchange_place_fail(exchange, record, failed, "cannot be found", error);
    st_status status = record->kind == ST__EXCHANGE_TAKES
                           ? place_take(exchange, record, &at, error)
                           : place_leave(exchange, record, &at, error);
    if (status == ST_OK && exchange->durable)
        failed = place_sync(exchange, &at);
    st__location_leave(&at);
    return failed ? st__exchange_place_fail(exchange, record, failed,
                                            "its name cannot be made to reach the disk", error)
                  : status;
}

st_status st__exchange_carry_out(const st__exchange *exchange, bool *changed, st_error *error)
{
    *changed = false;
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        if (record->done)
            continue;
        *changed = true;
        ST_TRY(record_carry_out(exchange, record, error));
    }
    int failed = exchange->durable ? st__os_sync_directory(exchange->directory) : 0;
    return failed ? st__exchange_fail(exchange, failed,
                                      "the names in its folder cannot be made to reach the disk",
                                      error)
                  : ST_OK;
}

int st__exchange_settle(const st__exchange *exchange)
{
    int failed = st__os_remove(exchange->directory, exchange->name);
    return failed || !exchange->durable ? failed : st__os_sync_directory(exchange->directory);
}

void st__exchange_clear(const st__exchange *exchange)
{
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        st__location at;
        st__known aside;
        if (record->kind != ST__EXCHANGE_TAKES || st__exchange_locate(exchange, record, &at) != 0)
            continue;
        if (st__known_read(at.directory, record->aside.text, &aside) == 0 && aside.there &&
            st__known_same(&aside, &record->fresh))
            (void)st__os_remove(at.directory, record->aside.text);
        st__location_leave(&at);
    }
}
