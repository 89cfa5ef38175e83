/* SPDX-License-Identifier: Apache-2.0 */
#include "util/procfs.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 512
#define TCP_LISTEN 10 /* the kernel's TCP_LISTEN, 0A in /proc/net/tcp */

static FILE *
open_file(const char *root, const char *name)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return fopen(path, "re");
}

/* ---- the machine ---- */

/* The first line of stat: user nice system idle iowait irq softirq steal, in
 * ticks; the guests' times that follow are part of user and nice. */
static void
read_cpu(FILE *file, struct procfs_host *ret)
{
    unsigned long long t[8] = {0};
    double tick_s = 1.0 / (double)sysconf(_SC_CLK_TCK);
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
               &t[4], &t[5], &t[6], &t[7]) < 4)
        return;
    unsigned long long total = 0;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        total += t[i];
    ret->cpu_total_s = (double)total * tick_s;
    ret->cpu_busy_s = (double)(total - t[3] - t[4]) * tick_s;
}

static void
read_memory(FILE *file, struct procfs_host *ret)
{
    char line[128];
    unsigned long long kib;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %llu kB", &kib) == 1)
            ret->memory_total_bytes = (double)kib * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            ret->memory_available_bytes = (double)kib * 1024;
    }
}

void
procfs_read_host(const char *root, struct procfs_host *ret)
{
    FILE *file;
    *ret = (struct procfs_host){NAN, NAN, NAN, NAN};
    if ((file = open_file(root, "stat")) != NULL) {
        read_cpu(file, ret);
        fclose(file);
    }
    if ((file = open_file(root, "meminfo")) != NULL) {
        read_memory(file, ret);
        fclose(file);
    }
}

/* ---- a process ---- */

void
procfs_read_process(const char *root, pid_t pid, struct procfs_process *ret)
{
    char name[64], line[1024];
    unsigned long long t[4], pages;
    *ret = (struct procfs_process){NAN, NAN};
    snprintf(name, sizeof name, "%d/stat", (int)pid);
    FILE *file = open_file(root, name);
    if (file == NULL)
        return;
    size_t len = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[len] = '\0';
    /* The name in parentheses may hold anything: fields count from its end. */
    const char *after = strrchr(line, ')');
    if (after == NULL || sscanf(after + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu "
                                "%llu %llu %*s %*s %*s %*s %*s %*s %llu",
                                &t[0], &t[1], &t[2], &t[3], &pages) != 5)
        return;
    ret->cpu_s = (double)(t[0] + t[1] + t[2] + t[3]) / (double)sysconf(_SC_CLK_TCK);
    ret->rss_bytes = (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* The inode of the socket that listens on a port; 0: none in this table. */
static unsigned long
find_inode(const char *root, const char *table, unsigned port)
{
    char line[512];
    unsigned long found = 0;
    FILE *file = open_file(root, table);
    while (file != NULL && found == 0 && fgets(line, sizeof line, file) != NULL) {
        unsigned local_port, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %lu", &local_port,
                   &state, &inode) == 3 && local_port == port && state == TCP_LISTEN)
            found = inode;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static bool
has_socket(const char *root, const char *pid, unsigned long inode)
{
    char path[PATH_BYTES], wanted[64], target[64];
    bool found = false;
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "%s/%s/fd", root, pid);
    DIR *dir = opendir(path);
    for (struct dirent *d; !found && dir != NULL && (d = readdir(dir)) != NULL;) {
        ssize_t len = readlinkat(dirfd(dir), d->d_name, target, sizeof target - 1);
        if (len > 0) {
            target[len] = '\0';
            found = strcmp(target, wanted) == 0;
        }
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

pid_t
procfs_find_listener(const char *root, unsigned port)
{
    unsigned long inode = find_inode(root, "net/tcp", port);
    pid_t found = 0;
    if (inode == 0)
        inode = find_inode(root, "net/tcp6", port);
    DIR *dir = inode != 0 ? opendir(root) : NULL;
    for (struct dirent *d; found == 0 && dir != NULL && (d = readdir(dir)) != NULL;) {
        if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && has_socket(root, d->d_name, inode))
            found = (pid_t)atoi(d->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}
