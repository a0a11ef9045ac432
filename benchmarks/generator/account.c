/* What the measured processes, with all their children, have used: by the kernel's own accounting. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "load.h"

#define MAX_PIDS 256

static int pids[MAX_PIDS], pid_count;

static void add_children(int pid) {
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *f = fopen(path, "r");
    int child;
    while (f && fscanf(f, "%d", &child) == 1 && pid_count < MAX_PIDS) {
        pids[pid_count++] = child;
        add_children(child);
    }
    if (f)
        fclose(f);
}

static void find_pids(void) {
    char list[512], *rest, *word;
    pid_count = 0;
    snprintf(list, sizeof list, "%s", opt.pids);
    for (word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (pid_count < MAX_PIDS)
            pids[pid_count++] = atoi(word);
        add_children(atoi(word));
    }
}

static void add_threads(int pid, struct usage *u) {
    char path[400];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        unsigned long long nanoseconds;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &nanoseconds) == 1)
            u->scheduled += nanoseconds * 1e-9;
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
}

static void add_ticks(int pid, struct usage *u) {
    char path[64], text[1024] = "";
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return;
    if (!fgets(text, sizeof text, f))
        text[0] = 0;
    fclose(f);
    char *q = strrchr(text, ')');
    if (q && sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        u->user += user / 100.0, u->system += system / 100.0;
}

struct usage usage_now(void) {
    struct usage u = {0};
    unsigned long long a, b, c, idle, wait, q, s;
    find_pids();
    for (int i = 0; i < pid_count; i++)
        add_threads(pids[i], &u), add_ticks(pids[i], &u);
    FILE *f = fopen("/proc/stat", "r");
    if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &a, &b, &c, &idle, &wait, &q, &s) == 7)
        u.machine = (a + b + c + q + s) / 100.0;
    if (f)
        fclose(f);
    return u;
}

long memory_kib(void) {
    long total = 0, value;
    char path[64], line[256];
    find_pids();
    for (int i = 0; i < pid_count; i++) {
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pids[i]);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "Rss: %ld", &value) == 1)
                total += value;
        if (f)
            fclose(f);
    }
    return total;
}

long slab_kib(void) {
    long value = 0, found;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Slab: %ld", &found) == 1)
            value = found;
    if (f)
        fclose(f);
    return value;
}

int open_descriptors(void) {
    int total = 0;
    char path[64];
    find_pids();
    for (int i = 0; i < pid_count; i++) {
        snprintf(path, sizeof path, "/proc/%d/fd", pids[i]);
        DIR *d = opendir(path);
        if (!d)
            continue;
        while (readdir(d))
            total++;
        total -= 2; /* . and .. */
        closedir(d);
    }
    return total;
}

double own_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}
