/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an index of a checkpoint: by a list, as edits do, so that it comes between none of their steps. */
#include "checkpoint/edit.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"
#include "io/sink.h"

#include <string.h>

/* What an edit before left is ended first, and then the checkpoint may be no more. */
static st_status new_index_start(const st_checkpoint *checkpoint, st__exchange *exchange,
                                 st_error *error)
{
    bool changed;
    ST_TRY(st__exchange_start(exchange, &changed, error));
    if (!changed && !st__folder_same(checkpoint->folder, exchange->folder))
        return ST_OK;
    return st__checkpoint_unchanged(checkpoint, ST__OS_HERE, error);
}

static st_status new_index_put(const st_checkpoint *checkpoint, st__exchange *exchange,
                               const st__index_text *text, st_error *error)
{
    const char *name = exchange->index;
    ST_TRY(new_index_start(checkpoint, exchange, error));
    ST_TRY(st__exchange_plan(exchange, name, ST__EXCHANGE_TAKES, error));
    ST_TRY(st__exchange_begin(exchange, error));
    st_status status = st__exchange_put_text(exchange, name, text->text, text->len, error);
    if (status == ST_OK)
        return st__exchange_finish(exchange, error);
    st__exchange_give_up(exchange);
    return status;
}

static st_status index_exchange(const st_checkpoint *checkpoint, const char *path,
                                const char *folder, st__exchange *exchange, st_error *error)
{
    st__index_text text = {.context = exchange->context};
    st_status status = st__index_text_of(checkpoint, &text, error);
    if (status == ST_OK)
        status = st__exchange_open(exchange, folder, path + strlen(folder), error);
    if (status == ST_OK)
        status = new_index_put(checkpoint, exchange, &text, error);
    st__exchange_close(exchange);
    st__index_text_release(&text);
    return status;
}

st_status st_checkpoint_index_write(const st_checkpoint *checkpoint, const char *path,
                                    const st_sink_options *options, st_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    st__exchange exchange = {.directory = -1, .fd = -1};
    ST_TRY(st__sink_options_check(options, error));
    if (options)
        exchange.options = *options;
    exchange.context = exchange.options.context ? exchange.options.context : checkpoint->context;
    st__arena texts = {.context = exchange.context};
    const char *folder = st__arena_text(&texts, path, len);
    st_status status = folder ? index_exchange(checkpoint, path, folder, &exchange, error)
                              : st__fail_nomem(error, len);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st__arena_release(&texts);
    return status;
}
