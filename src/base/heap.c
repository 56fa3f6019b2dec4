/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

void st__heap_push(st__heap_item *items, size_t count, st__heap_item added)
{
    size_t at = count;
    for (size_t above; at && items[above = (at - 1) / 2].place > added.place; at = above)
        items[at] = items[above];
    items[at] = added;
}

st__heap_item st__heap_pop(st__heap_item *items, size_t count)
{
    st__heap_item lowest = items[0], last = items[--count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && items[child + 1].place < items[child].place)
            child++;
        if (last.place <= items[child].place)
            break;
        items[at] = items[child];
    }
    items[at] = last;
    return lowest;
}
