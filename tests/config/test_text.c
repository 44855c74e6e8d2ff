#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/text.h"
#include "config/tree.h"

static char *printed(const char *text)
{
    char *out = NULL;
    size_t len;
    FILE *file = open_memstream(&out, &len);
    text_print(text, file);
    fclose(file);
    return out;
}

static void expect(const char *text, const char *yaml)
{
    char *out = printed(text);
    cr_assert_str_eq(out, yaml);
    free(out);
}

Test(text, what_is_surely_text_is_plain, .timeout = 5)
{
    expect("root", "root");
    expect("/var/lib/queued", "/var/lib/queued");
    expect("tcp://10.0.0.5:7440", "tcp://10.0.0.5:7440");
    expect("tls+tcp://host:1", "tls+tcp://host:1");
}

Test(text, what_may_be_something_else_is_quoted, .timeout = 5)
{
    expect("", "\"\"");
    expect("null", "\"null\"");
    expect("Yes", "\"Yes\"");
    expect("12", "\"12\"");
    expect("1e3", "\"1e3\"");
    expect("a:", "\"a:\"");
    expect("a b", "\"a b\"");
    expect("-", "\"-\"");
    expect("~", "\"~\"");
    expect("say \"\\\"", "\"say \\\"\\\\\\\"\"");
}

Test(text, what_is_printed_is_read_back, .timeout = 5)
{
    static const char *const texts[] = {
        "a",
        "a b",
        "a\nb",
        "\t",
        "\x01\x1f\x7f",
        "#x",
        "a #b",
        "[x]",
        "{x: y}",
        "*x",
        "&x",
        "!x",
        "%x",
        "@x",
        "`",
        "- x",
        "? x",
        ": x",
        "a: b",
        "'x'",
        "\"x\"",
        "\\",
        "\\n",
        "caf\xc3\xa9",
        "\xe2\x80\xa8\xe2\x80\xa9",
        "\xc2\x85",
        "\xef\xbb\xbfx",
        "\xef\xbf\xbf",
        "\xf0\x9f\x98\x80",
        " lead",
        "trail ",
        "null",
        "---",
        "...",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *yaml = printed(texts[i]);
        char *error = NULL;
        struct source source = {"t", &error};
        struct node *root = NULL;
        cr_assert_eq(tree_read(&source, yaml, strlen(yaml), &root), 0, "%s: %s", yaml, error);
        cr_assert_eq(root->kind, NODE_TEXT, "%s", yaml);
        cr_assert_str_eq(root->text, texts[i]);
        tree_free(root);
        free(yaml);
    }
}

Test(text, what_is_no_utf8_is_passed_on, .timeout = 5)
{
    expect("\xff", "\"\xff\"");
    expect("\xe2\x80", "\"\xe2\x80\"");
    expect("\xf0\x9f", "\"\xf0\x9f\"");
    expect("\x80\xc3", "\"\x80\xc3\"");
}
