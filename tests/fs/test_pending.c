#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/pending.h"

TestSuite(pending, .timeout = 10);

/* As the kernel prints it; masks in hex. */
static enum pending of(int tracer, const char *own, const char *shared, const char *blocked,
                       const char *ignored, const char *caught)
{
    char text[512];

    snprintf(text, sizeof(text),
             "Name:\tSigPnd:\nTracerPid:\t%d\nVmSize:\t    2552 "
             "kB\nThreads:\t1\nSigQ:\t0/63432\nSigPnd:\t%s\n"
             "ShdPnd:\t%s\nSigBlk:\t%s\nSigIgn:\t%s\nSigCgt:\t%s\nCapInh:\t0\n",
             tracer, own, shared, blocked, ignored, caught);
    return pending_in(text);
}

#define NONE "0000000000000000"
#define INT  "0000000000000002"
#define KILL "0000000000000100"
#define STOP "0000000000040000"
#define TSTP "0000000000080000"
#define CHLD "0000000000010000"
#define RT64 "8000000000000000"

Test(pending, sigkill_ends_always)
{
    cr_assert_eq(of(0, KILL, NONE, NONE, NONE, NONE), PENDING_END);
    cr_assert_eq(of(0, NONE, KILL, NONE, NONE, NONE), PENDING_END);
    cr_assert_eq(of(7, KILL, NONE, NONE, NONE, NONE), PENDING_END);
}

Test(pending, a_process_that_is_on_its_way_out_has_ended)
{
    cr_assert_eq(pending_in("Name:\tcat\nTracerPid:\t0\nThreads:\t1\nSigPnd:\t" NONE
                            "\nShdPnd:\t" NONE "\nSigBlk:\t" NONE "\nSigIgn:\t" NONE
                            "\nSigCgt:\t" NONE "\n"),
                 PENDING_END);
}

Test(pending, a_signal_that_nothing_is_done_about_ends)
{
    cr_assert_eq(of(0, INT, NONE, NONE, NONE, NONE), PENDING_END);
    cr_assert_eq(of(0, NONE, INT, NONE, NONE, CHLD), PENDING_END);
    cr_assert_eq(of(0, RT64, NONE, NONE, NONE, NONE), PENDING_END);
}

Test(pending, a_tracer_may_drop_it)
{
    cr_assert_eq(of(7, INT, NONE, NONE, NONE, NONE), PENDING_STOP);
    cr_assert_eq(of(7, INT, NONE, NONE, NONE, INT), PENDING_HANDLED);
}

Test(pending, a_handler_runs)
{
    cr_assert_eq(of(0, INT, NONE, NONE, NONE, INT), PENDING_HANDLED);
    cr_assert_eq(of(0, NONE, TSTP, NONE, NONE, TSTP), PENDING_HANDLED);
    cr_assert_eq(of(0, STOP, INT, NONE, NONE, INT), PENDING_HANDLED);
}

Test(pending, the_rest_is_a_stop)
{
    cr_assert_eq(of(0, NONE, NONE, NONE, NONE, NONE), PENDING_STOP);
    cr_assert_eq(of(0, STOP, NONE, NONE, NONE, INT), PENDING_STOP);
    cr_assert_eq(of(0, NONE, TSTP, NONE, NONE, NONE), PENDING_STOP);
    cr_assert_eq(of(0, INT, NONE, INT, NONE, INT), PENDING_STOP);
    cr_assert_eq(of(0, INT, NONE, NONE, INT, NONE), PENDING_STOP);
    cr_assert_eq(of(0, CHLD, NONE, NONE, NONE, NONE), PENDING_STOP);
}

Test(pending, what_cannot_be_told_is_handled)
{
    cr_assert_eq(pending_in(""), PENDING_HANDLED);
    cr_assert_eq(pending_in("\nTracerPid:\t0\nSigPnd:\t"), PENDING_HANDLED);
    cr_assert_eq(pending_of(0), PENDING_HANDLED);
    cr_assert_eq(pending_of(-1), PENDING_HANDLED);
    cr_assert_eq(pending_of(0x7ffffffe), PENDING_HANDLED);
}

Test(pending, of_a_thread_that_runs)
{
    cr_assert_eq(pending_of((pid_t)syscall(SYS_gettid)), PENDING_STOP);
}
