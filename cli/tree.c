/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static size_t segment_len(const char *name, size_t len)
{
    const char *dot = memchr(name, '.', len);
    return dot ? (size_t)(dot - name) : len;
}

static size_t digits_count(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= '0' && text[n] <= '9')
        n++;
    return n;
}

static int order_of(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* Orders numbers by value, and those of the same value by their leading zeros. */
static int digits_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t a_zeros = 0, b_zeros = 0;
    while (a_zeros + 1 < a_len && a[a_zeros] == '0')
        a_zeros++;
    while (b_zeros + 1 < b_len && b[b_zeros] == '0')
        b_zeros++;
    int order = order_of(a_len - a_zeros, b_len - b_zeros);
    if (order == 0)
        order = memcmp(a + a_zeros, b + b_zeros, a_len - a_zeros);
    return order ? order : order_of(a_zeros, b_zeros);
}

/* Orders text by bytes, but for the numbers in it, as in "layers_10" and "h2". */
static int words_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t i = 0, j = 0;
    while (i < a_len && j < b_len) {
        size_t x = digits_count(a + i, a_len - i), y = digits_count(b + j, b_len - j);
        int order = x && y ? digits_compare(a + i, x, b + j, y) : memcmp(a + i, b + j, 1);
        if (order)
            return order;
        i += x && y ? x : 1;
        j += x && y ? y : 1;
    }
    return order_of(a_len - i, b_len - j);
}

/* Orders segments: numbers first, then the rest. Equal only when the same. */
static int segment_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    bool a_number = a_len > 0 && digits_count(a, a_len) == a_len;
    bool b_number = b_len > 0 && digits_count(b, b_len) == b_len;
    if (a_number != b_number)
        return a_number ? -1 : 1;
    return a_number ? digits_compare(a, a_len, b, b_len) : words_compare(a, a_len, b, b_len);
}

/* Orders names by the first segments that differ. */
static int tensor_compare(const void *a_at, const void *b_at)
{
    const st_tensor *a = *(const st_tensor *const *)a_at, *b = *(const st_tensor *const *)b_at;
    size_t shorter = a->name_len < b->name_len ? a->name_len : b->name_len, i = 0;
    while (i < shorter && a->name[i] == b->name[i])
        i++;
    while (i > 0 && a->name[i - 1] != '.')
        i--;
    int order = segment_compare(a->name + i, segment_len(a->name + i, a->name_len - i), b->name + i,
                                segment_len(b->name + i, b->name_len - i));
    return order ? order : order_of(a->name_len, b->name_len);
}

size_t tree_number(const char *label, size_t len, uint64_t *out)
{
    size_t digits = segment_len(label, len);
    if (digits == 0 || digits_count(label, digits) != digits ||
        !st_json_parse_u64(label, digits, out))
        return 0;
    return digits;
}

/* ----------------------------------------------------------------------- collapsing */

static bool tensors_alike(const st_tensor *a, const st_tensor *b)
{
    if (!a || !b)
        return a == b;
    return a->dtype == b->dtype && a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

static bool children_alike(const struct tree *tree, uint32_t a, uint32_t b)
{
    for (; a != TREE_END && b != TREE_END; a = tree->nodes[a].next, b = tree->nodes[b].next) {
        const struct tree_node *x = &tree->nodes[a], *y = &tree->nodes[b];
        if (x->repeat != y->repeat || x->label_len != y->label_len || x->tensors != y->tensors ||
            memcmp(x->label, y->label, x->label_len) != 0 || !tensors_alike(x->tensor, y->tensor) ||
            !children_alike(tree, x->child, y->child))
            return false;
    }
    return a == b;
}

/* Tells whether `b` follows `a`, which may stand for several, and holds the same. */
static bool node_continues(const struct tree *tree, uint32_t a, uint32_t b)
{
    const struct tree_node *x = &tree->nodes[a], *y = &tree->nodes[b];
    uint64_t x_number = 0, y_number = 0;
    size_t x_digits = tree_number(x->label, x->label_len, &x_number);
    size_t y_digits = tree_number(y->label, y->label_len, &y_number);
    if (x_digits == 0 || y_digits == 0 || x_number > UINT64_MAX - x->repeat ||
        y_number != x_number + x->repeat)
        return false;
    return x->label_len - x_digits == y->label_len - y_digits &&
           memcmp(x->label + x_digits, y->label + y_digits, x->label_len - x_digits) == 0 &&
           tensors_alike(x->tensor, y->tensor) && children_alike(tree, x->child, y->child);
}

/* Joins alike siblings. Each is compared with the first of its run only, and a comparison costs no
 * more than the smaller of the two: over all levels the tensors times the depth. */
static void siblings_collapse(struct tree *tree, uint32_t first)
{
    for (uint32_t at = first; at != TREE_END; at = tree->nodes[at].next) {
        struct tree_node *node = &tree->nodes[at];
        while (node->next != TREE_END && node_continues(tree, at, node->next)) {
            const struct tree_node *gone = &tree->nodes[node->next];
            node->repeat++;
            node->tensors += gone->tensors;
            node->bytes += gone->bytes;
            node->next = gone->next;
        }
        if (node->repeat > 1)
            tree_number(node->label, node->label_len, &node->number);
    }
}

/* -------------------------------------------------------------------------- building */

static uint32_t node_add(struct tree *tree, const char *label, size_t len)
{
    tree->nodes = memory_grow(tree->nodes, &tree->room, tree->count + 1, sizeof *tree->nodes);
    tree->nodes[tree->count] = (struct tree_node){.label = label,
                                                  .label_len = (uint32_t)len,
                                                  .next = TREE_END,
                                                  .child = TREE_END,
                                                  .repeat = 1};
    return (uint32_t)tree->count++;
}

/* Gives where the run of tensors ends that share the segment of the first at `at`. */
static size_t run_end(const st_tensor **tensors, size_t count, size_t at)
{
    const char *segment = tensors[0]->name + at;
    size_t len = segment_len(segment, tensors[0]->name_len - at), n = 1;
    for (; n < count; n++) {
        size_t other_len = segment_len(tensors[n]->name + at, tensors[n]->name_len - at);
        if (other_len != len || memcmp(tensors[n]->name + at, segment, len) != 0)
            break;
    }
    return n;
}

/* Gives the end of the last segment that all of a run share. Being sorted, all share what the first
 * and the last do; and a name that ends there is the first. */
static size_t shared_end(const st_tensor *first, const st_tensor *last, size_t at)
{
    size_t end = at + segment_len(first->name + at, first->name_len - at);
    while (end < first->name_len) {
        size_t len = segment_len(first->name + end + 1, first->name_len - end - 1);
        if (last->name_len - end <= len || last->name[end] != '.' ||
            memcmp(first->name + end, last->name + end, len + 1) != 0 ||
            (last->name_len > end + 1 + len && last->name[end + 1 + len] != '.'))
            break;
        end += 1 + len;
    }
    return end;
}

static uint32_t level_build(struct tree *tree, const st_tensor **tensors, size_t count, size_t at,
                            size_t depth);

/* Builds the node of tensors that share their segment at `at`. */
static uint32_t node_build(struct tree *tree, const st_tensor **tensors, size_t count, size_t at,
                           size_t depth)
{
    const st_tensor *first = tensors[0];
    size_t end = count == 1 ? first->name_len : shared_end(first, tensors[count - 1], at);
    uint32_t index = node_add(tree, first->name + at, end - at);
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += st_tensor_size(tensors[i]);
    tree->nodes[index].tensors = count;
    tree->nodes[index].bytes = bytes;
    if (first->name_len == end) {
        tree->nodes[index].tensor = first;
        tensors++;
        count--;
    }
    if (count > 0) {
        uint32_t child = level_build(tree, tensors, count, end + 1, depth + 1);
        tree->nodes[index].child = child;
    }
    return index;
}

/* Builds the siblings that `count` tensors make whose names agree up to `at`. */
static uint32_t level_build(struct tree *tree, const st_tensor **tensors, size_t count, size_t at,
                            size_t depth)
{
    uint32_t first = TREE_END, last = TREE_END;
    for (size_t i = 0, n; i < count; i += n) {
        n = depth < TREE_DEPTH ? run_end(tensors + i, count - i, at) : 1;
        uint32_t index = node_build(tree, tensors + i, n, at, depth);
        if (last == TREE_END)
            first = index;
        else
            tree->nodes[last].next = index;
        last = index;
    }
    if (!tree->apart)
        siblings_collapse(tree, first);
    return first;
}

static void tree_build(struct tree *tree, const st_tensor **tensors, size_t count)
{
    if (count > 1)
        qsort(tensors, count, sizeof *tensors, tensor_compare);
    tree->first = level_build(tree, tensors, count, 0, 0);
}

void tree_init(struct tree *tree, const st_tensor **tensors, size_t count)
{
    *tree = (struct tree){.first = TREE_END};
    tree_build(tree, tensors, count);
}

void tree_init_apart(struct tree *tree, const st_tensor **tensors, size_t count)
{
    *tree = (struct tree){.first = TREE_END, .apart = true};
    tree_build(tree, tensors, count);
}

void tree_release(struct tree *tree)
{
    free(tree->nodes);
}
