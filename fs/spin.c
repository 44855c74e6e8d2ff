#include "fs/spin.h"

#include <poll.h>
#include <stdint.h>
#include <time.h>

#include "fs/session_threads.h"

/* Looking pays where two of three find something: one in vain takes longer than one saves. */
#define GAIN 1
#define LOSS 2

void spin_init(struct spin *spin)
{
    spin->alone = usable_processors() < 2;
    atomic_init(&spin->luck, SPIN_LUCK);
    atomic_init(&spin->n_skipped, 0);
    atomic_flag_clear(&spin->looking);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool look(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int64_t until_ns = now_ns() + SPIN_US * 1000;

    do {
        if (poll(&readable, 1, 0) != 0)
            return true;
    } while (now_ns() < until_ns);
    return false;
}

static bool is_worth_it(struct spin *spin)
{
    if (spin->alone)
        return false;
    return atomic_load(&spin->luck) > 0 || atomic_fetch_add(&spin->n_skipped, 1) % SPIN_EVERY == 0;
}

void spin_wait(struct spin *spin, int fd)
{
    int luck;

    if (!is_worth_it(spin) || atomic_flag_test_and_set(&spin->looking))
        return;
    luck = atomic_load(&spin->luck) + (look(fd) ? GAIN : -LOSS);
    atomic_store(&spin->luck, luck < 0 ? 0 : luck > SPIN_LUCK ? SPIN_LUCK : luck);
    atomic_flag_clear(&spin->looking);
}
