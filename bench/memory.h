/* SPDX-License-Identifier: Apache-2.0 */
/* Two allocators for the library under test: one whose memory is never new, and one that counts. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <safetensors/safetensors.h>

/* Keeps what is freed and hands it out again, so that pages stay warm, as a reused parser's are. */
typedef struct bench_pool {
    struct {
        void *block;
        size_t capacity;
    } kept[64];
} bench_pool;

st_allocator bench_pool_allocator(bench_pool *pool);
void bench_pool_release(bench_pool *pool);

/* Gives every block pages of its own, and asks the kernel which of them were ever touched. */
typedef struct bench_count {
    struct {
        void *block;
        size_t size;
    } live[4096];
    uint64_t calls;
    uint64_t asked, asked_peak;     /* bytes, as asked for */
    uint64_t touched, touched_peak; /* of these, bytes in pages that were written */
} bench_count;

st_allocator bench_count_allocator(bench_count *count);
/* Brings `touched` and `touched_peak` up to date; pages get touched between calls. */
void bench_count_look(bench_count *count);

/* Takes so much memory, by huge pages where there are, touches it and gives it back: what is taken next is then
 * memory that the machine has. A hypervisor takes back what lies idle, and whoever touches that first waits
 * for it, up to ten times as long as for zeroing it. */
void bench_memory_refresh(size_t size);

/* Reads a line such as "VmHWM" from /proc/self/status; gives bytes. */
uint64_t bench_status_bytes(const char *key);
/* Makes VmHWM start again from the present size. */
void bench_peak_reset(void);

#endif
