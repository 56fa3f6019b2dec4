/* SPDX-License-Identifier: Apache-2.0 */
/* Digests: known answers, every part of a file, many small tensors, and what goes wrong. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include <safetensors/inspect.h>

#include "inspect/digest.h"
#include "inspect/image.h"
#include "support/fault.h"
#include "support/oom.h"

#include <sys/wait.h>
#if ST_OPENSSL
# include <openssl/crypto.h>
#endif

/* The algorithms that this build has. */
static const st_hash built[] = {
    ST_HASH_XXH3,
    ST_HASH_XXH128,
#if ST_OPENSSL
    ST_HASH_SHA256,
#endif
};
#define BUILT (sizeof built / sizeof *built)

static void check_digest(const st_digest *digest, const char *wanted)
{
    char text[80];
    assert_int_equal(st_digest_format(digest, text, sizeof text), strlen(wanted));
    assert_string_equal(text, wanted);
}

static st_digest digest_of(st_hash hash, const void *data, size_t size)
{
    st__digester digester;
    st_digest digest = {0};
    CHECK_OK(st__digester_init(&digester, hash, &error));
    CHECK_OK(st__digester_whole(&digester, data, size, &digest, &error));
    st__digester_release(&digester);
    return digest;
}

/* -------------------------------------------------------------------------------- algorithms */

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        st_hash hash;
        uint32_t size;
    } rows[] = {
#define ROW(constant, number, name, size) {name, constant, size},
        ST_HASH_MAP(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(st_hash_find(rows[i].name, strlen(rows[i].name)), rows[i].hash);
        assert_string_equal(st_hash_name(rows[i].hash), rows[i].name);
        assert_int_equal(st__hash_size(rows[i].hash), rows[i].size);
        assert_true(rows[i].size <= sizeof((st_digest *)0)->bytes);
    }
    assert_int_equal(st_hash_find("sha25", 5), 0);
    assert_int_equal(st_hash_find("SHA256", 6), 0);
    assert_int_equal(st_hash_find("", 0), 0);
    assert_null(st_hash_name(0));
    assert_null(st_hash_name(4));
    assert_null(st_hash_name(-1));
    assert_int_equal(st__hash_size(4), 0);
}

static void test_text(void **state)
{
    (void)state;
    st_digest digest = {.size = 3, .bytes = {0x00, 0xaf, 0x19}}, read;
    char text[80] = "untouched";
    assert_int_equal(st_digest_format(&digest, text, 6), 0);
    assert_string_equal(text, "untouched");
    assert_int_equal(st_digest_format(&digest, text, 7), 6);
    assert_string_equal(text, "00af19");
    assert_int_equal(st_digest_format(&(st_digest){.size = 0}, text, 1), 0);
    assert_string_equal(text, "");
    assert_int_equal(st_digest_format(&(st_digest){.size = 37}, text, sizeof text), 0);

    assert_true(st__digest_parse("00aF19", 6, &read));
    assert_true(st__digest_equal(&digest, &read));
    assert_false(st__digest_parse("00af1", 5, &read));
    assert_false(st__digest_parse("00ag19", 6, &read));
    assert_false(st__digest_parse("g0af19", 6, &read));
    assert_false(st__digest_parse("0:af19", 6, &read));
    char longest[75];
    memset(longest, '0', sizeof longest);
    assert_true(st__digest_parse(longest, 72, &read));
    assert_false(st__digest_parse(longest, 74, &read));
    assert_false(st__digest_equal(&digest, &(st_digest){.size = 2, .bytes = {0x00, 0xaf}}));
    assert_false(st__digest_equal(&digest, &(st_digest){.size = 3}));
}

/* FIPS 180-4's examples, in SHA-256, and the same bytes in XXH3 as xxhsum 0.8 prints them. */
static const struct {
    const char *text;
    size_t repeat;
    const char *digests[3]; /* XXH3, XXH128, SHA-256 */
} answers[] = {
    {"",
     1,
     {"2d06800538d394c2", "99aa06d3014798d86001c324468d497f",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
    {"abc",
     1,
     {"78af5f94892f3950", "06b05ab6733a618578af5f94892f3950",
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     1,
     {"5bbcbbabcdcc3d3f", "3d62d22a5169b016c0d894fd4828a1a7",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
     "lmnopqrsmnopqrstnopqrstu",
     1,
     {"458619cd5260aa9a", "97d535cb0c62bf199c12d0b7e499edb8",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}},
    {"a",
     1000000,
     {"b1fd6fae5285c4eb", "a545df8e384a9579b1fd6fae5285c4eb",
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}},
};
#define ANSWERS (sizeof answers / sizeof *answers)

static void test_known_answers(void **state)
{
    (void)state;
    size_t sizes[ANSWERS];
    image im;
    for (size_t i = 0; i < ANSWERS; i++)
        sizes[i] = strlen(answers[i].text) * answers[i].repeat;
    image_make(&im, sizes, ANSWERS);
    unsigned char *at = im.bytes + im.data_offset;
    for (size_t i = 0; i < ANSWERS; i++)
        for (size_t n = 0; n < answers[i].repeat; n++) {
            memcpy(at, answers[i].text, strlen(answers[i].text));
            at += strlen(answers[i].text);
        }
    st_file *file = image_open(&im, NULL);
    for (size_t h = 0; h < BUILT; h++) {
        st_hash_options options = {.hash = built[h], .parts = ST_HASH_TENSORS};
        st_hashes hashes;
        CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
        assert_int_equal(hashes.hash, built[h]);
        assert_int_equal(hashes.parts, ST_HASH_TENSORS);
        assert_int_equal(hashes.count, ANSWERS);
        assert_int_equal(hashes.file.size, 0);
        assert_int_equal(hashes.data.size, 0);
        for (size_t i = 0; i < ANSWERS; i++)
            check_digest(&hashes.tensors[i], answers[i].digests[h]);
        st_hashes_release(&hashes);
        assert_null(hashes.tensors);
    }
    st_file_close(file);
    image_free(&im);
    st_hashes_release(NULL);
    st_hashes_release(&(st_hashes){0});
}

/* ------------------------------------------------------------------------------------- parts */

static void check_all(const st_file *file, const image *im, const st_hash_options *options)
{
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, options, &hashes, &error));
    assert_int_equal(hashes.parts, options->parts);
    st_digest none = {0}, whole = digest_of(options->hash, im->bytes, im->size),
              data =
                  digest_of(options->hash, im->bytes + im->data_offset, im->size - im->data_offset);
    assert_memory_equal(&hashes.file, options->parts & ST_HASH_FILE ? &whole : &none, sizeof none);
    assert_memory_equal(&hashes.data, options->parts & ST_HASH_DATA ? &data : &none, sizeof none);
    if (!(options->parts & ST_HASH_TENSORS)) {
        assert_null(hashes.tensors);
        assert_int_equal(hashes.count, 0);
    } else {
        assert_int_equal(hashes.count, st_file_count(file));
        for (size_t i = 0; i < hashes.count; i++) {
            const st_tensor *tensor = st_file_at(file, i);
            st_digest wanted =
                digest_of(options->hash, im->bytes + (size_t)st_file_offset(file, tensor),
                          (size_t)st_tensor_size(tensor));
            assert_memory_equal(&hashes.tensors[i], &wanted, sizeof wanted);
        }
    }
    st_hashes_release(&hashes);
}

/* Sizes about those at which tensors are read together, alone, and with others reading ahead. */
static const size_t mixed_sizes[] = {
    0, 1, 100, 0, 1 << 20, 0, (1 << 20) - 1, 1, 1, 0, 5, 700000, 400000, 5, 1200000, 0, 0};
#define MIXED (sizeof mixed_sizes / sizeof *mixed_sizes)

static void test_parts(void **state)
{
    (void)state;
    image im;
    image_make(&im, mixed_sizes, MIXED);
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_PREAD; io++) {
        st_memory memory = {.data = im.bytes, .size = im.size};
        st_file *file;
        CHECK_OK(st_file_open_memory(&memory, &(st_open_options){.io = io}, &file, &error));
        for (size_t h = 0; h < BUILT; h++)
            for (uint32_t parts = h ? 7 : 1; parts <= 7; parts++)
                check_all(file, &im, &(st_hash_options){.hash = built[h], .parts = parts});
        st_file_close(file);
    }
    image_free(&im);
}

static void test_no_tensors(void **state)
{
    (void)state;
    image im;
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    for (size_t h = 0; h < BUILT; h++)
        for (uint32_t parts = 1; parts <= 7; parts++)
            check_all(file, &im, &(st_hash_options){.hash = built[h], .parts = parts});
    st_file_close(file);
    image_free(&im);
}

#if ST_OPENSSL
static void test_defaults(void **state)
{
    (void)state;
    image im;
    st_hashes hashes;
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    for (int given = 0; given < 2; given++) {
        CHECK_OK(st_hashes_read(file, given ? &(st_hash_options){0} : NULL, &hashes, &error));
        assert_int_equal(hashes.hash, ST_HASH_SHA256);
        assert_int_equal(hashes.parts, ST_HASH_FILE);
        st_digest wanted = digest_of(ST_HASH_SHA256, im.bytes, im.size);
        assert_memory_equal(&hashes.file, &wanted, sizeof wanted);
        st_hashes_release(&hashes);
    }
    st_file_close(file);
    image_free(&im);
}
#endif

/* Small tensors are read together: neither a look at the file nor a read for each. */
static void test_many_small(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    size_t *sizes = malloc(COUNT * sizeof *sizes);
    assert_non_null(sizes);
    for (size_t i = 0; i < COUNT; i++)
        sizes[i] = i * i % 211;
    image im;
    image_make(&im, sizes, COUNT);
    free(sizes);
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    fault_source fault = {.data = im.bytes, .size = im.size};
    st_source *source = fault_source_new(&fault);
    st_file *file;
    CHECK_OK(st_file_open_source(source, &(st_open_options){.context = context}, &file, &error));
    uint64_t before = fault.calls;
    check_all(file, &im, &(st_hash_options){.hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS});
    assert_true(fault.calls - before < 40);
    for (size_t h = 0; h < BUILT; h++)
        check_all(file, &im, &(st_hash_options){.hash = built[h], .parts = 7});
    st_file_close(file);
    st_source_release(source);
    st_context_release(context);
    image_free(&im);
}

/* ------------------------------------------------------------------------------- what is refused */

static void test_arguments(void **state)
{
    (void)state;
    image im;
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    st_hashes hashes = {.count = 77};
    CHECK_ERR_TEXT(st_hashes_read(file, &(st_hash_options){.hash = 4}, &hashes, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "4 is no hash");
    CHECK_ERR_TEXT(st_hashes_read(file, &(st_hash_options){.hash = -1}, &hashes, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "-1 is no hash");
    CHECK_ERR_TEXT(st_hashes_read(file, &(st_hash_options){.parts = 9}, &hashes, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "parts 0x8");
    CHECK_ERR_TEXT(st_hashes_read(file, &(st_hash_options){.reserved = {[7] = 1}}, &hashes, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "reserved");
#if !ST_OPENSSL
    CHECK_ERR_TEXT(st_hashes_read(file, NULL, &hashes, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "libcrypto");
#endif
    assert_int_equal(hashes.count, 77);
    st_file_close(file);
    image_free(&im);
}

#if ST_OPENSSL
/* A process whose libcrypto is set up without any algorithm. */
static int refused_child(const image *im, const char *conf)
{
    st_hashes hashes;
    st_error error;
    st_hash_options other = {.hash = ST_HASH_XXH3};
    st_file *file = image_open(im, NULL);
    setenv("OPENSSL_CONF", conf, 1);
    st_status status = st_hashes_read(file, NULL, &hashes, &error);
    bool told = status == ST_ERR_UNSUPPORTED && error.status == status &&
                strstr(error.message, "openssl.cnf");
    told &= st_hashes_read(file, &other, &hashes, &error) == ST_OK;
    st_hashes_release(&hashes);
    st_file_close(file);
    return told ? 0 : 1;
}

static void check_child(int (*run)(const image *im, const char *arg), const char *arg)
{
    image im;
    int status = -1;
    image_make(&im, (const size_t[]){5, 300000}, 2);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(run(&im, arg));
    assert_int_equal(waitpid(child, &status, 0), child);
    image_free(&im);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_refused_by_libcrypto(void **state)
{
    (void)state;
    static const char conf[] = "openssl_conf = all\n[all]\nproviders = providers\n"
                               "[providers]\nnull = null\n[null]\nactivate = 1\n";
    char path[] = "/tmp/st_test_openssl.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, conf, sizeof conf - 1) == sizeof conf - 1);
    close(fd);
    check_child(refused_child, path);
    unlink(path);
}

/* libcrypto's allocations, which pass the context's allocator by. */
static struct {
    unsigned calls, fail_at;
} crypto_memory;

static void *crypto_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return ++crypto_memory.calls == crypto_memory.fail_at ? NULL : malloc(size);
}

static void *crypto_realloc(void *memory, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return ++crypto_memory.calls == crypto_memory.fail_at ? NULL : realloc(memory, size);
}

static void crypto_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

/* Fails each of them in turn, once libcrypto has set itself up. */
static int starved_child(const image *im, const char *arg)
{
    (void)arg;
    st_hash_options all = {.parts = 7};
    st_hashes wanted, hashes;
    st_error error;
    unsigned failed = 0;
    if (!CRYPTO_set_mem_functions(crypto_alloc, crypto_realloc, crypto_free))
        return 1;
    st_file *file = image_open(im, NULL);
    if (st_hashes_read(file, &all, &wanted, &error) != ST_OK)
        return 2;
    for (unsigned n = 1; crypto_memory.calls >= crypto_memory.fail_at; n++) {
        crypto_memory.calls = 0;
        crypto_memory.fail_at = n;
        st_status status = st_hashes_read(file, &all, &hashes, &error);
        if (status == ST_OK) {
            if (memcmp(&hashes.file, &wanted.file, sizeof wanted.file) != 0)
                return 3;
            st_hashes_release(&hashes);
        } else if ((status != ST_ERR_NOMEM && status != ST_ERR_UNSUPPORTED) ||
                   error.status != status) {
            return 4;
        } else {
            failed++;
        }
    }
    st_hashes_release(&wanted);
    st_file_close(file);
    return failed < 2 ? 5 : 0;
}

static void test_libcrypto_out_of_memory(void **state)
{
    (void)state;
    check_child(starved_child, NULL);
}
#endif

/* What is staged does not grow with the file, and the digests outlive it. */
static void test_memory(void **state)
{
    (void)state;
    image im;
    image_make(&im, mixed_sizes, MIXED);
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    st_memory memory = {.data = im.bytes, .size = im.size};
    st_open_options options = {.context = context, .io = ST_IO_PREAD};
    st_hashes hashes;
    st_file *file;
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    st_hash_options all = {.hash = ST_HASH_XXH3, .parts = 7};
    CHECK_OK(st_hashes_read(file, &all, &hashes, &error));
    assert_true(oom.peak < 1 << 20);
    st_file_close(file);
    st_context_release(context);
    assert_true(oom.blocks > 0);
    st_hashes_release(&hashes);
    assert_int_equal(oom.blocks, 0);
    image_free(&im);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){10, 1200000, 0, 1100000, 40}, 5);
    st_memory memory = {.data = im.bytes, .size = im.size};
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context, .name = "image", .io = ST_IO_PREAD};
        st_hash_options all = {.hash = built[BUILT - 1], .parts = 7};
        st_hashes hashes;
        st_file *file;
        st_error error = {.status = ST_OK};
        status = st_file_open_memory(&memory, &options, &file, NULL);
        if (status == ST_OK) {
            status = st_hashes_read(file, &all, &hashes, &error);
            if (status == ST_OK)
                st_hashes_release(&hashes);
            else
                check_error(CHECK_PLACE("st_hashes_read"), status, &error, ST_ERR_NOMEM,
                            ST_NO_OFFSET, "image: ");
            st_file_close(file);
        }
    }
    image_free(&im);
}

static void test_faults(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){10, 300000, 1200000, 0, 40}, 5);
    st_context *single;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &single, &error));
    for (int kind = FAULT_EIO; kind <= FAULT_TOUCH; kind++) {
        unsigned failed = 0;
        ST_FAULT_LOOP(source, status, (fault_kind)kind, im.bytes, im.size)
        {
            st_open_options options = {.context = single};
            st_hash_options all = {.hash = ST_HASH_XXH128, .parts = 7};
            st_hashes hashes = {.count = 77};
            st_file *file;
            st_error error = {.status = ST_OK};
            status = st_file_open_source(source, &options, &file, &error);
            if (status == ST_OK) {
                status = st_hashes_read(file, &all, &hashes, &error);
                if (status == ST_OK) {
                    st_hashes_release(&hashes);
                } else {
                    failed++;
                    assert_int_equal(error.status, status);
                    assert_non_null(strstr(error.message, "fault"));
                    assert_int_equal(hashes.count, 77);
                }
                st_file_close(file);
            }
        }
        assert_true(failed > 4);
    }
    st_context_release(single);
    image_free(&im);
}

/* A large tensor that cannot be read is named. */
static void test_tensor_is_named(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){100, 2000000, 100}, 3);
    st_context *single;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &single, &error));
    fault_source fault = {.data = im.bytes, .size = im.size};
    st_source *source = fault_source_new(&fault);
    st_file *file;
    CHECK_OK(st_file_open_source(source, &(st_open_options){.context = single}, &file, &error));
    st_hash_options options = {.hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS};
    st_hashes hashes;
    fault.kind = FAULT_EIO;
    fault.at = fault.calls + 2; /* the largest is first, and looked at before it is read */
    CHECK_ERR_TEXT(st_hashes_read(file, &options, &hashes, &error), ST_ERR_IO, im.data_offset + 100,
                   "fault: tensor \"t1\": ");
    st_file_close(file);
    st_source_release(source);
    st_context_release(single);
    image_free(&im);
}

/* So is a small one that is read together with its neighbours: the one that waits for bytes, or the one in
 * which they ended. */
static void test_neighbour_is_named(void **state)
{
    (void)state;
    static const struct {
        fault_kind kind;
        st_status status;
        uint64_t offset; /* from the data's start */
        const char *text;
    } cases[] = {{FAULT_EIO, ST_ERR_IO, 0, "fault: tensor \"t0\": "},
                 {FAULT_SHORT, ST_ERR_SHORT_READ, 200, "fault: tensor \"t2\": "}};
    image im;
    image_make(&im, (const size_t[]){100, 0, 200, 100}, 4);
    st_context *single;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &single, &error));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fault_source fault = {.data = im.bytes, .size = im.size};
        st_source *source = fault_source_new(&fault);
        st_file *file;
        CHECK_OK(st_file_open_source(source, &(st_open_options){.context = single}, &file, &error));
        st_hash_options options = {.hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS};
        st_hashes hashes;
        fault.kind = cases[i].kind;
        /* It is looked at before it is read, which does not count where reads are short. */
        fault.at = fault.calls + (fault.kind == FAULT_EIO ? 2 : 1);
        CHECK_ERR_TEXT(st_hashes_read(file, &options, &hashes, &error), cases[i].status,
                       im.data_offset + cases[i].offset, cases[i].text);
        st_file_close(file);
        st_source_release(source);
    }
    st_context_release(single);
    image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_text),
#if ST_OPENSSL
        /* Before libcrypto is used in this process. */
        cmocka_unit_test(test_refused_by_libcrypto),
        cmocka_unit_test(test_libcrypto_out_of_memory),
        cmocka_unit_test(test_defaults),
#endif
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_many_small),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_tensor_is_named),
        cmocka_unit_test(test_neighbour_is_named),
    };
    return cmocka_run_group_tests_name("hashes", tests, NULL, NULL);
}
