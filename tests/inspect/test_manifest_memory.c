/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests where there is no memory: the messages tell how many bytes there were none of. */
#include "inspect/asked.h"
#include "inspect/image.h"

#include <safetensors/inspect.h>

#define NONE "99aa06d3014798d86001c324468d497f"

/* More of everything than the first array of it has room for. */
static size_t text_make(char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size,
                                  "{\"format\":\"safetensors-manifest\",\"version\":1,"
                                  "\"hash\":\"xxh128\",\"files\":[");
    for (int f = 0; f < 6; f++) {
        len += (size_t)snprintf(text + len, size - len,
                                "%s{\"name\":\"%d\",\"size\":1,\"tensors\":{", f ? "," : "", f);
        for (int t = 0; t < 10; t++)
            len += (size_t)snprintf(text + len, size - len,
                                    "%s\"%d\":{\"dtype\":\"F32\",\"shape\":[1,2,3,4,5],"
                                    "\"digest\":\"" NONE "\"}",
                                    t ? "," : "", t);
        len += (size_t)snprintf(text + len, size - len, "}}");
    }
    len += (size_t)snprintf(text + len, size - len, "]}");
    assert_true(len < size);
    return len;
}

static void test_parse(void **state)
{
    (void)state;
    static char text[16384];
    const size_t len = text_make(text, sizeof text);
    uint64_t run = 0;
    for (bool more = true; more; run++) {
        asked_allocator asked;
        st_context *context = asked_begin(&asked, run + 1);
        st_manifest *manifest = NULL;
        st_error why = {.status = ST_OK};
        st_status status = st_manifest_parse(context, text, len, "x", &manifest, &why);
        st_manifest_free(manifest);
        more = asked_end(&asked, context, status, &why);
    }
    assert_true(run > 10);
}

static void test_add(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){5, 6, 0, 7, 8}, 5);
    st_file *file = image_open(&im, NULL);
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, &(st_hash_options){.hash = ST_HASH_XXH3, .parts = 7}, &hashes,
                            &error));
    uint64_t run = 0;
    for (bool more = true; more; run++) {
        asked_allocator asked;
        st_context *context = asked_begin(&asked, run + 1);
        st_manifest *manifest = NULL;
        st_error why = {.status = ST_OK};
        st_status status = st_manifest_new(context, ST_HASH_XXH3, &manifest, &why);
        for (int i = 0; i < 30 && status == ST_OK; i++) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            status = st_manifest_add(manifest, name, file, &hashes, &why);
        }
        st_manifest_free(manifest);
        more = asked_end(&asked, context, status, &why);
    }
    assert_true(run > 10);
    st_hashes_release(&hashes);
    st_file_close(file);
    image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_add),
    };
    return cmocka_run_group_tests_name("manifest_memory", tests, NULL, NULL);
}
