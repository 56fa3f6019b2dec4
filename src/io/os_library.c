/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries that are looked for at run time: what they are needed for goes on without them, or says so. */
#include "io/os_system.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

int st__os_library_open(const char *name, void **out)
{
    /* It stays once it is there: glibc ends a child that opens a library after a fork in which a thread of its
     * parent was mapping one. */
    void *library = OS_CALL(dlopen)(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return ENOSYS;
    *out = library;
    return 0;
}

/* Functions and data are of one size wherever there is a dlsym. */
bool st__os_library_find(void *library, const char *name, void *out)
{
    void *symbol = OS_CALL(dlsym)(library, name);
    memcpy(out, &symbol, sizeof symbol);
    return symbol != NULL;
}

void st__os_library_close(void *library)
{
    (void)dlclose(library);
}
