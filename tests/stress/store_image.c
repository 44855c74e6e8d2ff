#include "tests/stress/store_image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 16

char store_dir[] = "/dev/shm/flips-XXXXXX";
struct image *store_log, *store_index_file;

static struct image images[FILES_MAX];
static size_t n_images;

static void path_of(char path[PATH_MAX], const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", store_dir, name);
}

static DIR *open_files(const char *sub)
{
    char path[PATH_MAX];

    path_of(path, sub);
    return opendir(path);
}

static void remove_files(const char *sub)
{
    DIR *files = open_files(sub);
    struct dirent *entry;

    while (files && (entry = readdir(files)) != NULL) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(files), entry->d_name, 0);
    }
    if (files)
        closedir(files);
}

static int read_file(int dir_fd, const char *sub, const char *name)
{
    struct image *image = &images[n_images];
    int fd = openat(dir_fd, name, O_RDONLY);
    struct stat stat;
    bool whole;

    if (n_images == FILES_MAX || fd < 0 || fstat(fd, &stat) < 0)
        return -1;
    snprintf(image->name, sizeof(image->name), "%s/%s", sub, name);
    image->len = (size_t)stat.st_size;
    image->bytes = malloc(image->len);
    whole = image->bytes && read(fd, image->bytes, image->len) == (ssize_t)image->len;
    close(fd);
    n_images++;
    if (strstr(name, ".log"))
        store_log = image;
    if (strstr(name, ".mdb"))
        store_index_file = image;
    return whole ? 0 : -1;
}

static int read_files(const char *sub)
{
    DIR *files = open_files(sub);
    struct dirent *entry;
    int rc = files ? 0 : -1;

    while (rc == 0 && (entry = readdir(files)) != NULL) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lock.mdb") != 0)
            rc = read_file(dirfd(files), sub, entry->d_name);
    }
    if (files)
        closedir(files);
    return rc;
}

int images_read(void)
{
    return read_files("log") == 0 && read_files("index") == 0 && store_log && store_index_file ? 0
                                                                                               : -1;
}

int images_write(bool index)
{
    remove_files("log");
    remove_files("index");
    for (size_t i = 0; i < n_images; i++) {
        char path[PATH_MAX];
        int fd;

        if (&images[i] == store_index_file && !index)
            continue;
        path_of(path, images[i].name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, images[i].bytes, images[i].len) != (ssize_t)images[i].len ||
            close(fd) < 0)
            return -1;
    }
    return 0;
}

void images_free(void)
{
    for (size_t i = 0; i < n_images; i++)
        free(images[i].bytes);
}
