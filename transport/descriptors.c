#include "transport/descriptors.h"

#include <sys/resource.h>

#define OWN   48 /* the store, listeners, what NNG has, files that are read now and then */
#define LEAST 8

size_t descriptors_for(size_t most, size_t parts, size_t of)
{
    struct rlimit limit;
    size_t n;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return most;
    n = limit.rlim_cur > OWN ? (size_t)limit.rlim_cur - OWN : 0;
    n = n / of * parts;
    if (n < LEAST)
        n = LEAST;
    return n < most ? n : most;
}
