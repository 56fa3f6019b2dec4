/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/compare_chunk.h"

#include "base/endian.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Sums are kept in so many parts, element i in part i modulo their number, however a compiler orders them. */
#define LANES 8u
/* Elements whose codes are compared in one go; whole vectors. */
#define CODES_RUN 64u

/* --------------------------------------------------------------------------------- tallies */

void st__tally_init(st__tally *tally)
{
    *tally = (st__tally){
        .first = UINT64_MAX, .absolute = {.at = UINT64_MAX}, .relative = {.at = UINT64_MAX}};
}

/* The larger one stays, and of two as large the first. */
static void peak_offer(st__error_peak *peak, uint64_t integer, double value, uint64_t at)
{
    bool larger = integer != peak->integer ? integer > peak->integer : value > peak->value;
    bool as_large = integer == peak->integer && value == peak->value;
    if (larger || (as_large && value > 0 && at < peak->at))
        *peak = (st__error_peak){integer, value, at};
}

void st__tally_add(st__tally *into, const st__tally *from)
{
    into->different += from->different;
    into->beyond += from->beyond;
    into->nan[0] += from->nan[0];
    into->nan[1] += from->nan[1];
    into->nan_both += from->nan_both;
    into->infinite += from->infinite;
    into->first = from->first < into->first ? from->first : into->first;
    peak_offer(&into->absolute, from->absolute.integer, from->absolute.value, from->absolute.at);
    peak_offer(&into->relative, 0, from->relative.value, from->relative.at);
}

bool st__tally_same(const st__comparing *comparing, const st__tally *tally)
{
    if (comparing->close && comparing->form != ST__COMPARE_BYTES)
        return tally->beyond == 0;
    return tally->different == (comparing->equal_nan ? tally->nan_both : 0);
}

static void tally_different(st__tally *tally, uint64_t at)
{
    tally->different++;
    tally->first = at < tally->first ? at : tally->first;
}

/* ----------------------------------------------------------------------------------- codes */

static inline uint64_t code_at(const unsigned char *data, size_t i, size_t size)
{
    switch (size) {
    case 1: return data[i];
    case 2: return st__load_le16(data + 2 * i);
    case 4: return st__load_le32(data + 4 * i);
    default: return st__load_le64(data + 8 * i);
    }
}

/* `size`: known where this is put. Runs of a known length, which compilers make vectors of. */
static inline size_t count_differing(const unsigned char *a, const unsigned char *b, size_t count,
                                     size_t size)
{
    size_t differing = 0;
    for (; count >= CODES_RUN; count -= CODES_RUN, a += CODES_RUN * size, b += CODES_RUN * size) {
        uint32_t some = 0;
        for (size_t i = 0; i < CODES_RUN; i++)
            some += code_at(a, i, size) != code_at(b, i, size);
        differing += some;
    }
    for (size_t i = 0; i < count; i++)
        differing += code_at(a, i, size) != code_at(b, i, size);
    return differing;
}

static size_t codes_differing(const unsigned char *a, const unsigned char *b, size_t count,
                              size_t size)
{
    switch (size) {
    case 1: return count_differing(a, b, count, 1);
    case 2: return count_differing(a, b, count, 2);
    case 4: return count_differing(a, b, count, 4);
    default: return count_differing(a, b, count, 8);
    }
}

static size_t codes_first(const unsigned char *a, const unsigned char *b, size_t count, size_t size)
{
    size_t i = 0;
    while (i < count && code_at(a, i, size) == code_at(b, i, size))
        i++;
    return i;
}

/* A byte for sub-byte elements, which are unpacked. */
static size_t code_size(const st__operand *o)
{
    return o->bits < 8 ? 1 : o->bits / 8;
}

static void codes_tally(const st__comparing *c, const unsigned char *const data[2], size_t count,
                        st__tally *tally, uint64_t first)
{
    const size_t size = code_size(&c->operands[0]);
    const size_t differing = codes_differing(data[0], data[1], count, size);
    tally->different += differing;
    if (differing && first < tally->first)
        tally->first = first + codes_first(data[0], data[1], count, size);
}

/* ---------------------------------------------------------------------------- finite values */

/* Distances, and their sum: one that is not finite tells that a value may not be. */
static double distances_of(const double *x, const double *y, size_t count, double *distances)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; count - i >= LANES; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            const double difference = x[i + k] - y[i + k];
            distances[i + k] = fabs(difference);
            lanes[k] += distances[i + k];
        }
    for (; i < count; i++) {
        const double difference = x[i] - y[i];
        distances[i] = fabs(difference);
        lanes[i % LANES] += distances[i];
    }
    const double a = lanes[0] + lanes[4], b = lanes[1] + lanes[5];
    const double c = lanes[2] + lanes[6], d = lanes[3] + lanes[7];
    return (a + c) + (b + d);
}

/* What is allowed for a value of this size. In steps, which no compiler may make one of, and each of which is rounded
 * to a double. */
static inline double tolerance_of(const st__comparing *c, double size)
{
    const double relative = c->rtol * size;
    const double tolerance = c->atol + relative;
    return tolerance;
}

static inline double relative_of(double distance, double size)
{
    const double relative = distance / size;
    return size != 0 ? relative : 0;
}

typedef struct chunk_peaks {
    double absolute;
    double relative;
    size_t beyond;
} chunk_peaks;

static chunk_peaks distances_measure(const st__comparing *c, const double *distances,
                                     const double *y, size_t count)
{
    chunk_peaks peaks = {0};
    for (size_t i = 0; i < count; i++) {
        const double d = distances[i], size = fabs(y[i]), relative = relative_of(d, size);
        peaks.beyond += d > tolerance_of(c, size);
        peaks.absolute = d > peaks.absolute ? d : peaks.absolute;
        peaks.relative = relative > peaks.relative ? relative : peaks.relative;
    }
    return peaks;
}

/* The place of a peak is looked for only where it is one of all so far; chunks come to a thread in their order. */
static void peaks_take(const double *distances, const double *y, size_t count,
                       const chunk_peaks *peaks, st__tally *tally, uint64_t first)
{
    size_t at = 0;
    if (peaks->absolute > tally->absolute.value) {
        while (at + 1 < count && distances[at] != peaks->absolute)
            at++;
        peak_offer(&tally->absolute, 0, peaks->absolute, first + at);
    }
    at = 0;
    if (peaks->relative > tally->relative.value) {
        while (at + 1 < count && relative_of(distances[at], fabs(y[at])) != peaks->relative)
            at++;
        peak_offer(&tally->relative, 0, peaks->relative, first + at);
    }
}

/* Values of two dtypes differ where they have a distance. */
static void distances_tally(const double *distances, size_t count, st__tally *tally, uint64_t first)
{
    size_t differing = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        differing += distances[i] != 0;
    tally->different += differing;
    if (!differing || first >= tally->first)
        return;
    while (distances[at] == 0)
        at++;
    tally->first = first + at;
}

/* Gives a sum that is not finite where a value may not be; nothing has been counted then. */
static double finite_compare(const st__comparing *c, st__compare_room *room,
                             const unsigned char *const data[2], size_t count, st__tally *tally,
                             uint64_t first)
{
    const double *y = room->values[1];
    double *distances = room->rests[0];
    const double sum = distances_of(room->values[0], y, count, distances);
    if (!(sum <= DBL_MAX))
        return sum;
    if (c->same_dtype)
        codes_tally(c, data, count, tally, first);
    else
        distances_tally(distances, count, tally, first);
    const chunk_peaks peaks = distances_measure(c, distances, y, count);
    tally->beyond += peaks.beyond;
    peaks_take(distances, y, count, &peaks, tally, first);
    return sum;
}

/* ---------------------------------------------------------------------------- other values */

/* What an element comes to, all of its parts together. */
typedef struct element_gap {
    double absolute;
    double relative;
    bool beyond;
    bool infinite;
} element_gap;

static element_gap gap_of(const st__comparing *c, const st__compare_room *room, size_t element)
{
    element_gap gap = {0};
    for (size_t i = element * c->parts; i < (element + 1) * c->parts; i++) {
        const double x = room->values[0][i], y = room->values[1][i], size = fabs(y);
        double difference = x - y;
        if (c->form == ST__COMPARE_MIXED)
            difference += room->rests[0][i] - room->rests[1][i];
        if (fabs(x) > DBL_MAX || size > DBL_MAX) {
            gap.infinite = gap.infinite || x != y;
            continue;
        }
        const double distance = fabs(difference), relative = relative_of(distance, size);
        gap.beyond = gap.beyond || distance > tolerance_of(c, size);
        gap.absolute = distance > gap.absolute ? distance : gap.absolute;
        gap.relative = relative > gap.relative ? relative : gap.relative;
    }
    return gap;
}

static bool element_is_nan(const st__comparing *c, const double *values, size_t element)
{
    const double *at = values + element * c->parts;
    return at[0] != at[0] || (c->parts == 2 && at[1] != at[1]);
}

/* Counts an element that is NaN on one side at least. */
static bool nan_tally(const st__comparing *c, const st__compare_room *room, size_t element,
                      st__tally *tally)
{
    const bool a = element_is_nan(c, room->values[0], element);
    const bool b = element_is_nan(c, room->values[1], element);
    if (!a && !b)
        return false;
    tally->nan_both += a && b;
    tally->nan[0] += a && !b;
    tally->nan[1] += b && !a;
    tally->beyond += !(a && b && c->equal_nan);
    return true;
}

/* Each by itself, whatever it is. */
static double elements_compare(const st__comparing *c, const st__compare_room *room,
                               const unsigned char *const data[2], size_t count, st__tally *tally,
                               uint64_t first)
{
    const size_t size = code_size(&c->operands[0]);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (c->same_dtype && code_at(data[0], i, size) == code_at(data[1], i, size))
            continue;
        if (nan_tally(c, room, i, tally)) {
            tally_different(tally, first + i);
            continue;
        }
        const element_gap gap = gap_of(c, room, i);
        if (!c->same_dtype && !gap.infinite && gap.absolute == 0)
            continue;
        tally_different(tally, first + i);
        tally->beyond += gap.beyond || gap.infinite;
        tally->infinite += gap.infinite;
        if (gap.infinite)
            continue;
        peak_offer(&tally->absolute, 0, gap.absolute, first + i);
        peak_offer(&tally->relative, 0, gap.relative, first + i);
        sum += gap.absolute;
    }
    return sum;
}

/* -------------------------------------------------------------------------------- integers */

typedef struct magnitude {
    uint64_t size;
    bool negative;
} magnitude;

static magnitude magnitude_at(const st__operand *o, const unsigned char *data, size_t i)
{
    const uint64_t code = code_at(data, i, o->bits / 8), sign = UINT64_C(1) << (o->bits - 1);
    if (o->kind == ST_KIND_BOOL)
        return (magnitude){code != 0, false};
    if (o->kind != ST_KIND_INT || !(code & sign))
        return (magnitude){code, false};
    return (magnitude){sign - (code & (sign - 1)), true};
}

/* Only of an I64 and a U64 may it be more than 64 bits hold. */
static uint64_t magnitude_distance(magnitude a, magnitude b)
{
    if (a.negative == b.negative)
        return a.size > b.size ? a.size - b.size : b.size - a.size;
    const uint64_t sum = a.size + b.size;
    return sum < a.size ? UINT64_MAX : sum;
}

/* Distances are compared as the integers that they are. */
static bool integer_beyond(const st__comparing *c, uint64_t distance, uint64_t size)
{
    const double tolerance = tolerance_of(c, (double)size);
    return tolerance < 0x1p64 && distance > (uint64_t)tolerance;
}

static double integers_compare(const st__comparing *c, const unsigned char *const data[2],
                               size_t count, st__tally *tally, uint64_t first)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const magnitude a = magnitude_at(&c->operands[0], data[0], i);
        const magnitude b = magnitude_at(&c->operands[1], data[1], i);
        const uint64_t distance = magnitude_distance(a, b);
        if (distance == 0)
            continue;
        const double rounded = (double)distance;
        tally_different(tally, first + i);
        tally->beyond += integer_beyond(c, distance, b.size);
        peak_offer(&tally->absolute, distance, rounded, first + i);
        peak_offer(&tally->relative, 0, relative_of(rounded, (double)b.size), first + i);
        sum += rounded;
    }
    return sum;
}

/* ----------------------------------------------------------------------------------- chunk */

double st__chunk_compare(const st__comparing *c, st__compare_room *room,
                         const unsigned char *const data[2], size_t count, st__tally *tally,
                         uint64_t first)
{
    const unsigned char *codes[2];
    for (int side = 0; side < 2; side++)
        codes[side] = st__operand_unpack(&c->operands[side], data[side], count, room->codes[side]);
    switch (c->form) {
    case ST__COMPARE_BYTES: codes_tally(c, codes, count, tally, first); return 0;
    case ST__COMPARE_INTEGERS: return integers_compare(c, codes, count, tally, first);
    default: break;
    }
    for (int side = 0; side < 2; side++)
        st__operand_values(c, room, side, codes[side], count);
    if (c->form == ST__COMPARE_DOUBLES && c->parts == 1) {
        const double sum = finite_compare(c, room, codes, count, tally, first);
        if (sum <= DBL_MAX)
            return sum;
    }
    return elements_compare(c, room, codes, count, tally, first);
}
