/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/digest.h"
#include "base/error.h"
#include "io/os.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* The header holds all of xxHash: nothing is needed at run time. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#if XXH_VERSION_NUMBER < 800
# error "xxHash before 0.8.0 has another XXH3"
#endif

#define CRYPTO "libcrypto.so.3"

static_assert(sizeof(XXH3_state_t) <= ST__DIGEST_STATE, "the state of XXH3");
static_assert(alignof(XXH3_state_t) <= alignof(st__digester), "the state of XXH3");

/* ------------------------------------------------------------------------------ algorithms */

static const struct {
    const char *name;
    st_hash hash;
    uint32_t size;
} hash_table[] = {
#define HASH_ROW(constant, number, name, size) {name, constant, size},
    ST_HASH_MAP(HASH_ROW)
#undef HASH_ROW
};
#define HASH_COUNT (sizeof hash_table / sizeof *hash_table)

st_hash st_hash_find(const char *name, size_t name_len)
{
    for (size_t i = 0; i < HASH_COUNT; i++)
        if (strlen(hash_table[i].name) == name_len &&
            memcmp(hash_table[i].name, name, name_len) == 0)
            return hash_table[i].hash;
    return 0;
}

const char *st_hash_name(st_hash hash)
{
    for (size_t i = 0; i < HASH_COUNT; i++)
        if (hash_table[i].hash == hash)
            return hash_table[i].name;
    return NULL;
}

uint32_t st__hash_size(st_hash hash)
{
    for (size_t i = 0; i < HASH_COUNT; i++)
        if (hash_table[i].hash == hash)
            return hash_table[i].size;
    return 0;
}

st_status st__hash_check(st_hash hash, st_error *error)
{
    if (!st__hash_size(hash))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%" PRId32 " is no hash algorithm",
                        hash);
#if !ST_OPENSSL
    if (hash == ST_HASH_SHA256)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "SHA-256 needs libcrypto, which this library was built without");
#endif
    return ST_OK;
}

/* --------------------------------------------------------------------------------- SHA-256 */

#if ST_OPENSSL
static bool crypto_find(st__crypto *crypto)
{
    void *library = crypto->library;
    return st__os_library_find(library, "EVP_MD_fetch", &crypto->fetch) &&
           st__os_library_find(library, "EVP_MD_free", &crypto->method_free) &&
           st__os_library_find(library, "EVP_MD_CTX_new", &crypto->running_new) &&
           st__os_library_find(library, "EVP_MD_CTX_free", &crypto->running_free) &&
           st__os_library_find(library, "EVP_DigestInit_ex2", &crypto->init) &&
           st__os_library_find(library, "EVP_DigestUpdate", &crypto->update) &&
           st__os_library_find(library, "EVP_DigestFinal_ex", &crypto->final);
}

static st_status crypto_open(st__crypto *crypto, st_error *error)
{
    int failed = st__os_library_open(CRYPTO, &crypto->library);
    if (!failed && crypto_find(crypto))
        return ST_OK;
    if (!failed)
        st__os_library_close(crypto->library);
    return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "SHA-256 needs " CRYPTO " (OpenSSL 3), which %s",
                    failed ? "is not on this machine" : "lacks what is called of it");
}

static st_status sha256_fetch(st__digester *digester, st_error *error)
{
    const st__crypto *crypto = &digester->crypto;
    /* Fetched once: to look the algorithm up for every digest costs as much as to hash 600 bytes. */
    digester->method = crypto->fetch(NULL, "SHA256", NULL);
    if (!digester->method)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "libcrypto offers no SHA-256; see its configuration, openssl.cnf");
    digester->running = crypto->running_new();
    if (digester->running)
        return ST_OK;
    crypto->method_free(digester->method);
    return st__fail(error, ST_ERR_NOMEM, ST_NO_OFFSET, "libcrypto is out of memory");
}

static st_status sha256_init(st__digester *digester, st_error *error)
{
    ST_TRY(crypto_open(&digester->crypto, error));
    st_status status = sha256_fetch(digester, error);
    if (status != ST_OK)
        st__os_library_close(digester->crypto.library);
    return status;
}

static void sha256_release(st__digester *digester)
{
    digester->crypto.running_free(digester->running);
    digester->crypto.method_free(digester->method);
    st__os_library_close(digester->crypto.library);
}

static bool sha256_begin(st__digester *digester)
{
    return digester->crypto.init(digester->running, digester->method, NULL) == 1;
}

static bool sha256_add(st__digester *digester, const void *data, size_t size)
{
    return digester->crypto.update(digester->running, data, size) == 1;
}

static bool sha256_end(st__digester *digester, st_digest *out)
{
    unsigned size = 0;
    return digester->crypto.final(digester->running, out->bytes, &size) == 1 && size == out->size;
}
#else
static st_status sha256_init(st__digester *digester, st_error *error)
{
    return st__hash_check(digester->hash, error);
}

static void sha256_release(st__digester *digester)
{
    (void)digester;
}

static bool sha256_begin(st__digester *digester)
{
    (void)digester;
    return false;
}

static bool sha256_add(st__digester *digester, const void *data, size_t size)
{
    (void)data;
    (void)size;
    return sha256_begin(digester);
}

static bool sha256_end(st__digester *digester, st_digest *out)
{
    (void)out;
    return sha256_begin(digester);
}
#endif

/* ------------------------------------------------------------------------------------ XXH3 */

static XXH3_state_t *xxh_state(st__digester *digester)
{
    return (XXH3_state_t *)(void *)digester->state;
}

static void xxh3_store(XXH64_hash_t hash, st_digest *out)
{
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, hash);
    memcpy(out->bytes, canonical.digest, sizeof canonical.digest);
}

static void xxh128_store(XXH128_hash_t hash, st_digest *out)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out->bytes, canonical.digest, sizeof canonical.digest);
}

/* -------------------------------------------------------------------------------- digester */

st_status st__digester_init(st__digester *digester, st_hash hash, st_error *error)
{
    digester->hash = hash;
    digester->failed = false;
    digester->method = NULL;
    digester->running = NULL;
    if (hash == ST_HASH_SHA256)
        return sha256_init(digester, error);
    XXH3_INITSTATE(xxh_state(digester));
    return ST_OK;
}

void st__digester_release(st__digester *digester)
{
    if (digester->hash == ST_HASH_SHA256)
        sha256_release(digester);
}

void st__digester_begin(st__digester *digester)
{
    if (digester->hash == ST_HASH_SHA256)
        digester->failed = !sha256_begin(digester);
    else if (digester->hash == ST_HASH_XXH3)
        (void)XXH3_64bits_reset(xxh_state(digester));
    else
        (void)XXH3_128bits_reset(xxh_state(digester));
}

/* What could not be begun must not go on: libcrypto would run into a null pointer. */
void st__digester_add(st__digester *digester, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (digester->hash == ST_HASH_SHA256)
        digester->failed = digester->failed || !sha256_add(digester, data, size);
    else if (digester->hash == ST_HASH_XXH3)
        (void)XXH3_64bits_update(xxh_state(digester), data, size);
    else
        (void)XXH3_128bits_update(xxh_state(digester), data, size);
}

st_status st__digester_end(st__digester *digester, st_digest *out, st_error *error)
{
    st_digest digest = {.size = st__hash_size(digester->hash)};
    if (digester->hash == ST_HASH_SHA256)
        digester->failed = digester->failed || !sha256_end(digester, &digest);
    else if (digester->hash == ST_HASH_XXH3)
        xxh3_store(XXH3_64bits_digest(xxh_state(digester)), &digest);
    else
        xxh128_store(XXH3_128bits_digest(xxh_state(digester)), &digest);
    if (digester->failed)
        return st__fail(error, ST_ERR_NOMEM, ST_NO_OFFSET, "libcrypto could not compute SHA-256");
    *out = digest;
    return ST_OK;
}

st_status st__digester_whole(st__digester *digester, const void *data, size_t size, st_digest *out,
                             st_error *error)
{
    st_digest digest = {.size = st__hash_size(digester->hash)};
    if (digester->hash == ST_HASH_SHA256) {
        st__digester_begin(digester);
        st__digester_add(digester, data, size);
        return st__digester_end(digester, out, error);
    }
    if (digester->hash == ST_HASH_XXH3)
        xxh3_store(XXH3_64bits(data, size), &digest);
    else
        xxh128_store(XXH3_128bits(data, size), &digest);
    *out = digest;
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ text */

size_t st_digest_format(const st_digest *digest, char *text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = (size_t)digest->size * 2;
    if (digest->size > sizeof digest->bytes || size <= len)
        return 0;
    for (size_t i = 0; i < digest->size; i++) {
        text[2 * i] = digits[digest->bytes[i] >> 4];
        text[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    text[len] = '\0';
    return len;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool st__digest_parse(const char *text, size_t len, st_digest *out)
{
    st_digest digest = {.size = (uint32_t)(len / 2)};
    if (len % 2 || len / 2 > sizeof digest.bytes)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        digest.bytes[i] = (unsigned char)(high << 4 | low);
    }
    *out = digest;
    return true;
}

bool st__digest_equal(const st_digest *a, const st_digest *b)
{
    return a->size == b->size && a->size <= sizeof a->bytes &&
           memcmp(a->bytes, b->bytes, a->size) == 0;
}
