/* SPDX-License-Identifier: Apache-2.0 */
/* A treap: a search tree by position that is a heap by random priorities, and so of logarithmic depth in
 * whatever order ranges come. No function recurses. */
#include "base/ranges.h"
#include "base/alloc.h"

typedef struct st__range_node {
    uint64_t begin, end;
    struct st__range_node *left, *right;
    uint32_t priority; /* none below has a higher one */
} st__range_node;

void st__ranges_init(st__ranges *ranges, st_context *context)
{
    *ranges = (st__ranges){.limit = UINT64_MAX, .seed = 2463534242u, .context = context};
}

void st__ranges_release(st__ranges *ranges)
{
    st__range_node *node = ranges->root;
    while (node) {
        st__range_node *next = node->left;
        if (next) { /* rotated to the right, until nothing is left of it */
            node->left = next->right;
            next->right = node;
        } else {
            next = node->right;
            st__free(ranges->context, node, sizeof *node);
        }
        node = next;
    }
    st__ranges_init(ranges, ranges->context);
}

/* The last range that begins at or before `at`, and the first that begins behind it; NULL: there is none. */
static void range_around(const st__ranges *ranges, uint64_t at, st__range_node **before,
                         st__range_node **behind)
{
    *before = *behind = NULL;
    for (st__range_node *node = ranges->root; node;) {
        if (node->begin <= at) {
            *before = node;
            node = node->right;
        } else {
            *behind = node;
            node = node->left;
        }
    }
}

/* Marsaglia's xorshift. */
static uint32_t priority_next(st__ranges *ranges)
{
    uint32_t x = ranges->seed;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return ranges->seed = x;
}

/* Puts a node in place of the first one of lower priority, whose tree becomes its two. */
static void node_insert(st__ranges *ranges, st__range_node *node)
{
    st__range_node **link = &ranges->root;
    while (*link && (*link)->priority >= node->priority)
        link = (*link)->begin < node->begin ? &(*link)->right : &(*link)->left;
    st__range_node *rest = *link, **left = &node->left, **right = &node->right;
    *link = node;
    while (rest) {
        if (rest->begin < node->begin) {
            *left = rest;
            left = &rest->right;
            rest = *left;
        } else {
            *right = rest;
            right = &rest->left;
            rest = *right;
        }
    }
    *left = *right = NULL;
    ranges->count++;
}

/* Takes a node out, its two trees woven into one in its place. */
static void node_remove(st__ranges *ranges, st__range_node *node)
{
    st__range_node **link = &ranges->root;
    while (*link != node)
        link = (*link)->begin < node->begin ? &(*link)->right : &(*link)->left;
    st__range_node *left = node->left, *right = node->right;
    while (left && right) {
        if (left->priority >= right->priority) {
            *link = left;
            link = &left->right;
            left = *link;
        } else {
            *link = right;
            link = &right->left;
            right = *link;
        }
    }
    *link = left ? left : right;
    st__free(ranges->context, node, sizeof *node);
    ranges->count--;
}

/* Adds what overlaps nothing, between its two neighbours: joins it to them, or makes a range of its own. */
static bool range_place(st__ranges *ranges, uint64_t begin, uint64_t end, st__range_node *before,
                        st__range_node *behind)
{
    bool joins_before = before && before->end == begin;
    bool joins_behind = behind && behind->begin == end;
    st__range_node *node = joins_before ? before : joins_behind ? behind : NULL;
    if (!node) {
        node = st__alloc(ranges->context, sizeof *node);
        if (!node)
            return false;
        *node = (st__range_node){.begin = begin, .end = end, .priority = priority_next(ranges)};
        node_insert(ranges, node);
    } else if (!joins_before) {
        node->begin = begin;
    } else if (!joins_behind) {
        node->end = end;
    } else {
        node->end = behind->end;
        node_remove(ranges, behind);
    }
    if (joins_behind)
        range_around(ranges, node->begin, &before, &behind);
    ranges->last = node;
    ranges->limit = behind ? behind->begin : UINT64_MAX;
    return true;
}

st_status st__ranges_add(st__ranges *ranges, uint64_t begin, uint64_t end, uint64_t *at)
{
    st__range_node *last = ranges->last, *before, *behind;
    if (begin == end)
        return ST_OK;
    if (last && last->end == begin && end < ranges->limit) {
        last->end = end;
        ranges->size += end - begin;
        return ST_OK;
    }
    range_around(ranges, begin, &before, &behind);
    if (before && before->end > begin) {
        *at = begin;
        return ST_ERR_WRITTEN_TWICE;
    }
    if (behind && behind->begin < end) {
        *at = behind->begin;
        return ST_ERR_WRITTEN_TWICE;
    }
    if (!range_place(ranges, begin, end, before, behind))
        return ST_ERR_NOMEM;
    ranges->size += end - begin;
    return ST_OK;
}

bool st__ranges_gap(const st__ranges *ranges, uint64_t from, uint64_t to, uint64_t *begin,
                    uint64_t *end)
{
    st__range_node *before, *behind;
    range_around(ranges, from, &before, &behind);
    uint64_t first = before && before->end > from ? before->end : from;
    if (first >= to)
        return false;
    *begin = first;
    *end = behind && behind->begin < to ? behind->begin : to;
    return true;
}
