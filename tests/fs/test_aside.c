/* What may block, on a thread of its own; and a name service that does not answer (session_rig.h).
 */
#include "fs/aside.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/fs/jobs_rig.h"

#define UNDONE 77

struct job {
    struct aside_work work;
    ssize_t result;
};

static atomic_bool gate;
static atomic_int n_run, n_freed;

static ssize_t job_run(struct aside_work *work)
{
    while (!atomic_load(&gate))
        usleep(1000);
    n_run++;
    return ((struct job *)work)->result;
}

static void job_free(struct aside_work *work)
{
    n_freed++;
    free(work);
}

static struct aside_work *job(ssize_t result)
{
    struct job *job = calloc(1, sizeof(*job));

    cr_assert_not_null(job);
    *job = (struct job){.work = {.run = job_run, .free = job_free}, .result = result};
    return &job->work;
}

static void done(struct op *op, ssize_t result)
{
    *(_Atomic ssize_t *)op->owner = result;
}

static void until_freed(int n)
{
    while (atomic_load(&n_freed) < n)
        usleep(1000);
}

/* An op of which the result is UNDONE until it ends. */
struct waiting {
    struct op op;
    _Atomic ssize_t result;
};

static void put_aside(struct aside *a, struct waiting *waiting, ssize_t result)
{
    waiting->result = UNDONE;
    op_init(&waiting->op, done, (void *)&waiting->result);
    aside_do(a, job(result), &waiting->op);
}

Test(aside, works_run_one_after_the_other, .timeout = 30)
{
    struct aside *a = aside_new();
    struct waiting one, two;

    put_aside(a, &one, 5);
    put_aside(a, &two, -EPERM);
    usleep(20000);
    cr_assert_eq(one.result, UNDONE);
    atomic_store(&gate, true);
    until_freed(2);
    cr_assert_eq(one.result, 5);
    cr_assert_eq(two.result, -EPERM);
    aside_end(a);
}

Test(aside, who_is_interrupted_waits_no_more_and_what_was_not_begun_is_not_done, .timeout = 30)
{
    struct aside *a = aside_new();
    struct waiting one, two, three;

    put_aside(a, &one, 1);
    usleep(20000); /* it is running */
    put_aside(a, &two, 2);
    put_aside(a, &three, 3);
    op_cancel(&one.op);
    op_cancel(&two.op);
    cr_assert_eq(one.result, -EINTR);
    cr_assert_eq(two.result, -EINTR);
    cr_assert_eq(three.result, UNDONE);
    atomic_store(&gate, true);
    until_freed(3);
    cr_assert_eq(three.result, 3);
    cr_assert_eq(n_run, 2);
    aside_end(a);
}

Test(aside, no_more_wait_than_may, .timeout = 30)
{
    struct aside *a = aside_new();
    struct waiting all[ASIDE_WORKS_MAX + 2];
    int n_refused = 0;

    for (int i = 0; i < ASIDE_WORKS_MAX + 2; i++)
        put_aside(a, &all[i], i);
    for (int i = 0; i < ASIDE_WORKS_MAX + 2; i++)
        n_refused += all[i].result == -ENOBUFS;
    cr_assert(n_refused == 1 || n_refused == 2, "%d", n_refused); /* one may have begun */
    atomic_store(&gate, true);
    until_freed(ASIDE_WORKS_MAX + 2);
    aside_end(a);
}

Test(aside, the_end_waits_for_no_work_that_blocks, .timeout = 30)
{
    struct aside *a = aside_new();
    struct waiting one, two;

    put_aside(a, &one, 1);
    usleep(20000);
    put_aside(a, &two, 2);
    aside_end(a);
    cr_assert_eq(one.result, -ESHUTDOWN);
    cr_assert_eq(two.result, -ESHUTDOWN);
    atomic_store(&gate, true);
    until_freed(2);
    cr_assert_eq(n_run, 1);
    usleep(20000); /* the thread frees the rest */
}

/* ---- config ---- */

TestSuite(names, .init = jobs_setup, .fini = jobs_teardown, .timeout = 60);

Test(names, a_name_service_that_does_not_answer_holds_up_nobody_else)
{
    uint64_t config = node_of_name(jobs, "config"), fh, writes[4];

    cr_assert_eq(rig_open(&rig, config, O_WRONLY, &fh), 0);
    atomic_store(&rig_names_stuck, true);
    for (int i = 0; i < 4; i++) /* more than there are threads */
        writes[i] = rig_send_write(&rig, config, fh, "maxsize: 7\n", 11);
    rig_put(&rig, jobs, "one\n");
    rig_expect(&rig, jobs, "next", "one\n");
    for (int i = 0; i < 4; i++)
        cr_assert_not(rig_answered(&rig, writes[i]));
    atomic_store(&rig_names_stuck, false);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(rig_wait(&rig, writes[i], NULL, 0, NULL), 0);
    cr_assert_eq(rig_release(&rig, config, fh), 0);
    rig_expect(&rig, jobs, "config", "maxsize: 7\n");
}

Test(names, who_waits_for_the_name_service_can_be_stopped)
{
    uint64_t config = node_of_name(jobs, "config"), fh, write;
    struct fuse_interrupt_in in;

    cr_assert_eq(rig_open(&rig, config, O_WRONLY, &fh), 0);
    atomic_store(&rig_names_stuck, true);
    in.unique = write = rig_send_write(&rig, config, fh, "maxsize: 7\n", 11);
    rig_send(&rig, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0, NULL, 0);
    cr_assert_eq(rig_wait(&rig, write, NULL, 0, NULL), -ETIMEDOUT);
    atomic_store(&rig_names_stuck, false);
    cr_assert_eq(rig_release(&rig, config, fh), 0);
    rig_expect(&rig, jobs, "config", "maxsize: 0\n");
}
