/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for loads: what is given back is given out again, as long as it is not much too large, and no more is kept
 * than may be. */
#include "support/check.h"
#include "support/oom.h"

#include "io/pool.h"

#include <string.h>

#define MIB(n) ((size_t)(n) << 20)

static st_context *context_new(void)
{
    st_context *context = NULL;
    CHECK_OK(st_context_new(NULL, &context, &error));
    return context;
}

static st__slab take(st_context *context, size_t size)
{
    st__slab slab;
    CHECK_OK(st__slab_take(context, size, &slab, &error));
    assert_true(slab.size >= size);
    assert_int_equal((uintptr_t)slab.data % (size >= MIB(1) ? MIB(2) : 4096), 0);
    slab.data[0] = 1;
    slab.data[size - 1] = 1;
    return slab;
}

static void give(st_context *context, st__slab slab)
{
    slab.present = true;
    st__slab_give(context, &slab);
}

static void test_given_out_again(void **state)
{
    (void)state;
    st_context *context = context_new();
    st__slab first = take(context, MIB(8)), second = take(context, MIB(10));
    assert_false(first.present);
    give(context, first);
    give(context, second);
    st__slab fits = take(context, MIB(8) - 5000);
    assert_ptr_equal(fits.data, first.data);
    assert_true(fits.present);
    st__slab larger = take(context, MIB(9)); /* the other is larger by a tenth */
    assert_ptr_equal(larger.data, second.data);
    st__slab fresh = take(context, MIB(8));
    assert_false(fresh.present);
    give(context, fits);
    give(context, larger);
    give(context, fresh);
    st__slab small = take(context, MIB(4)); /* of none, which are all twice as large */
    assert_false(small.present);
    give(context, small);
    st_context_release(context);
}

static void test_small_ones(void **state)
{
    (void)state;
    oom_allocator oom = {.fail_at = 0};
    st_context *context = oom_context_new(&oom);
    st__slab slab = take(context, 1);
    assert_true(oom.blocks > 0);
    give(context, slab);
    slab = take(context, MIB(1) - 1);
    give(context, slab);
    oom.fail_at = oom.calls + 1;
    CHECK_ERR(st__slab_take(context, 5, &slab, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
    st_context_release(context);
    assert_int_equal(oom.outstanding, 0);
}

/* Of 5 x 64 MiB the first goes, and what is larger than all that may be kept was never kept. */
static void test_kept_within_bounds(void **state)
{
    (void)state;
    st_context *context = context_new();
    st__slab slabs[5], huge = take(context, (size_t)ST__POOL_KEEPS + 1);
    for (size_t i = 0; i < 5; i++)
        slabs[i] = take(context, MIB(64));
    for (size_t i = 0; i < 5; i++)
        give(context, slabs[i]);
    give(context, huge);
    for (size_t i = 0; i < 4; i++)
        assert_true((slabs[i] = take(context, MIB(64))).present);
    slabs[4] = take(context, MIB(64));
    assert_false(slabs[4].present);
    huge = take(context, (size_t)ST__POOL_KEEPS + 1);
    assert_false(huge.present);
    give(context, huge);
    for (size_t i = 0; i < 5; i++)
        give(context, slabs[i]);
    st_context_release(context);
}

/* More pieces than there are places for. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 80 };
    st_context *context = context_new();
    st__slab slabs[MANY];
    unsigned present = 0;
    for (size_t i = 0; i < MANY; i++)
        slabs[i] = take(context, MIB(1));
    for (size_t i = 0; i < MANY; i++)
        give(context, slabs[i]);
    for (size_t i = 0; i < MANY; i++)
        present += (slabs[i] = take(context, MIB(1))).present;
    assert_int_equal(present, 64);
    for (size_t i = 0; i < MANY; i++)
        give(context, slabs[i]);
    st_context_release(context);
}

static void test_without_context(void **state)
{
    (void)state;
    st__slab slab = take(NULL, MIB(3));
    give(NULL, slab);
    slab = take(NULL, MIB(3));
    assert_false(slab.present);
    give(NULL, slab);
    slab = take(NULL, 100);
    give(NULL, slab);
}

static void test_refused(void **state)
{
    (void)state;
    st__slab slab;
    CHECK_ERR(st__slab_take(NULL, SIZE_MAX - 4096, &slab, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given_out_again),    cmocka_unit_test(test_small_ones),
        cmocka_unit_test(test_kept_within_bounds), cmocka_unit_test(test_many),
        cmocka_unit_test(test_without_context),    cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
