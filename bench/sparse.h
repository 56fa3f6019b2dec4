/* SPDX-License-Identifier: Apache-2.0 */
/* Headers changed in place, in files whose data is a hole, so that their size costs no space. */
#ifndef BENCH_SPARSE_H
#define BENCH_SPARSE_H

/* Measures and prints the cases "in-place-10MB" and "in-place-10GB", or the one that is called `only`. */
void bench_sparse_run(const char *folder, const char *only, unsigned runs);

#endif
