/* SPDX-License-Identifier: Apache-2.0 */
#include "view_model.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "tree.h"

/* ------------------------------------------------------------------------------ making nodes */

static int entry_compare(const void *a_at, const void *b_at)
{
    const struct view_entry *a = a_at, *b = b_at;
    uintptr_t x = (uintptr_t)a->tensor, y = (uintptr_t)b->tensor;
    return (x > y) - (x < y);
}

/* What the tree is turned into nodes with. */
struct view_maker {
    struct view_model *model;
    const struct tree *tree;
    struct view_entry *files; /* ordered by address */
    size_t count;
};

static uint32_t file_of(const struct view_maker *maker, const st_tensor *tensor)
{
    struct view_entry key = {tensor, 0};
    const struct view_entry *found =
        bsearch(&key, maker->files, maker->count, sizeof key, entry_compare);
    return found ? found->file : 0;
}

/* Lets a group lie where the first of what is below it does; a tensor lies where it does itself. */
static void begin_lower(struct view_node *group, const struct view_node *below)
{
    if (group->tensor)
        return;
    if (below->file < group->file || (below->file == group->file && below->begin < group->begin)) {
        group->file = below->file;
        group->begin = below->begin;
    }
}

/* Makes the nodes of siblings and of all below them; no deeper than the tree is. */
static void nodes_make(struct view_maker *maker, uint32_t first, uint32_t parent, uint32_t depth)
{
    struct view_model *model = maker->model;
    for (uint32_t at = first; at != TREE_END; at = maker->tree->nodes[at].next) {
        const struct tree_node *from = &maker->tree->nodes[at];
        uint32_t index = model->count++;
        struct view_node *node = &model->nodes[index];
        *node = (struct view_node){.tensor = from->tensor,
                                   .label = from->label,
                                   .label_len = from->label_len,
                                   .file = UINT32_MAX,
                                   .parent = parent,
                                   .depth = depth,
                                   .all = from->bytes,
                                   .begin = UINT64_MAX};
        if (from->tensor) {
            node->file = file_of(maker, from->tensor);
            node->begin = from->tensor->begin;
            model->tensors++;
        }
        nodes_make(maker, from->child, index, depth + 1);
        node->span = model->count - index;
        if (parent != VIEW_NONE)
            begin_lower(&model->nodes[parent], node);
    }
}

/* --------------------------------------------------------------------------------- ordering */

/* What is ordered: by two numbers, and by name where they are the same. */
struct view_item {
    uint64_t first;
    uint64_t second;
    uint32_t node;
};

static int item_compare(const void *a_at, const void *b_at)
{
    const struct view_item *a = a_at, *b = b_at;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    if (a->second != b->second)
        return a->second < b->second ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

/* `size` is what the node counts for: with what is below it, or without. */
static struct view_item item_of(const struct view_model *model, uint32_t index, uint64_t size)
{
    const struct view_node *node = &model->nodes[index];
    struct view_item item = {0, 0, index};
    if (model->by == VIEW_BY_SIZE)
        item.first = UINT64_MAX - size; /* the largest first */
    if (model->by == VIEW_BY_OFFSET) {
        item.first = node->file;
        item.second = node->begin;
    }
    return item;
}

/* The items of the levels at hand, one behind the other. */
struct view_items {
    struct view_item *at;
    size_t count;
    size_t room;
};

static void item_add(struct view_items *items, struct view_item item)
{
    items->at = memory_grow(items->at, &items->room, items->count + 1, sizeof *items->at);
    items->at[items->count++] = item;
}

/* Orders the siblings from `first` to before `end`, and what is below each. */
static void level_order(struct view_model *model, struct view_items *items, uint32_t first,
                        uint32_t end, uint32_t *place)
{
    size_t start = items->count;
    for (uint32_t i = first; i < end; i += model->nodes[i].span)
        item_add(items, item_of(model, i, model->nodes[i].all));
    size_t stop = items->count;
    if (stop - start > 1)
        qsort(items->at + start, stop - start, sizeof *items->at, item_compare);
    for (size_t i = start; i < stop; i++) {
        uint32_t index = items->at[i].node;
        model->places[index] = *place;
        model->order[(*place)++] = index;
        level_order(model, items, index + 1, index + model->nodes[index].span, place);
    }
    items->count = start;
}

static void list_order(struct view_model *model, struct view_items *items)
{
    for (uint32_t i = 0; i < model->count; i++)
        if (model->nodes[i].tensor)
            item_add(items, item_of(model, i, st_tensor_size(model->nodes[i].tensor)));
    if (items->count > 1)
        qsort(items->at, items->count, sizeof *items->at, item_compare);
    for (size_t i = 0; i < items->count; i++)
        model->list[i] = items->at[i].node;
}

static void nodes_order(struct view_model *model)
{
    struct view_items items = {0};
    uint32_t place = 0;
    level_order(model, &items, 0, model->count, &place);
    list_order(model, &items);
    free(items.at);
}

/* ------------------------------------------------------------------------------------- rows */

static bool is_filtered(const struct view_model *model)
{
    return model->filter.count > 0;
}

bool view_model_is_open(const struct view_model *model, const struct view_node *node)
{
    size_t index = (size_t)(node - model->nodes);
    return node->span > 1 && (is_filtered(model) ? !model->shut[index] : model->open[index]);
}

/* Finds the row that a place in the order is in; the number of rows, if it is in none. */
static uint32_t row_find(const struct view_model *model, uint32_t index)
{
    if (model->flat) {
        uint32_t row = 0;
        while (row < model->row_count && model->rows[row] != index)
            row++;
        return row;
    }
    uint32_t low = 0, high = model->row_count, place = model->places[index];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (model->places[model->rows[middle]] < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low < model->row_count && model->rows[low] == index ? low : model->row_count;
}

/* Puts the cursor on a node, or on the group above it that is to be seen. */
static void cursor_put(struct view_model *model, uint32_t index)
{
    for (; index != VIEW_NONE; index = model->nodes[index].parent) {
        uint32_t row = row_find(model, index);
        if (row < model->row_count) {
            model->cursor = row;
            return;
        }
    }
    model->cursor = 0;
}

static void tree_rows(struct view_model *model)
{
    for (uint32_t place = 0; place < model->count;) {
        uint32_t index = model->order[place];
        const struct view_node *node = &model->nodes[index];
        if (node->tensors)
            model->rows[model->row_count++] = index;
        place += node->tensors && view_model_is_open(model, node) ? 1 : node->span;
    }
}

static void list_rows(struct view_model *model)
{
    for (uint32_t i = 0; i < model->tensors; i++)
        if (model->passes[model->list[i]])
            model->rows[model->row_count++] = model->list[i];
}

static uint32_t index_here(const struct view_model *model)
{
    return model->row_count ? model->rows[model->cursor] : VIEW_NONE;
}

/* Finds the rows anew; the cursor goes to this node. */
static void rows_make(struct view_model *model, uint32_t index)
{
    model->row_count = 0;
    if (model->flat)
        list_rows(model);
    else
        tree_rows(model);
    cursor_put(model, index);
}

const struct view_node *view_model_at(const struct view_model *model, uint32_t row)
{
    return row < model->row_count ? &model->nodes[model->rows[row]] : NULL;
}

const struct view_node *view_model_here(const struct view_model *model)
{
    return view_model_at(model, model->cursor);
}

/* --------------------------------------------------------------------------------- opening */

/* Opens all groups that a node lies in. */
static void node_show(struct view_model *model, uint32_t index)
{
    bool filtered = is_filtered(model);
    for (index = model->nodes[index].parent; index != VIEW_NONE;
         index = model->nodes[index].parent) {
        if (filtered)
            model->shut[index] = false;
        else
            model->open[index] = true;
    }
}

void view_model_open_rows(struct view_model *model, uint32_t rows)
{
    uint32_t seen = 0, level = 0;
    /* One group alone at the top is nothing to look at. */
    bool single = model->count > 1 && model->nodes[0].span == model->count;
    for (uint32_t more = 1; more; level++) {
        more = 0;
        for (uint32_t i = 0; i < model->count; i++)
            more += model->nodes[i].depth == level;
        seen += more;
        if (seen > rows && !(single && level <= 1))
            break;
    }
    for (uint32_t i = 0; i < model->count; i++)
        model->open[i] = model->nodes[i].depth + 1 < level;
    rows_make(model, index_here(model));
}

bool view_model_open(struct view_model *model, bool open)
{
    const struct view_node *node = view_model_here(model);
    if (!node || model->flat || node->span == 1 || view_model_is_open(model, node) == open)
        return false;
    uint32_t index = index_here(model);
    if (is_filtered(model))
        model->shut[index] = !open;
    else
        model->open[index] = open;
    rows_make(model, index);
    return true;
}

void view_model_open_all(struct view_model *model, bool open)
{
    if (is_filtered(model))
        memset(model->shut, !open, model->count * sizeof *model->shut);
    else
        memset(model->open, open, model->count * sizeof *model->open);
    rows_make(model, index_here(model));
}

bool view_model_leave(struct view_model *model)
{
    const struct view_node *node = view_model_here(model);
    if (!node || model->flat || node->parent == VIEW_NONE)
        return false;
    cursor_put(model, node->parent);
    return true;
}

/* -------------------------------------------------------------------------------- filtering */

/* Tests tensors, those that a wider filter has let pass if there was one. */
static void passes_find(struct view_model *model, bool narrow)
{
    for (uint32_t i = 0; i < model->count; i++) {
        const st_tensor *tensor = model->nodes[i].tensor;
        if (narrow && !model->passes[i])
            continue;
        model->passes[i] =
            tensor && view_words_match(&model->filter, tensor->name, tensor->name_len);
    }
}

/* Adds up what passes. A group stands before all that is below it. */
static void totals_add(struct view_model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        struct view_node *node = &model->nodes[i];
        node->tensors = model->passes[i];
        node->bytes = model->passes[i] ? st_tensor_size(node->tensor) : 0;
    }
    for (uint32_t i = model->count; i-- > 0;) {
        const struct view_node *node = &model->nodes[i];
        if (node->parent == VIEW_NONE)
            continue;
        model->nodes[node->parent].tensors += node->tensors;
        model->nodes[node->parent].bytes += node->bytes;
    }
}

/* Gives the first tensor in rows; without one, VIEW_NONE. */
static uint32_t first_tensor(const struct view_model *model)
{
    for (uint32_t row = 0; row < model->row_count; row++)
        if (model->passes[model->rows[row]])
            return model->rows[row];
    return VIEW_NONE;
}

void view_model_filter(struct view_model *model, const char *text, size_t len)
{
    struct view_words before = model->filter;
    uint32_t here = index_here(model);
    view_words_init(&model->filter, text, len);
    bool narrow = view_words_narrow(&before, &model->filter);
    if (!narrow || before.count == 0)
        memset(model->shut, 0, model->count * sizeof *model->shut);
    if (is_filtered(model))
        model->search = model->filter;
    passes_find(model, narrow);
    totals_add(model);
    if (here != VIEW_NONE && model->nodes[here].tensors == 0)
        here = VIEW_NONE;
    if (here != VIEW_NONE && !is_filtered(model) && before.count)
        node_show(model, here);
    rows_make(model, here);
    if (here == VIEW_NONE)
        cursor_put(model, first_tensor(model));
}

/* ---------------------------------------------------------------------------------- finding */

/* Gives the node that stands `number` behind the one at place or item `from`, around the end. */
static uint32_t node_after(const struct view_model *model, uint32_t from, uint32_t number)
{
    uint32_t count = model->flat ? model->tensors : model->count;
    uint32_t at = from < count - number ? from + number : from - (count - number);
    return model->flat ? model->list[at] : model->order[at];
}

/* Gives where the cursor stands in the list, or in the order of all. */
static uint32_t place_here(const struct view_model *model, uint32_t index)
{
    uint32_t at = 0;
    if (!model->flat)
        return model->places[index];
    while (model->list[at] != index)
        at++;
    return at;
}

static bool tensor_find(struct view_model *model, const struct view_words *words, bool forward)
{
    uint32_t here = index_here(model), count = model->flat ? model->tensors : model->count;
    if (here == VIEW_NONE)
        return false;
    uint32_t from = place_here(model, here);
    for (uint32_t step = 1; step <= count; step++) {
        uint32_t index = node_after(model, from, forward ? step : count - step);
        const st_tensor *tensor = model->nodes[index].tensor;
        if (!model->passes[index] || !view_words_match(words, tensor->name, tensor->name_len))
            continue;
        node_show(model, index);
        rows_make(model, index);
        return true;
    }
    return false;
}

bool view_model_find(struct view_model *model, bool forward)
{
    return model->search.count && tensor_find(model, &model->search, forward);
}

bool view_model_step(struct view_model *model, bool forward)
{
    struct view_words any = {.count = 0};
    return tensor_find(model, &any, forward);
}

void view_model_sort(struct view_model *model, enum view_order by)
{
    uint32_t here = index_here(model);
    model->by = by;
    nodes_order(model);
    rows_make(model, here);
}

void view_model_flatten(struct view_model *model, bool flat)
{
    uint32_t here = index_here(model);
    if (flat && here != VIEW_NONE)
        while (!model->passes[here]) /* of a group the first tensor */
            here = model->order[model->places[here] + 1];
    model->flat = flat;
    if (!flat && here != VIEW_NONE)
        node_show(model, here);
    rows_make(model, here);
}

/* ------------------------------------------------------------------------------- the object */

void view_model_init(struct view_model *model, const struct view_entry *entries, size_t count)
{
    struct tree tree;
    *model = (struct view_model){0};
    struct view_maker maker = {.model = model, .tree = &tree, .count = count};
    const st_tensor **tensors = memory_new(count, sizeof *tensors);
    maker.files = memory_new(count, sizeof *maker.files);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = entries[i].tensor;
        maker.files[i] = entries[i];
    }
    if (count > 1)
        qsort(maker.files, count, sizeof *maker.files, entry_compare);
    tree_init_apart(&tree, tensors, count);
    model->nodes = memory_new(tree.count, sizeof *model->nodes);
    nodes_make(&maker, tree.first, VIEW_NONE, 0);
    tree_release(&tree);
    free(maker.files);
    free(tensors);

    model->order = memory_new(model->count, sizeof *model->order);
    model->places = memory_new(model->count, sizeof *model->places);
    model->list = memory_new(model->tensors, sizeof *model->list);
    model->open = memory_new(model->count, sizeof *model->open);
    model->shut = memory_new(model->count, sizeof *model->shut);
    model->passes = memory_new(model->count, sizeof *model->passes);
    model->rows = memory_new(model->count, sizeof *model->rows);
    nodes_order(model);
    passes_find(model, false);
    totals_add(model);
    rows_make(model, VIEW_NONE);
}

void view_model_release(struct view_model *model)
{
    free(model->nodes);
    free(model->order);
    free(model->places);
    free(model->list);
    free(model->open);
    free(model->shut);
    free(model->passes);
    free(model->rows);
}
