/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 on machines whose libcrypto is not there, or another one than it should be. */
#include "support/check.h"

#include "io/os_faults.h"

#include "inspect/digest.h"

#if ST_OPENSSL
static unsigned asked, missing;

static void *finds_no_library(const char *library, int flags)
{
    (void)library;
    (void)flags;
    return NULL;
}

static void *finds_some(void *library, const char *name)
{
    return ++asked == missing ? NULL : dlsym(library, name);
}

static void test_no_library(void **state)
{
    st__digester digester;
    (void)state;
    st__os_calls.dlopen = finds_no_library;
    CHECK_ERR_TEXT(st__digester_init(&digester, ST_HASH_SHA256, &error), ST_ERR_UNSUPPORTED,
                   ST_NO_OFFSET, "SHA-256 needs libcrypto.so.3 (OpenSSL 3), which is not on");
    CHECK_OK(st__digester_init(&digester, ST_HASH_XXH3, &error)); /* which does without */
    st__digester_release(&digester);
    os_calls_restore();
}

/* Each of its functions in turn is not there. */
static void test_another_library(void **state)
{
    st__digester digester;
    st_digest digest;
    st_status status = ST_ERR_UNSUPPORTED;
    (void)state;
    st__os_calls.dlsym = finds_some;
    for (missing = 1; status == ST_ERR_UNSUPPORTED; missing++) {
        st_error error = {.status = ST_OK};
        asked = 0;
        status = st__digester_init(&digester, ST_HASH_SHA256, &error);
        if (status == ST_ERR_UNSUPPORTED)
            assert_non_null(strstr(error.message, "lacks what is called of it"));
    }
    os_calls_restore();
    assert_int_equal(status, ST_OK);
    assert_int_equal(missing, 7 + 2);
    CHECK_OK(st__digester_whole(&digester, "abc", 3, &digest, &error));
    /* FIPS 180-4's example. */
    assert_memory_equal(digest.bytes, "\xba\x78\x16\xbf\x8f\x01\xcf\xea", 8);
    st__digester_release(&digester);
}
#endif

int main(void)
{
#if ST_OPENSSL
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_library),
        cmocka_unit_test(test_another_library),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
#else
    return 77; /* this build has no SHA-256 */
#endif
}
