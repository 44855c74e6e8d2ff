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

uint64_t node_of_name(uint64_t dir, const char *name)
{
    uint64_t node;

    cr_assert_eq(rig_lookup(&rig, dir, name, &node), 0, "lookup of %s", name);
    return node;
}
