#include <criterion/criterion.h>
#include <string.h>

#include "core/access.h"

Test(access, a_star_is_for_any_text, .timeout = 5)
{
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"jobs", "jobs", true},    {"jobs", "job", false},   {"jobs", "jobs2", false},
        {"*", "", true},           {"*", "anything", true},  {"", "", true},
        {"", "x", false},          {"img-*", "img-", true},  {"img-*", "img-1", true},
        {"img-*", "im", false},    {"*-1", "img-1", true},   {"*-1", "img-1-1", true},
        {"*-1", "img-12", false},  {"a*b*c", "abc", true},   {"a*b*c", "a1b2c", true},
        {"a*b*c", "a1c2b", false}, {"**", "x", true},        {"a*a", "a", false},
        {"*ab*ab", "abcab", true}, {"*ab*ab", "cab", false}, {"a?c", "abc", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(access_fits(cases[i].pattern, cases[i].text), cases[i].fits, "%s, %s",
                     cases[i].pattern, cases[i].text);
}

static char *jobs[] = {(char *)"jobs", (char *)"img-*"}, *all[] = {(char *)"*"};
static struct access_rule rules[] = {
    {.kind = IDENTITY_CERTIFICATE,
     .cn = (char *)"batch-*",
     .queues = jobs,
     .n_queues = 2,
     .may = ACCESS_PUT},
    {.kind = IDENTITY_CERTIFICATE,
     .cn = (char *)"batch-9",
     .queues = all,
     .n_queues = 1,
     .may = ACCESS_GET},
    {.kind = IDENTITY_USER, .uid = 1000, .queues = all, .n_queues = 1, .may = ACCESS_MANAGE},
};
static const struct access access_rules = {rules, 3};

static uint32_t of_cn(const char *cn, const char *queue)
{
    struct identity who = {.kind = IDENTITY_CERTIFICATE};

    strcpy(who.cn, cn);
    return access_of(&access_rules, &who, queue);
}

static uint32_t of_uid(int64_t uid, const char *queue)
{
    const struct identity who = {.kind = IDENTITY_USER, .uid = uid};

    return access_of(&access_rules, &who, queue);
}

Test(access, what_no_rule_allows_is_refused, .timeout = 5)
{
    const struct identity anybody = {.kind = IDENTITY_ANYBODY}, inside = {.kind = IDENTITY_INSIDE};

    cr_assert_eq(of_cn("batch-7", "jobs"), ACCESS_PUT);
    cr_assert_eq(of_cn("batch-7", "img-7"), ACCESS_PUT);
    cr_assert_eq(of_cn("batch-7", "logs"), 0);
    cr_assert_eq(of_cn("batch", "jobs"), 0);
    cr_assert_eq(of_cn("batch-9", "jobs"), ACCESS_PUT | ACCESS_GET, "rules add up");
    cr_assert_eq(of_cn("", "jobs"), 0, "no name fits nothing");
    cr_assert_eq(of_uid(1000, "jobs"), ACCESS_MANAGE);
    cr_assert_eq(of_uid(1001, "jobs"), 0);
    cr_assert_eq(of_uid(-1, "jobs"), 0);
    cr_assert_eq(access_of(&access_rules, &anybody, "jobs"), 0);
    cr_assert_eq(access_of(&access_rules, &inside, "jobs"), ACCESS_ALL);
    cr_assert_eq(access_of(NULL, &anybody, "jobs"), ACCESS_ALL);
}

Test(access, identities_differ_by_what_is_known_of_them, .timeout = 5)
{
    const struct identity one = {.kind = IDENTITY_USER, .uid = 1}, two = {IDENTITY_USER, 2, ""};
    const struct identity a = {IDENTITY_CERTIFICATE, 0, "a"}, b = {IDENTITY_CERTIFICATE, 0, "b"};
    const struct identity anybody = {.kind = IDENTITY_ANYBODY};

    cr_assert(identity_same(&one, &one) && identity_same(&a, &a));
    cr_assert(identity_same(&anybody, &anybody));
    cr_assert(!identity_same(&one, &two) && !identity_same(&a, &b));
    cr_assert(!identity_same(&one, &anybody) && !identity_same(&a, &one));
}
