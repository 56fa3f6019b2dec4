/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of the public structs where long and pointers have 64 bits: what a program compiled
 * against an older header relies on. A row changes only with the soname. */
#include "support/check.h"

#include <assert.h>
#include <safetensors/edit.h>
#include <safetensors/checkpoint.h>
#include <safetensors/inspect.h>
#include <safetensors/json.h>
#include <safetensors/load.h>

#define SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#define FIELD(type, member, offset_) \
 static_assert(offsetof(type, member) == (offset_), #type "." #member)

#if UINTPTR_MAX == UINT64_MAX

SIZE(st_error, 512);
FIELD(st_error, status, 0);
FIELD(st_error, sys_errno, 4);
FIELD(st_error, offset, 8);
FIELD(st_error, message, 16);

SIZE(st_allocator, 32);
FIELD(st_allocator, alloc, 0);
FIELD(st_allocator, realloc, 8);
FIELD(st_allocator, free, 16);
FIELD(st_allocator, ctx, 24);

SIZE(st_context_options, 88);
FIELD(st_context_options, allocator, 0);
FIELD(st_context_options, max_threads, 8);
FIELD(st_context_options, max_descriptors, 12);
FIELD(st_context_options, max_memory, 16);
FIELD(st_context_options, max_header_memory, 24);
FIELD(st_context_options, reserved, 32);

SIZE(st_memory, 32);
FIELD(st_memory, data, 0);
FIELD(st_memory, size, 8);
FIELD(st_memory, release, 16);
FIELD(st_memory, ctx, 24);

SIZE(st_value, 24);
FIELD(st_value, kind, 0);
FIELD(st_value, reserved, 4);
FIELD(st_value, as, 8);

SIZE(st_cast_report, 32);
FIELD(st_cast_report, overflowed, 0);
FIELD(st_cast_report, underflowed, 8);
FIELD(st_cast_report, reserved, 16);

SIZE(st_tensor, 48);
FIELD(st_tensor, name, 0);
FIELD(st_tensor, name_len, 8);
FIELD(st_tensor, reserved, 12);
FIELD(st_tensor, shape, 16);
FIELD(st_tensor, ndim, 24);
FIELD(st_tensor, dtype, 28);
FIELD(st_tensor, begin, 32);
FIELD(st_tensor, end, 40);

SIZE(st_open_options, 96);
FIELD(st_open_options, flags, 0);
FIELD(st_open_options, io, 4);
FIELD(st_open_options, max_header_size, 8);
FIELD(st_open_options, context, 16);
FIELD(st_open_options, name, 24);
FIELD(st_open_options, reserved, 32);

SIZE(st_metadata, 24);
FIELD(st_metadata, key, 0);
FIELD(st_metadata, key_len, 8);
FIELD(st_metadata, value_len, 12);
FIELD(st_metadata, value, 16);

SIZE(st_index, 32);
FIELD(st_index, kind, 0);
FIELD(st_index, has, 4);
FIELD(st_index, start, 8);
FIELD(st_index, stop, 16);
FIELD(st_index, step, 24);

SIZE(st_slice, 24);
FIELD(st_slice, start, 0);
FIELD(st_slice, count, 8);
FIELD(st_slice, step, 16);

SIZE(st_slices, 16);
FIELD(st_slices, at, 0);
FIELD(st_slices, count, 8);
FIELD(st_slices, reserved, 12);

SIZE(st_region, 80);
FIELD(st_region, dims, 0);
FIELD(st_region, shape, 8);
FIELD(st_region, ndim, 16);
FIELD(st_region, out_ndim, 20);
FIELD(st_region, count, 24);
FIELD(st_region, size, 32);
FIELD(st_region, memory, 40);
FIELD(st_region, memory_size, 48);
FIELD(st_region, context, 56);
FIELD(st_region, reserved, 64);

SIZE(st_source_info, 96);
FIELD(st_source_info, size, 0);
FIELD(st_source_info, device, 8);
FIELD(st_source_info, inode, 16);
FIELD(st_source_info, mtime_ns, 24);
FIELD(st_source_info, ctime_ns, 32);
FIELD(st_source_info, etag, 40);
FIELD(st_source_info, alignment, 48);
FIELD(st_source_info, latency, 52);
FIELD(st_source_info, parallelism, 56);
FIELD(st_source_info, reserved0, 60);
FIELD(st_source_info, reserved, 64);

SIZE(st_segment, 16);
FIELD(st_segment, data, 0);
FIELD(st_segment, size, 8);

SIZE(st_source_vtable, 56);
FIELD(st_source_vtable, size, 0);
FIELD(st_source_vtable, info, 8);
FIELD(st_source_vtable, read, 16);
FIELD(st_source_vtable, map, 24);
FIELD(st_source_vtable, prefetch, 32);
FIELD(st_source_vtable, native, 40);
FIELD(st_source_vtable, free, 48);

SIZE(st_json_token, 32);
FIELD(st_json_token, kind, 0);
FIELD(st_json_token, depth, 4);
FIELD(st_json_token, text, 8);
FIELD(st_json_token, len, 16);
FIELD(st_json_token, offset, 24);

SIZE(st_rule, 24);
FIELD(st_rule, id, 0);
FIELD(st_rule, severity, 8);
FIELD(st_rule, status, 12);
FIELD(st_rule, text, 16);

SIZE(st_finding, 80);
FIELD(st_finding, rule, 0);
FIELD(st_finding, severity, 8);
FIELD(st_finding, status, 12);
FIELD(st_finding, offset, 16);
FIELD(st_finding, name, 24);
FIELD(st_finding, name_len, 32);
FIELD(st_finding, message, 40);
FIELD(st_finding, reserved, 48);

SIZE(st_check_summary, 128);
FIELD(st_check_summary, errors, 0);
FIELD(st_check_summary, warnings, 8);
FIELD(st_check_summary, notes, 16);
FIELD(st_check_summary, tensors, 24);
FIELD(st_check_summary, metadata, 32);
FIELD(st_check_summary, file_size, 40);
FIELD(st_check_summary, header_size, 48);
FIELD(st_check_summary, data_size, 56);
FIELD(st_check_summary, reserved, 64);

SIZE(st_hash_record, 80);
FIELD(st_hash_record, entry, 0);
FIELD(st_hash_record, memory, 24);
FIELD(st_hash_record, memory_size, 32);
FIELD(st_hash_record, context, 40);
FIELD(st_hash_record, reserved, 48);

SIZE(st_salvage_item, 104);
FIELD(st_salvage_item, kind, 0);
FIELD(st_salvage_item, severity, 4);
FIELD(st_salvage_item, rule, 8);
FIELD(st_salvage_item, name, 16);
FIELD(st_salvage_item, name_len, 24);
FIELD(st_salvage_item, new_name, 32);
FIELD(st_salvage_item, new_name_len, 40);
FIELD(st_salvage_item, offset, 48);
FIELD(st_salvage_item, size, 56);
FIELD(st_salvage_item, message, 64);
FIELD(st_salvage_item, reserved, 72);

SIZE(st_salvage_options, 96);
FIELD(st_salvage_options, item, 0);
FIELD(st_salvage_options, ctx, 8);
FIELD(st_salvage_options, progress, 16);
FIELD(st_salvage_options, reserved, 32);

SIZE(st_salvage_summary, 120);
FIELD(st_salvage_summary, saved, 0);
FIELD(st_salvage_summary, changed, 8);
FIELD(st_salvage_summary, lost, 16);
FIELD(st_salvage_summary, errors, 24);
FIELD(st_salvage_summary, bytes, 32);
FIELD(st_salvage_summary, metadata, 40);
FIELD(st_salvage_summary, size, 48);
FIELD(st_salvage_summary, reserved, 56);

SIZE(st_match, 16);
FIELD(st_match, begin, 0);
FIELD(st_match, end, 8);

SIZE(st_found, 88);
FIELD(st_found, tensor, 0);
FIELD(st_found, metadata, 8);
FIELD(st_found, parts, 16);
FIELD(st_found, reserved0, 20);
FIELD(st_found, name, 24);
FIELD(st_found, value, 40);
FIELD(st_found, reserved, 56);

SIZE(st_search_options, 112);
FIELD(st_search_options, found, 0);
FIELD(st_search_options, ctx, 8);
FIELD(st_search_options, max, 16);
FIELD(st_search_options, parts, 24);
FIELD(st_search_options, reserved0, 28);
FIELD(st_search_options, progress, 32);
FIELD(st_search_options, reserved, 48);

SIZE(st_progress, 16);
FIELD(st_progress, fn, 0);
FIELD(st_progress, ctx, 8);

SIZE(st_sink_options, 88);
FIELD(st_sink_options, durability, 0);
FIELD(st_sink_options, flags, 4);
FIELD(st_sink_options, context, 8);
FIELD(st_sink_options, name, 16);
FIELD(st_sink_options, cache, 24);
FIELD(st_sink_options, reserved0, 28);
FIELD(st_sink_options, reserved, 32);

SIZE(st_explanation, 512);
FIELD(st_explanation, io, 0);
FIELD(st_explanation, threads, 4);
FIELD(st_explanation, depth, 8);
FIELD(st_explanation, latency, 12);
FIELD(st_explanation, unit, 16);
FIELD(st_explanation, bytes, 24);
FIELD(st_explanation, read, 32);
FIELD(st_explanation, resident, 40);
FIELD(st_explanation, memory, 48);
FIELD(st_explanation, text, 56);
FIELD(st_explanation, reserved, 456);

SIZE(st_load_item, 64);
FIELD(st_load_item, file, 0);
FIELD(st_load_item, tensor, 8);
FIELD(st_load_item, region, 16);
FIELD(st_load_item, dst, 24);
FIELD(st_load_item, size, 32);
FIELD(st_load_item, reserved, 40);

SIZE(st_load_options, 88);
FIELD(st_load_options, io, 0);
FIELD(st_load_options, flags, 4);
FIELD(st_load_options, context, 8);
FIELD(st_load_options, max_ahead, 16);
FIELD(st_load_options, reserved, 24);

SIZE(st_loaded, 80);
FIELD(st_loaded, item, 0);
FIELD(st_loaded, data, 8);
FIELD(st_loaded, size, 16);
FIELD(st_loaded, buffer, 24);
FIELD(st_loaded, done, 32);
FIELD(st_loaded, total, 40);
FIELD(st_loaded, reserved, 48);

SIZE(st_bytes, 16);
FIELD(st_bytes, data, 0);
FIELD(st_bytes, size, 8);

SIZE(st_sink_vtable, 48);
FIELD(st_sink_vtable, size, 0);
FIELD(st_sink_vtable, flags, 8);
FIELD(st_sink_vtable, reserved, 12);
FIELD(st_sink_vtable, begin, 16);
FIELD(st_sink_vtable, write, 24);
FIELD(st_sink_vtable, finish, 32);
FIELD(st_sink_vtable, free, 40);

SIZE(st_writer_options, 112);
FIELD(st_writer_options, order, 0);
FIELD(st_writer_options, alignment, 4);
FIELD(st_writer_options, reserve, 8);
FIELD(st_writer_options, max_header_size, 16);
FIELD(st_writer_options, context, 24);
FIELD(st_writer_options, progress, 32);
FIELD(st_writer_options, reserved, 48);

SIZE(st_edit_options, 112);
FIELD(st_edit_options, order, 0);
FIELD(st_edit_options, alignment, 4);
FIELD(st_edit_options, reserve, 8);
FIELD(st_edit_options, max_header_size, 16);
FIELD(st_edit_options, context, 24);
FIELD(st_edit_options, progress, 32);
FIELD(st_edit_options, reserved, 48);

SIZE(st_edit_summary, 176);
FIELD(st_edit_summary, size, 0);
FIELD(st_edit_summary, count, 8);
FIELD(st_edit_summary, renamed, 16);
FIELD(st_edit_summary, dropped, 24);
FIELD(st_edit_summary, cast, 32);
FIELD(st_edit_summary, replaced, 40);
FIELD(st_edit_summary, added, 48);
FIELD(st_edit_summary, moved, 56);
FIELD(st_edit_summary, written, 64);
FIELD(st_edit_summary, room, 72);
FIELD(st_edit_summary, header, 80);
FIELD(st_edit_summary, overflowed, 88);
FIELD(st_edit_summary, underflowed, 96);
FIELD(st_edit_summary, in_place, 104);
FIELD(st_edit_summary, reserved0, 105);
FIELD(st_edit_summary, reserved, 112);

SIZE(st_recovery, 72);
FIELD(st_recovery, action, 0);
FIELD(st_recovery, reserved0, 4);
FIELD(st_recovery, stretches, 8);
FIELD(st_recovery, size, 16);
FIELD(st_recovery, reserved, 24);

SIZE(st_copy, 24);
FIELD(st_copy, index, 0);
FIELD(st_copy, tensor, 8);
FIELD(st_copy, region, 16);

SIZE(st_array, 80);
FIELD(st_array, data, 0);
FIELD(st_array, shape, 8);
FIELD(st_array, strides, 16);
FIELD(st_array, ndim, 24);
FIELD(st_array, dtype, 28);
FIELD(st_array, buffer, 32);
FIELD(st_array, device, 40);
FIELD(st_array, reserved0, 44);
FIELD(st_array, reserved, 48);

SIZE(st_stats_options, 112);
FIELD(st_stats_options, quantiles, 0);
FIELD(st_stats_options, quantile_count, 8);
FIELD(st_stats_options, bin_count, 12);
FIELD(st_stats_options, low, 16);
FIELD(st_stats_options, high, 24);
FIELD(st_stats_options, progress, 32);
FIELD(st_stats_options, reserved, 48);

SIZE(st_stats, 240);
FIELD(st_stats, dtype, 0);
FIELD(st_stats, reserved0, 4);
FIELD(st_stats, count, 8);
FIELD(st_stats, finite, 16);
FIELD(st_stats, nan, 24);
FIELD(st_stats, positive_infinity, 32);
FIELD(st_stats, negative_infinity, 40);
FIELD(st_stats, zeros, 48);
FIELD(st_stats, negatives, 56);
FIELD(st_stats, min, 64);
FIELD(st_stats, max, 88);
FIELD(st_stats, mean, 112);
FIELD(st_stats, std, 120);
FIELD(st_stats, quantiles, 128);
FIELD(st_stats, bins, 136);
FIELD(st_stats, quantile_count, 144);
FIELD(st_stats, bin_count, 148);
FIELD(st_stats, low, 152);
FIELD(st_stats, high, 160);
FIELD(st_stats, below, 168);
FIELD(st_stats, above, 176);
FIELD(st_stats, memory, 184);
FIELD(st_stats, memory_size, 192);
FIELD(st_stats, context, 200);
FIELD(st_stats, reserved, 208);

SIZE(st_digest, 40);
FIELD(st_digest, size, 0);
FIELD(st_digest, bytes, 4);

SIZE(st_hash_options, 88);
FIELD(st_hash_options, hash, 0);
FIELD(st_hash_options, parts, 4);
FIELD(st_hash_options, progress, 8);
FIELD(st_hash_options, reserved, 24);

SIZE(st_checkpoint_tensor, 40);
FIELD(st_checkpoint_tensor, tensor, 0);
FIELD(st_checkpoint_tensor, file, 8);
FIELD(st_checkpoint_tensor, file_index, 16);
FIELD(st_checkpoint_tensor, reserved, 24);

SIZE(st_checkpoint_shard, 64);
FIELD(st_checkpoint_shard, name, 0);
FIELD(st_checkpoint_shard, path, 8);
FIELD(st_checkpoint_shard, source, 16);
FIELD(st_checkpoint_shard, why, 24);
FIELD(st_checkpoint_shard, reserved, 32);

SIZE(st_checkpoint_recovery, 144);
FIELD(st_checkpoint_recovery, path, 0);
FIELD(st_checkpoint_recovery, why, 8);
FIELD(st_checkpoint_recovery, found, 16);
FIELD(st_checkpoint_recovery, files, 88);
FIELD(st_checkpoint_recovery, left, 96);
FIELD(st_checkpoint_recovery, several, 104);
FIELD(st_checkpoint_recovery, reserved0, 105);
FIELD(st_checkpoint_recovery, reserved, 112);

SIZE(st_checkpoint_salvage_part, 72);
FIELD(st_checkpoint_salvage_part, path, 0);
FIELD(st_checkpoint_salvage_part, target, 8);
FIELD(st_checkpoint_salvage_part, summary, 16);
FIELD(st_checkpoint_salvage_part, why, 24);
FIELD(st_checkpoint_salvage_part, index, 32);
FIELD(st_checkpoint_salvage_part, reserved0, 33);
FIELD(st_checkpoint_salvage_part, reserved, 40);

SIZE(st_checkpoint_salvage_options, 120);
FIELD(st_checkpoint_salvage_options, begin, 0);
FIELD(st_checkpoint_salvage_options, item, 8);
FIELD(st_checkpoint_salvage_options, end, 16);
FIELD(st_checkpoint_salvage_options, ctx, 24);
FIELD(st_checkpoint_salvage_options, progress, 32);
FIELD(st_checkpoint_salvage_options, durability, 48);
FIELD(st_checkpoint_salvage_options, dry_run, 52);
FIELD(st_checkpoint_salvage_options, reserved0, 53);
FIELD(st_checkpoint_salvage_options, reserved, 56);

SIZE(st_checkpoint_salvage_summary, 216);
FIELD(st_checkpoint_salvage_summary, sum, 0);
FIELD(st_checkpoint_salvage_summary, files, 120);
FIELD(st_checkpoint_salvage_summary, files_lost, 128);
FIELD(st_checkpoint_salvage_summary, files_failed, 136);
FIELD(st_checkpoint_salvage_summary, index, 144);
FIELD(st_checkpoint_salvage_summary, reserved0, 145);
FIELD(st_checkpoint_salvage_summary, reserved, 152);

SIZE(st_checkpoint_summary, 128);
FIELD(st_checkpoint_summary, errors, 0);
FIELD(st_checkpoint_summary, warnings, 8);
FIELD(st_checkpoint_summary, notes, 16);
FIELD(st_checkpoint_summary, indices, 24);
FIELD(st_checkpoint_summary, index_size, 32);
FIELD(st_checkpoint_summary, files, 40);
FIELD(st_checkpoint_summary, files_refused, 48);
FIELD(st_checkpoint_summary, tensors, 56);
FIELD(st_checkpoint_summary, reserved, 64);

SIZE(st_checkpoint_observer, 64);
FIELD(st_checkpoint_observer, finding, 0);
FIELD(st_checkpoint_observer, shard, 8);
FIELD(st_checkpoint_observer, end, 16);
FIELD(st_checkpoint_observer, ctx, 24);
FIELD(st_checkpoint_observer, reserved, 32);

SIZE(st_split_options, 128);
FIELD(st_split_options, max_shard_size, 0);
FIELD(st_split_options, shard_count, 8);
FIELD(st_split_options, pattern, 16);
FIELD(st_split_options, durability, 24);
FIELD(st_split_options, flags, 28);
FIELD(st_split_options, alignment, 32);
FIELD(st_split_options, clean, 36);
FIELD(st_split_options, reserved0, 37);
FIELD(st_split_options, context, 40);
FIELD(st_split_options, progress, 48);
FIELD(st_split_options, reserved, 64);

SIZE(st_shard, 48);
FIELD(st_shard, name, 0);
FIELD(st_shard, size, 8);
FIELD(st_shard, first, 16);
FIELD(st_shard, count, 24);
FIELD(st_shard, reserved, 32);

SIZE(st_cat_input, 40);
FIELD(st_cat_input, checkpoint, 0);
FIELD(st_cat_input, prefix, 8);
FIELD(st_cat_input, prefix_len, 16);
FIELD(st_cat_input, reserved, 24);

SIZE(st_cat_options, 72);
FIELD(st_cat_options, metadata, 0);
FIELD(st_cat_options, reserved0, 4);
FIELD(st_cat_options, reserved, 8);

SIZE(st_hashes, 160);
FIELD(st_hashes, hash, 0);
FIELD(st_hashes, parts, 4);
FIELD(st_hashes, file, 8);
FIELD(st_hashes, data, 48);
FIELD(st_hashes, tensors, 88);
FIELD(st_hashes, count, 96);
FIELD(st_hashes, memory, 104);
FIELD(st_hashes, memory_size, 112);
FIELD(st_hashes, context, 120);
FIELD(st_hashes, reserved, 128);

SIZE(st_manifest_file, 152);
FIELD(st_manifest_file, name, 0);
FIELD(st_manifest_file, name_len, 8);
FIELD(st_manifest_file, size, 16);
FIELD(st_manifest_file, parts, 24);
FIELD(st_manifest_file, reserved0, 28);
FIELD(st_manifest_file, file, 32);
FIELD(st_manifest_file, data, 72);
FIELD(st_manifest_file, tensor_count, 112);
FIELD(st_manifest_file, reserved, 120);

SIZE(st_difference, 144);
FIELD(st_difference, kind, 0);
FIELD(st_difference, reserved0, 4);
FIELD(st_difference, name, 8);
FIELD(st_difference, name_len, 16);
FIELD(st_difference, expected, 24);
FIELD(st_difference, found, 64);
FIELD(st_difference, message, 104);
FIELD(st_difference, reserved, 112);

SIZE(st_verify_options, 96);
FIELD(st_verify_options, difference, 0);
FIELD(st_verify_options, ctx, 8);
FIELD(st_verify_options, progress, 16);
FIELD(st_verify_options, reserved, 32);

SIZE(st_side_tensor, 16);
FIELD(st_side_tensor, file, 0);
FIELD(st_side_tensor, tensor, 8);

SIZE(st_side, 72);
FIELD(st_side, name, 0);
FIELD(st_side, tensors, 8);
FIELD(st_side, tensor_count, 16);
FIELD(st_side, metadata, 24);
FIELD(st_side, metadata_count, 32);
FIELD(st_side, reserved, 40);

SIZE(st_deviation, 152);
FIELD(st_deviation, count, 0);
FIELD(st_deviation, different, 8);
FIELD(st_deviation, beyond, 16);
FIELD(st_deviation, nan_a, 24);
FIELD(st_deviation, nan_b, 32);
FIELD(st_deviation, nan_both, 40);
FIELD(st_deviation, infinite, 48);
FIELD(st_deviation, first, 56);
FIELD(st_deviation, max_absolute, 64);
FIELD(st_deviation, max_absolute_at, 72);
FIELD(st_deviation, max_integer, 80);
FIELD(st_deviation, mean_absolute, 88);
FIELD(st_deviation, max_relative, 96);
FIELD(st_deviation, max_relative_at, 104);
FIELD(st_deviation, flags, 112);
FIELD(st_deviation, same, 116);
FIELD(st_deviation, reserved, 120);

SIZE(st_change, 88);
FIELD(st_change, kind, 0);
FIELD(st_change, parts, 4);
FIELD(st_change, differs, 8);
FIELD(st_change, reserved0, 12);
FIELD(st_change, a, 16);
FIELD(st_change, b, 24);
FIELD(st_change, metadata_a, 32);
FIELD(st_change, metadata_b, 40);
FIELD(st_change, values, 48);
FIELD(st_change, reserved, 56);

SIZE(st_compare_options, 120);
FIELD(st_compare_options, parts, 0);
FIELD(st_compare_options, flags, 4);
FIELD(st_compare_options, atol, 8);
FIELD(st_compare_options, rtol, 16);
FIELD(st_compare_options, change, 24);
FIELD(st_compare_options, ctx, 32);
FIELD(st_compare_options, progress, 40);
FIELD(st_compare_options, reserved, 56);

SIZE(st_compare_summary, 176);
FIELD(st_compare_summary, differences, 0);
FIELD(st_compare_summary, same, 8);
FIELD(st_compare_summary, changed, 16);
FIELD(st_compare_summary, removed, 24);
FIELD(st_compare_summary, added, 32);
FIELD(st_compare_summary, renamed, 40);
FIELD(st_compare_summary, moved, 48);
FIELD(st_compare_summary, metadata_same, 56);
FIELD(st_compare_summary, metadata_changed, 64);
FIELD(st_compare_summary, metadata_removed, 72);
FIELD(st_compare_summary, metadata_added, 80);
FIELD(st_compare_summary, elements, 88);
FIELD(st_compare_summary, different, 96);
FIELD(st_compare_summary, beyond, 104);
FIELD(st_compare_summary, reserved, 112);

#endif

/* Zero is the good default of every struct of options. */
static void test_zero_is_the_default(void **state)
{
    (void)state;
    st_context_options options = {0};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&options, &context, &error));
    st_context_release(context);
    options.reserved[6] = 1;
    CHECK_ERR_TEXT(st_context_new(&options, &context, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "reserved");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_zero_is_the_default)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
