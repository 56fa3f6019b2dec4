/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside the project that uses both libraries. */
#include <safetensors/inspect.h>
#include <safetensors/safetensors.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    st_file *file;
    st_error error;
    st_check_summary summary;
    st_hashes hashes;
    char digest[80];
    if (argc != 2)
        return 2;
    if (st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (st_check(st_file_source(file), NULL, NULL, NULL, &summary, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (st_hashes_read(file, NULL, &hashes, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    st_digest_format(&hashes.file, digest, sizeof digest);
    printf("%u tensors, %u errors, %s\n", (unsigned)st_file_count(file), (unsigned)summary.errors,
           digest);
    st_hashes_release(&hashes);
    st_file_close(file);
    return 0;
}
