/* What a C program does with stdio: fopen("a+") on `in`, fgets on `out`. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put(const char *path)
{
    FILE *in = fopen(path, "a+");
    if (!in)
        die(path);
    if (getc(in) != EOF)
        die("reading in");
    clearerr(in);
    fprintf(in, "first\nsec");
    fflush(in);
    fprintf(in, "ond\nthird\n");
    if (fflush(in) || fsync(fileno(in)) || fclose(in))
        die(path);
}

int main(int argc, char **argv)
{
    char line[100];

    if (argc != 3)
        return 2;
    put(argv[1]);
    FILE *out = fopen(argv[2], "r");
    if (!out)
        die(argv[2]);
    for (int i = 0; i < 2; i++) {
        if (!fgets(line, sizeof(line), out))
            die(argv[2]);
        fputs(line, stdout);
    }
    return fclose(out) ? 1 : 0;
}
