/* SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"

#include <inttypes.h>
#include <string.h>

static void fail_at(const check_place *place)
{
    print_error("  in %s\n", place->call);
    _fail(place->file, place->line);
}

static bool is_one_line(const st_error *error)
{
    size_t len = strnlen(error->message, sizeof error->message);
    return len > 0 && len < sizeof error->message && !strpbrk(error->message, "\n\r\x1b");
}

void check_error(const check_place *place, st_status got, const st_error *error, st_status status,
                 uint64_t offset, const char *text)
{
    if (got != status) {
        print_error("%s, expected %s: %s\n", st_status_name(got), st_status_name(status),
                    error->message);
        fail_at(place);
    }
    if (got == ST_OK) {
        if (error->status != ST_OK || error->message[0]) {
            print_error("a success filled the error: %s\n", error->message);
            fail_at(place);
        }
        return;
    }
    if (error->status != got) {
        print_error("returned %s, but the error says %s\n", st_status_name(got),
                    st_status_name(error->status));
        fail_at(place);
    }
    if (error->offset != offset) {
        print_error("%s at byte %" PRIu64 ", expected %" PRIu64 ": %s\n", st_status_name(got),
                    error->offset, offset, error->message);
        fail_at(place);
    }
    if (!is_one_line(error)) {
        print_error("the message is no one line of text: \"%s\"\n", error->message);
        fail_at(place);
    }
    if (text && !strstr(error->message, text)) {
        print_error("the message lacks \"%s\": %s\n", text, error->message);
        fail_at(place);
    }
}
