/* SPDX-License-Identifier: Apache-2.0 */
/* What bars look like: those of histograms, and those of progress by a clock of the test's own. */
#include "support/check.h"

#include "chart.h"
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* ------------------------------------------------------------------------------- charts */

static void test_bar(void **state)
{
    (void)state;
    static const struct {
        double part;
        size_t columns;
        bool utf8;
        size_t used;
        const char *text;
    } cases[] = {
        {0, 8, true, 0, ""},
        {0, 8, false, 0, ""},
        {1, 4, true, 4, "\u2588\u2588\u2588\u2588"},
        {1, 4, false, 4, "####"},
        {2, 4, false, 4, "####"},
        {0.5, 3, true, 2, "\u2588\u258c"},
        {0.5, 3, false, 2, "##"},
        {0.0001, 4, true, 1, "\u258f"},
        {0.0001, 4, false, 1, "#"},
        {7.0 / 8, 1, true, 1, "\u2589"},
        {1.0 / 8, 1, true, 1, "\u258f"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[CHART_BAR];
        assert_int_equal(chart_bar(text, cases[i].part, cases[i].columns, cases[i].utf8),
                         cases[i].used);
        assert_string_equal(text, cases[i].text);
    }
    char widest[CHART_BAR];
    assert_int_equal(chart_bar(widest, 1, 1000, true), CHART_COLUMNS);
    assert_int_equal(strlen(widest), 3 * CHART_COLUMNS);
}

/* Text that a stream received. */
struct shown {
    FILE *stream;
    char *text;
    size_t len;
};

static void shown_open(struct shown *shown)
{
    *shown = (struct shown){NULL, NULL, 0};
    shown->stream = open_memstream(&shown->text, &shown->len);
    assert_non_null(shown->stream);
}

static void shown_close(struct shown *shown)
{
    fclose(shown->stream);
    free(shown->text);
}

static void chart_is(const struct chart *chart, size_t width, bool utf8, const char *expected)
{
    struct shown shown;
    shown_open(&shown);
    struct out out = {.stream = shown.stream, .name = "test", .utf8 = utf8, .width = width};
    chart_print(chart, &out);
    fflush(shown.stream);
    assert_string_equal(shown.text, expected);
    shown_close(&shown);
}

static void test_chart(void **state)
{
    (void)state;
    static const uint64_t bins[] = {10, 0, 5, 1};
    struct chart chart = {bins, 4, -1, 1, 0, 0, false};
    chart_is(&chart, 40, false,
             "  [  -1, -0.5)  10  ####################\n"
             "  [-0.5,    0)   0\n"
             "  [   0,  0.5)   5  ##########\n"
             "  [ 0.5,    1]   1  ##\n");
    chart.below = 3;
    chart.above = 4;
    /* Narrower than that there is no use in a bar. */
    chart_is(&chart, 5, true,
             "  3 below\n"
             "  [  -1, -0.5)  10  \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\n"
             "  [-0.5,    0)   0\n"
             "  [   0,  0.5)   5  \u2588\u2588\u2588\u2588\u2588\n"
             "  [ 0.5,    1]   1  \u2588\n"
             "  4 above\n");
    chart.below = chart.above = 0;
    chart.log = true;
    chart_is(&chart, 40, false,
             "  [  -1, -0.5)  10  ####################\n"
             "  [-0.5,    0)   0\n"
             "  [   0,  0.5)   5  ###############\n"
             "  [ 0.5,    1]   1  ######\n");
}

static void test_chart_of_a_range_that_is_no_double(void **state)
{
    (void)state;
    static const uint64_t bins[] = {1, 2, 1};
    chart_is(&(struct chart){bins, 3, -1.5e308, 1.5e308, 0, 0, false}, 50, false,
             "  [-1.5e+308,  -5e+307)  1  ###########\n"
             "  [  -5e+307,   5e+307)  2  ######################\n"
             "  [   5e+307, 1.5e+308]  1  ###########\n");
}

static void test_chart_of_a_narrow_range(void **state)
{
    (void)state;
    static const uint64_t bins[] = {0, 0};
    chart_is(&(struct chart){bins, 2, 1, 1.00001, 0, 0, false}, 80, false,
             "  [       1, 1.000005)  0\n"
             "  [1.000005,  1.00001]  0\n");
}

static void test_chart_of_one_value(void **state)
{
    (void)state;
    static const uint64_t bins[] = {7};
    chart_is(&(struct chart){bins, 1, 2, 2, 0, 0, false}, 30, false,
             "  [2, 2]  7  #################\n");
}

/* ----------------------------------------------------------------------------- progress */

static uint64_t now;

static uint64_t clock_of_the_test(void)
{
    return now;
}

static struct progress progress_on(const struct shown *shown, size_t width, bool utf8)
{
    now = 0;
    return (struct progress){.stream = shown->stream,
                             .utf8 = utf8,
                             .width = width,
                             .clock = clock_of_the_test,
                             .delay = SECOND};
}

/* Tells of progress, and gives what is drawn. */
static const char *draws(struct progress *progress, struct shown *shown, uint64_t done,
                         uint64_t total)
{
    fflush(shown->stream);
    size_t before = shown->len;
    st_progress callback = progress_callback(progress);
    assert_true(callback.fn(callback.ctx, done, total));
    fflush(shown->stream);
    return shown->text + before;
}

static void test_nothing_at_first(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 80, false);
    progress.total = 1000;
    progress_part(&progress, 1000);
    assert_string_equal(draws(&progress, &shown, 1, 1000), "");
    now = SECOND - 1;
    assert_string_equal(draws(&progress, &shown, 999, 1000), "");
    progress_hide(&progress);
    fflush(shown.stream);
    assert_int_equal(shown.len, 0);
    shown_close(&shown);
}

static void test_line(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 80, false);
    progress.total = 4096;
    progress_part(&progress, 4096);
    now = 2 * SECOND;
    assert_string_equal(draws(&progress, &shown, 1024, 4096),
                        "\r 25%  ########......................  1.0 KiB of 4.0 KiB  512 B/s  6 s "
                        "left");
    now += SECOND / 10 - 1;
    assert_string_equal(draws(&progress, &shown, 2048, 4096), "");
    now += 1;
    assert_string_equal(draws(&progress, &shown, 4096, 4096),
                        "\r100%  ##############################  4.0 KiB of 4.0 KiB  1.9 KiB/s  0 "
                        "s left");
    /* The line becomes blank, and the cursor stands where it was. */
    size_t before = shown.len;
    progress_hide(&progress);
    fflush(shown.stream);
    size_t columns =
        strlen("100%  ##############################  4.0 KiB of 4.0 KiB  1.9 KiB/s  0 s left");
    assert_int_equal(shown.len - before, columns + 2);
    assert_int_equal(strspn(shown.text + before + 1, " "), columns);
    assert_string_equal(shown.text + shown.len - 2, " \r");
    before = shown.len;
    progress_hide(&progress);
    fflush(shown.stream);
    assert_int_equal(shown.len, before);
    shown_close(&shown);
}

static void test_shorter_line_covers_the_longer(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 40, false);
    progress.total = 1000;
    progress_part(&progress, 1000);
    now = 100 * SECOND;
    assert_string_equal(draws(&progress, &shown, 1, 1000), "\r  0%  1 B of 1000 B  0 B/s");
    now = 200 * SECOND;
    progress.width = 20;
    assert_string_equal(draws(&progress, &shown, 500, 1000), "\r 50%  2 B/s               ");
    shown_close(&shown);
}

static void test_widths(void **state)
{
    (void)state;
    for (size_t width = 1; width < 300; width++) {
        struct shown shown;
        shown_open(&shown);
        struct progress progress = progress_on(&shown, width, false);
        progress.total = UINT64_MAX;
        progress_part(&progress, UINT64_MAX);
        now = 3 * SECOND;
        const char *line = draws(&progress, &shown, UINT64_MAX / 3, UINT64_MAX);
        assert_int_equal(line[0], '\r');
        assert_true(strlen(line) <= width);
        assert_true(width < 6 || strncmp(line + 1, " 33%", 4) == 0);
        shown_close(&shown);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 60, true);
    progress.total = 800;
    progress_part(&progress, 800);
    now = 4 * SECOND;
    assert_string_equal(draws(&progress, &shown, 400, 800),
                        "\r 50%  "
                        "\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2591\u2591\u2591"
                        "\u2591\u2591\u2591\u2591\u2591\u2591"
                        "  400 B of 800 B  100 B/s  4 s left");
    shown_close(&shown);
}

static void test_parts(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 32, false);
    progress.total = 1000;
    progress_part(&progress, 200);
    progress_part(&progress, 800);
    now = 2 * SECOND;
    /* The part is read twice: a quarter of that is a quarter of its 800 bytes. */
    assert_string_equal(draws(&progress, &shown, 400, 1600), "\r 40%  400 B of 1000 B  200 B/s");
    now += SECOND;
    assert_string_equal(draws(&progress, &shown, 0, 0), "\r 20%  200 B of 1000 B  66 B/s ");
    shown_close(&shown);
}

static void test_files(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 60, false);
    progress.unit = "files";
    progress.total = 40;
    assert_true(progress_file(&progress));
    for (unsigned i = 1; i < 10; i++)
        assert_true(progress_file(&progress));
    fflush(shown.stream);
    assert_int_equal(shown.len, 0);
    now = 3 * SECOND;
    assert_true(progress_file(&progress)); /* ten are done */
    fflush(shown.stream);
    assert_string_equal(shown.text, "\r 25%  ######...................  10 of 40 files  9 s left");
    shown_close(&shown);
}

static void time_left_is(uint64_t seconds, uint64_t done, uint64_t total, const char *expected)
{
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 200, false);
    progress.total = total;
    progress_part(&progress, total);
    now = seconds * SECOND;
    const char *line = draws(&progress, &shown, done, total);
    assert_non_null(strstr(line, expected));
    assert_string_equal(strstr(line, expected) + strlen(expected), "");
    shown_close(&shown);
}

static void test_time_left(void **state)
{
    (void)state;
    time_left_is(10, 100, 100, "/s  0 s left");
    time_left_is(10, 100, 690, "/s  59 s left");
    time_left_is(10, 100, 700, "/s  1 min 00 s left");
    time_left_is(10, 100, 36090, "/s  59 min 59 s left");
    time_left_is(10, 100, 36100, "/s  1 h 00 min left");
    time_left_is(10, 1, UINT64_MAX, "/s  277777 h 46 min left");
    time_left_is(10, 0, 100, "/s");
}

static void test_nothing_to_draw(void **state)
{
    (void)state;
    struct shown shown;
    shown_open(&shown);
    struct progress progress = progress_on(&shown, 80, false);
    now = 5 * SECOND;
    assert_string_equal(draws(&progress, &shown, 0, 0), ""); /* of nothing */
    shown_close(&shown);
}

static void test_signals(void **state)
{
    (void)state;
    struct progress progress;
    struct sigaction before, after;
    sigaction(SIGINT, NULL, &before);
    progress_start(&progress, 1);
    st_progress callback = progress_callback(&progress);
    assert_true(callback.fn(callback.ctx, 0, 1));
    progress_end(&progress);
    sigaction(SIGINT, NULL, &after);
    assert_true(after.sa_handler == before.sa_handler);

    /* What is ignored stays ignored, as in a job in the background. */
    signal(SIGINT, SIG_IGN);
    progress_start(&progress, 1);
    raise(SIGINT);
    assert_int_equal(progress_signal(), 0);
    progress_end(&progress);
    signal(SIGINT, SIG_DFL);

    progress_start(&progress, 1);
    raise(SIGTERM);
    assert_int_equal(progress_signal(), SIGTERM);
    assert_false(callback.fn(callback.ctx, 0, 1));
    assert_int_equal(exit_of(ST_ERR_STOPPED), 128 + SIGTERM);
    /* A second one would end the program. */
    sigaction(SIGTERM, NULL, &after);
    assert_true(after.sa_handler == SIG_DFL);
    progress_end(&progress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_chart),
        cmocka_unit_test(test_chart_of_a_range_that_is_no_double),
        cmocka_unit_test(test_chart_of_a_narrow_range),
        cmocka_unit_test(test_chart_of_one_value),
        cmocka_unit_test(test_nothing_at_first),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_shorter_line_covers_the_longer),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_time_left),
        cmocka_unit_test(test_nothing_to_draw),
        cmocka_unit_test(test_signals), /* last: the program remembers the signal */
    };
    return cmocka_run_group_tests_name("bars", tests, NULL, NULL);
}
