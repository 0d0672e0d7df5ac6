/*
 * test_path.c - file names, whole files, folders, and lines of plain and packed text.
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/path.h"

/* Last: it has a macro fail() of its own. */
#include <cmocka.h>

static char folder[512];
static char names[4][1024];

static int folder_make(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/test_path.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return path_remove_tree(folder);
}

/* folder/name, in one of four places: valid until the fourth call after it. */
static const char *in_folder(const char *name)
{
    static unsigned at;
    char *out = names[at++ % 4];

    (void)snprintf(out, sizeof names[0], "%s/%s", folder, name);
    return out;
}

static void assert_message(const char *path, const char *rest)
{
    char expected[2048];

    (void)snprintf(expected, sizeof expected, "%s%s", path, rest);
    assert_string_equal(fail_message(), expected);
}

static void assert_name(char *got, const char *expected)
{
    assert_non_null(got);
    assert_string_equal(got, expected);
    mem_free(got);
}

static void test_path_join(void **state)
{
    (void)state;
    assert_name(path_join("a", "b"), "a/b");
    assert_name(path_join("a/", "b"), "a/b");
    assert_name(path_join("a", "/b"), "/b");
    assert_name(path_join("", "b"), "b");
    assert_name(path_join(".", "b"), "./b");
}

static void test_path_folder_and_base(void **state)
{
    (void)state;
    assert_name(path_folder("a/b"), "a");
    assert_name(path_folder("a//b//"), "a");
    assert_name(path_folder("b"), ".");
    assert_name(path_folder("/b"), "/");
    assert_name(path_folder("//b"), "/");
    assert_name(path_folder("/"), "/");
    assert_name(path_folder(""), ".");
    assert_string_equal(path_base("a/b"), "b");
    assert_string_equal(path_base("b"), "b");
    assert_string_equal(path_base("/a/bc/"), "bc/");
    assert_string_equal(path_base("/"), "/");
    assert_string_equal(path_base(""), "");
}

static void test_path_resolve_names_what_is_there_and_what_is_not_yet(void **state)
{
    char here[PATH_MAX], real[PATH_MAX];

    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_non_null(realpath(folder, real));
    assert_int_equal(path_make_folder(in_folder("deep/er")), 0);
    assert_int_equal(symlink("deep/er", in_folder("short")), 0);
    assert_int_equal(symlink("nowhere", in_folder("lost")), 0);
    assert_int_equal(path_write(in_folder("deep/file"), "x", 1), 0);
    static const struct {
        const char *path, *expected;
    } all[] = {
        {"deep//er/.", "deep/er"},    {"short", "deep/er"},
        {"short/..", "deep"},         {"short/new/./er//", "deep/er/new/er"},
        {"./deep/file", "deep/file"}, {"new", "new"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char *expected = mem_printf("%s/%s", real, all[i].expected);
        assert_name(path_resolve(in_folder(all[i].path)), expected);
        mem_free(expected);
    }
    assert_name(path_resolve("/"), "/");
    assert_name(path_resolve("/no-such-folder/x/"), "/no-such-folder/x");
    char *expected = path_join(here, "no-such-folder/x");
    assert_name(path_resolve("no-such-folder/./x"), expected);
    mem_free(expected);
    assert_null(path_resolve(in_folder("new/../deep")));
    assert_message(in_folder("new/../deep"), ": '..' behind a folder that is not there");
    assert_null(path_resolve(in_folder("lost/x")));
    assert_message(in_folder("lost/x"), ": a link that leads nowhere: No such file or directory");
    assert_null(path_resolve(in_folder("deep/file/x")));
    assert_message(in_folder("deep/file/x"), ": cannot be found: Not a directory");
    assert_true(path_within("/a/b", "/a"));
    assert_true(path_within("/a", "/a"));
    assert_true(path_within("/a", "/"));
    assert_false(path_within("/ab", "/a"));
    assert_false(path_within("/a", "/a/b"));
}

static void test_path_stamp_notices_every_change(void **state)
{
    const char *file = in_folder("stamped");
    struct path_stamp s;

    (void)state;
    assert_int_equal(path_write(file, "x", 1), 0);
    int fd = open(file, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(path_stamp(&s, file, fd), 0);
    assert_int_equal(path_stamp_check(&s, file, fd), 0);
    assert_int_equal(path_stamp_check(&s, file, -1), 0);
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
    assert_true(path_stamp_check(&s, file, fd) < 0);
    assert_message(file, ": changed while in use: it was written to");
    assert_int_equal(path_append(file, "y", 1), 0);
    assert_true(path_stamp_check(&s, file, -1) < 0);
    assert_message(file, ": changed while in use: its size is another now");
    assert_int_equal(path_stamp(&s, file, fd), 0);
    assert_int_equal(path_write(file, "zz", 2), 0);
    assert_true(path_stamp_check(&s, file, fd) < 0);
    assert_message(file, ": changed while in use: another file is there now");
    assert_int_equal(unlink(file), 0);
    assert_true(path_stamp_check(&s, file, fd) < 0);
    assert_message(file, ": changed while in use: it is gone");
    assert_int_equal(close(fd), 0);
}

static void test_path_executable_folder_is_where_this_test_lies(void **state)
{
    (void)state;
    char *name = path_executable_folder();
    assert_non_null(name);
    assert_int_equal(name[0], '/');
    assert_true(path_is_folder(name));
    mem_free(name);
}

static void test_path_write_and_read_give_the_bytes_back(void **state)
{
    char *text = NULL;
    size_t size = 0;

    (void)state;
    const char *file = in_folder("bytes");
    assert_int_equal(path_write(file, "a\0b\n", 4), 0);
    assert_int_equal(path_write(file, "c\0d\ne", 5), 0); /* replaces */
    assert_int_equal(path_append(file, "fg", 2), 0);
    assert_int_equal(path_read(file, 7, &text, &size), 0);
    assert_int_equal(size, 7);
    assert_memory_equal(text, "c\0d\nefg", 8);
    mem_free(text);
    assert_int_equal(path_write(file, "", 0), 0);
    assert_int_equal(path_read(file, 0, &text, &size), 0);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    mem_free(text);
}

static void test_path_write_leaves_no_temporary_file(void **state)
{
    (void)state;
    assert_int_equal(path_make_folder(in_folder("w")), 0);
    assert_int_equal(path_write(in_folder("w/x"), "1", 1), 0);
    assert_int_equal(unlink(in_folder("w/x")), 0);
    assert_true(path_folder_is_empty(in_folder("w")));
}

static void test_path_write_goes_through_links_and_into_devices(void **state)
{
    struct stat st;
    char *text = NULL;
    size_t size = 0;

    (void)state;
    const char *target = in_folder("target");
    const char *link = in_folder("link");
    assert_int_equal(path_write(target, "old text", 8), 0);
    assert_int_equal(symlink(target, link), 0);
    assert_int_equal(path_write(link, "new", 3), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(path_read(target, 100, &text, &size), 0);
    assert_string_equal(text, "new");
    mem_free(text);
    assert_int_equal(path_write("/dev/null", "x", 1), 0);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

static void test_path_write_reports_a_folder_that_is_not_there(void **state)
{
    char rest[128];

    (void)state;
    const char *file = in_folder("nowhere/x");
    assert_int_equal(path_write(file, "1", 1), HCSMOE_EIO);
    (void)snprintf(rest, sizeof rest,
                   ".tmp-%ld: cannot open for writing: No such file or directory", (long)getpid());
    assert_message(file, rest);
    assert_int_equal(path_write(folder, "1", 1), HCSMOE_EIO);
    assert_message(folder, ": cannot open for writing: Is a directory");
    assert_int_equal(path_append(file, "1", 1), HCSMOE_EIO);
    assert_message(file, ": cannot open for writing: No such file or directory");
}

static void test_path_read_refuses_what_it_cannot_read(void **state)
{
    char *text = NULL;
    size_t size = 0;

    (void)state;
    const char *file = in_folder("ten");
    assert_int_equal(path_read(file, 10, &text, &size), HCSMOE_EIO);
    assert_message(file, ": cannot open: No such file or directory");
    assert_int_equal(path_read(folder, 10, &text, &size), HCSMOE_EIO);
    assert_message(folder, ": is a folder, not a file");
    assert_int_equal(path_write(file, "0123456789", 10), 0);
    assert_int_equal(path_read(file, 9, &text, &size), HCSMOE_EINVAL);
    assert_message(file, ": file is larger than 9 bytes, the most that is read");
    assert_null(text);
    /* Tells no size, and has no end. */
    assert_int_equal(path_read("/dev/zero", 300000, &text, &size), HCSMOE_EINVAL);
    assert_message("/dev/zero", ": file is larger than 300000 bytes, the most that is read");
}

static void test_path_read_takes_files_that_tell_no_size(void **state)
{
    char *text = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(path_read("/proc/self/status", 1024 * 1024, &text, &size), 0);
    assert_int_equal(strlen(text), size);
    assert_non_null(strstr(text, "test_path"));
    mem_free(text);
}

static void test_path_make_folder_makes_parents(void **state)
{
    (void)state;
    assert_int_equal(path_make_folder(in_folder("p//q/r/")), 0);
    assert_true(path_is_folder(in_folder("p/q/r")));
    assert_int_equal(path_make_folder(in_folder("p/q/r")), 0);
    assert_int_equal(path_make_folder("/"), 0);
    const char *file = in_folder("p/file");
    assert_int_equal(path_write(file, "", 0), 0);
    assert_int_equal(path_make_folder(file), HCSMOE_EIO);
    assert_message(file, ": cannot make the folder: File exists");
    assert_int_equal(path_make_folder(in_folder("p/file/x")), HCSMOE_EIO);
    assert_message(file, ": cannot make the folder: File exists");
}

static void test_path_remove_tree_follows_no_links(void **state)
{
    (void)state;
    assert_int_equal(path_make_folder(in_folder("keep")), 0);
    assert_int_equal(path_write(in_folder("keep/file"), "1", 1), 0);
    assert_int_equal(path_make_folder(in_folder("tree/a/b")), 0);
    assert_int_equal(path_write(in_folder("tree/a/b/c"), "1", 1), 0);
    assert_int_equal(symlink(in_folder("keep"), in_folder("tree/a/link")), 0);
    assert_int_equal(symlink("nowhere", in_folder("tree/dangling")), 0);
    assert_int_equal(path_remove_tree(in_folder("tree")), 0);
    assert_false(path_exists(in_folder("tree")));
    assert_true(path_exists(in_folder("keep/file")));
    assert_int_equal(path_remove_tree(in_folder("tree")), 0); /* gone already */
    assert_int_equal(path_remove_tree(in_folder("keep/file")), 0);
    assert_false(path_exists(in_folder("keep/file")));
}

static void test_questions_about_paths(void **state)
{
    uint64_t bytes = 0;

    (void)state;
    assert_true(path_exists(folder));
    assert_false(path_exists(in_folder("no")));
    assert_false(path_is_folder("/dev/null"));
    assert_false(path_folder_is_empty(in_folder("no")));
    assert_int_equal(path_sync_folder(folder), 0);
    assert_int_equal(path_sync_folder(in_folder("no")), HCSMOE_EIO);
    assert_message(in_folder("no"), ": cannot open the folder: No such file or directory");
    assert_int_equal(path_free_bytes(folder, &bytes), 0);
    assert_true(bytes > 0);
    assert_int_equal(path_free_bytes(in_folder("no"), &bytes), HCSMOE_EIO);
    assert_message(in_folder("no"), ": cannot tell the free space: No such file or directory");
}

static void write_packed(const char *path, const char *mode, const void *bytes, size_t n)
{
    gzFile f = gzopen(path, mode);

    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)n), (int)n);
    assert_int_equal(gzclose(f), Z_OK);
}

static void assert_next_line(struct lines *l, const char *expected, size_t n)
{
    char *line = NULL;
    size_t len = 0;

    assert_int_equal(lines_next(l, &line, &len), 1);
    assert_int_equal(len, n);
    assert_memory_equal(line, expected, n + 1);
}

static void assert_no_line(struct lines *l)
{
    char *line = NULL;
    size_t len = 0;

    assert_int_equal(lines_next(l, &line, &len), 0);
    assert_int_equal(lines_next(l, &line, &len), 0);
}

static void assert_sample_lines(const char *path)
{
    struct lines *l = NULL;

    assert_int_equal(lines_open(&l, path), 0);
    assert_int_equal(lines_number(l), 0);
    assert_next_line(l, "one", 3);
    assert_int_equal(lines_number(l), 1);
    assert_next_line(l, "", 0);
    assert_next_line(l, "t\0o\rx", 5);
    assert_next_line(l, "", 0);
    assert_next_line(l, "last", 4);
    assert_int_equal(lines_number(l), 5);
    assert_no_line(l);
    lines_close(l);
}

static void test_lines_of_plain_and_packed_files_are_the_same(void **state)
{
    static const char text[] = "one\n\r\nt\0o\rx\r\n\nlast";

    (void)state;
    assert_int_equal(path_write(in_folder("plain"), text, sizeof text - 1), 0);
    assert_sample_lines(in_folder("plain"));
    write_packed(in_folder("packed"), "wb", text, sizeof text - 1);
    assert_sample_lines(in_folder("packed"));
    /* Two gzip members one after the other, as `cat a.gz b.gz` makes them. */
    write_packed(in_folder("packed"), "wb", text, 9);
    write_packed(in_folder("packed"), "ab", text + 9, sizeof text - 1 - 9);
    assert_sample_lines(in_folder("packed"));
}

static void test_lines_of_an_empty_file_and_of_one_byte(void **state)
{
    struct lines *l = NULL;

    (void)state;
    assert_int_equal(lines_open(&l, "/dev/null"), 0);
    assert_no_line(l);
    lines_close(l);
    assert_int_equal(path_write(in_folder("x"), "x", 1), 0);
    assert_int_equal(lines_open(&l, in_folder("x")), 0);
    assert_next_line(l, "x", 1);
    assert_no_line(l);
    lines_close(l);
    assert_int_equal(path_write(in_folder("x"), "\n", 1), 0);
    assert_int_equal(lines_open(&l, in_folder("x")), 0);
    assert_next_line(l, "", 0);
    assert_no_line(l);
    lines_close(l);
    lines_close(NULL);
}

/* Lines longer and shorter than the buffer, each of one letter. */
static void test_lines_may_be_much_longer_than_the_buffer(void **state)
{
    static const size_t lengths[] = {3, 262143, 262144, 0, 3000000, 262145, 5, 600000};
    enum { LINES = sizeof lengths / sizeof lengths[0], SIZE = 4400000 };
    struct lines *l = NULL;
    size_t n = 0;

    (void)state;
    char *text = mem_new(SIZE, 1);
    assert_non_null(text);
    for (size_t i = 0; i < LINES; i++) {
        memset(text + n, 'a' + (int)i, lengths[i]);
        n += lengths[i];
        text[n++] = '\n';
    }
    assert_true(n <= SIZE);
    assert_int_equal(path_write(in_folder("long"), text, n), 0);
    write_packed(in_folder("long.gz"), "wb1", text, n);
    for (int packed = 0; packed < 2; packed++) {
        assert_int_equal(lines_open(&l, in_folder(packed ? "long.gz" : "long")), 0);
        for (size_t i = 0; i < LINES; i++) {
            char *line = NULL;
            size_t len = 0;
            assert_int_equal(lines_next(l, &line, &len), 1);
            assert_int_equal(len, lengths[i]);
            assert_int_equal(line[len], '\0');
            for (size_t k = 0; k < len; k++) {
                if (line[k] != 'a' + (int)i) {
                    fail_msg("line %zu byte %zu", i, k);
                }
            }
        }
        assert_no_line(l);
        lines_close(l);
    }
    mem_free(text);
}

struct pipe_end {
    const char *path;
    const char *bytes;
    size_t n;
};

/* Writes one byte at a time, so that the reader sees the smallest pieces there are. */
static void *pipe_fill(void *arg)
{
    const struct pipe_end *p = arg;
    int fd = open(p->path, O_WRONLY | O_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < p->n; i++) {
        if (write(fd, p->bytes + i, 1) != 1) {
            break;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return NULL;
}

static void test_lines_come_from_pipes_too(void **state)
{
    static const char text[] = "one\n\r\nt\0o\rx\r\n\nlast";
    char *packed = NULL;
    size_t n_packed = 0;

    (void)state;
    const char *pipe_name = in_folder("pipe");
    const char *file = in_folder("packed");
    assert_int_equal(mkfifo(pipe_name, 0600), 0);
    write_packed(file, "wb", text, sizeof text - 1);
    assert_int_equal(path_read(file, 1000, &packed, &n_packed), 0);
    const struct pipe_end ends[] = {{pipe_name, text, sizeof text - 1},
                                    {pipe_name, packed, n_packed}};
    for (size_t i = 0; i < 2; i++) {
        struct pipe_end end = ends[i];
        pthread_t writer;
        assert_int_equal(pthread_create(&writer, NULL, pipe_fill, &end), 0);
        assert_sample_lines(pipe_name);
        assert_int_equal(pthread_join(writer, NULL), 0);
    }
    mem_free(packed);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

/* As pipe_fill, but so slowly that the reader waits, and without taking its signals. */
static void *pipe_drip(void *arg)
{
    const struct pipe_end *p = arg;
    const struct timespec pause = {.tv_nsec = 5000000};
    sigset_t alarm_only;

    (void)sigemptyset(&alarm_only);
    (void)sigaddset(&alarm_only, SIGALRM);
    (void)pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
    (void)nanosleep(&pause, NULL);
    int fd = open(p->path, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < p->n; i++) {
        (void)nanosleep(&pause, NULL);
        if (write(fd, p->bytes + i, 1) != 1) {
            break;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return NULL;
}

static void test_signals_interrupt_no_reading(void **state)
{
    static const char text[] = "one\n\r\nt\0o\rx\r\n\nlast";
    const struct sigaction quiet = {.sa_handler = on_alarm}; /* no SA_RESTART: calls give EINTR */
    const struct timeval ms = {.tv_usec = 1000};
    const struct itimerval often = {.it_interval = ms, .it_value = ms};
    const struct itimerval never = {0};
    struct sigaction before;
    pthread_t writer;

    (void)state;
    const char *pipe_name = in_folder("slow");
    struct pipe_end end = {pipe_name, text, sizeof text - 1};
    assert_int_equal(mkfifo(pipe_name, 0600), 0);
    assert_int_equal(sigaction(SIGALRM, &quiet, &before), 0);
    assert_int_equal(pthread_create(&writer, NULL, pipe_drip, &end), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_sample_lines(pipe_name);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

static void test_a_truncated_gzip_file_is_an_error(void **state)
{
    char text[20000];
    char *packed = NULL;
    char *line = NULL;
    size_t n = 0;
    size_t len = 0;
    struct lines *l = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = i % 100 == 99 ? '\n' : (char)('a' + i * i % 23);
    }
    const char *file = in_folder("cut.gz");
    write_packed(file, "wb", text, sizeof text);
    assert_int_equal(path_read(file, 100000, &packed, &n), 0);
    const size_t cuts[] = {2, 5, 12, n / 2, n - 8, n - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        int status = 1;
        assert_int_equal(path_write(file, packed, cuts[i]), 0);
        assert_int_equal(lines_open(&l, file), 0);
        while (status == 1) {
            status = lines_next(l, &line, &len);
        }
        assert_int_equal(status, HCSMOE_EIO);
        assert_message(file, ": the gzip data ends too early: the file is truncated");
        lines_close(l);
        assert_int_equal(path_read_text(file, 100000, &line, &len), HCSMOE_EIO);
    }
    packed[n / 2] = (char)(packed[n / 2] ^ 0x55);
    packed[n - 6] = (char)(packed[n - 6] ^ 0x55); /* and the sum, should the data still unpack */
    assert_int_equal(path_write(file, packed, n), 0);
    assert_int_equal(path_read_text(file, 100000, &line, &len), HCSMOE_EIO);
    assert_non_null(strstr(fail_message(), "cut.gz: the gzip data is damaged: "));
    mem_free(packed);
}

static void test_zeros_may_follow_the_gzip_data_and_nothing_else(void **state)
{
    char *text = NULL;
    size_t size = 0;

    (void)state;
    const char *file = in_folder("padded.gz");
    write_packed(file, "wb", "text", 4);
    assert_int_equal(path_append(file, "\0\0\0\0\0", 5), 0);
    assert_int_equal(path_read_text(file, 100, &text, &size), 0);
    assert_string_equal(text, "text");
    mem_free(text);
    write_packed(file, "wb", "text", 4);
    assert_int_equal(path_append(file, "more text", 9), 0);
    assert_int_equal(path_read_text(file, 100, &text, &size), HCSMOE_EIO);
    assert_message(file, ": bytes behind the gzip data that are none themselves");
}

static void test_path_read_text_unpacks_up_to_the_limit(void **state)
{
    char *text = NULL;
    size_t size = 0;

    (void)state;
    const char *file = in_folder("zeros.gz");
    char *zeros = mem_new(1000000, 1);
    assert_non_null(zeros);
    write_packed(file, "wb", zeros, 1000000);
    assert_int_equal(path_read_text(file, 1000000, &text, &size), 0);
    assert_int_equal(size, 1000000);
    assert_memory_equal(text, zeros, 1000000);
    mem_free(text);
    assert_int_equal(path_read_text(file, 999999, &text, &size), HCSMOE_EINVAL);
    assert_message(file, ": file is larger than 999999 bytes, the most that is read");
    assert_int_equal(path_write(file, "no gzip", 7), 0);
    assert_int_equal(path_read_text(file, 7, &text, &size), 0);
    assert_string_equal(text, "no gzip");
    mem_free(text);
    mem_free(zeros);
}

static void test_lines_open_refuses_what_it_cannot_read(void **state)
{
    struct lines *l = NULL;

    (void)state;
    assert_int_equal(lines_open(&l, in_folder("none")), HCSMOE_EIO);
    assert_message(in_folder("none"), ": cannot open: No such file or directory");
    assert_null(l);
    assert_int_equal(lines_open(&l, folder), HCSMOE_EIO);
    assert_message(folder, ": is a folder, not a file");
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_join),
        cmocka_unit_test(test_path_folder_and_base),
        cmocka_unit_test(test_path_resolve_names_what_is_there_and_what_is_not_yet),
        cmocka_unit_test(test_path_stamp_notices_every_change),
        cmocka_unit_test(test_path_executable_folder_is_where_this_test_lies),
        cmocka_unit_test(test_path_write_and_read_give_the_bytes_back),
        cmocka_unit_test(test_path_write_leaves_no_temporary_file),
        cmocka_unit_test(test_path_write_goes_through_links_and_into_devices),
        cmocka_unit_test(test_path_write_reports_a_folder_that_is_not_there),
        cmocka_unit_test(test_path_read_refuses_what_it_cannot_read),
        cmocka_unit_test(test_path_read_takes_files_that_tell_no_size),
        cmocka_unit_test(test_path_make_folder_makes_parents),
        cmocka_unit_test(test_path_remove_tree_follows_no_links),
        cmocka_unit_test(test_questions_about_paths),
        cmocka_unit_test(test_lines_of_plain_and_packed_files_are_the_same),
        cmocka_unit_test(test_lines_of_an_empty_file_and_of_one_byte),
        cmocka_unit_test(test_lines_may_be_much_longer_than_the_buffer),
        cmocka_unit_test(test_lines_come_from_pipes_too),
        cmocka_unit_test(test_signals_interrupt_no_reading),
        cmocka_unit_test(test_a_truncated_gzip_file_is_an_error),
        cmocka_unit_test(test_zeros_may_follow_the_gzip_data_and_nothing_else),
        cmocka_unit_test(test_path_read_text_unpacks_up_to_the_limit),
        cmocka_unit_test(test_lines_open_refuses_what_it_cannot_read),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
