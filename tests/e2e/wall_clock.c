/* A time of day that is wrong, for LD_PRELOAD: by WALL_SHIFT seconds. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at)
{
    const char *shift = getenv("WALL_SHIFT");
    int result = (int)syscall(SYS_clock_gettime, id, at);

    if (result == 0 && id == CLOCK_REALTIME && shift)
        at->tv_sec += atol(shift);
    return result;
}
