#include "tests/fs/jobs_rig.h"

#include <criterion/criterion.h>

struct rig rig;
uint64_t jobs;

void jobs_setup(void)
{
    rig_init(&rig);
    cr_assert_eq(rig_mkdir(&rig, "jobs", &jobs), 0);
}

void jobs_teardown(void)
{
    rig_fini(&rig);
}
