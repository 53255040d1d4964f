package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing to read": {nil, 0},
		"no group":        {map[string]string{"proc/self/cgroup": "\n"}, 0},
		"container": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		"container with the host's path": {map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, 1 << 30},
		"not bounded": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n",
		}, 0},
		"unit in a slice that has less": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/omps.service\n",
			"sys/fs/cgroup/system.slice/omps.service/memory.max": "800\n", "sys/fs/cgroup/system.slice/memory.max": "500\n",
		}, 500},
		"unit in a slice that has more": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/omps.service\n",
			"sys/fs/cgroup/system.slice/omps.service/memory.max": "500\n", "sys/fs/cgroup/system.slice/memory.max": "max\n",
		}, 500},
		"version 1": {map[string]string{
			"proc/self/cgroup":                           "12:cpu,cpuacct:/a\n5:memory:/docker/c1\n1:name=systemd:/docker/c1\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		"version 1, not bounded": {map[string]string{
			"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		"not a number": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "many\n"}, 0},
		"path upwards": {map[string]string{"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/memory.max": "700\n"}, 700},
	} {
		root := make(fstest.MapFS)
		for file, text := range tc.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
