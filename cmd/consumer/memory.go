package main

import (
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// The runtime's own variables, which stand above what is set here.
const (
	memoryVariable = "GOMEMLIMIT"
	growthVariable = "GOGC"
)

// growth is by how many percent the heap may grow between two collections. Go's
// 100 took 5 MiB more at eight workers, and a twentieth less of processor time.
const growth = 60

// boundMemory keeps the heap small, and lets the garbage collector work harder
// as the process comes near what its container, or service unit, may have: nine
// tenths of that, since the program's file and the kernel's buffers count too.
// Nobody has to say the bound twice, and a large archive does not end the process.
func boundMemory(getenv func(string) string, log *slog.Logger) {
	if getenv(growthVariable) == "" {
		debug.SetGCPercent(growth)
	}
	limit := memoryLimit(os.DirFS("/"))
	if limit == 0 || getenv(memoryVariable) != "" {
		return
	}
	soft := limit / 10 * 9
	debug.SetMemoryLimit(soft)
	log.Info("memory is bounded by the control group", "limit", ByteSize(limit), "collector_limit", ByteSize(soft))
}

// memoryLimit is how many bytes the control groups of this process may have, 0
// where they say nothing. root is the root of the file system.
//
// A group is bounded by those above it too. In a container the group's own path
// is mostly that of the host, and what is mounted is the group: then only the top
// is there to be read. cgroups(7) has the formats.
func memoryLimit(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" { // version 1
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			n := readLimit(root, path.Join(mount, group, file))
			if n > 0 && (least == 0 || n < least) {
				least = n
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

// readLimit is 0 for no limit: "max", or in version 1 nearly all that there can be.
func readLimit(root fs.FS, name string) int64 {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < 0 || n >= 1<<62 {
		return 0
	}
	return n
}
