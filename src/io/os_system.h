/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind os.h begin with: the system's own calls shown, 64 bits for a file's size, and the
 * calls that a test replaces. Comes before any header of the system. */
#ifndef ST_IO_OS_SYSTEM_H
#define ST_IO_OS_SYSTEM_H

#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#if !defined(_FILE_OFFSET_BITS)
# define _FILE_OFFSET_BITS 64
#endif
#include "io/os.h"

#if defined(ST_FAULTS)
# define OS_CALL(name) st__os_calls.name
#else
# define OS_CALL(name) name
#endif

#endif
