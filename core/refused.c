#include "core/refused.h"

#include <stdatomic.h>

static _Atomic uint64_t n_refused;

void refused_add(void)
{
    atomic_fetch_add_explicit(&n_refused, 1, memory_order_relaxed);
}

uint64_t refused_count(void)
{
    return atomic_load_explicit(&n_refused, memory_order_relaxed);
}
