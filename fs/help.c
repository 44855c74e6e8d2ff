/* help, of a queue and of the mount: for whoever looks around with cat and ls. */
#include "fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static const char unlisted[] =
    "These take items, so they are there and not listed: nothing that opens all it finds\n"
    "(a shell's *, grep -r, zip -r) may empty a queue. Open them by name:\n\n";

static void print_word(FILE *out, const struct child_word *word)
{
    fprintf(out, "  %-7s %s%s\n", word->name, child_lists_items(word->kind) ? "a directory: " : "",
            word->help);
}

/* Those that take items, or the others. */
static void print_words(FILE *out, bool takes)
{
    const struct child_word *word;

    for (unsigned i = 0; (word = child_word(i)); i++)
        if (child_takes(word->kind) == takes)
            print_word(out, word);
}

static void print_queue(FILE *out, const char *name, bool list_all)
{
    fprintf(out, "The queue %s. Put: echo work >> in   Get: cat next\n\n", name);
    print_words(out, false);
    fprintf(out, "\n%s", list_all ? "These take items:\n\n" : unlisted);
    print_words(out, true);
    fputs("\n"
          "How many and how long: out@100, next@5s, claim@forever, out@100@1s. A worker:\n\n"
          "  while id=$(cat claim@forever) && [ -n \"$id\" ]; do\n"
          "      ./handle < leased/$id && rm leased/$id || mv leased/$id ready/\n"
          "  done\n",
          out);
}

static void print_root(FILE *out, bool list_all)
{
    const char *name, *help;

    fputs("Each directory here is a queue: mkdir makes one, rmdir removes one that is empty.\n\n"
          "  mkdir jobs\n"
          "  echo work >> jobs/in      put: each line is an item\n"
          "  cat jobs/next             get one; jobs/next@5s and next@forever wait for one\n"
          "  cat jobs/out              get all; head -n 3 jobs/out gets three\n"
          "  cat jobs/claim            lease one and print its id: then read jobs/leased/ID,\n"
          "                            rm it when done, mv it to jobs/ready/ to give it back\n"
          "  ls jobs/ready             look at what waits\n"
          "  cat jobs/help             more about a queue\n\n",
          out);
    for (unsigned i = 0; (name = root_name(i, &help)); i++)
        fprintf(out, "  %-7s %s\n", name, help);
    if (!list_all)
        fputs("\nA queue's out, next and claim are there and not listed: what opens all it finds\n"
              "(a shell's *, grep -r, zip -r) takes nothing. `mount: {list: all}` lists them.\n",
              out);
}

static int help_open(struct file *file, fuse_req_t req)
{
    bool list_all = file->tree->options.list_all;
    struct mount_queue_info info;
    char *text = NULL;
    size_t len;
    FILE *out;

    if ((file->flags & O_ACCMODE) != O_RDONLY)
        return -EACCES;
    out = open_memstream(&text, &len);
    if (!out)
        return -ENOMEM;
    if (file->node->mq) {
        mount_queue_info(file->node->mq, &info);
        print_queue(out, info.name, list_all);
    } else {
        print_root(out, list_all);
    }
    if (fclose(out)) {
        free(text);
        return -ENOMEM;
    }
    return open_text(file, text);
}

const struct node_ops help_ops = {.open = help_open, .read = reply_text};
