/*
 * Condition variables whose waits end at a time of the monotonic clock, in microseconds as
 * everywhere (core/clock.h): a time of day that jumps ends no wait and makes none longer.
 */
#ifndef QUEUEFS_CORE_COND_H
#define QUEUEFS_CORE_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* 0, or a negative errno: -ENOMEM, -EAGAIN. */
int cond_init(pthread_cond_t *cond);

/* As pthread_cond_wait(3), until `until_us` at most (TIME_FOREVER: without end). False: that time
 * has come. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_us);

/* The time in so many milliseconds from now. */
int64_t cond_in_ms(int64_t ms);

#endif
