/*
 * Runs the tests of a Criterion program each in a plain fork of it, for valgrind: Criterion starts
 * its program anew for every test, which takes valgrind a second each time. Preloaded, so that the
 * test programs need no other build:
 *
 *     LD_PRELOAD=plain_runner.so valgrind ... tests/core/test_batch
 *
 * Prints TAP. A test fails by a failed assertion, an unexpected signal or exit status (valgrind's
 * --error-exitcode among them), or its timeout, which is ten times as long here.
 */
#include <criterion/criterion.h>
#include <criterion/internal/ordered-set.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <valgrind/valgrind.h>

#define TIMEOUT_FACTOR 10
#define STATUS_FAILED  1
#define STATUS_SKIPPED 77

int main(void);

static const struct criterion_suite *suite;
static const struct criterion_test *test;

void criterion_internal_test_setup(void)
{
    if (suite->data && suite->data->init)
        suite->data->init();
    if (test->data->init)
        test->data->init();
}

void criterion_internal_test_main(void (*function)(void))
{
    function();
}

void criterion_internal_test_teardown(void)
{
    if (test->data->fini)
        test->data->fini();
    if (suite->data && suite->data->fini)
        suite->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        fprintf(stderr, "# %s:%u: %s\n", stats->file, stats->line, stats->message);
}

void criterion_abort_test(void)
{
    exit(STATUS_FAILED);
}

void criterion_skip_test(const char *format, ...)
{
    (void)format;
    exit(STATUS_SKIPPED);
}

static unsigned timeout_s(void)
{
    double seconds = test->data->timeout;

    if (seconds == 0 && suite->data)
        seconds = suite->data->timeout;
    return seconds == 0 ? 600 : (unsigned)(seconds * TIMEOUT_FACTOR) + 1;
}

static bool run_test(int *status)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        VALGRIND_ENABLE_ERROR_REPORTING; /* criterion_initialize() has disabled it */
        alarm(timeout_s());
        test->test();
        exit(test->data->exit_code);
    }
    if (waitpid(pid, status, 0) != pid)
        return false;
    if (WIFSIGNALED(*status))
        return WTERMSIG(*status) == test->data->signal;
    return WEXITSTATUS(*status) == test->data->exit_code && test->data->signal == 0;
}

static bool report(size_t number)
{
    int status = 0;
    bool passed = run_test(&status);

    if (!passed && WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED) {
        printf("ok %zu - %s::%s # SKIP\n", number, suite->name, test->name);
        return true;
    }
    printf("%s %zu - %s::%s\n", passed ? "ok" : "not ok", number, suite->name, test->name);
    return passed;
}

int main(void)
{
    struct criterion_test_set *set = criterion_initialize();
    size_t number = 0, failed = 0;

    printf("TAP version 13\n1..%zu\n", set->tests);
    FOREACH_SET(struct criterion_suite_set * each, set->suites)
    {
        suite = &each->suite;
        if (!each->tests)
            continue;
        FOREACH_SET(struct criterion_test * one, each->tests)
        {
            test = one;
            failed += !report(++number);
        }
    }
    fflush(stdout);
    return failed ? 1 : 0;
}
