/*
 * Ends a store's process (SIGKILL) at each call that changes files, one after the other, and sees
 * what the next start makes of it: what was committed is there, once and in order, of what was
 * being committed all or nothing, nothing else; no word of damage; it goes on; --verify finds it
 * whole; a copy that was cut off leaves the older one, and the next copying completes it.
 *
 *     kills [EVERY [SEED]]     ends it at one in EVERY calls, by chance, and some of each kind; 1:
 * at each
 *
 * Each run is a child that does the same again and is ended at the n-th call of a kind: before it,
 * in its midst, or as the power goes (kill_calls.h). Another one looks at what it leaves. Prints
 * what was ended where; status 1 if anything was wrong, if a step was never met, or if a store that
 * says "committed" too early is not found out.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/store/backup.h"
#include "core/store/local_state.h"
#include "core/store/verify.h"
#include "tests/stress/kill_calls.h"
#include "tests/stress/store_model.h"

#define SEGMENT ((uint64_t)32 << 10)
#define LIMIT   ((uint64_t)32 << 20)
#define HANG_S  60
#define PATH    128
#define GO_ON   4  /* commits after a kill */
#define STARTED 60 /* commits in a store that is started on */
#define LEAST   2  /* kills at each kind of call of a scene, where there are so many */

static char base[] = "/dev/shm/kills-XXXXXX";
static char dir[PATH], copy[PATH], kept[PATH], restored[PATH];

static void on_log(enum log_level level, const char *message)
{
    if (level == LOG_LEVEL_ERROR)
        snprintf(report->line, sizeof(report->line), "%s", message);
}

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char command[4 * PATH];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    if (system(command) != 0)
        wrong("%s", command);
}

/* ---- what is done with it ---- */

static bool too_early; /* a store that says so before it is */

static struct store *open_store(const char *where)
{
    struct local_options options = {.dir = where, .max_bytes = LIMIT, .segment_bytes = SEGMENT};
    struct store *store;

    must(store_local_open(&options, &store), "open");
    return store;
}

static void commit(struct store *store)
{
    report->begun = model.n + 1;
    must(store->ops->begin(store), "begin");
    kill_in(local_of(store)->changes.n > 0 ? PHASE_CLEAN : PHASE_COMMIT);
    model_change(&model, store);
    if (too_early)
        report->committed = model.n;
    must(store->ops->commit(store), "commit");
    report->committed = model.n;
    model_give_back();
}

/* Little happens: there is time for spares. */
static void rest(void)
{
    const struct timespec some = {.tv_nsec = 6000000};

    nanosleep(&some, NULL);
}

static void go_on(struct store *store, unsigned n, unsigned resting)
{
    for (unsigned i = 1; i <= n; i++) {
        commit(store);
        if (resting > 0 && i % resting == 0)
            rest();
    }
}

static void close_store(struct store *store)
{
    kill_in(PHASE_CLOSE);
    store->ops->close(store);
}

static void run_steady(void)
{
    struct store *store = open_store(dir);

    go_on(store, 170, 50);
    close_store(store);
}

static void run_large(void)
{
    struct store *store = open_store(dir);

    go_on(store, 19, 0);
    go_on(store, 40, 10);
    close_store(store);
}

/* What a start does is not over before the first checkpoint. */
static void run_start(void)
{
    struct store *store = open_store(dir);

    kill_in(PHASE_REBUILD);
    go_on(store, 2, 0);
    close_store(store);
}

static void back_up(void)
{
    struct backup_report done;
    uint64_t n = model.n;

    kill_in(PHASE_BACKUP);
    must(store_backup(dir, copy, NULL, NULL, &done), "backup");
    report->copied = n;
}

static void run_backup(void)
{
    struct store *store = open_store(dir);

    back_up();
    go_on(store, 40, 0);
    back_up();
    go_on(store, 3, 0);
    back_up();
    close_store(store);
}

/* ---- stores to start on ---- */

static void leave_behind(void)
{
    go_on(open_store(dir), STARTED, 0);
    _exit(0); /* with an index that is behind */
}

static void lose_index(void)
{
    shell("rm -r %s/index", dir);
}

static void damage_index(void)
{
    shell("dd if=/dev/zero of=%s/index/data.mdb bs=4096 seek=2 count=3 conv=notrunc status=none",
          dir);
}

static const struct scene {
    const char *name;
    bool started; /* on a store that is there */
    void (*before)(void);
    void (*run)(void);
    enum kill_phase opening;
    bool large;
} scenes[] = {
    {.name = "steady", .run = run_steady},
    {.name = "large", .run = run_large, .large = true},
    {.name = "start", .started = true, .run = run_start},
    {.name = "no index",
     .started = true,
     .before = lose_index,
     .run = run_start,
     .opening = PHASE_REBUILD},
    {.name = "bad index",
     .started = true,
     .before = damage_index,
     .run = run_start,
     .opening = PHASE_REBUILD},
    {.name = "backup", .started = true, .run = run_backup},
};

/* ---- children ---- */

static int in_child(void (*function)(const struct scene *scene), const struct scene *scene)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(HANG_S);
        function(scene);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static struct kill_point point;

static void subject(const struct scene *scene)
{
    model_at(report->committed);
    kill_in(scene->opening);
    kill_watch(dir, copy, &point, &report->note);
    scene->run();
    report->finished = true;
    _exit(0); /* leaks are not looked for */
}

static void starting(const struct scene *scene)
{
    (void)scene;
    leave_behind();
}

static void expect_whole(const char *where)
{
    static struct verify_report found;

    must(store_verify(where, NULL, NULL, &found), "verify");
    if (found.n_found > 0 || found.index != VERIFY_INDEX_RIGHT)
        wrong("%s: verify: %s, index %d", where, found.found[0], found.index);
}

/* The older copy, as the cut has left it. */
static void look_at_copy(void)
{
    struct store *store;

    shell("rm -rf %s && cp -a %s %s", restored, copy, restored);
    store = open_store(restored);
    model_expect(store, report->copied, report->begun);
    store->ops->close(store);
}

/* It is completed, and has what the store has. */
static void copy_again(uint64_t n)
{
    struct backup_report done;
    struct store *store;

    must(store_backup(dir, copy, NULL, NULL, &done), "backup");
    store = open_store(copy);
    model_expect(store, n, n);
    close_store(store);
    expect_whole(copy);
}

static void look(const struct scene *scene)
{
    struct store *store;
    uint64_t n;

    if (report->copied > 0)
        look_at_copy();
    store = open_store(dir);
    model_expect(store, report->committed, report->begun);
    n = model.n;
    if (scene->run == run_backup) {
        copy_again(n);
        model_at(n);
    }
    go_on(store, GO_ON, 0);
    model_expect(store, n + GO_ON, n + GO_ON);
    close_store(store);
    expect_whole(dir);
    _exit(0);
}

/* ---- one ---- */

static unsigned struck[PHASES][CALLS][FILES];

/* The files of the store that a scene begins with are at hand. */
static void prepare(const struct scene *scene)
{
    shell("rm -rf %s %s && mkdir %s", dir, copy, dir);
    memset(report, 0, sizeof(*report));
    if (!scene->started)
        return;
    report->begun = report->committed = STARTED;
    shell("cp -a %s/. %s", kept, dir);
    if (scene->before)
        scene->before();
}

static void print_one(const struct scene *scene, const char *what, int status)
{
    fprintf(stderr, "# %s, %s the %lluth call (%s: %s %s): %s, status %x: %s\n", scene->name,
            kill_how_names[point.how], (unsigned long long)point.nth, kill_phase_names[point.phase],
            kill_call_names[point.call], kill_file_names[point.file], what, (unsigned)status,
            report->text);
}

/* 0; 1: something was wrong, which is said; -1: it came to its end. */
static int kill_one(const struct scene *scene, bool say)
{
    int status;

    prepare(scene);
    model.large_ones = scene->large;
    status = in_child(subject, scene);
    if (report->finished && status == 0)
        return -1;
    if (!report->note.struck) {
        print_one(scene, "it ended by itself", status);
        return 1;
    }
    struck[point.phase][point.call][point.file]++;
    report->line[0] = '\0';
    status = in_child(look, scene);
    if (status != 0 && say)
        print_one(scene, "what it left", status);
    return status != 0;
}

static unsigned n_wrong;

/* Some of so many calls of a kind, before it, in its midst, and the power. */
static unsigned kill_some(const struct scene *scene, uint32_t n_calls, unsigned every)
{
    uint32_t n = n_calls / every + LEAST < n_calls ? n_calls / every + LEAST : n_calls;
    unsigned done = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = (uint64_t)n_calls * i / n, to = (uint64_t)n_calls * (i + 1) / n;

        point.nth = 1 + from + (uint64_t)random() % (to - from);
        for (int how = 0; how < KILL_HOWS; how++) {
            int rc;

            point.how = (enum kill_how)how;
            rc = kill_one(scene, true);
            n_wrong += rc > 0;
            done += rc >= 0;
        }
    }
    return done;
}

static void run_scene(const struct scene *scene, unsigned every)
{
    static struct kill_note all;
    time_t began = time(NULL);
    unsigned n = 0;

    point.nth = 0;
    if (kill_one(scene, true) >= 0) {
        n_wrong++;
        return;
    }
    all = report->note;
    for (int phase = 0; phase < PHASES; phase++) {
        for (int call = 0; call < CALLS; call++) {
            for (int file = 0; file < FILES; file++) {
                point = (struct kill_point){.phase = phase, .call = call, .file = file};
                if (all.n[phase][call][file] > 0)
                    n += kill_some(scene, all.n[phase][call][file], every);
            }
        }
    }
    printf("%-10s %6u kills  %4lld s\n", scene->name, n, (long long)(time(NULL) - began));
    fflush(stdout);
}

/* ---- what must have been met ---- */

#define BIT(phase) (1u << (phase))
#define COMMITS    (BIT(PHASE_COMMIT) | BIT(PHASE_CLEAN))

static const struct step {
    const char *name;
    unsigned phases; /* any of them */
    enum kill_call call;
    enum kill_file file;
} steps[] = {
    {"a commit is written", BIT(PHASE_COMMIT), CALL_WRITE, FILE_SEGMENT},
    {"a commit is synced", BIT(PHASE_COMMIT), CALL_SYNC, FILE_SEGMENT},
    {"what lives is moved", BIT(PHASE_CLEAN), CALL_WRITE, FILE_SEGMENT},
    {"and synced", BIT(PHASE_CLEAN), CALL_SYNC, FILE_SEGMENT},
    {"a checkpoint is written", COMMITS, CALL_WRITE, FILE_INDEX},
    {"a checkpoint is synced", COMMITS, CALL_SYNC, FILE_INDEX},
    {"the last checkpoint", BIT(PHASE_CLOSE), CALL_WRITE, FILE_INDEX},
    {"a spare is made", BIT(PHASE_AHEAD), CALL_CREATE, FILE_SPARE},
    {"it gets its blocks", BIT(PHASE_AHEAD), CALL_ALLOCATE, FILE_SPARE},
    {"they are written", BIT(PHASE_AHEAD), CALL_WRITE, FILE_SPARE},
    {"and synced", BIT(PHASE_AHEAD), CALL_SYNC, FILE_SPARE},
    {"a large one is made", COMMITS, CALL_CREATE, FILE_SPARE},
    {"blocks are given back", BIT(PHASE_AHEAD), CALL_TRUNCATE, FILE_SPARE},
    {"a spare goes", BIT(PHASE_AHEAD), CALL_UNLINK, FILE_SPARE},
    {"a spare gets its head", COMMITS, CALL_WRITE, FILE_SPARE},
    {"a spare is used", COMMITS, CALL_RENAME, FILE_SPARE},
    {"a segment is released", COMMITS, CALL_RENAME, FILE_SEGMENT},
    {"the names are synced", COMMITS, CALL_SYNC, FILE_OTHER},
    {"a start renews the end", BIT(PHASE_START), CALL_WRITE, FILE_SEGMENT},
    {"a bad index goes", BIT(PHASE_REBUILD), CALL_UNLINK, FILE_INDEX},
    {"a new index is made", BIT(PHASE_REBUILD), CALL_CREATE, FILE_INDEX},
    {"its directory", BIT(PHASE_REBUILD), CALL_MKDIR, FILE_INDEX},
    {"a copy is made", BIT(PHASE_BACKUP), CALL_MKDIR, FILE_COPY},
    {"a piece of it is made", BIT(PHASE_BACKUP), CALL_CREATE, FILE_COPY},
    {"it is written", BIT(PHASE_BACKUP), CALL_WRITE, FILE_COPY},
    {"it is synced", BIT(PHASE_BACKUP), CALL_SYNC, FILE_COPY},
    {"it gets its name", BIT(PHASE_BACKUP), CALL_RENAME, FILE_COPY},
    {"an older one goes", BIT(PHASE_BACKUP), CALL_UNLINK, FILE_COPY},
};

static bool print_steps(void)
{
    bool missing = false;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        unsigned n = 0;

        for (int phase = 0; phase < PHASES; phase++) {
            if (steps[i].phases & BIT(phase))
                n += struck[phase][steps[i].call][steps[i].file];
        }
        printf("%6u  %s%s\n", n, steps[i].name, n > 0 ? "" : ": never met");
        missing |= n == 0;
    }
    return missing;
}

/* A loss is found where the store says "committed" before it is, and where the disk lies. */
static bool finds_losses(void)
{
    bool found, found_too;

    too_early = true;
    point = (struct kill_point){
        .phase = PHASE_COMMIT, .call = CALL_WRITE, .file = FILE_SEGMENT, .nth = 12};
    found = kill_one(&scenes[0], false) > 0;
    too_early = false;
    point.how = KILL_POWER;
    point.lies = true;
    found_too = kill_one(&scenes[0], false) > 0;
    memset(struck, 0, sizeof(struck));
    return found && found_too;
}

static void name_paths(void)
{
    snprintf(dir, PATH, "%s/store", base);
    snprintf(copy, PATH, "%s/copy", base);
    snprintf(kept, PATH, "%s/kept", base);
    snprintf(restored, PATH, "%s/restored", base);
}

int main(int argc, char **argv)
{
    unsigned every = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)time(NULL);
    const struct rlimit no_core = {0, 0};
    bool found, missing;

    setrlimit(RLIMIT_CORE, &no_core);
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    log_set_sink("kills", on_log);
    if (every < 1 || report == MAP_FAILED || !mkdtemp(base))
        return 2;
    name_paths();
    srandom(seed);
    printf("seed %u\n", seed);
    found = finds_losses();
    shell("rm -rf %s && mkdir %s", dir, dir);
    if (in_child(starting, NULL) != 0)
        fprintf(stderr, "# a store to start on: %s\n", report->text);
    shell("cp -a %s %s", dir, kept);
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
        run_scene(&scenes[i], every);
    missing = print_steps();
    printf("%u wrong; a store that speaks too early, and a disk that lies, %s\n", n_wrong,
           found ? "are found out" : "are NOT found out");
    shell("rm -rf %s", base);
    return n_wrong > 0 || missing || !found;
}
